//! How long to wait before the next attach.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// No wait is longer, whoever asks for it: by then a person has looked.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Doubles the bound with every failure and waits a random part of it, so that runners cut off together come back apart.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    bound: Duration,
}

// === impl Backoff ===

impl Backoff {
    /// The first wait is up to `min`, the longest up to `max`; a `max` below `min` counts as `min`.
    pub fn new(min: Duration, max: Duration) -> Self {
        let min = min.min(WAIT_MAX);
        Self { min, max: max.clamp(min, WAIT_MAX), bound: min }
    }

    /// An attach was answered: the next failure is a first one again.
    pub fn reset(&mut self) {
        self.bound = self.min;
    }

    /// The wait after one more failure.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.bound.mul_f64(random_fraction());
        self.bound = self.bound.saturating_mul(2).min(self.max);
        wait
    }
}

/// 0 to 1. The standard library seeds every `RandomState` anew, which is random enough to spread runners.
pub(crate) fn random_fraction() -> f64 {
    let random = RandomState::new().hash_one(0_u8);
    random as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_bound_and_fall_back_after_success() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for bound in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(backoff.next_wait() <= Duration::from_secs(bound));
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_secs(1));
    }

    #[test]
    fn no_setting_makes_a_wait_endless() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::ZERO);
        assert!((0..100).all(|_| backoff.next_wait() <= WAIT_MAX));
    }
}
