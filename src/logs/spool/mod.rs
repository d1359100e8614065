//! The spool: log lines on disk on their way to a sink.
//!
//! ```text
//!  Appender ──► queue (bounded) ──► writer's thread ──► segments ──► Reader ──► sink, `dlite tasks logs`
//!     ▲                                  │ group sync                  ▲
//!     └─ next line wanted ◄── Progress ◄─┴───────── durable ───────────┘
//! ```
//!
//! * Lines get here masked, so files are plain; they are the owner's alone all the same (0600 in 0700).
//! * [`Progress::next_line`] moves only once everything below it is synced. Whoever sends lines may forget them then, and sends the rest
//!   again after a crash; numbers cut what is there already.
//! * A record has a checksum. What a crash tore off is cut at the last whole record; what is damaged later is a gap.
//! * Where lines can't be kept, because a log, all logs or the disk are full, or the disk does not keep up, there is a [`Gap`] that
//!   says how many and why. Nothing is left out in silence, and nobody waits longer than [`BACK_PRESSURE_MAX`].
//! * A log that can't be written although there is room is broken off, alone: [`Progress::is_broken`]. What is durable of it stays.
//! * A log stays whole until its sink has it; then [`Spool::remove`] deletes it.
//!
//! It never masks, knows no sink, and holds no async task.
//!
//! [`Gap`]: super::record::Gap

mod appender;
mod census;
mod checksum;
mod command;
mod error;
mod frame;
mod limits;
mod log;
mod place;
mod reader;
mod recovery;
mod segment;
mod stage;
mod writer;

use std::{
    collections::BTreeMap,
    fs::DirBuilder,
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use self::{
    appender::{Appender, BUFFER_BYTES_MAX, GAPS_PENDING_MAX},
    census::Census,
    error::Error,
    frame::LineHead,
    limits::{
        ALL_BYTES_MAX, BACK_PRESSURE_MAX, FREE_BYTES_MIN, GAP_INTERVAL, LOG_BYTES_MAX, LOGS_MAX, Limits,
        QUEUE_BYTES_MAX, SEGMENT_BYTES,
    },
    log::{Log, Progress},
    place::Meta,
    reader::Reader,
    writer::{BREAK_AFTER, FILES_MAX, GROUP_BYTES_MAX, GROUP_COMMANDS_MAX, RETRY_PAUSE, SPACE_POLL, STOP_GRACE},
};
use self::{command::Command, limits::Budget, log::Shared, place::Place, writer::Writer};
use super::receipt::Tally;

/// Which log. The runner chooses `log_id`, unique within the lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogKey {
    pub lease_id: String,
    pub log_id: String,
}

/// The logs of a directory. Clones are the same one; dropping the last, and every appender, writes what is queued and stops.
#[derive(Clone)]
pub struct Spool(Arc<Inner>);

/// What a spool found when it was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// In the order in which they were opened. Those without a receipt wait for an appender.
    pub logs: Vec<Log>,
    /// Directories that nothing can be made of; left as they are, for a person to look at.
    pub unreadable: Vec<PathBuf>,
}

struct Inner {
    path: PathBuf,
    budget: Arc<Budget>,
    logs: Mutex<BTreeMap<LogKey, Log>>,
    next_id: AtomicU64,
    /// Fields drop in order; the thread ends with this one.
    writer: Writer,
}

// === impl Spool ===

impl Spool {
    /// Opens the directory `path`, made (0700) if it is not there; nobody else may have it open. Torn ends of logs are cut.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Exposed`].
    pub fn open(path: impl AsRef<Path>, limits: Limits) -> Result<(Spool, Recovered), Error> {
        let path = path.as_ref().to_owned();
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made.map_err(Error::io("create", &path))?,
        }
        let mode = path.metadata().map_err(Error::io("look at", &path))?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(Error::Exposed { path, mode });
        }
        let mut recovered = Recovered::default();
        let mut next_id = 0;
        for (id, place) in place::places(&path).map_err(Error::io("read", &path))? {
            next_id = id + 1;
            match recovery::recover(id, place.clone()) {
                Ok(Some(log)) => recovered.logs.push(log),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(path = %place.path().display(), %error, "a log can't be read and is left as it is");
                    recovered.unreadable.push(place.path().to_owned());
                }
            }
        }
        let used = recovered.logs.iter().map(|log| log.0.bytes.load(Ordering::Relaxed)).sum();
        let budget = Arc::new(Budget::new(limits, used));
        let logs = recovered.logs.iter().map(|log| (log.meta().key.clone(), log.clone())).collect();
        let writer = Writer::start(path.clone(), Arc::clone(&budget))?;
        let inner = Inner { path, budget, logs: Mutex::new(logs), next_id: AtomicU64::new(next_id), writer };
        Ok((Spool(Arc::new(inner)), recovered))
    }

    /// Begins a log, or goes on with it where its durable or submitted lines end. `meta` counts only when it begins.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Closed`], [`Error::TooMany`], [`Error::Stopped`].
    pub fn open_log(&self, meta: Meta) -> Result<Appender, Error> {
        let mut logs = self.0.logs();
        if let Some(log) = logs.get(&meta.key) {
            let LogKey { lease_id, log_id } = meta.key;
            if log.progress().receipt.is_some() {
                return Err(Error::Closed { lease_id, log_id });
            }
            let tally = log.0.parked().take().ok_or(Error::InUse { lease_id, log_id })?;
            if log.progress().is_broken {
                log.0.progress.send_modify(|progress| progress.is_broken = false);
                self.create(&log.0)?;
            }
            return Ok(Appender::new(Arc::clone(&self.0), Arc::clone(&log.0), tally));
        }
        let max = self.0.budget.limits.logs_max;
        if logs.len() >= max {
            return Err(Error::TooMany { max });
        }
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(Shared {
            id,
            place: Place::new(&self.0.path, id),
            meta,
            segments: Mutex::default(),
            progress: watch::Sender::new(Progress::default()),
            bytes: AtomicU64::new(0),
            parked: Mutex::default(),
            durable: Mutex::default(),
            settled: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
        });
        self.create(&shared)?;
        logs.insert(shared.meta.key.clone(), Log(Arc::clone(&shared)));
        Ok(Appender::new(Arc::clone(&self.0), shared, Tally::new()))
    }

    /// Has a log's directory made, unless it is there.
    fn create(&self, log: &Arc<Shared>) -> Result<(), Error> {
        let epoch = log.epoch.load(Ordering::Acquire);
        self.0.writer.send(Command::Create { log: Arc::clone(log), epoch })
    }

    /// A log that is on disk, or about to be.
    pub fn log(&self, key: &LogKey) -> Option<Log> {
        self.0.logs().get(key).cloned()
    }

    /// All of them.
    pub fn logs(&self) -> Vec<Log> {
        self.0.logs().values().cloned().collect()
    }

    /// Deletes a closed log, once all that was queued before is written. Readers of it are at their end.
    pub fn remove(&self, log: &Log) {
        self.0.logs().remove(&log.meta().key);
        self.0.send(Command::Remove(Arc::clone(&log.0)));
    }

    /// Bounds what logs take from the next line on. What is there already stays, though it be more.
    pub fn bound(&self, log_bytes_max: u64, all_bytes_max: u64) {
        self.0.budget.bound(log_bytes_max, all_bytes_max);
    }

    /// Bytes of all logs, on disk and on the way there.
    pub fn used_bytes(&self) -> u64 {
        self.0.budget.used()
    }

    /// Readings for whoever looks at it from time to time, and does not keep the spool open by it.
    pub fn census(&self) -> Census {
        Census { budget: Arc::clone(&self.0.budget), spool: Arc::downgrade(&self.0) }
    }
}

// === impl Inner ===

impl Inner {
    fn logs(&self) -> MutexGuard<'_, BTreeMap<LogKey, Log>> {
        // Changes are single inserts and removes.
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For what has no answer. The thread ends only after this, unless it panicked or the disk failed to the end, and has said so.
    fn send(&self, command: Command) {
        let _ = self.writer.send(command);
    }
}
