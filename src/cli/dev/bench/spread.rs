//! Many durations and what people ask of them.

use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub struct Spread {
    sorted: Vec<Duration>,
}

// === impl Spread ===

impl Spread {
    pub fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        Self { sorted: durations }
    }

    pub fn p50(&self) -> Duration {
        self.at(50)
    }

    pub fn p99(&self) -> Duration {
        self.at(99)
    }

    fn at(&self, percent: usize) -> Duration {
        let index = (self.sorted.len() * percent / 100).min(self.sorted.len().saturating_sub(1));
        self.sorted.get(index).copied().unwrap_or(Duration::MAX)
    }
}
