//! What one lease in this runner's hands is: from the assignment's receipt until its end is acknowledged.
//!
//! ```text
//! assigned ─► Rejected ──(acknowledged)──► gone
//!     └─────► Accepted ──(acknowledged, or KEEP)──► Running ──(handler ended)──► Finished ──(acknowledged)──► gone
//!                 └──────(cancelled before it started)────────────────────────────┘
//! any ──(refused, abandoned, lost)──► gone; a running one is first stopped, and stays until it has
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::proto::runner::v1::{
    CancelReason, HeldTask, Progress, Rejected, SessionStateUpdate, TaskAssignment, TaskResult, TaskUpdate,
};

/// The fencing token of an assignment, as the delegate made it.
pub(crate) type LeaseId = Arc<str>;

/// One assignment this runner received and whose end is not acknowledged.
pub(crate) struct Held {
    pub task_id: String,
    pub rule: Arc<Rule>,
    pub phase: Phase,
    /// The accept is durable in the delegate's journal: without that no handler starts.
    pub accept_acknowledged: bool,
    /// The accept's first send time, on whichever stream.
    pub accept_sent_at: Option<Instant>,
    /// Send time of the newest renewal known to have arrived: the accept's, then heartbeats'.
    pub renewed_at: Option<Instant>,
    /// End of the task's time; from the handler's start on with its own limits in it.
    pub deadline: Option<Instant>,
    /// Not acknowledged, by number.
    pub updates: BTreeMap<u64, TaskUpdate>,
    pub last_number: u64,
    pub acknowledged_number: u64,
    /// The newest one not yet sent.
    pub progress: Option<Progress>,
    /// The result went out on the present stream, so heartbeats need not name the lease any more.
    pub result_sent: bool,
    /// The delegate refused a result of this lease and got a smaller one.
    pub result_replaced: bool,
    /// The session the task belongs to.
    pub session_id: Option<Arc<str>>,
    /// Changes of the session's state among the updates, by number.
    pub writes: BTreeMap<u64, Write>,
    /// Changes refused as stale, until the state in force is known.
    pub refused: Vec<(Write, SessionStateUpdate)>,
    /// Version of the session's state that the result's change was made from; 0: it has none.
    pub result_base: u64,
    /// The result was refused as stale; it waits for the state in force.
    pub result_stale: bool,
}

/// A change of a session's state whose handler waits for its outcome.
#[derive(Debug)]
pub(crate) struct Write {
    pub ticket: u64,
    /// Version of the state it was made from.
    pub base: u64,
}

/// What the engine needs to know about a handler.
#[derive(Debug, Default)]
pub(crate) struct Rule {
    pub slot_class: String,
    pub idempotent: bool,
    pub default_timeout: Option<Duration>,
}

pub(crate) enum Phase {
    /// Nothing was started, and nothing will be.
    Rejected(Rejected),
    /// Waits for the acknowledgement of its accept.
    Accepted(Box<TaskAssignment>),
    /// The handler runs, or is being stopped.
    Running(Run),
    /// The result waits for its acknowledgement.
    Finished(Box<TaskResult>),
}

/// A started handler.
#[derive(Debug)]
pub(crate) struct Run {
    pub grace: Duration,
    pub ending: Ending,
    /// When an asked handler is killed. `None`: nobody asked it, or it is being killed.
    pub kill_at: Option<Instant>,
    pub killed: bool,
}

/// What becomes of a handler's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The handler's own result.
    Own,
    /// Its own result if it finishes before the kill, else one that says this.
    Cancelled { reason: CancelReason, message: String },
    /// None: the lease is gone.
    Discarded,
}

impl Held {
    /// A lease just assigned.
    pub fn new(task_id: String, rule: Arc<Rule>, phase: Phase, deadline: Option<Instant>) -> Self {
        Self {
            task_id,
            rule,
            phase,
            accept_acknowledged: false,
            accept_sent_at: None,
            renewed_at: None,
            deadline,
            updates: BTreeMap::new(),
            last_number: 0,
            acknowledged_number: 0,
            progress: None,
            result_sent: false,
            result_replaced: false,
            session_id: None,
            writes: BTreeMap::new(),
            refused: Vec::new(),
            result_base: 0,
            result_stale: false,
        }
    }

    /// The number of its next update.
    pub fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// The tickets of all changes whose outcome is open.
    pub fn take_writes(&mut self) -> Vec<u64> {
        let sent = std::mem::take(&mut self.writes).into_values();
        let refused = std::mem::take(&mut self.refused).into_iter().map(|(write, _)| write);
        sent.chain(refused).map(|write| write.ticket).collect()
    }

    /// How Hello names it.
    pub fn to_held_task(&self, lease_id: &LeaseId) -> HeldTask {
        HeldTask {
            task_id: self.task_id.clone(),
            lease_id: lease_id.to_string(),
            accept_acknowledged: self.accept_acknowledged,
            acknowledged_number: self.acknowledged_number,
            finished: matches!(self.phase, Phase::Finished(_)),
        }
    }

    /// Heartbeats renew it, or name it while its lost work is being stopped.
    pub fn is_live(&self) -> bool {
        match self.phase {
            Phase::Rejected(_) => false,
            Phase::Accepted(_) | Phase::Running(_) => true,
            Phase::Finished(_) => !self.result_sent,
        }
    }

    /// It occupies a slot: its handler runs or is about to.
    pub fn occupies_slot(&self) -> bool {
        matches!(self.phase, Phase::Accepted(_) | Phase::Running(_))
    }

    /// The lease is gone and only the stopping work keeps it here.
    pub fn is_discarded(&self) -> bool {
        matches!(&self.phase, Phase::Running(run) if run.ending == Ending::Discarded)
    }

    /// When a handler that may be started anew elsewhere has to stop, for want of renewals.
    pub fn expires_at(&self, lease_ttl: Duration) -> Option<Instant> {
        self.rule.idempotent.then_some(self.renewed_at.map(|at| at + lease_ttl)).flatten()
    }

    /// A renewal sent at `at` has arrived.
    pub fn renew(&mut self, at: Instant) {
        self.renewed_at = self.renewed_at.max(Some(at));
    }

    /// The next moment at which something is due, whatever the link does.
    pub fn next_timeout(&self, lease_ttl: Duration) -> Option<Instant> {
        match &self.phase {
            Phase::Running(run) if run.killed => None,
            Phase::Running(run) => {
                let deadline = if run.ending == Ending::Own { self.deadline } else { run.kill_at };
                deadline.into_iter().chain(self.expires_at(lease_ttl)).min()
            }
            _ => None,
        }
    }
}

/// States and numbers, never what the task brought or made.
impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("task_id", &self.task_id)
            .field("phase", &self.phase)
            .field("accept_acknowledged", &self.accept_acknowledged)
            .field("renewed_at", &self.renewed_at)
            .field("deadline", &self.deadline)
            .field("unacknowledged_updates", &self.updates.len())
            .field("acknowledged_number", &self.acknowledged_number)
            .field("result_sent", &self.result_sent)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(_) => f.write_str("Rejected"),
            Self::Accepted(_) => f.write_str("Accepted"),
            Self::Running(run) => run.fmt(f),
            Self::Finished(result) => write!(f, "Finished({:?})", result.outcome()),
        }
    }
}
