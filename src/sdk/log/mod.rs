//! Logs of tasks: lines go to the delegate, which keeps, masks and forwards them.
//!
//! ```text
//!  handler ─ line ─► Buffer (bounded) ─► shipper ══ StreamLogs ══► delegate
//!     └ waits for room,  ▲                  │
//!       LOG_WAIT_MAX     └── forgotten ◄── marks: durable
//! ```
//!
//! A line is kept until the delegate has it on disk, over cut streams and restarts of the delegate. Where there is no room for one in
//! time it is left out, and its number with it, so that readers see a gap. Streams are on a connection of their own.

mod buffer;
mod door;
mod shipper;
mod writer;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::{process::Child, task::JoinHandle, time::timeout};

use self::buffer::Buffer;
pub(crate) use self::door::Door;
pub use self::{buffer::LOG_BUFFER_BYTES_MAX, writer::LogWriter};
use crate::proto::runner::v1::{LogLine, LogReceipt, LogSource, OpenLog};

/// How long a line waits for room. After one that waited in vain, the next ones do not wait until there is room again.
pub const LOG_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long the result of a task waits until its logs are durable at the delegate. They go on by themselves then.
pub const LOG_FLUSH_MAX: Duration = Duration::from_secs(10);

/// Of one line, so that each fits into a frame; the delegate keeps less of one.
const LINE_BYTES_MAX: usize = 128 << 10;

/// Id of the log that belongs to no step.
const TASK_LOG_ID: &str = "task";

/// The log of a step. Clones are the same one.
#[derive(Clone)]
pub struct Log {
    buffer: Arc<Buffer>,
}

/// The logs of one task.
#[derive(Clone)]
pub(crate) struct TaskLogs {
    inner: Arc<Inner>,
}

struct Inner {
    door: Arc<Door>,
    lease_id: String,
    logs: Mutex<BTreeMap<String, Log>>,
}

// === impl Log ===

impl Log {
    /// Adds a line, without its newline, as written to standard output. Waits for room; see [`LOG_WAIT_MAX`].
    pub async fn line(&self, text: impl Into<Bytes>) {
        self.add(LogLine { text: text.into(), ..LogLine::default() }).await;
    }

    /// Adds a line with all it has. Without a time it gets that of now.
    pub async fn add(&self, mut line: LogLine) {
        if line.time_unix_nano == 0 {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            line.time_unix_nano = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        }
        // The delegate keeps less of a line, and says so.
        line.text.truncate(LINE_BYTES_MAX);
        self.buffer.add(line).await;
    }

    /// Takes bytes as a program writes them; lines end at newlines.
    pub fn writer(&self, source: LogSource) -> LogWriter {
        LogWriter::new(self.clone(), source)
    }

    /// Takes what `child` writes to the ends that are piped. Done once both are at their end.
    pub fn attach(&self, child: &mut Child) -> JoinHandle<()> {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (log, errors) = (self.writer(LogSource::Stdout), self.writer(LogSource::Stderr));
        tokio::spawn(async move {
            let stdout = async {
                match stdout {
                    Some(from) => log.take(from).await,
                    None => Ok(()),
                }
            };
            let stderr = async {
                match stderr {
                    Some(from) => errors.take(from).await,
                    None => Ok(()),
                }
            };
            let (stdout, stderr) = tokio::join!(stdout, stderr);
            for error in [stdout, stderr].into_iter().filter_map(Result::err) {
                tracing::warn!(%error, "what a program writes can't be read any further");
            }
        })
    }

    /// Lines that were left out since there was no room for them.
    pub fn dropped(&self) -> u64 {
        self.buffer.dropped()
    }

    /// Ends the log, and waits until the delegate has all of it: then what it came to. `None`: the delegate does not take it.
    pub async fn close(&self) -> Option<LogReceipt> {
        self.buffer.close();
        self.buffer.receipt().await
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

// === impl TaskLogs ===

impl TaskLogs {
    pub fn new(door: Arc<Door>, lease_id: String) -> Self {
        Self { inner: Arc::new(Inner { door, lease_id, logs: Mutex::default() }) }
    }

    pub fn open(&self, step: &str) -> Log {
        let mut logs = self.logs();
        let log = logs.entry(step.to_owned()).or_insert_with(|| {
            let log_id = if step.is_empty() { TASK_LOG_ID.to_owned() } else { format!("step-{step}") };
            let open = OpenLog { lease_id: self.inner.lease_id.clone(), log_id, step_id: step.to_owned() };
            let buffer = Arc::new(Buffer::default());
            tokio::spawn(shipper::run(Arc::clone(&self.inner.door), open, Arc::clone(&buffer)));
            Log { buffer }
        });
        log.clone()
    }

    /// Whether the log was opened.
    pub fn has(&self, step: &str) -> bool {
        self.logs().contains_key(step)
    }

    /// Ends one, and waits for nothing.
    pub fn close(&self, step: &str) {
        if let Some(log) = self.logs().get(step) {
            log.buffer.close();
        }
    }

    fn logs(&self) -> MutexGuard<'_, BTreeMap<String, Log>> {
        // Changes are single inserts.
        self.inner.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends them all and waits for them, no longer than [`LOG_FLUSH_MAX`].
    pub async fn finish(&self) {
        let logs = std::mem::take(&mut *self.logs());
        let all = async {
            for log in logs.values() {
                log.buffer.close();
            }
            for log in logs.values() {
                log.buffer.receipt().await;
            }
        };
        if timeout(LOG_FLUSH_MAX, all).await.is_err() {
            tracing::warn!(lease_id = %self.inner.lease_id, "the result of a task goes before the last of its logs");
        }
    }
}

impl Drop for Inner {
    /// Of a handler that was dropped.
    fn drop(&mut self) {
        for log in self.logs.get_mut().unwrap_or_else(PoisonError::into_inner).values() {
            log.buffer.close();
        }
    }
}
