//! Signs of life that the loop leaves behind, and everybody else reads: when it last turned, and its last reading of the state.
//!
//! Nobody asks the loop: one that is stuck could not answer, and that is what is to be seen.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::core::gauges::Gauges;

/// The loop turns at least this often, and leaves a reading no more often.
pub const PULSE_INTERVAL: Duration = Duration::from_secs(1);
/// A loop that has not turned for this long is stuck. A turn takes microseconds; the slowest, with a full inbox, some ten milliseconds.
pub const PULSE_AGE_MAX: Duration = Duration::from_secs(5);

/// Of one delegate; clones are the same.
#[derive(Clone, Debug)]
pub struct Vitals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    /// Microseconds from the start to the last turn, plus one; zero: none yet.
    pulse: AtomicU64,
    is_stopping: AtomicBool,
    reading: Mutex<Option<(Instant, Arc<Gauges>)>>,
    spool: OnceLock<Fullness>,
}

/// How full something is, in whole percents, for whoever asks.
struct Fullness(Box<dyn Fn() -> u64 + Send + Sync>);

/// How the loop does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// It has not begun: the journal is being read.
    Starting,
    Turns,
    /// It has not turned for so long.
    Stuck(Duration),
}

impl std::fmt::Debug for Fullness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fullness({} %)", (self.0)())
    }
}

// === impl Vitals ===

impl Vitals {
    /// Of a process that starts now.
    #[expect(clippy::new_without_default, reason = "it begins to take the time")]
    pub fn new() -> Self {
        let (pulse, is_stopping, reading) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(None));
        let spool = OnceLock::new();
        Self(Arc::new(Inner { start: Instant::now(), pulse, is_stopping, reading, spool }))
    }

    /// The loop turns.
    pub fn beat(&self) {
        let micros = u64::try_from(self.0.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.pulse.store(micros.saturating_add(1), Ordering::Relaxed);
    }

    /// Whether the last reading is old enough for another one.
    pub fn wants_reading(&self) -> bool {
        self.reading().as_ref().is_none_or(|(at, _)| at.elapsed() >= PULSE_INTERVAL)
    }

    pub fn leave(&self, gauges: Gauges) {
        *self.reading() = Some((Instant::now(), Arc::new(gauges)));
    }

    /// The last reading; `None` before the loop begins.
    pub fn gauges(&self) -> Option<Arc<Gauges>> {
        self.reading().as_ref().map(|(_, gauges)| gauges.clone())
    }

    /// Where to see how full the spool of logs is, in whole percents. Once for each process.
    pub fn watch_spool(&self, percent: impl Fn() -> u64 + Send + Sync + 'static) {
        let _ = self.0.spool.set(Fullness(Box::new(percent)));
    }

    /// In whole percents; zero before the logs are opened.
    pub fn spool_percent(&self) -> u64 {
        self.0.spool.get().map_or(0, |spool| (spool.0)())
    }

    /// Nothing new is taken from here on.
    pub fn stop(&self) {
        self.0.is_stopping.store(true, Ordering::Relaxed);
    }

    pub fn is_stopping(&self) -> bool {
        self.0.is_stopping.load(Ordering::Relaxed)
    }

    pub fn uptime(&self) -> Duration {
        self.0.start.elapsed()
    }

    /// Since the last turn; `None` before the loop begins.
    pub fn age(&self) -> Option<Duration> {
        match self.0.pulse.load(Ordering::Relaxed) {
            0 => None,
            pulse => Some(self.0.start.elapsed().saturating_sub(Duration::from_micros(pulse - 1))),
        }
    }

    pub fn pulse(&self) -> Pulse {
        match self.age() {
            None => Pulse::Starting,
            Some(age) if age > PULSE_AGE_MAX => Pulse::Stuck(age),
            Some(_) => Pulse::Turns,
        }
    }

    fn reading(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Arc<Gauges>)>> {
        self.0.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
