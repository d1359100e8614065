//! Random values the core is handed: one seed at the start, SplitMix64 from there on. For jitter, never for secrets.

use std::time::Duration;

#[derive(Debug)]
pub struct Random(u64);

// === impl Random ===

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `duration` ± 10 %, so that delegates started together drift apart.
    pub fn around(&mut self, duration: Duration) -> Duration {
        let tenth = duration / 10;
        duration - tenth + self.up_to(tenth * 2)
    }

    /// The pause before try `tries + 1`: a window that doubles from `min` to `max`, anywhere in its upper half.
    pub fn back_off(&mut self, tries: u32, min: Duration, max: Duration) -> Duration {
        let window = min.saturating_mul(1 << tries.min(20)).min(max);
        window / 2 + self.up_to(window / 2)
    }

    fn up_to(&mut self, duration: Duration) -> Duration {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.next() % micros.max(1))
    }
}
