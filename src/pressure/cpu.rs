//! Use of processors, smoothed: an exponentially weighted mean, so that a compiler's second does not close a gate and a stage that
//! boots does not open one.

use std::time::{Duration, Instant};

/// After so long a step in the load is seen by 63 %, after three times as long by 95 %. The same horizon as that of the kernel's
/// shortest pressure average.
const HORIZON: Duration = Duration::from_secs(10);

/// A counter of time that was worked, made a smoothed share.
#[derive(Debug, Default)]
pub struct Smoothed {
    last: Option<(Instant, u64)>,
    /// 0 to 1; absent: it takes two looks.
    share: Option<f64>,
}

// === impl Smoothed ===

impl Smoothed {
    /// `worked` of `whole`, both since ever and in the same unit, at `now`. Nothing is known at the first look.
    pub fn look(&mut self, now: Instant, worked: u64, whole: impl FnOnce(Instant) -> Option<f64>) -> Option<u8> {
        let before = self.last.replace((now, worked));
        let (then, had) = before?;
        let elapsed = now.saturating_duration_since(then);
        let whole = whole(then)?;
        // A counter that went back is a new one.
        let worked = worked.checked_sub(had)?;
        if whole <= 0.0 || elapsed.is_zero() {
            return self.percent();
        }
        #[allow(clippy::cast_precision_loss)] // a share needs no more digits than a float has
        let share = (worked as f64 / whole).clamp(0.0, 1.0);
        let weight = 1.0 - (-elapsed.as_secs_f64() / HORIZON.as_secs_f64()).exp();
        self.share = Some(self.share.map_or(share, |mean| mean + (share - mean) * weight));
        self.percent()
    }

    fn percent(&self) -> Option<u8> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a clamped share is from 0 to 1
        self.share.map(|share| (share * 100.0).round() as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_a_second_moves_the_mean_by_a_tenth_and_a_minute_moves_it_all() {
        let (mut cpu, start) = (Smoothed::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        let one_second = |_| Some(1_000.0);
        assert_eq!(cpu.look(at(0), 0, one_second), None);
        assert_eq!(cpu.look(at(1), 0, one_second), Some(0));
        assert_eq!(cpu.look(at(2), 1_000, one_second), Some(10));
        for second in 3..=62 {
            cpu.look(at(second), 1_000 * (second - 1), one_second);
        }
        assert_eq!(cpu.percent(), Some(100));
        // The counter began anew.
        assert_eq!(cpu.look(at(63), 5, one_second), None);
    }
}
