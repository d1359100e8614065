//! A time by both clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A time by both clocks: one to measure with, one to show.
#[derive(Clone, Copy, Debug)]
pub struct At {
    pub mono: Instant,
    pub wall: SystemTime,
}

// === impl At ===

impl At {
    pub(super) fn now() -> Self {
        Self { mono: Instant::now(), wall: SystemTime::now() }
    }

    /// Whole seconds since 1970.
    pub(super) fn unix(&self) -> i64 {
        let since = self.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }
}
