//! What the core knows of logs: which are open under a lease in force, and what closed ones came to. Their lines are not its business.
//!
//! ```text
//!  result ─┬─ no log of its lease is open ─────────────► the report is due
//!          └─ one is ─► waits ─┬─ the last is closed ──► due at once, with all receipts
//!                              └─ log_wait is over ────► due all the same; the log goes on without it
//! ```
//!
//! A receipt is a record of its task, so that what is missing of a log is known for as long as the task is, wherever the log went.
//! Which logs are open is not: after a start no report waits.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Core,
    id::{LeaseId, TaskId, TraceId, UpstreamName},
    record::{Record, scope_of},
    task::{Report, State},
    time::{Now, Wall},
    timer::Timer,
    trace::TraceParent,
};

/// Receipts kept of one task, over all its tries; later ones are known to its logs alone.
pub const RECEIPTS_MAX: usize = 1024;
/// Open logs that are known of one task. A report does not wait for further ones.
const OPEN_MAX: usize = 1024;

/// What one log of a task came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogReceipt {
    pub lease: LeaseId,
    /// The runner's, unique within the lease.
    pub log_id: Arc<str>,
    /// Empty: the task's own.
    pub step_id: Arc<str>,
    /// Lines that are there, and bytes of their texts.
    pub lines: u64,
    pub bytes: u64,
    /// SHA-256 of the texts as they are kept, each with a newline; in hexadecimal.
    pub digest: Arc<str>,
    /// Each reason once.
    pub gaps: Vec<LogGap>,
    /// The runner itself left lines out.
    pub truncated: bool,
}

/// Lines that a log lacks for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogGap {
    /// A stable word.
    pub reason: Arc<str>,
    pub lines: u64,
    /// Of their texts, as far as they were seen.
    pub bytes: u64,
}

/// The way of one log to its sink, which is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogWay {
    pub task: TaskId,
    pub lease: LeaseId,
    pub log_id: Arc<str>,
    /// Empty: it went to a file.
    pub upstream: UpstreamName,
    pub trace_id: TraceId,
    /// The span that its task came with.
    pub parent: Option<TraceParent>,
    /// When this process had it first.
    pub began: Wall,
    /// When its sink had a part of it as it grew.
    pub first_batch: Option<Wall>,
    pub closed: Wall,
    pub ended: Wall,
    pub lines: u64,
    pub bytes: u64,
    pub missing_lines: u64,
    /// Of sending it whole, by this process.
    pub tries: u32,
    /// Its sink does not have it, and will not.
    pub given_up: bool,
}

// === impl LogReceipt ===

impl LogReceipt {
    /// Lines missing for any reason.
    pub fn missing_lines(&self) -> u64 {
        self.gaps.iter().map(|gap| gap.lines).sum()
    }
}

impl Core {
    pub(super) fn log_opened(&mut self, lease: LeaseId, log_id: Arc<str>) {
        let Some(task) = self.ledger.task_of(lease).map(|task| task.id) else { return };
        let open = self.open_logs.entry(task).or_default();
        if open.len() < OPEN_MAX {
            open.insert((lease, log_id));
        }
    }

    /// Told again after a start, so the second time counts for nothing.
    pub(super) fn log_closed(&mut self, id: TaskId, log: LogReceipt) {
        let Some(task) = self.ledger.task(id) else { return };
        if let Some(open) = self.open_logs.get_mut(&id) {
            open.remove(&(log.lease, log.log_id.clone()));
            if open.is_empty() {
                self.open_logs.remove(&id);
            }
        }
        let is_known = task.logs.iter().any(|known| known.lease == log.lease && known.log_id == log.log_id);
        if !is_known && task.logs.len() < RECEIPTS_MAX {
            self.record(scope_of(id), Record::LogClosed { log: Box::new(log) });
        }
        if self.waits_for_logs(id) && !self.has_open_logs(id) {
            self.timers.clear(&Timer::LogWait(id));
            self.logs_awaited(id);
        }
    }

    /// The wait for logs is over, whatever it brought.
    pub(super) fn logs_awaited(&mut self, id: TaskId) {
        // Else the steps' last word brings the report.
        if !self.is_untold(id) {
            self.report_due(id);
        }
    }

    /// Lets the report of a task that has just ended wait for its logs, if one is open.
    pub(super) fn wait_for_logs(&mut self, now: Now, id: TaskId) {
        if self.has_open_logs(id) {
            self.timers.set(Timer::LogWait(id), now.mono + self.config.log_wait);
        }
    }

    pub(super) fn waits_for_logs(&self, id: TaskId) -> bool {
        self.timers.get(&Timer::LogWait(id)).is_some()
    }

    /// The task is gone, or nobody waits for its logs.
    pub(super) fn forget_logs(&mut self, id: TaskId) {
        self.timers.clear(&Timer::LogWait(id));
        self.open_logs.remove(&id);
    }

    /// Whether a log is open under the lease that brought the result. Where a runner was lost, nobody may close its logs.
    fn has_open_logs(&self, id: TaskId) -> bool {
        let Some(task) = self.ledger.task(id) else { return false };
        let State::Finished { lease: Some(lease), report: Report::Owed, .. } = &task.state else { return false };
        self.open_logs.get(&id).is_some_and(|open| open.iter().any(|(of, _)| of == lease))
    }
}
