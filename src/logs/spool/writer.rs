//! The thread that owns the files: takes what is queued, writes it, syncs every file it touched once, and then tells how far each log
//! is durable.
//!
//! ```text
//!  queue ─► group ─► write all ─► sync each file ─► receipts ─► progress told ─► room in the queue given back
//!                       ▲              │
//!                       └── a failure: the same group again, every RETRY_PAUSE
//! ```
//!
//! It never tells of a line before the sync that made it durable has returned. What a failed try has left in a file is written over:
//! places in files move on only with success.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    error::Error,
    limits::Budget,
    log::Shared,
    place::Segment,
    segment::{self, HEAD},
};
use crate::logs::receipt::Receipt;

/// A group takes nothing more once it has so many bytes.
pub const GROUP_BYTES_MAX: usize = 8 << 20;
/// … or so many commands.
pub const GROUP_COMMANDS_MAX: usize = 1024;
/// Pause between two tries of a group that failed.
pub const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// How often the free space is looked at, while something is written or the disk is full.
pub const SPACE_POLL: Duration = Duration::from_secs(1);
/// How long a stopping writer goes on trying a group that fails.
pub const STOP_GRACE: Duration = Duration::from_secs(2);
/// Files kept open between groups; the limit of a process is often 1,024.
pub const FILES_MAX: usize = 128;

/// What the thread is told.
pub(super) enum Command {
    Create(Arc<Shared>),
    Append {
        log: Arc<Shared>,
        frames: Vec<u8>,
        first_line: u64,
        next_line: u64,
        /// Room in the queue, given back with the command.
        _room: Option<OwnedSemaphorePermit>,
    },
    Close {
        log: Arc<Shared>,
        receipt: Receipt,
    },
    Remove(Arc<Shared>),
}

/// Hands commands to the thread. Dropping it writes what is queued and ends the thread.
pub(super) struct Writer {
    /// `None` only while stopping.
    queue: Option<Sender<Command>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The thread's side.
struct Worker {
    path: PathBuf,
    budget: Arc<Budget>,
    inbox: Receiver<Command>,
    stopping: Arc<AtomicBool>,
    /// Where logs go on, by id; all of it durable.
    files: BTreeMap<u64, Tail>,
    looked_at: Option<Instant>,
}

/// The file that a log is at.
#[derive(Clone)]
struct Tail {
    file: Arc<File>,
    segment: Segment,
}

/// What a group makes of one log.
struct Stage {
    log: Arc<Shared>,
    /// None: it has no file yet.
    tail: Option<Tail>,
    /// Files touched, each with its size now; the last is that of `tail`.
    touched: Vec<Tail>,
    has_new_file: bool,
    next_line: Option<u64>,
}

// === impl Writer ===

impl Writer {
    /// Starts the thread `dlite-spool`.
    pub fn start(path: PathBuf, budget: Arc<Budget>) -> Result<Writer, Error> {
        let (queue, inbox) = channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let mut worker = Worker {
            path: path.clone(),
            budget,
            inbox,
            stopping: Arc::clone(&stopping),
            files: BTreeMap::new(),
            looked_at: None,
        };
        worker.watch_space();
        let thread = std::thread::Builder::new().name("dlite-spool".to_owned()).spawn(move || worker.run());
        let thread = thread.map_err(Error::io("start the thread of", path))?;
        Ok(Writer { queue: Some(queue), stopping, thread: Some(thread) })
    }

    /// Queues a command and returns at once; whoever appends has bought its room before.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the thread is gone.
    pub fn send(&self, command: Command) -> Result<(), Error> {
        self.queue.as_ref().ok_or(Error::Stopped)?.send(command).map_err(|_| Error::Stopped)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.queue = None;
        // A thread that panicked has told so through the panic hook; nothing it held was told to be durable.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

// === impl Worker ===

impl Worker {
    fn run(&mut self) {
        loop {
            self.watch_space();
            // While the disk is full nothing may come that makes this look again.
            let first = match self.budget.disk_is_full.load(Ordering::Relaxed) {
                true => self.inbox.recv_timeout(SPACE_POLL),
                false => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let first = match first {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let group = self.group(first);
            if !self.commit(&group) {
                tracing::error!(path = %self.path.display(), "log lines were not written before the stop");
                return;
            }
        }
    }

    /// `first` and what is queued behind it, in order.
    fn group(&self, first: Command) -> Vec<Command> {
        let mut bytes = first.bytes();
        let mut group = vec![first];
        while group.len() < GROUP_COMMANDS_MAX && bytes < GROUP_BYTES_MAX {
            let Ok(next) = self.inbox.try_recv() else { break };
            bytes += next.bytes();
            group.push(next);
        }
        group
    }

    /// Tries until it succeeds; false if the writer is stopped and its grace is over.
    fn commit(&mut self, group: &[Command]) -> bool {
        let mut failing = false;
        let mut give_up_at = None;
        loop {
            let error = match self.write(group) {
                Ok(stages) => {
                    self.tell(group, stages);
                    break;
                }
                Err(error) => error,
            };
            if !failing {
                failing = true;
                tracing::warn!(path = %self.path.display(), %error, "logs can't be written; tried again until they can");
            }
            if error.kind() == ErrorKind::StorageFull || error.kind() == ErrorKind::QuotaExceeded {
                self.budget.disk_is_full.store(true, Ordering::Relaxed);
            }
            if self.stopping.load(Ordering::Relaxed) {
                let now = Instant::now();
                if now >= *give_up_at.get_or_insert(now + STOP_GRACE) {
                    return false;
                }
            }
            std::thread::sleep(RETRY_PAUSE);
            self.watch_space();
        }
        if failing {
            tracing::info!(path = %self.path.display(), "logs are written again");
        }
        true
    }

    /// Writes and syncs; nothing of it counts unless all of it succeeds.
    fn write(&self, group: &[Command]) -> io::Result<Vec<Stage>> {
        let mut stages: BTreeMap<u64, Stage> = BTreeMap::new();
        for command in group {
            match command {
                Command::Create(log) => log.place.create(&log.meta)?,
                Command::Append { log, frames, first_line, next_line, .. } => {
                    let stage = match stages.entry(log.id) {
                        Entry::Occupied(stage) => stage.into_mut(),
                        Entry::Vacant(stage) => stage.insert(self.stage(log)?),
                    };
                    stage.append(frames, *first_line, *next_line, self.budget.limits.segment_bytes)?;
                }
                Command::Close { .. } | Command::Remove(_) => {}
            }
        }
        for stage in stages.values() {
            for tail in &stage.touched {
                tail.file.sync_data()?;
            }
            if stage.has_new_file {
                stage.log.place.sync()?;
            }
        }
        for command in group {
            if let Command::Close { log, receipt } = command {
                log.place.write_receipt(receipt)?;
            }
        }
        Ok(stages.into_values().collect())
    }

    /// Where a log goes on.
    fn stage(&self, log: &Arc<Shared>) -> io::Result<Stage> {
        let last = log.segments().last().copied();
        let tail = match (self.files.get(&log.id), last) {
            (Some(tail), _) => Some(tail.clone()),
            (None, Some(segment)) => match segment::open(&log.place.segment(segment.first_line)) {
                Ok(file) => Some(Tail { file: Arc::new(file), segment }),
                // Somebody deleted it. What was in it is a gap to readers; what comes goes into a new file.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    log.place.create(&log.meta)?;
                    None
                }
                Err(error) => return Err(error),
            },
            (None, None) => None,
        };
        Ok(Stage { log: Arc::clone(log), tail, touched: Vec::new(), has_new_file: false, next_line: None })
    }

    /// Everything in `group` is durable.
    fn tell(&mut self, group: &[Command], stages: Vec<Stage>) {
        if self.files.len() > FILES_MAX {
            self.files.clear();
        }
        for stage in stages {
            let mut segments = stage.log.segments();
            for tail in &stage.touched {
                match segments.iter_mut().find(|segment| segment.first_line == tail.segment.first_line) {
                    Some(segment) => *segment = tail.segment,
                    None => segments.push(tail.segment),
                }
            }
            drop(segments);
            if let Some(tail) = stage.tail {
                self.files.insert(stage.log.id, tail);
            }
            if let Some(next_line) = stage.next_line {
                stage.log.progress.send_modify(|progress| progress.next_line = next_line);
            }
        }
        for command in group {
            match command {
                Command::Close { log, receipt } => {
                    self.files.remove(&log.id);
                    log.progress.send_modify(|progress| progress.receipt = Some(Arc::new(receipt.clone())));
                }
                Command::Remove(log) => self.remove(log),
                Command::Create(_) | Command::Append { .. } => {}
            }
        }
    }

    fn remove(&mut self, log: &Shared) {
        self.files.remove(&log.id);
        if let Err(error) = log.place.remove() {
            // The next start deletes it.
            tracing::warn!(path = %log.place.path().display(), %error, "a log that its sink has can't be deleted");
        }
        self.budget.give_back(log.bytes.swap(0, Ordering::Relaxed));
        log.progress.send_modify(|progress| progress.removed = true);
    }

    fn watch_space(&mut self) {
        if self.looked_at.is_some_and(|looked_at| looked_at.elapsed() < SPACE_POLL) {
            return;
        }
        self.looked_at = Some(Instant::now());
        // Who can't tell the free space finds out by writing.
        let Ok(space) = rustix::fs::statvfs(&self.path) else { return };
        let is_full = space.f_bavail.saturating_mul(space.f_frsize) < self.budget.limits.free_bytes_min;
        if self.budget.disk_is_full.swap(is_full, Ordering::Relaxed) != is_full {
            match is_full {
                true => tracing::warn!(path = %self.path.display(), "the disk is full; log lines go missing"),
                false => tracing::info!(path = %self.path.display(), "the disk has room for logs again"),
            }
        }
    }
}

// === impl Stage ===

impl Stage {
    fn append(&mut self, frames: &[u8], first_line: u64, next_line: u64, segment_bytes: u64) -> io::Result<()> {
        let is_full = |tail: &Tail| {
            let bytes = tail.segment.bytes;
            bytes > HEAD.len() as u64 && bytes + frames.len() as u64 > segment_bytes
        };
        let mut tail = match self.tail.take() {
            Some(tail) if !is_full(&tail) => tail,
            full => {
                // A later file must not be on the disk before all of the earlier one is: only the last one may be torn.
                if let Some(full) = full {
                    full.file.sync_data()?;
                }
                let file = segment::create(&self.log.place.segment(first_line))?;
                self.has_new_file = true;
                Tail { file: Arc::new(file), segment: Segment { first_line, bytes: HEAD.len() as u64 } }
            }
        };
        tail.file.write_all_at(frames, tail.segment.bytes)?;
        tail.segment.bytes += frames.len() as u64;
        match self.touched.last_mut() {
            Some(touched) if touched.segment.first_line == tail.segment.first_line => *touched = tail.clone(),
            _ => self.touched.push(tail.clone()),
        }
        self.tail = Some(tail);
        self.next_line = Some(next_line);
        Ok(())
    }
}

// === impl Command ===

impl Command {
    fn bytes(&self) -> usize {
        match self {
            Self::Append { frames, .. } => frames.len(),
            _ => 0,
        }
    }
}
