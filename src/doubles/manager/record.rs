//! What the double saw and what it made of it: the facts that tests count.
//!
//! A task's *effective* result is the first answer it got while it was live; every later one is a *repeat*, and a repeat whose body
//! differs is a *conflict*. An answer to a task that ended without one (timed out, aborted before anyone had it) is *late*, and one
//! for an id that was never submitted, or is forgotten, a *stray*.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{calls::Route, faults::RegisterAnswer, wire::Registration};
pub use crate::doubles::at::At;
use crate::doubles::recent::Recent;

/// Acquires, repeats and late answers kept per task; all are counted.
pub const SEEN_PER_TASK_MAX: usize = 64;
/// Arrivals and polls kept, of each kind.
pub const POLLS_KEPT_MAX: usize = 10_000;
/// Registrations, heartbeats and stray answers kept, of each kind.
pub const CALLS_KEPT_MAX: usize = 1_000;

/// Everything seen since the start, within the bounds above.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub(super) tasks: HashMap<Arc<str>, TaskRecord>,
    pub(super) calls: [u64; Route::ALL.len()],
    pub(super) totals: Totals,
    /// Every call as it came in, faulted and refused ones included.
    pub arrivals: Recent<Arrival, POLLS_KEPT_MAX>,
    /// Accepted polls.
    pub polls: Recent<Poll, POLLS_KEPT_MAX>,
    /// Readable heartbeats, also those answered `DELETED`.
    pub heartbeats: Recent<Heartbeat, CALLS_KEPT_MAX>,
    /// Readable registrations, also refused ones.
    pub registers: Recent<Register, CALLS_KEPT_MAX>,
    /// Calls that held the account secret in clear, hex or base64, in query or body.
    pub secret_seen: Recent<Route, CALLS_KEPT_MAX>,
    /// Answers to tasks that this manager does not know.
    pub strays: Recent<Answer, CALLS_KEPT_MAX>,
}

/// Numbers that cost nothing to read, kept also for tasks that are forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub submitted: u64,
    /// Tasks with an effective result.
    pub effective: u64,
    pub repeats: u64,
    /// Repeats whose body or dialect differs from the effective result's.
    pub conflicts: u64,
    pub late: u64,
    pub hand_backs: u64,
    /// Tasks that ended without a result: timed out, never assigned, delegate gone, or aborted in the queue.
    pub failed: u64,
    /// Calls refused for their token.
    pub unauthorized: u64,
    /// Connections and calls hung up on while the manager was down.
    pub hung_up: u64,
    /// Calls to no route of the manager: those of the log service are among them.
    pub no_route: u64,
    pub unregisters: u64,
    pub capacities: u64,
    /// Calls that carried the right hash of the account secret, and a wrong one. Neither is refused.
    pub token_hashes: u64,
    pub token_hashes_wrong: u64,
}

/// One task, from submission on.
#[derive(Clone, Debug)]
pub struct TaskRecord {
    pub(super) spec: Arc<Spec>,
    pub state: TaskState,
    pub submitted_at: At,
    /// Poll answers that listed it.
    pub listed: u64,
    pub first_listed_at: Option<At>,
    pub last_listed_at: Option<At>,
    /// Every acquire that named it, refused ones too.
    pub acquires: Recent<Acquire, SEEN_PER_TASK_MAX>,
    /// The first time it was assigned.
    pub first_assigned_at: Option<At>,
    pub abort: Option<Abort>,
    pub effective: Option<Answer>,
    pub repeats: Recent<Answer, SEEN_PER_TASK_MAX>,
    pub conflicts: u64,
    pub late: Recent<Answer, SEEN_PER_TASK_MAX>,
    /// `RETRY_ON_OTHER_DELEGATE` answers that put it back into the queue.
    pub hand_backs: Recent<Answer, SEEN_PER_TASK_MAX>,
    /// Delegates that handed it back and are not asked again.
    pub(super) tried: Vec<Arc<str>>,
}

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Listed by every poll.
    Queued { expires: Option<Instant> },
    /// Someone has it, until then.
    Assigned { delegate: Arc<str>, instance: Arc<str>, expires: Instant },
    /// Aborted while someone had it; an answer still counts.
    Aborted,
    /// It has its effective result.
    Reported,
    /// It ended without one.
    Failed(Failure),
}

/// Why a task ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Not answered within its timeout after the acquire.
    TimedOut,
    /// Nobody took it in time.
    NotAssigned,
    /// Its delegate unregistered, or registered again as immutable.
    DelegateGone,
    /// Aborted before anyone had it.
    AbortedInQueue,
}

/// An abort: asked for once, and told once by a poll.
#[derive(Clone, Copy, Debug)]
pub struct Abort {
    pub asked_at: At,
    pub listed_at: Option<At>,
}

/// An acquire, answered.
#[derive(Clone, Debug)]
pub struct Acquire {
    pub at: At,
    pub delegate: Arc<str>,
    pub instance: Option<Arc<str>>,
    pub outcome: Acquired,
}

/// How an acquire ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// Assigned now.
    Assigned,
    /// Handed out again to the delegate instance that has it.
    Again,
    /// Handed out without being assigned.
    Unassigned,
    /// 500.
    Refused,
}

/// One answer to a task, as it came in.
#[derive(Clone, Debug)]
pub struct Answer {
    pub at: At,
    pub dialect: Dialect,
    /// The delegate that the path (A) or the query (B, C) names.
    pub delegate: Arc<str>,
    pub code: String,
    /// Dialects B and C only.
    pub error: String,
    /// A: the inline value, byte for byte. B, C: what the base64 stood for; empty for null.
    pub data: Bytes,
    /// The whole body, byte for byte.
    pub body: Bytes,
}

/// Which of the manager's result calls brought an answer (wire reference, 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    A,
    B,
    C,
}

/// A call came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub at: At,
    pub route: Route,
}

/// A poll, answered.
#[derive(Clone, Debug)]
pub struct Poll {
    pub at: At,
    pub delegate: Arc<str>,
    /// Tasks listed.
    pub tasks: usize,
    /// Aborts told.
    pub aborts: usize,
}

/// A heartbeat, answered.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    pub at: At,
    pub body: Registration,
    /// False: answered `DELETED`.
    pub known: bool,
}

/// A registration, answered.
#[derive(Clone, Debug)]
pub struct Register {
    pub at: At,
    pub body: Registration,
    /// The id given; none if refused.
    pub delegate: Option<Arc<str>>,
    /// The scripted refusal, if there was one.
    pub refusal: Option<RegisterAnswer>,
}

/// What a task of the runner family has beside its data.
#[derive(Debug)]
pub(super) struct RunnerSpec {
    pub(super) secrets: Box<RawValue>,
    pub(super) config: Box<RawValue>,
    pub(super) forward: Box<RawValue>,
    pub(super) logger: Box<RawValue>,
}

/// What a task is, fixed at submission.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) id: Arc<str>,
    /// The order of submission, which is the order of listing.
    pub(super) number: u64,
    pub(super) task_type: String,
    pub(super) data: Box<RawValue>,
    pub(super) timeout: Duration,
    pub(super) sync: bool,
    pub(super) runner_response: bool,
    pub(super) listed_to_all: bool,
    /// Set: it is the runner family's.
    pub(super) runner: Option<RunnerSpec>,
    /// The entry in poll answers, rendered once.
    pub(super) event: Vec<u8>,
}

// === impl Record ===

impl Record {
    /// The task, unless it was never submitted or is forgotten.
    pub fn task(&self, id: &str) -> Option<&TaskRecord> {
        self.tasks.get(id)
    }

    /// All tasks still known, in no order.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskRecord> {
        self.tasks.values()
    }

    /// The task's effective result.
    pub fn effective(&self, id: &str) -> Option<&Answer> {
        self.tasks.get(id)?.effective.as_ref()
    }

    /// How often the route was called, faulted and refused calls included.
    pub fn calls(&self, route: Route) -> u64 {
        self.calls[route as usize]
    }

    /// Counts over all tasks.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Repeats that differ from their task's effective result. Must be 0.
    pub fn conflicts(&self) -> u64 {
        self.totals.conflicts
    }

    /// Tasks that are neither reported nor failed.
    pub fn open(&self) -> u64 {
        self.totals.submitted - self.totals.effective - self.totals.failed
    }
}

// === impl TaskRecord ===

impl TaskRecord {
    pub fn id(&self) -> &str {
        &self.spec.id
    }

    pub fn task_type(&self) -> &str {
        &self.spec.task_type
    }

    /// The dialect that this task's answers should come in.
    pub fn dialect(&self) -> Dialect {
        match (&self.spec.runner, self.spec.runner_response) {
            (Some(_), _) => Dialect::C,
            (None, true) => Dialect::B,
            (None, false) => Dialect::A,
        }
    }

    /// How many acquires ended so.
    pub fn acquired(&self, outcome: Acquired) -> usize {
        self.acquires.iter().filter(|acquire| acquire.outcome == outcome).count()
    }
}

// === impl TaskState ===

impl TaskState {
    /// A word for people and for `/dev/tasks`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Assigned { .. } => "assigned",
            Self::Aborted => "aborted",
            Self::Reported => "reported",
            Self::Failed(Failure::TimedOut) => "timed_out",
            Self::Failed(Failure::NotAssigned) => "not_assigned",
            Self::Failed(Failure::DelegateGone) => "delegate_gone",
            Self::Failed(Failure::AbortedInQueue) => "aborted_in_queue",
        }
    }
}

// === impl Answer ===

impl Answer {
    /// Whether both came in the same dialect with the same bytes.
    pub fn same_as(&self, other: &Self) -> bool {
        self.dialect == other.dialect && self.body == other.body
    }
}
