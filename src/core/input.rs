//! What the core is told: facts, in the past.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    admission::{Amount, Usage},
    command::Command,
    id::{
        ExternalId, InstanceId, LeaseId, LinkId, Lsn, RequestId, RunnerId, SlotClass, TaskId, TaskType, UpstreamName,
    },
    logs::LogReceipt,
    session::StateUpdate,
    step::Step,
    task::{Error, Finish, Kind, Output, Spec},
};
use crate::reason::Reason;

#[derive(Debug)]
pub enum Input {
    /// An upstream answered a call, or did not.
    Answered { upstream: UpstreamName, answer: Answer },
    /// A runner said hello on a new stream.
    Attached { link: LinkId, hello: Hello, peer: Arc<str> },
    /// A runner's frame arrived. `sequence` as the runner numbered it.
    Received { link: LinkId, sequence: u64, frame: Frame },
    /// A stream is gone, whoever ended it.
    Detached { link: LinkId },
    /// The operator orders something; answered by `Effect::Answer`.
    Commanded { request: RequestId, command: Command },
    /// A runner began a log.
    LogOpened { lease: LeaseId, log_id: Arc<str> },
    /// A log is closed and durable, and this is what it came to. Said again after a start.
    LogClosed { task: TaskId, log: Box<LogReceipt> },
    /// The records up to here are durable.
    Durable(Lsn),
    /// The journal can't write, and goes on trying; or has little room left.
    StoreFailing { reason: Arc<str> },
    /// The journal writes again.
    StoreRecovered,
    /// The delegate's host was looked at.
    Pressure(Usage),
}

// === upstreams ===

/// The answer to one `Call`.
#[derive(Debug)]
pub enum Answer {
    Register(Result<Registered, CallError>),
    Heartbeat(Result<Standing, CallError>),
    Poll(Result<Listing, CallError>),
    Acquire { task: TaskId, result: Result<Box<Spec>, AcquireError> },
    Tell { task: TaskId, result: Result<Told, ReportError> },
    Report { task: TaskId, result: Result<(), ReportError> },
}

/// A registration that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    pub delegate_id: Arc<str>,
    /// The host as it was named; the same is named ever after.
    pub host: super::record::Host,
    /// Where the account lives now, if it moved and the adapter followed; the operator is to set it as the endpoint.
    pub moved_to: Option<Arc<str>>,
}

/// What an upstream thinks of this delegate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Known,
    /// It does not know the delegate any more: register again.
    Forgotten,
}

/// What an upstream offers.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub tasks: Vec<Listed>,
    /// Tasks that are to be stopped; each is said once.
    pub aborts: Vec<ExternalId>,
    /// The upstream has not answered yet: what is on offer is as before, and nothing is said of the upstream itself. For adapters
    /// that hold a poll open over several calls.
    pub quiet: bool,
}

/// One task on offer; listing it assigned nothing.
#[derive(Clone, Debug)]
pub struct Listed {
    pub external_id: ExternalId,
    pub task_type: TaskType,
    /// Part of a stage, as far as the upstream tells before the acquire; standalone: it does not.
    pub kind: Kind,
    /// As the task will have them; absent: the upstream tells only whoever acquires it.
    pub labels: Option<BTreeMap<String, String>>,
    /// Nobody can do tasks of this type here, and the upstream waits for an answer all the same: take it, to say so.
    pub unsupported: bool,
}

/// Why a call brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// It refuses this delegate for now; tried again.
    Denied(Denial, Arc<str>),
    /// It gives no id. Final if it has forgotten the delegate before.
    Deleted(Arc<str>),
    /// It wants this delegate gone, for good.
    SelfDestruct(Arc<str>),
    /// Anything else; tried again.
    Failed(Arc<str>),
}

/// Why an upstream refuses this delegate. Nothing is taken meanwhile; what runs is finished and reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denial {
    /// The credentials are wrong, or it does not say what else.
    Credentials,
    /// The token is too old by the upstream's clock.
    TokenExpired,
    /// Somebody revoked the secret that tokens are made from.
    TokenRevoked,
    /// This machine's address is not one of those allowed. Only a registration shows that it is over.
    Address,
}

/// Why an acquire brought no task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcquireError {
    /// A well-formed no; two of them end the intention.
    Refused(Arc<str>),
    /// It gave the data and assigned nothing.
    Unassigned,
    /// Nobody knows whether it was assigned.
    Unanswered(Arc<str>),
}

/// What the upstream was told of a task's steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What it knows now, in the adapter's words; absent: no more than before.
    pub note: Option<Bytes>,
    /// Something of the steps is still to be told. Only with a note, or the same would be told for ever.
    pub behind: bool,
}

/// Why a result is not known to be reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportError {
    /// The upstream does not take this body.
    Refused(Arc<str>),
    /// It fails on its side; the text tells two failures apart.
    Fault(Arc<str>),
    /// It does not know the task any more.
    Gone(Arc<str>),
    Unauthorized(Arc<str>),
    /// Nothing left this machine, so the upstream certainly did not act.
    Unsent(Arc<str>),
    /// Nobody knows whether it did.
    Unanswered(Arc<str>),
}

// === runners ===

/// A runner's introduction.
#[derive(Clone, Debug)]
pub struct Hello {
    pub runner: RunnerId,
    pub instance: InstanceId,
    /// Name and version of its SDK, for display.
    pub sdk: Arc<str>,
    pub handlers: Vec<Handler>,
    pub slots: BTreeMap<SlotClass, u32>,
    /// No new session may begin there.
    pub refuses_sessions: bool,
    pub held: Vec<Held>,
}

/// One task type a runner executes.
#[derive(Clone, Debug)]
pub struct Handler {
    pub task_type: TaskType,
    /// Phase of a stage it serves; standalone: it did not say.
    pub kind: Kind,
    pub class: SlotClass,
    /// What a task takes from the host.
    pub amount: Amount,
    pub idempotent: bool,
    pub default_timeout: Option<Duration>,
    /// Names of the extensions it wants.
    pub extensions: Vec<Arc<str>>,
    pub match_labels: BTreeMap<String, String>,
    /// What a session needs stands in its state alone, so that any runner may go on with it.
    pub any_runner: bool,
}

/// One task in a runner's hands when it attaches.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub lease: LeaseId,
    pub accept_acknowledged: bool,
    pub acknowledged_number: u64,
    pub finished: bool,
}

/// What a runner says on an attached stream.
#[derive(Clone, Debug)]
pub enum Frame {
    Heartbeat {
        id: u64,
        leases: Vec<LeaseId>,
        healthy: bool,
        /// Of the runner's host.
        usage: Usage,
    },
    Capacity {
        slots: BTreeMap<SlotClass, u32>,
        /// No new session may begin there.
        refuses_sessions: bool,
    },
    Accepted {
        lease: LeaseId,
    },
    Rejected {
        lease: LeaseId,
        error: Error,
    },
    Started {
        lease: LeaseId,
        number: u64,
    },
    Outputs {
        lease: LeaseId,
        number: u64,
        outputs: Vec<Output>,
    },
    /// All steps of the task.
    Plan {
        lease: LeaseId,
        number: u64,
        steps: Vec<Step>,
    },
    /// One of them, as it is now.
    Step {
        lease: LeaseId,
        number: u64,
        step: Box<Step>,
    },
    Progress {
        lease: LeaseId,
        progress: Arc<str>,
    },
    /// A change of the session's state.
    State {
        lease: LeaseId,
        number: u64,
        update: Box<StateUpdate>,
    },
    Result {
        lease: LeaseId,
        finish: Box<Finish>,
        /// The session's last change by this task, durable together with the result.
        state: Option<Box<StateUpdate>>,
    },
    /// The runner wants to go. `grace`: when it means to be gone; absent: once its tasks are done.
    DrainNotice {
        grace: Option<Duration>,
    },
    /// A frame that broke a bound; `name` as in the contract.
    Invalid {
        name: &'static str,
        lease: Option<LeaseId>,
        reason: Reason,
        message: String,
    },
}

// === impl ReportError ===

impl ReportError {
    /// What the upstream, or the way to it, said.
    pub fn text(&self) -> &Arc<str> {
        match self {
            Self::Refused(text)
            | Self::Fault(text)
            | Self::Gone(text)
            | Self::Unauthorized(text)
            | Self::Unsent(text)
            | Self::Unanswered(text) => text,
        }
    }
}

// === impl Handler ===

impl Handler {
    /// Whether it does tasks of this type and labels; labels that nobody knows yet are given the benefit of the doubt.
    pub fn takes(&self, task_type: &TaskType, labels: Option<&BTreeMap<String, String>>) -> bool {
        let fits = |(key, value): (&String, &String)| labels.is_none_or(|labels| labels.get(key) == Some(value));
        self.task_type == *task_type && self.match_labels.iter().all(fits)
    }
}

// === impl Denial ===

impl Denial {
    /// The state it puts the upstream in, one word for the operator.
    pub fn state(self) -> &'static str {
        match self {
            Self::Credentials => "unauthorized",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::Address => "address_refused",
        }
    }

    pub fn reason(self) -> Reason {
        match self {
            Self::Credentials => Reason::UpstreamUnauthorized,
            Self::TokenExpired => Reason::UpstreamTokenExpired,
            Self::TokenRevoked => Reason::UpstreamTokenRevoked,
            Self::Address => Reason::UpstreamAddressRefused,
        }
    }
}

impl std::fmt::Display for Denial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Credentials => "wrong credentials",
            Self::TokenExpired => "the token is too old by its clock",
            Self::TokenRevoked => "the account secret was revoked",
            Self::Address => "this machine's address is not allowed",
        })
    }
}

// === impl Frame ===

impl Frame {
    /// Whether a frame of this kind carries a sequence number.
    pub fn is_counted(&self) -> bool {
        match self {
            Frame::Accepted { .. }
            | Frame::Rejected { .. }
            | Frame::Started { .. }
            | Frame::Outputs { .. }
            | Frame::State { .. }
            | Frame::Plan { .. }
            | Frame::Step { .. }
            | Frame::Result { .. } => true,
            Frame::Heartbeat { .. } | Frame::Capacity { .. } | Frame::Progress { .. } | Frame::DrainNotice { .. } => {
                false
            }
            Frame::Invalid { name, .. } => matches!(*name, "decision" | "update" | "result"),
        }
    }

    /// Whether this frame under this sequence takes part in the numbering: a newer runner's frame does if it says so.
    pub fn counts(&self, sequence: u64) -> bool {
        self.is_counted() || (sequence != 0 && matches!(self, Frame::Invalid { name: "", .. }))
    }

    /// The field name in the contract, and the lease it speaks of.
    pub fn subject(&self) -> (&'static str, Option<LeaseId>) {
        match self {
            Frame::Heartbeat { .. } => ("heartbeat", None),
            Frame::Capacity { .. } => ("capacity", None),
            Frame::Accepted { lease } | Frame::Rejected { lease, .. } => ("decision", Some(*lease)),
            Frame::Started { lease, .. }
            | Frame::Outputs { lease, .. }
            | Frame::State { lease, .. }
            | Frame::Plan { lease, .. }
            | Frame::Step { lease, .. }
            | Frame::Progress { lease, .. } => ("update", Some(*lease)),
            Frame::Result { lease, .. } => ("result", Some(*lease)),
            Frame::DrainNotice { .. } => ("drain", None),
            Frame::Invalid { name, lease, .. } => (name, *lease),
        }
    }
}
