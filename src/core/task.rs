//! A task as the core knows it: what was asked, what came of it, and the state between.
//!
//! ```text
//!            ┌───── rejected, accept timed out ◄──┐
//!            ▼                                    │
//!  taken ─ Waiting ─ lease cut ─► Assigned ───────┤
//!            ▲                                    │ accepted
//!            └── lost or failed, may repeat ── Accepted ── result ──► Finished ── reported ──► gone
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    id::{ExternalId, LeaseId, RunnerId, SessionId, SlotClass, TaskId, TaskType, TraceId, UpstreamName},
    logs::LogReceipt,
    step::Plan,
    time::Wall,
    trace::TraceParent,
};
use crate::reason::Reason;

/// Content with its media type; never opened by the core. Printed as its size.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    pub content_type: Arc<str>,
    pub content: Bytes,
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    pub name: Arc<str>,
    pub value: Bytes,
    /// It stands in the payload already and is listed to be masked.
    pub mask_only: bool,
}

/// A typed addition of an adapter, given to the handlers that ask for it by name. Prints no content, which may be a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Full message name.
    pub name: Arc<str>,
    pub value: Bytes,
}

/// Part of a stage's life that a task plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    #[default]
    Standalone,
    SessionSetup,
    SessionExecute,
    SessionCleanup,
    Pipeline,
}

/// Orders waiting tasks; the most urgent first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

/// What the upstream asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub task_type: TaskType,
    pub kind: Kind,
    pub priority: Priority,
    pub payload: Option<Payload>,
    pub labels: BTreeMap<String, String>,
    pub secrets: Vec<Secret>,
    pub extensions: Vec<Extension>,
    /// Who owns it there; empty: the upstream has no such thing.
    pub tenant: Arc<str>,
    /// Counted from sending the acquire.
    pub timeout: Option<Duration>,
    /// The adapter's own note of how this task is to be answered; opaque here.
    pub reply: Bytes,
    /// The upstream takes this task back, once, for another delegate to do.
    pub hand_back: bool,
    /// What of it this delegate can't do, by its name at the upstream: the task is answered at once, and no runner sees it.
    pub unsupported: Option<Arc<str>>,
    /// The stage it belongs to, as the upstream names it; 1 to [`EXTERNAL_ID_BYTES_MAX`](super::session::EXTERNAL_ID_BYTES_MAX) bytes.
    pub session: Option<Arc<str>>,
    /// Of a setup: the type of the task that undoes it, should the upstream never send one.
    pub cleanup: Option<TaskType>,
    /// The span it came with, if any: its trace goes on below it.
    pub trace_parent: Option<TraceParent>,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Succeeded,
    Failed,
    Errored,
    Cancelled,
    TimedOut,
    Skipped,
}

/// Where a task may be tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retry {
    #[default]
    Never,
    SameRunner,
    OtherRunner,
    OtherDelegate,
}

/// Who can mend an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blame {
    UserCode,
    TaskSpec,
    #[default]
    Runner,
    Infrastructure,
    Delegate,
    Upstream,
}

/// An error that says what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// A google.rpc.Code.
    pub code: i32,
    /// A stable word, such as `LEASE_LOST`; empty: none was given.
    pub reason: Arc<str>,
    pub message: Arc<str>,
    pub blame: Blame,
    pub retry: Retry,
    pub retry_delay: Option<Duration>,
    pub side_effects_possible: Option<bool>,
}

/// A named value a task leaves. Printed as its name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    pub name: Arc<str>,
    pub value: OutputValue,
    pub sensitive: bool,
    /// Later tasks of the session get it as a variable, if it is text.
    pub exported: bool,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputValue {
    Text(Arc<str>),
    Data(Bytes),
    /// Checked at the edge to be JSON.
    Json(Bytes),
}

/// Outputs that a task may leave in all, over its updates and its result.
pub const OUTPUTS_MAX: usize = 256;

/// The end of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    pub outcome: Outcome,
    pub exit_code: Option<i32>,
    pub error: Option<Error>,
    /// The answer in the upstream's own form, passed on byte for byte.
    pub payload: Option<Payload>,
    pub outputs: Vec<Output>,
    pub extensions: Vec<Extension>,
}

/// The right of one runner to work on one task, until it is renewed no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub id: LeaseId,
    pub runner: RunnerId,
    pub class: SlotClass,
    /// Of the handler, as declared when the lease was cut.
    pub idempotent: bool,
    /// Highest update number in the journal.
    pub updates: u64,
    /// Numbers of the changes of the session that were taken. One that lost the race has a number, too, and when it is sent again after
    /// a cut it is refused again rather than dropped.
    pub states: BTreeSet<u64>,
    pub cut: Wall,
    pub accepted: Option<Wall>,
    pub started: Option<Wall>,
}

/// Why a task is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelReason {
    User,
    Deadline,
    Drain,
    UpstreamGone,
    SessionClosed,
}

/// A stop that was asked for and is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    pub reason: CancelReason,
    pub message: Arc<str>,
    pub at: Wall,
    /// Between asking the handler and killing it.
    pub grace: Duration,
}

/// What became of the way back to the upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The result is to be sent.
    Owed,
    /// The upstream refused it; a minimal failure is to be sent in its place.
    OwedMinimal { refusal: Arc<str> },
    /// The task is to be handed back. Once `sent` that has left, or was about to when the process ended, and never leaves again.
    HandBack { sent: bool },
    /// It is not sent any more; kept for the operator. `answered`: the upstream took a minimal failure in its place.
    Dead { reason: Arc<str>, answered: bool },
    /// The task was the delegate's own: nobody waits for its result.
    Nowhere,
}

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Waiting { since: Wall },
    Assigned(Lease),
    Accepted(Lease),
    Finished { finish: Arc<Finish>, lease: Option<LeaseId>, at: Wall, report: Report },
}

/// When the phases of a task began, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub acquired: Wall,
    pub assigned: Option<Wall>,
    pub started: Option<Wall>,
    /// Since when it waits for a lease, or waited for the last one.
    pub queued: Wall,
}

/// How an upstream came to offer a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// When the poll was sent whose answer listed it first.
    pub polled: Wall,
    /// When that answer came.
    pub listed: Wall,
}

/// One assignment of a task, over or not, for its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastLease {
    pub lease: LeaseId,
    pub attempt: u32,
    pub runner: RunnerId,
    /// Since when the task had waited.
    pub queued: Wall,
    pub cut: Wall,
    pub accepted: Option<Wall>,
    /// When it ended and, as a stable word, why, if the task did not end with it.
    pub ended: Option<(Wall, Option<Arc<str>>)>,
}

/// Assignments of one task that ended before their accept and are remembered; later ones are not. Accepted ones are no more than the
/// attempts.
pub const UNACCEPTED_KEPT_MAX: usize = 32;

/// One open task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub id: TaskId,
    pub upstream: UpstreamName,
    pub external_id: ExternalId,
    /// Sent along with the acquire; the answer goes out under the same.
    pub acquired_as: Arc<Identity>,
    pub spec: Arc<Spec>,
    pub trace_id: TraceId,
    /// When the intention to acquire became a record; the timeout counts from here.
    pub intended: Wall,
    pub offer: Offer,
    pub deadline: Option<Wall>,
    /// Number of the current try, from 1.
    pub attempt: u32,
    pub cancel: Option<Cancel>,
    pub outputs: Vec<Output>,
    /// Its steps, if its runner told any.
    pub plan: Option<Plan>,
    /// The adapter's own note of what the upstream knows of them; opaque here.
    pub told: Option<Bytes>,
    /// What its closed logs came to, of all its tries; at most [`RECEIPTS_MAX`](super::logs::RECEIPTS_MAX).
    pub logs: Vec<LogReceipt>,
    pub state: State,
    pub times: Times,
    /// Its assignments so far, in order; at most `attempts_max` and [`UNACCEPTED_KEPT_MAX`].
    pub leases: Vec<PastLease>,
    /// Who had it last.
    pub runner: Option<RunnerId>,
    /// The stage it has joined.
    pub session: Option<SessionId>,
    /// The delegate's own: no upstream knows it.
    pub own: bool,
    /// When the operator had its result sent after all; its time to be reported counts from here.
    pub replayed: Option<Wall>,
}

/// The delegate as an upstream knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The upstream's id for this delegate.
    pub delegate_id: Arc<str>,
    /// Ours, the same for the life of the state directory.
    pub instance_id: Arc<str>,
}

// === impl Payload, Secret, Output: sizes and names, never content ===

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({}, {} bytes)", self.content_type, self.content.len())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.name)
    }
}

impl fmt::Debug for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extension({}, {} bytes)", self.name, self.value.len())
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({})", self.name)
    }
}

// === impl Spec ===

impl Spec {
    /// A task of a type and nothing else.
    pub fn new(task_type: TaskType, kind: Kind) -> Self {
        Self {
            task_type,
            kind,
            priority: Priority::default(),
            payload: None,
            labels: BTreeMap::new(),
            secrets: Vec::new(),
            extensions: Vec::new(),
            tenant: Arc::from(""),
            timeout: None,
            reply: Bytes::new(),
            hand_back: false,
            unsupported: None,
            session: None,
            cleanup: None,
            trace_parent: None,
        }
    }

    /// About what the task takes in a frame beside its payload's content; never less.
    pub fn other_bytes(&self) -> usize {
        /// Tags, lengths and the envelope of one entry.
        const ENTRY: usize = 32;
        let labels = self.labels.iter().map(|(key, value)| key.len() + value.len() + ENTRY);
        let secrets = self.secrets.iter().map(|secret| secret.name.len() + secret.value.len() + ENTRY);
        // An extension's name goes with the 20 bytes of its type's URL.
        let extensions = self.extensions.iter().map(|more| more.name.len() + more.value.len() + 2 * ENTRY);
        let content_type = self.payload.as_ref().map_or(0, |payload| payload.content_type.len());
        self.task_type.as_str().len()
            + self.tenant.len()
            + content_type
            + labels.chain(secrets).chain(extensions).sum::<usize>()
    }

    /// Whether it plays a part in a stage, and so needs to know which.
    pub fn is_of_stage(&self) -> bool {
        matches!(self.kind, Kind::SessionSetup | Kind::SessionExecute | Kind::SessionCleanup)
    }

    /// The same without what only a runner needs; a finished task keeps no more in memory.
    pub fn without_content(&self) -> Self {
        Self { payload: None, secrets: Vec::new(), ..self.clone() }
    }
}

// === impl Error ===

impl Error {
    /// One of the delegate's own. The reason tells code, blame and retry.
    pub fn of(reason: Reason, message: impl Into<Arc<str>>) -> Self {
        Self {
            code: reason.code() as i32,
            reason: reason.word().into(),
            message: message.into(),
            blame: reason.blame(),
            retry: reason.retry(),
            retry_delay: None,
            side_effects_possible: None,
        }
    }

    /// Whether the task may have changed something outside.
    pub fn side_effects(self, possible: bool) -> Self {
        Self { side_effects_possible: Some(possible), ..self }
    }
}

// === impl Kind, Outcome, CancelReason: one word for the operator ===

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::SessionSetup => "setup",
            Self::SessionExecute => "execute",
            Self::SessionCleanup => "cleanup",
            Self::Pipeline => "pipeline",
        }
    }
}

impl Outcome {
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Errored => "errored",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
            Self::Skipped => "skipped",
        }
    }
}

impl CancelReason {
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Deadline => "deadline",
            Self::Drain => "drain",
            Self::UpstreamGone => "upstream_gone",
            Self::SessionClosed => "session_closed",
        }
    }
}

// === impl Finish ===

impl Finish {
    /// An end the delegate itself decides on.
    pub fn of(outcome: Outcome, error: Option<Error>) -> Self {
        Self { outcome, exit_code: None, error, payload: None, outputs: Vec::new(), extensions: Vec::new() }
    }
}

// === impl Task ===

impl Task {
    /// The lease in force, if a runner has the task.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Assigned(lease) | State::Accepted(lease) => Some(lease),
            State::Waiting { .. } | State::Finished { .. } => None,
        }
    }

    /// Whether these outputs are within the bound together with those the task has; the same name replaces.
    pub fn has_room_for(&self, outputs: &[Output]) -> bool {
        let names = self.outputs.iter().chain(outputs).map(|output| &output.name);
        names.collect::<std::collections::BTreeSet<_>>().len() <= OUTPUTS_MAX
    }

    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished { .. })
    }
}
