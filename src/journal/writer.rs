//! Group commit: one thread takes what is queued, commits it as one batch, and tells how far things are durable.
//!
//! ```text
//!             commit fails                      commit succeeds
//!  writing ───────────────► failing (same batch, every RETRY_PAUSE) ───────────────► writing
//!             Failing                           Recovered, then Durable
//! ```
//!
//! It never drops, splits or reorders what it was given, and never tells more than what is durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Change, Error, Store};

/// A group takes no further batch once it has this many changes: some milliseconds of work, so that a small batch behind it does
/// not wait long.
pub const BATCH_CHANGES_MAX: usize = 1024;
/// A group takes no further batch once its bodies have this many bytes; more would only grow the write-ahead log.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// Pause between two tries of a batch that failed.
pub const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// How often the free space is looked at.
pub const SPACE_POLL: Duration = Duration::from_secs(1);
/// Below this [`Event::SpaceLow`] is told: room for the results of what already runs (64 tasks with the largest result is
/// 224 MiB), since deletes mostly fail on a full disk.
pub const SPACE_LOW_BYTES: u64 = 256 << 20;
/// Above this [`Event::SpaceOk`] is told; the distance keeps the two from alternating.
pub const SPACE_OK_BYTES: u64 = 320 << 20;
/// How long a stopping writer goes on trying a batch that fails.
pub const STOP_GRACE: Duration = Duration::from_secs(2);

/// Changes that become durable together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub changes: Vec<Change>,
    /// What [`Event::Durable`] says once these changes are durable; ascending from batch to batch.
    pub last: u64,
}

/// What the writer tells, on its own thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Every batch up to the one with this `last` would survive a power cut now.
    Durable(u64),
    /// A commit failed; it is tried again until it succeeds. Told once a spell. Take no new work meanwhile. A batch that breaks
    /// the rules of [`Store::commit`] fails for ever: nothing behind it may be acknowledged.
    Failing { reason: String },
    /// The commit that failed has succeeded.
    Recovered,
    /// Little room is left: take no new work.
    SpaceLow { free_bytes: u64 },
    /// There is room again.
    SpaceOk,
}

/// The writer's durations and marks; the defaults are the constants of this module.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub retry_pause: Duration,
    pub space_poll: Duration,
    pub space_low_bytes: u64,
    pub space_ok_bytes: u64,
    pub stop_grace: Duration,
}

/// The writer has stopped; the batch was not taken.
#[derive(Debug, thiserror::Error)]
#[error("the journal's writer has stopped")]
pub struct Stopped;

/// The disk did not come back within the grace; none of these were acknowledged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{changes} changes were not written before the stop")]
pub struct Unwritten {
    pub changes: usize,
}

/// Hands batches to the thread that owns the store. Dropping it is [`stop`](Writer::stop) without an answer.
pub struct Writer {
    /// `None` only while stopping.
    queue: Option<Sender<Batch>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

// === impl Writer ===

impl Writer {
    /// Starts the thread `dlite-journal`. `on_event` is called on it and must not wait.
    ///
    /// # Errors
    /// [`Error::Failed`] if the system gives no thread.
    pub fn start<S, F>(store: S, pace: Pace, on_event: F) -> Result<Writer, Error>
    where
        S: Store + 'static,
        F: FnMut(Event) + Send + 'static,
    {
        let (queue, inbox) = channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let mut worker = Worker { store, pace, on_event, inbox, stopping: stopping.clone(), space: SpaceWatch::new() };
        let thread = std::thread::Builder::new().name("dlite-journal".to_owned()).spawn(move || worker.run());
        let thread = thread.map_err(Error::failed("start the journal's thread"))?;
        Ok(Writer { queue: Some(queue), stopping, thread: Some(thread) })
    }

    /// Queues a batch and returns at once. The caller bounds what is outstanding: it learns from [`Event::Durable`] what is not.
    ///
    /// # Errors
    /// [`Stopped`] if the thread is gone, which is a bug of the store or of `on_event`: it panicked.
    pub fn submit(&self, batch: Batch) -> Result<(), Stopped> {
        self.queue.as_ref().ok_or(Stopped)?.send(batch).map_err(|_| Stopped)
    }

    /// Commits what is queued and ends the thread, within [`STOP_GRACE`] plus one pause and one commit if the disk fails.
    ///
    /// # Errors
    /// [`Unwritten`] if the disk failed to the end.
    pub fn stop(mut self) -> Result<(), Unwritten> {
        match self.finish() {
            0 => Ok(()),
            changes => Err(Unwritten { changes }),
        }
    }

    fn finish(&mut self) -> usize {
        self.stopping.store(true, Ordering::Relaxed);
        self.queue = None;
        // A thread that panicked has told so through the panic hook; what it held was never acknowledged.
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or(0)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let changes = self.finish();
        if changes > 0 {
            tracing::error!(changes, "changes were not written before the stop");
        }
    }
}

// === impl Pace ===

impl Default for Pace {
    fn default() -> Self {
        Pace {
            retry_pause: RETRY_PAUSE,
            space_poll: SPACE_POLL,
            space_low_bytes: SPACE_LOW_BYTES,
            space_ok_bytes: SPACE_OK_BYTES,
            stop_grace: STOP_GRACE,
        }
    }
}

/// The thread's side.
struct Worker<S, F> {
    store: S,
    pace: Pace,
    on_event: F,
    inbox: Receiver<Batch>,
    stopping: Arc<AtomicBool>,
    space: SpaceWatch,
}

// === impl Worker ===

impl<S: Store, F: FnMut(Event)> Worker<S, F> {
    /// Until the other side is gone and its queue is empty. Returns how many changes could not be written.
    fn run(&mut self) -> usize {
        loop {
            self.watch_space();
            match self.inbox.recv_timeout(self.pace.space_poll) {
                Ok(first) => {
                    let group = self.group(first);
                    if !self.commit(&group.changes) {
                        return group.changes.len() + self.inbox.iter().map(|batch| batch.changes.len()).sum::<usize>();
                    }
                    (self.on_event)(Event::Durable(group.last));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return 0,
            }
        }
    }

    /// `group` and what is queued behind it, in order. The bounds are looked at before a batch is taken, so a group exceeds
    /// them by at most one batch.
    fn group(&mut self, mut group: Batch) -> Batch {
        let mut bytes = bytes_of(&group);
        while group.changes.len() < BATCH_CHANGES_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(next) = self.inbox.try_recv() else { break };
            bytes += bytes_of(&next);
            group.changes.extend(next.changes);
            group.last = next.last;
        }
        group
    }

    /// Tries until it succeeds; false if the writer is stopped and its grace is over.
    fn commit(&mut self, changes: &[Change]) -> bool {
        let mut failing = false;
        let mut give_up_at = None;
        while let Err(error) = self.store.commit(changes) {
            if !failing {
                failing = true;
                (self.on_event)(Event::Failing { reason: error.chain() });
            }
            if self.stopping.load(Ordering::Relaxed) {
                let now = Instant::now();
                if now >= *give_up_at.get_or_insert(now + self.pace.stop_grace) {
                    return false;
                }
            }
            std::thread::sleep(self.pace.retry_pause);
            self.watch_space();
        }
        if failing {
            (self.on_event)(Event::Recovered);
        }
        true
    }

    fn watch_space(&mut self) {
        let due = self.space.looked_at.is_none_or(|looked_at| looked_at.elapsed() >= self.pace.space_poll);
        if !due {
            return;
        }
        self.space.looked_at = Some(Instant::now());
        let free_bytes = self.store.space().free_bytes;
        if !self.space.low && free_bytes < self.pace.space_low_bytes {
            self.space.low = true;
            (self.on_event)(Event::SpaceLow { free_bytes });
        } else if self.space.low && free_bytes >= self.pace.space_ok_bytes {
            self.space.low = false;
            (self.on_event)(Event::SpaceOk);
        }
    }
}

fn bytes_of(batch: &Batch) -> usize {
    batch.changes.iter().map(Change::body_bytes).sum()
}

/// What was last told about the free space.
struct SpaceWatch {
    low: bool,
    looked_at: Option<Instant>,
}

impl SpaceWatch {
    fn new() -> Self {
        SpaceWatch { low: false, looked_at: None }
    }
}
