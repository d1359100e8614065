//! When each upstream was last polled with success.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::core::{id::UpstreamName, input::Answer};

/// Shared by all that tell and ask; its upstreams are those of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Polls {
    start: Instant,
    /// Microseconds from the start to the last one; zero: none yet.
    last: Arc<BTreeMap<UpstreamName, AtomicU64>>,
}

// === impl Polls ===

impl Polls {
    pub fn new<'a>(upstreams: impl Iterator<Item = &'a UpstreamName>) -> Self {
        let last = upstreams.map(|name| (name.clone(), AtomicU64::new(0))).collect();
        Self { start: Instant::now(), last: Arc::new(last) }
    }

    pub fn answered(&self, upstream: &UpstreamName, answer: &Answer) {
        if let (Answer::Poll(Ok(_)), Some(last)) = (answer, self.last.get(upstream)) {
            let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
            last.store(micros, Ordering::Relaxed);
        }
    }

    /// How long ago each was; from the start if there was none.
    pub fn ages(&self) -> impl Iterator<Item = (&UpstreamName, Duration)> {
        let since_start = self.start.elapsed();
        self.last.iter().map(move |(name, last)| {
            (name, since_start.saturating_sub(Duration::from_micros(last.load(Ordering::Relaxed))))
        })
    }
}
