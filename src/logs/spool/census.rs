//! How full the spool is, and what waits there: for metrics and health.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, SystemTime},
};

use super::{Inner, limits::Budget, log::Log};

/// Looks at a spool when asked. Once that is gone, its logs are.
#[derive(Clone)]
pub struct Census {
    pub(super) budget: Arc<Budget>,
    pub(super) spool: Weak<Inner>,
}

// === impl Census ===

impl Census {
    /// Bytes of logs that are written, and of those that are closed.
    pub fn bytes(&self) -> (u64, u64) {
        let closed: u64 = self.closed().map(|log| log.0.bytes.load(Ordering::Relaxed)).sum();
        (self.budget.used().saturating_sub(closed), closed)
    }

    /// What all logs may take together.
    pub fn bytes_max(&self) -> u64 {
        self.budget.all_bytes_max()
    }

    /// How full it is, in whole percents of that; more than 100 after the bound was lowered.
    pub fn used_percent(&self) -> u64 {
        self.budget.used().saturating_mul(100) / self.bytes_max().max(1)
    }

    /// Since the log was closed that has waited longest for its sink; zero if none waits. One file's time is read for each that does.
    pub fn wait(&self) -> Duration {
        let waiting = self.closed().filter(|log| !log.0.settled.load(Ordering::Relaxed));
        let since = waiting.filter_map(|log| log.written_at()).min();
        since.and_then(|since| SystemTime::now().duration_since(since).ok()).unwrap_or_default()
    }

    fn closed(&self) -> impl Iterator<Item = Log> {
        let logs = self.spool.upgrade().map(|spool| spool.logs().values().cloned().collect::<Vec<_>>());
        logs.into_iter().flatten().filter(|log| log.progress().receipt.is_some())
    }
}
