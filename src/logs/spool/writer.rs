//! The thread that owns the files: takes what is queued, writes it, syncs every file it touched once, and then tells how far each log
//! is durable.
//!
//! ```text
//!  queue ─► group ─► write ─► sync each file ─► receipts ─► progress told ─► room in the queue given back
//!                      │            │               │
//!                      └────────────┴───────────────┴─ a log's failure ─► stalled: tried again every RETRY_PAUSE, its later
//!                                                                         commands behind it; broken off after BREAK_AFTER,
//!                                                                         but never for want of room
//! ```
//!
//! It never tells of a line before the sync that made it durable has returned. What a failed try has left in a file is written over:
//! places in files move on only with success. Logs fail one by one: what is wrong with one is no other's loss.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    command::Command,
    error::Error,
    limits::Budget,
    log::Shared,
    stage::{Stage, Tail},
};

/// A group takes nothing more once it has so many bytes.
pub const GROUP_BYTES_MAX: usize = 8 << 20;
/// … or so many commands.
pub const GROUP_COMMANDS_MAX: usize = 1024;
/// Pause between two tries of logs that failed.
pub const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A log that fails for so long is broken off, unless it fails for want of room. Less than
/// [`BACK_PRESSURE_MAX`](super::BACK_PRESSURE_MAX): what it holds of the queue is free again before others lose lines.
pub const BREAK_AFTER: Duration = Duration::from_secs(1);
/// How often the free space is looked at, while something is written or the disk is full.
pub const SPACE_POLL: Duration = Duration::from_secs(1);
/// How long a stopping writer goes on trying logs that fail.
pub const STOP_GRACE: Duration = Duration::from_secs(2);
/// Files kept open between groups; the limit of a process is often 1,024.
pub const FILES_MAX: usize = 128;

/// Hands commands to the thread. Dropping it writes what is queued and ends the thread.
pub(super) struct Writer {
    /// `None` only while stopping.
    queue: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

/// The thread's side.
struct Worker {
    path: PathBuf,
    budget: Arc<Budget>,
    inbox: Receiver<Command>,
    /// Where logs go on, by id; all of it durable.
    files: BTreeMap<u64, Tail>,
    /// Logs whose last try failed, by id.
    stalled: BTreeMap<u64, Stalled>,
    retried_at: Instant,
    looked_at: Option<Instant>,
}

/// A log that can't be written.
struct Stalled {
    /// All that came for it since, in order; never empty.
    commands: Vec<Command>,
    /// Since when it fails for something else than want of room.
    failing_since: Option<Instant>,
    error: io::Error,
}

// === impl Writer ===

impl Writer {
    /// Starts the thread `dlite-spool`.
    pub fn start(path: PathBuf, budget: Arc<Budget>) -> Result<Writer, Error> {
        let (queue, inbox) = channel();
        let mut worker = Worker {
            path: path.clone(),
            budget,
            inbox,
            files: BTreeMap::new(),
            stalled: BTreeMap::new(),
            retried_at: Instant::now(),
            looked_at: None,
        };
        worker.watch_space();
        let thread = std::thread::Builder::new().name("dlite-spool".to_owned()).spawn(move || worker.run());
        let thread = thread.map_err(Error::io("start the thread of", path))?;
        Ok(Writer { queue: Some(queue), thread: Some(thread) })
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
            // Without a pause nothing may come that makes this look again.
            let pause = match self.budget.disk_is_full.load(Ordering::Relaxed) {
                _ if !self.stalled.is_empty() => Some(RETRY_PAUSE),
                true => Some(SPACE_POLL),
                false => None,
            };
            let first = match pause {
                Some(pause) => self.inbox.recv_timeout(pause),
                None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match first {
                Ok(first) => self.take(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.stop(),
            }
            if self.retried_at.elapsed() >= RETRY_PAUSE {
                self.retry();
            }
        }
    }

    /// Nothing more comes; what is stalled has its last chance.
    fn stop(&mut self) {
        let give_up_at = Instant::now() + STOP_GRACE;
        while !self.stalled.is_empty() && Instant::now() < give_up_at {
            std::thread::sleep(RETRY_PAUSE);
            self.retry();
        }
        for stalled in self.stalled.values() {
            let path = stalled.commands.first().map(|command| command.log().place.path().display());
            tracing::error!(path = path.map(tracing::field::display), "log lines were not written before the stop");
        }
    }

    /// Takes `first` and what is queued behind it, as far as one group may go.
    fn take(&mut self, first: Command) {
        let mut logs: BTreeMap<u64, Vec<Command>> = BTreeMap::new();
        let (mut bytes, mut count, mut next) = (0, 0, Some(first));
        while let Some(command) = next {
            (bytes, count) = (bytes + command.bytes(), count + 1);
            let id = command.log().id;
            match self.stalled.get_mut(&id) {
                Some(stalled) => stalled.commands.push(command),
                None => logs.entry(id).or_default().push(command),
            }
            let has_room = count < GROUP_COMMANDS_MAX && bytes < GROUP_BYTES_MAX;
            next = has_room.then(|| self.inbox.try_recv().ok()).flatten();
        }
        self.commit(logs.into_values());
    }

    fn retry(&mut self) {
        self.retried_at = Instant::now();
        let stalled = std::mem::take(&mut self.stalled);
        for (id, mut stalled) in stalled {
            let commands = std::mem::take(&mut stalled.commands);
            let since = stalled.failing_since;
            self.commit([commands].into_iter());
            // It failed again; the first time counts.
            if let (Some(again), Some(since)) = (self.stalled.get_mut(&id), since) {
                again.failing_since = again.failing_since.map(|_| since);
            }
        }
        self.break_off();
    }

    /// Gives up logs that have failed for long.
    fn break_off(&mut self) {
        let is_over = |since: Instant| since.elapsed() >= BREAK_AFTER;
        for (id, stalled) in self.stalled.extract_if(.., |_, stalled| stalled.failing_since.is_some_and(is_over)) {
            self.files.remove(&id);
            let Some(log) = stalled.commands.first().map(|command| Arc::clone(command.log())) else { continue };
            let (path, error) = (log.place.path().display(), stalled.error);
            tracing::error!(%path, %error, "a log can't be written and is broken off; its runner may open it again");
            log.break_off();
            for command in stalled.commands {
                match command {
                    Command::Remove(log) => remove(&log, &self.budget),
                    command => command.discard(&self.budget),
                }
            }
        }
    }

    /// Writes and syncs what is to be done for some logs, and tells of it; those that fail are stalled.
    fn commit(&mut self, logs: impl Iterator<Item = Vec<Command>>) {
        let mut stages = Vec::new();
        for commands in logs {
            match self.stage(commands) {
                Ok(stage) => stages.extend(stage),
                Err((commands, error)) => self.stall(commands, error),
            }
        }
        for stage in stages {
            match stage.sync() {
                Ok(()) => self.tell(stage),
                Err(error) => self.stall(stage.commands, error),
            }
        }
    }

    fn stall(&mut self, commands: Vec<Command>, error: io::Error) {
        let Some(id) = commands.first().map(|command| command.log().id) else { return };
        let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        if is_full && !self.budget.disk_is_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(path = %self.path.display(), %error, "logs can't be written; tried again until there is room");
        }
        let failing_since = (!is_full).then(Instant::now);
        self.stalled.insert(id, Stalled { commands, failing_since, error });
    }

    /// Writes one log's commands, but does not sync them; nothing of it counts yet. None: there is nothing to do.
    fn stage(&mut self, commands: Vec<Command>) -> Result<Option<Stage>, (Vec<Command>, io::Error)> {
        // What was sent before the log was broken off was never told to be durable, and comes again.
        let (commands, stale): (Vec<_>, Vec<_>) = commands.into_iter().partition(Command::is_current);
        stale.into_iter().for_each(|command| command.discard(&self.budget));
        let Some(log) = commands.first().map(|command| Arc::clone(command.log())) else { return Ok(None) };
        let tail = self.files.get(&log.id).cloned();
        let mut stage = Stage::new(log, tail);
        match stage.write(&commands, self.budget.limits.segment_bytes) {
            Ok(()) => {
                stage.commands = commands;
                Ok(Some(stage))
            }
            Err(error) => Err((commands, error)),
        }
    }

    /// All of it is durable.
    fn tell(&mut self, stage: Stage) {
        if self.files.len() >= FILES_MAX {
            self.files.clear();
        }
        let log = &stage.log;
        let mut segments = log.segments();
        for tail in &stage.touched {
            match segments.iter_mut().find(|segment| segment.first_line == tail.segment.first_line) {
                Some(segment) => *segment = tail.segment,
                None => segments.push(tail.segment),
            }
        }
        drop(segments);
        if let Some(tail) = stage.tail {
            self.files.insert(log.id, tail);
        }
        for command in stage.commands {
            match command {
                Command::Create { .. } => {}
                Command::Append { tally, .. } => {
                    let next_line = tally.next_line();
                    *log.durable() = *tally;
                    log.progress.send_modify(|progress| progress.next_line = next_line);
                }
                Command::Close { receipt, .. } => {
                    self.files.remove(&log.id);
                    log.progress.send_modify(|progress| progress.receipt = Some(Arc::new(receipt)));
                }
                Command::Remove(log) => {
                    self.files.remove(&log.id);
                    remove(&log, &self.budget);
                }
            }
        }
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

fn remove(log: &Shared, budget: &Budget) {
    if let Err(error) = log.place.remove() {
        // The next start deletes it.
        tracing::warn!(path = %log.place.path().display(), %error, "a log that its sink has can't be deleted");
    }
    budget.give_back(log.bytes.swap(0, Ordering::Relaxed));
    log.progress.send_modify(|progress| progress.removed = true);
}
