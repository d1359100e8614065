//! What the journal holds: facts that survive, in participles.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    audit::Audit,
    id::{DelegateId, ExternalId, LeaseId, Lsn, RunnerId, SessionId, SlotClass, TaskId, TraceId, UpstreamName},
    logs::LogReceipt,
    session::{Phase, Variable},
    step::Step,
    task::{Cancel, Finish, Identity, Offer, Output, Payload, Spec},
    time::Wall,
};

/// The host as it was named at the first registration; the upstream derives the delegate's id from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    pub name: Arc<str>,
    pub ip: Arc<str>,
}

/// One durable fact about its scope: a task, or something of the delegate's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// First record of a state directory.
    DelegateCreated {
        delegate: DelegateId,
    },
    /// Numbers are handed out up to here, this one excepted; what comes later begins with it.
    NumbersReserved {
        below: u64,
    },
    /// An upstream knows this delegate under an id.
    DelegateRegistered {
        upstream: UpstreamName,
        delegate_id: Arc<str>,
        host: Host,
    },
    /// An upstream aborted a task that is not here (yet).
    AbortNoted {
        upstream: UpstreamName,
        external_id: ExternalId,
        at: Wall,
    },
    /// The scope's task is about to be acquired.
    IntentionOpened {
        upstream: UpstreamName,
        external_id: ExternalId,
        identity: Arc<Identity>,
        offer: Offer,
        at: Wall,
    },
    /// It is ours.
    TaskTaken {
        spec: Arc<Spec>,
        trace_id: TraceId,
        at: Wall,
    },
    LeaseCut {
        lease: LeaseId,
        runner: RunnerId,
        class: SlotClass,
        idempotent: bool,
        at: Wall,
    },
    /// The lease ended before its accept; `reason` is a stable word.
    AssignmentEnded {
        lease: LeaseId,
        reason: Arc<str>,
        at: Wall,
    },
    LeaseAccepted {
        lease: LeaseId,
        at: Wall,
    },
    HandlerStarted {
        lease: LeaseId,
        number: u64,
        at: Wall,
    },
    OutputsAdded {
        lease: LeaseId,
        number: u64,
        outputs: Vec<Output>,
    },
    /// The lease ended after its accept and the task is tried again; `reason` is a stable word.
    AttemptEnded {
        lease: LeaseId,
        reason: Arc<str>,
        at: Wall,
    },
    CancelRequested {
        cancel: Cancel,
    },
    TaskFinished {
        lease: Option<LeaseId>,
        finish: Arc<Finish>,
        at: Wall,
    },
    /// The upstream refused the result; a minimal failure takes its place on the way up.
    ReportMinimized {
        refusal: Arc<str>,
    },
    /// The result is not sent any more, and kept.
    ReportAbandoned {
        reason: Arc<str>,
    },
    /// The scope is over: reported, lost the race, forgotten. All its rows go.
    ScopeEnded,
    // Variants are journalled by position: append only.
    /// The task is about to be handed back, which is done once.
    HandBackSent,
    /// The upstream clearly did not take it back; the result is to be sent after all.
    HandBackRefused,
    /// The scope is a session.
    SessionOpened {
        upstream: UpstreamName,
        tenant: Arc<str>,
        external_id: Arc<str>,
        phase: Phase,
        /// What its cleanup is made from, should the upstream never send one.
        setup: Option<Arc<Spec>>,
        at: Wall,
        expires: Wall,
    },
    /// A runner has accepted the setup; absent: any may go on.
    SessionStarted {
        runner: Option<RunnerId>,
    },
    /// The setup succeeded.
    SessionReady,
    SessionExtended {
        expires: Wall,
    },
    /// No more tasks but its cleanup.
    SessionClosing,
    /// Its runner is gone.
    SessionOrphaned,
    /// Absent: unchanged.
    SessionStateSet {
        state: Option<Payload>,
        sensitive_state: Option<Payload>,
    },
    VariablesExported {
        variables: Vec<(Arc<str>, Variable)>,
    },
    /// The scope's task belongs to it.
    SessionJoined {
        session: SessionId,
    },
    /// The scope's task changed its session, under this number within the lease.
    StateUpdated {
        lease: LeaseId,
        number: u64,
    },
    /// The scope is a task of the delegate's own.
    CleanupSynthesized {
        session: SessionId,
        upstream: UpstreamName,
        external_id: ExternalId,
        spec: Arc<Spec>,
        trace_id: TraceId,
        at: Wall,
    },
    /// All steps of the task, by its runner.
    StepsPlanned {
        lease: LeaseId,
        number: u64,
        steps: Vec<Step>,
    },
    StepChanged {
        lease: LeaseId,
        number: u64,
        step: Box<Step>,
    },
    /// The upstream knows more of the steps; the adapter's note says what.
    UpstreamTold {
        note: Bytes,
    },
    /// A log of the task is closed, and this is what it came to.
    LogClosed {
        log: Box<LogReceipt>,
    },
    /// The scope is a deed of the operator's.
    DeedDone {
        audit: Arc<Audit>,
    },
    /// The upstream took the minimal failure; the original is kept, and never sent again.
    MinimalReported {
        reason: Arc<str>,
    },
    /// The operator has a dead letter sent after all.
    ReportReplayed {
        at: Wall,
    },
    /// The scope is the operator's word that nothing new is taken from an upstream.
    UpstreamPaused {
        upstream: UpstreamName,
        reason: Arc<str>,
        at: Wall,
    },
    /// The scope is the operator's word that a runner gets nothing new. `ends`: when what it still does is stopped; absent: never.
    RunnerDrained {
        runner: RunnerId,
        reason: Arc<str>,
        at: Wall,
        ends: Option<Wall>,
    },
}

/// A record on its way to the journal.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Position; the core holds back what this record promises until it is durable.
    pub lsn: Lsn,
    /// `TaskId` or a number of the delegate's own.
    pub scope: u64,
    /// How many rows the scope had.
    pub number: u32,
    /// Empty for `ScopeEnded`.
    pub body: Option<Bytes>,
}

/// A row that is no record of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable;

// === impl Record ===

impl Record {
    /// Whether it is the first of its scope.
    pub fn opens_scope(&self) -> bool {
        matches!(
            self,
            Record::DelegateCreated { .. }
                | Record::NumbersReserved { .. }
                | Record::DelegateRegistered { .. }
                | Record::AbortNoted { .. }
                | Record::IntentionOpened { .. }
                | Record::SessionOpened { .. }
                | Record::CleanupSynthesized { .. }
                | Record::DeedDone { .. }
                | Record::UpstreamPaused { .. }
                | Record::RunnerDrained { .. }
        )
    }

    pub fn encode(&self) -> Bytes {
        postcard::to_allocvec(self).expect("a record is plain data, which always has an encoding").into()
    }

    pub fn decode(body: &[u8]) -> Result<Self, Undecodable> {
        postcard::from_bytes(body).map_err(|_| Undecodable)
    }
}

/// The scope of a task's records.
pub fn scope_of(task: TaskId) -> u64 {
    task.0
}
