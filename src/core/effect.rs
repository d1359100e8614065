//! What the core wants done: orders to the shells, in the imperative.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    admission::{self, Turn},
    audit::Audit,
    command::Refusal,
    drain::Mode,
    id::{ExternalId, LeaseId, LinkId, RequestId, RunnerId, SessionId, TaskId, TaskType, TraceId, UpstreamName},
    input::Denial,
    life::Life,
    logs::{LogReceipt, LogWay},
    record::Host,
    session::Session,
    step::Step,
    task::{CancelReason, Finish, Identity, Outcome, Spec, Times},
    time::{Mono, Wall},
};
use crate::reason::Reason;

#[derive(Clone, Debug)]
pub enum Effect {
    /// Ask an upstream; it comes back as `Input::Answered`.
    Call { upstream: UpstreamName, call: Call },
    /// Tell a runner.
    Send { link: LinkId, order: Order },
    /// Tell the operator who gave an order what became of it.
    Answer { request: RequestId, answer: Result<(), Refusal> },
    /// Tell the operator's log.
    Note(Note),
}

/// One request to an upstream.
#[derive(Clone, Debug)]
pub enum Call {
    /// `host` as registered before; absent: this is the first time.
    Register {
        task_types: Vec<TaskType>,
        host: Option<Host>,
    },
    Heartbeat {
        delegate_id: Arc<str>,
        host: Host,
        running: Vec<ExternalId>,
    },
    Poll {
        delegate_id: Arc<str>,
        /// What a free slot waits for right now, each once; empty: nothing could be taken.
        wanted: Vec<Wanted>,
    },
    Acquire {
        task: TaskId,
        external_id: ExternalId,
        identity: Arc<Identity>,
    },
    /// Tell the steps of a task that has no result yet, or is about to have one.
    Tell {
        task: TaskId,
        news: Arc<Tellable>,
    },
    Report {
        task: TaskId,
        report: Arc<Answerable>,
    },
}

/// Tasks that an attached runner has room for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    pub task_type: TaskType,
    /// Pairs that the task's labels must hold.
    pub labels: BTreeMap<String, String>,
}

/// All an adapter needs to tell an upstream of a task's steps; the same value asks for the same request.
#[derive(Debug)]
pub struct Tellable {
    pub external_id: ExternalId,
    pub identity: Arc<Identity>,
    /// The adapter's note of how the task is to be answered.
    pub reply: Bytes,
    /// Its note of what the upstream knows; absent: nothing yet.
    pub told: Option<Bytes>,
    /// As they are now, in the order of the plan.
    pub steps: Arc<Vec<Step>>,
    pub started: Wall,
}

/// All an adapter needs to answer for a task; the same value gives the same bytes.
#[derive(Debug)]
pub struct Answerable {
    pub external_id: ExternalId,
    pub identity: Arc<Identity>,
    pub spec: Arc<Spec>,
    pub finish: Arc<Finish>,
    /// Its steps, if its runner told any, and the adapter's note of what the upstream knows of them.
    pub steps: Arc<Vec<Step>>,
    pub told: Option<Bytes>,
    /// When its handler started, if one did.
    pub started: Option<Wall>,
    pub finished: Wall,
    /// Set: the upstream refused the result for this; send the smallest failure that says so.
    pub refusal: Option<Arc<str>>,
    /// Give the task back for another delegate, instead of a result.
    pub hand_back: bool,
}

/// One message to an attached runner.
#[derive(Clone, Debug)]
pub enum Order {
    Welcome {
        decisions: Vec<(LeaseId, Decision)>,
    },
    Assign(Box<Assignment>),
    /// The newest form of a session that a task of this runner belongs to.
    Session(Arc<Session>),
    Cancel {
        lease: LeaseId,
        reason: CancelReason,
        message: Arc<str>,
        grace: Duration,
    },
    /// Nothing new comes, and what still runs is cancelled after the grace.
    Drain {
        reason: Arc<str>,
        grace: Duration,
    },
    /// All counted frames up to here are durable or were refused.
    Acknowledge {
        sequence: u64,
    },
    HeartbeatAck {
        id: u64,
        lost: Vec<LeaseId>,
    },
    Refuse {
        sequence: u64,
        lease: Option<LeaseId>,
        frame: &'static str,
        reason: Reason,
        message: String,
    },
    /// End the stream.
    Close(Close),
}

/// Work for one runner under one lease.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub task: TaskId,
    pub lease: LeaseId,
    pub upstream: UpstreamName,
    pub external_id: ExternalId,
    pub spec: Arc<Spec>,
    pub trace_id: TraceId,
    pub attempt: u32,
    pub attempts_max: u32,
    pub acquired: Wall,
    pub deadline: Option<Wall>,
    pub time_remaining: Option<Duration>,
    pub cancel_grace: Duration,
    /// Names of the extensions the handler asked for.
    pub extensions: Vec<Arc<str>>,
    /// The stage it belongs to, as it is now.
    pub session: Option<Arc<Session>>,
    /// The delegate made it up, since the upstream never sent it.
    pub synthesized: bool,
}

/// What becomes of a task that a runner held when it attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::enum_variant_names)] // the contract's words
pub enum Decision {
    Keep,
    ResendDecision,
    ResendResult,
    Acknowledged,
    Abandon,
}

/// Why a stream ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Close {
    /// A newer instance holds the runner id.
    Replaced,
    /// Too many instances fight for one runner id.
    RunnerIdInUse { holder: Arc<str>, newcomer: Arc<str>, retry_after: Duration },
    /// A newer stream of the same instance took over.
    Superseded,
    /// Nothing was heard for three heartbeat intervals.
    Silent,
    /// More unacknowledged frames than the protocol allows.
    Overrun,
}

/// Something an operator may want to know.
#[derive(Clone, Debug)]
pub enum Note {
    NotAcquired {
        upstream: UpstreamName,
        external_id: ExternalId,
        task_type: TaskType,
        reason: NotAcquired,
    },
    Acquired {
        task: TaskId,
        upstream: UpstreamName,
        external_id: ExternalId,
        task_type: TaskType,
        trace_id: TraceId,
    },
    AcquireEnded {
        upstream: UpstreamName,
        external_id: ExternalId,
        reason: Arc<str>,
    },
    LeaseLost {
        task: TaskId,
        lease: LeaseId,
        runner: RunnerId,
        reason: &'static str,
        repeats: bool,
    },
    /// A runner was given a task, and has not answered.
    Assigned {
        task: TaskId,
        runner: RunnerId,
        attempt: u32,
    },
    /// It accepted, and works on it.
    Accepted {
        task: TaskId,
        runner: RunnerId,
    },
    AssignmentEnded {
        task: TaskId,
        lease: LeaseId,
        runner: RunnerId,
        reason: Arc<str>,
    },
    Cancelled {
        task: TaskId,
        external_id: ExternalId,
        reason: CancelReason,
    },
    /// The upstream said abort, and this delegate has no such task yet.
    AbortNoted {
        upstream: UpstreamName,
        external_id: ExternalId,
    },
    Finished {
        task: TaskId,
        outcome: Outcome,
        reason: Arc<str>,
    },
    /// Its upstream is told no more of a task's steps.
    StepsUntold {
        task: TaskId,
        upstream: UpstreamName,
        reason: Arc<str>,
    },
    ReportFailed {
        task: TaskId,
        upstream: UpstreamName,
        tries: u32,
        reason: Arc<str>,
    },
    DeadLetter {
        task: TaskId,
        upstream: UpstreamName,
        external_id: ExternalId,
        reason: Arc<str>,
    },
    Reported(Box<Summary>),
    /// Stages of a task that are over, and that this process has not told; with its end, all of them.
    StagesEnded(Box<Life>),
    /// A log is at its sink, or was given up. Not of the core: shells tell it the same way.
    LogEnded(Box<LogWay>),
    /// The task is another delegate's to do now. Not `answered`: nobody knows whether the upstream took it back, and it is not
    /// asked again.
    HandedBack {
        task: TaskId,
        upstream: UpstreamName,
        external_id: ExternalId,
        reason: Arc<str>,
        answered: bool,
    },
    /// The upstream clearly did not take the task back; the failure is reported instead.
    HandBackRefused {
        task: TaskId,
        upstream: UpstreamName,
        reason: Arc<str>,
    },
    UpstreamFailing {
        upstream: UpstreamName,
        reason: Arc<str>,
    },
    /// The upstream refuses this delegate: nothing more is taken from it until it does not.
    UpstreamDenies {
        upstream: UpstreamName,
        denial: Denial,
        reason: Arc<str>,
    },
    UpstreamRecovered {
        upstream: UpstreamName,
    },
    /// The account lives at another address; this process follows.
    Moved {
        upstream: UpstreamName,
        endpoint: Arc<str>,
    },
    /// The upstream wants this delegate gone.
    SelfDestruct {
        upstream: UpstreamName,
        reason: Arc<str>,
    },
    Registered {
        upstream: UpstreamName,
        delegate_id: Arc<str>,
    },
    /// The upstream forgot or deleted this delegate.
    Forgotten {
        upstream: UpstreamName,
    },
    RunnerAttached {
        runner: RunnerId,
        link: LinkId,
        held: usize,
    },
    RunnerDetached {
        runner: RunnerId,
        link: LinkId,
    },
    RunnerReplaced {
        runner: RunnerId,
        by: Arc<str>,
    },
    FrameRefused {
        link: LinkId,
        frame: &'static str,
        reason: Reason,
    },
    /// A runner holds an acknowledgement this journal lacks.
    JournalRolledBack {
        task: TaskId,
        lease: LeaseId,
    },
    /// A stage began here; not `set_up`: a later task of it came to a delegate that knew nothing of it.
    SessionOpened {
        session: SessionId,
        upstream: UpstreamName,
        external_id: Arc<str>,
        set_up: bool,
    },
    /// Its end has begun.
    SessionClosing {
        session: SessionId,
        external_id: Arc<str>,
        reason: Arc<str>,
    },
    /// Its runner stayed away for a lease_ttl.
    SessionOrphaned {
        session: SessionId,
        external_id: Arc<str>,
        runner: RunnerId,
    },
    /// The upstream sent no cleanup: the delegate runs one of its own.
    CleanupSynthesized {
        session: SessionId,
        external_id: Arc<str>,
        task: TaskId,
    },
    /// It is gone. `left_behind`: why what its setup made may still be there.
    SessionClosed {
        session: SessionId,
        external_id: Arc<str>,
        left_behind: Option<Arc<str>>,
    },
    StoreFailing {
        reason: Arc<str>,
    },
    StoreRecovered,
    /// Nothing new is taken.
    Draining {
        mode: Mode,
        grace: Duration,
        reason: Arc<str>,
        open: usize,
    },
    /// What outlasted the drain's grace is cancelled.
    DrainGraceOver {
        open: usize,
    },
    /// Nothing is open and nothing unreported.
    Drained {
        cancelled: usize,
        handed_back: usize,
    },
    /// A drain was taken back.
    Resumed,
    /// The operator had a result sent at once, or a dead letter sent after all.
    ReportReplayed {
        task: TaskId,
        upstream: UpstreamName,
        external_id: ExternalId,
    },
    /// The operator gave a result up: its upstream is never told.
    ReportDropped {
        task: TaskId,
        upstream: UpstreamName,
        external_id: ExternalId,
        reason: Arc<str>,
    },
    /// A deed is on record.
    Audited(Arc<Audit>),
    /// The operator takes nothing new from an upstream, or does again.
    UpstreamPaused {
        upstream: UpstreamName,
        reason: Arc<str>,
    },
    UpstreamResumed {
        upstream: UpstreamName,
    },
    /// The operator gives a runner nothing new, or does again.
    RunnerDrained {
        runner: RunnerId,
        grace: Option<Duration>,
        reason: Arc<str>,
    },
    /// What a drained runner still did is stopped.
    RunnerGraceOver {
        runner: RunnerId,
        open: usize,
    },
    RunnerResumed {
        runner: RunnerId,
    },
    /// A host became too full for some tasks, or is no more; `runner`: as this one says of its host, and for it alone.
    Admission {
        runner: Option<RunnerId>,
        turn: Turn,
    },
}

/// Why a listed task is left to others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotAcquired {
    NoRunner,
    NoSlot {
        class: super::id::SlotClass,
    },
    TasksMax {
        max: usize,
    },
    StoreFailing,
    /// The upstream refuses this delegate.
    Denied(Denial),
    /// The upstream handed it out without assigning it; tried again later.
    SetAside,
    Aborted,
    /// The upstream owes an answer to an acquire.
    UpstreamSilent,
    /// The delegate takes nothing new.
    Draining,
    /// The host is too full.
    Admission(admission::Refusal),
    /// Enough stages begin already; more may in an instant.
    StartRate {
        per_second: u32,
    },
    /// No further stage can begin.
    SessionsMax {
        max: usize,
    },
    /// No runner of this type lets a new stage begin.
    SessionsRefused,
    /// The operator has paused the upstream.
    Paused,
    /// Runners with a handler for it are attached, and none of them gets anything new; `runner`: one of them.
    NotServing {
        runner: RunnerId,
        why: Idle,
    },
}

/// Why an attached runner gets nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Idle {
    /// The operator has drained it.
    Drained,
    /// It is about to go.
    Leaving,
    /// It says that it is not healthy.
    Unhealthy,
}

/// The life of a task that is over.
#[derive(Clone, Debug)]
pub struct Summary {
    pub task: TaskId,
    pub upstream: UpstreamName,
    pub external_id: ExternalId,
    pub task_type: TaskType,
    pub runner: Option<RunnerId>,
    pub outcome: Outcome,
    pub attempt: u32,
    pub trace_id: TraceId,
    pub times: Times,
    /// What its logs came to, as far as they were closed by then.
    pub logs: Vec<LogReceipt>,
    pub finished: Wall,
    pub reported: Wall,
}

/// When the core wants a turn although nothing happened.
pub type Wake = Option<Mono>;

// === impl Idle ===

impl Idle {
    pub fn reason(self) -> Reason {
        match self {
            Self::Drained => Reason::RunnerDrained,
            Self::Leaving => Reason::RunnerLeaving,
            Self::Unhealthy => Reason::RunnerUnhealthy,
        }
    }
}

impl std::fmt::Display for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Drained => "is drained by the operator",
            Self::Leaving => "is about to go",
            Self::Unhealthy => "says that it is not healthy",
        })
    }
}

// === impl NotAcquired ===

impl NotAcquired {
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoRunner => Reason::NoRunner,
            Self::NoSlot { .. } => Reason::NoSlot,
            Self::TasksMax { .. } => Reason::TasksMax,
            Self::StoreFailing => Reason::StoreFailing,
            Self::Denied(denial) => denial.reason(),
            Self::SetAside => Reason::HandedOutUnassigned,
            Self::Aborted => Reason::Aborted,
            Self::UpstreamSilent => Reason::UpstreamSilent,
            Self::Draining => Reason::Draining,
            Self::Admission(refusal) => refusal.resource.reason(),
            Self::StartRate { .. } => Reason::AdmissionStartRate,
            Self::SessionsMax { .. } => Reason::SessionsMax,
            Self::SessionsRefused => Reason::SessionsRefused,
            Self::Paused => Reason::UpstreamPaused,
            Self::NotServing { why, .. } => why.reason(),
        }
    }
}

impl std::fmt::Display for NotAcquired {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoRunner => f.write_str("no attached runner has a handler for this type"),
            Self::NoSlot { class } => write!(f, "all slots of class {class} are in use"),
            Self::TasksMax { max } => write!(f, "{max} tasks are open already (tasks_max)"),
            Self::StoreFailing => f.write_str("the journal can't write"),
            Self::Denied(denial) => write!(f, "the upstream refuses this delegate: {denial}"),
            Self::SetAside => f.write_str("the upstream handed it out without assigning it"),
            Self::Aborted => f.write_str("the upstream aborted it"),
            Self::Draining => f.write_str("the delegate drains and takes nothing new; `dlite resume` takes it back"),
            Self::SessionsMax { max } => write!(f, "{max} sessions are open already"),
            Self::SessionsRefused => f.write_str("every runner of this type refuses new sessions"),
            Self::Paused => {
                f.write_str("the upstream is paused by the operator; `dlite upstreams resume` takes that back")
            }
            Self::NotServing { runner, why } => write!(f, "runner {runner} has a handler for this type and {why}"),
            Self::UpstreamSilent => {
                f.write_str("the upstream owes an answer to an acquire, and gets one at a time until it gives one")
            }
            Self::Admission(refusal) => refusal.fmt(f),
            Self::StartRate { per_second } => {
                write!(f, "admission: {per_second} stages a second may begin (admission.starts_per_second)")
            }
        }
    }
}
