//! Time as the core is told it: it never reads a clock.

use std::{ops::Add, time::Duration};

use serde::{Deserialize, Serialize};

/// A reading of the monotonic clock in microseconds; means something only within one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mono(pub u64);

/// A reading of the wall clock in microseconds since the Unix epoch; may jump, survives restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wall(pub i64);

/// Both clocks, read together. Live timers go by `mono`, the journal stores `wall`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub mono: Mono,
    pub wall: Wall,
}

// === impl Mono ===

impl Mono {
    /// How long ago `earlier` was; zero if it was not.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;

    fn add(self, duration: Duration) -> Mono {
        Mono(self.0.saturating_add(micros(duration)))
    }
}

// === impl Wall ===

impl Wall {
    /// How long ago `earlier` was; zero if the clock went back since.
    pub fn since(self, earlier: Wall) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;

    fn add(self, duration: Duration) -> Wall {
        Wall(self.0.saturating_add(i64::try_from(micros(duration)).unwrap_or(i64::MAX)))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
