//! Which events the log tells, while the process runs: as configured, or as an operator wants it for a while.
//!
//! ```text
//!  configured ── set_for ──► for a while ── its time is over, or reset ──► configured
//!      └────── set ──────────────┘ (a reload changes what it falls back to)
//! ```

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use tracing_subscriber::{EnvFilter, reload};

/// Longest time for which an operator may have it otherwise.
pub const FOR_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest directives, in bytes.
pub const DIRECTIVES_BYTES_MAX: usize = 1 << 10;

/// The words that are levels.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The one of this process, as its subscriber is the only one.
static PROCESS: OnceLock<LogFilter> = OnceLock::new();

/// Which events are told. Clones are the same one.
#[derive(Clone)]
pub struct LogFilter {
    shared: Arc<Shared>,
}

type Swap = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

struct Shared {
    /// Absent: somebody else in this process logs already (in tests).
    swap: Option<Swap>,
    levels: Mutex<Levels>,
}

struct Levels {
    configured: String,
    /// What an operator wants for a while.
    other: Option<Other>,
    /// Counts what an operator wanted, so that an old time's end does not end a newer wish.
    turn: u64,
}

#[derive(Clone)]
struct Other {
    directives: String,
    until: SystemTime,
}

/// What is told now, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    pub directives: String,
    pub configured: String,
    /// Until when it is other than configured. Absent: it is as configured.
    pub until: Option<SystemTime>,
}

/// Directives that say nothing.
#[derive(Debug, thiserror::Error)]
#[error(
    "{directives:?} is no level and no list of directives: write off, error, warn, info, debug or trace, or \"info,dlite::core=debug\""
)]
pub struct BadDirectives {
    directives: String,
}

// === impl LogFilter ===

impl LogFilter {
    pub(super) fn of(
        configured: &str,
        started: bool,
        swap: impl Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync + 'static,
    ) -> Self {
        let levels = Mutex::new(Levels { configured: configured.to_owned(), other: None, turn: 0 });
        let filter = Self { shared: Arc::new(Shared { swap: started.then(|| Box::new(swap) as Box<_>), levels }) };
        if started {
            // The first subscriber of a process is its last.
            let _ = PROCESS.set(filter.clone());
        }
        filter
    }

    /// That of this process; none: it does not log, or by somebody else's subscriber.
    pub fn of_process() -> Option<&'static Self> {
        PROCESS.get()
    }

    /// Changes what is configured. What an operator wants for a while stays in force for that while.
    ///
    /// # Errors
    /// If the directives can't be read.
    pub fn set(&self, directives: &str) -> Result<(), BadDirectives> {
        let filter = parse(directives)?;
        let mut levels = self.levels();
        levels.configured = directives.to_owned();
        if levels.other.is_none() {
            self.swap(filter);
        }
        Ok(())
    }

    /// Tells otherwise for a span, at most [`FOR_MAX`], and then as configured again, by itself. Needs a runtime.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_for(&self, directives: &str, span: Duration) -> Result<InForce, BadDirectives> {
        let filter = parse(directives)?;
        let span = span.min(FOR_MAX);
        let mut levels = self.levels();
        levels.turn += 1;
        let turn = levels.turn;
        levels.other = Some(Other { directives: directives.to_owned(), until: SystemTime::now() + span });
        self.swap(filter);
        drop(levels);
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(span).await;
            this.fall_back(Some(turn));
        });
        Ok(self.in_force())
    }

    /// Ends what an operator wanted for a while.
    pub fn reset(&self) -> InForce {
        self.fall_back(None);
        self.in_force()
    }

    pub fn in_force(&self) -> InForce {
        let levels = self.levels();
        let directives = levels.other.as_ref().map_or(&levels.configured, |other| &other.directives);
        InForce {
            directives: directives.clone(),
            configured: levels.configured.clone(),
            until: levels.other.as_ref().map(|other| other.until),
        }
    }

    /// `turn`: unless something newer was wanted since.
    fn fall_back(&self, turn: Option<u64>) {
        let mut levels = self.levels();
        if turn.is_some_and(|turn| turn != levels.turn) || levels.other.take().is_none() {
            return;
        }
        if let Ok(filter) = parse(&levels.configured) {
            self.swap(filter);
        }
        let configured = levels.configured.clone();
        drop(levels);
        tracing::info!(filter = configured, "the log tells what is configured again");
    }

    fn swap(&self, filter: EnvFilter) {
        if let Some(swap) = &self.shared.swap {
            // It fails only once the subscriber is gone, when nothing is told any more.
            let _ = swap(filter);
        }
    }

    fn levels(&self) -> MutexGuard<'_, Levels> {
        self.shared.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A single word is a level: as a target, which it may be as well, it is a slip.
pub(super) fn parse(directives: &str) -> Result<EnvFilter, BadDirectives> {
    let bad = || BadDirectives { directives: directives.chars().take(DIRECTIVES_BYTES_MAX).collect() };
    let is_word = directives.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_level = LEVELS.contains(&directives.to_ascii_lowercase().as_str());
    if directives.is_empty() || directives.len() > DIRECTIVES_BYTES_MAX || (is_word && !is_level) {
        return Err(bad());
    }
    EnvFilter::builder().parse(directives).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> (LogFilter, Arc<Mutex<Vec<String>>>) {
        let swapped = Arc::new(Mutex::new(Vec::new()));
        let told = swapped.clone();
        let filter = LogFilter {
            shared: Arc::new(Shared {
                swap: Some(Box::new(move |filter| {
                    told.lock().unwrap().push(filter.to_string());
                    Ok(())
                })),
                levels: Mutex::new(Levels { configured: "info".to_owned(), other: None, turn: 0 }),
            }),
        };
        (filter, swapped)
    }

    #[tokio::test]
    async fn a_level_for_a_while_falls_back_by_itself() {
        let (filter, swapped) = filter();
        filter.set_for("debug", Duration::from_millis(100)).unwrap();
        assert_eq!(filter.in_force().directives, "debug");
        while filter.in_force().until.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!((&*filter.in_force().directives, filter.in_force().until), ("info", None));
        assert_eq!(*swapped.lock().unwrap(), ["debug", "info"]);
    }

    #[tokio::test]
    async fn a_newer_wish_outlives_an_older_ones_time_and_a_reload_waits_for_both() {
        let (filter, swapped) = filter();
        filter.set_for("debug", Duration::from_secs(60)).unwrap();
        filter.set_for("trace", Duration::from_secs(600)).unwrap();
        filter.set("warn").unwrap();
        filter.fall_back(Some(1));
        assert_eq!(filter.in_force().directives, "trace");
        filter.fall_back(Some(2));
        assert_eq!(filter.in_force().directives, "warn");
        assert_eq!(*swapped.lock().unwrap(), ["debug", "trace", "warn"]);
    }

    #[test]
    fn a_word_that_is_no_level_is_refused_and_changes_nothing() {
        let (filter, swapped) = filter();
        for bad in ["verbose", "", "info,dlite=loud", &"x=".repeat(1_000)] {
            assert!(filter.set(bad).is_err(), "{bad:?}");
        }
        assert!(swapped.lock().unwrap().is_empty());
        filter.set("info,dlite::core=debug").unwrap();
        filter.set("WARN").unwrap();
    }
}
