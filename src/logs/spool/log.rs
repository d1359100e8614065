//! One log as its readers see it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::sync::watch;

use super::{
    place::{Meta, Place, Segment},
    reader::Reader,
};
use crate::logs::receipt::{Receipt, Tally};

/// How far a log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Lines below this are durable, or are durably known to be missing.
    pub next_line: u64,
    /// There will be no more, and this is what it came to.
    pub receipt: Option<Arc<Receipt>>,
    /// It could not be written any more, and nothing behind `next_line` will be. Whoever opens it again tries anew.
    pub is_broken: bool,
    /// It is deleted.
    pub removed: bool,
}

/// A log. Clones are the same one.
#[derive(Clone)]
pub struct Log(pub(super) Arc<Shared>);

/// What writer, appender and readers share.
pub(super) struct Shared {
    pub id: u64,
    pub meta: Meta,
    pub place: Place,
    /// Up to what is durable. Never empty of a log that has any line.
    pub segments: Mutex<Vec<Segment>>,
    pub progress: watch::Sender<Progress>,
    /// Taken of the budget.
    pub bytes: AtomicU64,
    /// Where an appender goes on; none while there is one.
    pub parked: Mutex<Option<Tally>>,
    /// What is durable.
    pub durable: Mutex<Tally>,
    /// Its sink has it, or it goes to none any more; what is here is a copy.
    pub settled: AtomicBool,
    /// Grows when the log is broken off; what was sent before is void.
    pub epoch: AtomicU64,
}

// === impl Log ===

impl Log {
    pub fn meta(&self) -> &Meta {
        &self.0.meta
    }

    /// Of two logs, the one that began later has the greater.
    pub fn ordinal(&self) -> u64 {
        self.0.id
    }

    pub fn progress(&self) -> Progress {
        self.0.progress.borrow().clone()
    }

    /// Follows how far it is.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.0.progress.subscribe()
    }

    /// Waits until there will be no more of it; then what it came to. `None`: it is deleted.
    pub async fn closed(&self) -> Option<Arc<Receipt>> {
        let mut progress = self.watch();
        // The sender lives in the log.
        let ended = progress.wait_for(|progress| progress.receipt.is_some() || progress.removed).await;
        ended.ok().and_then(|progress| progress.receipt.clone())
    }

    /// When its files were last written, as far as the file system tells.
    pub fn written_at(&self) -> Option<SystemTime> {
        self.0.place.path().metadata().ok()?.modified().ok()
    }

    /// Nothing more is to be done for it: its sink has it, or none will.
    pub fn settle(&self) {
        self.0.settled.store(true, Ordering::Relaxed);
    }

    /// What it came to, or comes to so far.
    pub fn so_far(&self) -> Arc<Receipt> {
        match self.progress().receipt {
            Some(receipt) => receipt,
            None => Arc::new(self.0.durable().receipt(false)),
        }
    }

    /// Reads from `line` on.
    pub fn read_from(&self, line: u64) -> Reader {
        Reader::new(Arc::clone(&self.0), line)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("key", &self.0.meta.key).field("progress", &*self.0.progress.borrow()).finish()
    }
}

// === impl Shared ===

impl Shared {
    pub fn segments(&self) -> MutexGuard<'_, Vec<Segment>> {
        // Every change is one assignment or push.
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn durable(&self) -> MutexGuard<'_, Tally> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that is not durable is void; an appender may begin anew behind what is.
    pub fn break_off(&self) {
        let mut parked = self.parked();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        *parked = Some(self.durable().clone());
        self.progress.send_modify(|progress| progress.is_broken = true);
    }

    pub fn parked(&self) -> MutexGuard<'_, Option<Tally>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
