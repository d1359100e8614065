//! The closed set of reasons: every refusal, wait and error that this program itself gives has one of these words, and each word
//! tells code, who can mend it, and whether another try makes sense. A runner's own errors bring words of their own, which pass
//! through unread.
//!
//! `docs/reasons.md` is written from this table, a paragraph a word, for whoever meets it in a log at night.

use crate::core::task::{Blame, Retry};

/// Where a word is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the error of a task's result.
    Task,
    /// In a runner's rejection of an assignment.
    Rejection,
    /// In the wait of a task that is listed and not acquired.
    Listed,
    /// In the refusal of a runner's frame.
    Frame,
    /// At the end of a runner's stream.
    Stream,
    /// On the way of a result to the upstream.
    Report,
    /// In the answer to an operator's order.
    Order,
    /// In the delegate's own state or log.
    Delegate,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal, $place:ident, $code:ident, $blame:ident, $retry:ident;)+) => {
        /// One reason. Its paragraph is what an operator reads.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// All of them, in the order of the table.
            pub const ALL: &[Reason] = &[$(Reason::$name,)+];

            /// The stable word, as peers, operators and metrics see it.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Reason::$name => $word,)+
                }
            }

            /// Where it is met first of all.
            pub const fn place(self) -> Place {
                match self {
                    $(Reason::$name => Place::$place,)+
                }
            }

            /// The google.rpc.Code beside the word.
            pub const fn code(self) -> Code {
                match self {
                    $(Reason::$name => Code::$code,)+
                }
            }

            /// Who can mend it.
            pub const fn blame(self) -> Blame {
                match self {
                    $(Reason::$name => Blame::$blame,)+
                }
            }

            /// Where another try makes sense.
            pub const fn retry(self) -> Retry {
                match self {
                    $(Reason::$name => Retry::$retry,)+
                }
            }

            /// What happened and what to do, for operators.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Reason::$name => concat!($($doc, "\n",)+),)+
                }
            }
        }
    };
}

/// The google.rpc.Codes in use, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

reasons! {
    // === how tasks end ===
    /// The runner had accepted the task and was not heard of for `runners.lease_ttl`, came back without it, or left it out of a
    /// heartbeat. The task may have run in part. A handler that is not idempotent is not started again, so look at the runner's
    /// host for what the task left; then start it anew at the upstream.
    LeaseLost = "LEASE_LOST", Task, FailedPrecondition, Runner, Never;
    /// No attached runner has a handler for the task's type and labels. Before the acquire the task stays with the upstream; after
    /// it, the task waits for `runners.no_runner_timeout` and is handed back or fails. Start a runner that handles the type; `dlite
    /// runners list` and `dlite status` show what is attached.
    NoRunner = "NO_RUNNER", Task, FailedPrecondition, Delegate, OtherDelegate;
    /// The task's payload, or its labels, secrets and extensions, do not fit a frame to a runner (3.5 MiB of payload, 4 MiB in all).
    /// It was never started. Make the task smaller at the upstream.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", Task, OutOfRange, TaskSpec, Never;
    /// The task asks for something this delegate does not do, named in the message. It was never started.
    UnsupportedRequest = "UNSUPPORTED_REQUEST", Task, Unimplemented, Delegate, Never;
    /// The task's time is over: its own timeout, its handler's, or the cap of the configuration, whichever is the smallest. The
    /// handler was asked to stop and had its grace. `dlite tasks get` shows which limit it was.
    DeadlineExceeded = "DEADLINE_EXCEEDED", Task, DeadlineExceeded, Upstream, Never;
    /// Somebody stopped the task: the upstream aborted it, or an operator cancelled it. The message says who and why.
    TaskCancelled = "TASK_CANCELLED", Task, Cancelled, Upstream, Never;
    /// The delegate was drained and the grace passed before the task was done. Start it again at the upstream.
    Drain = "DRAIN", Task, Cancelled, Delegate, Never;
    /// The upstream does not know the task any more, so nobody waits for its result.
    UpstreamGone = "UPSTREAM_GONE", Task, Cancelled, Upstream, Never;
    /// The stage that the task belongs to is over, or its cleanup has come: what still ran was stopped, and nothing new of it starts.
    SessionClosed = "SESSION_CLOSED", Task, Cancelled, Upstream, Never;
    /// The runner that holds what the stage left on its host was gone for a whole `runners.lease_ttl`. The stage can't go on; its
    /// cleanup is still given to whichever runner can do it. Look why the runner went away, and start the stage anew.
    SessionLost = "SESSION_LOST", Task, FailedPrecondition, Runner, Never;
    /// The task belongs to a stage by its type, and its payload names none at the configured pointer. Compare
    /// `upstreams[].session_pointers` with the payload.
    SessionIdMissing = "SESSION_ID_MISSING", Task, InvalidArgument, TaskSpec, Never;
    /// A second setup for a stage that is open already.
    SessionDoubled = "SESSION_DOUBLED", Task, AlreadyExists, TaskSpec, Never;

    // === what runners say ===
    /// The task itself said no: a command of it failed. See its log.
    TaskFailed = "TASK_FAILED", Task, Unknown, UserCode, Never;
    /// There was nothing to do, by the task's own word.
    TaskSkipped = "TASK_SKIPPED", Task, Cancelled, UserCode, Never;
    /// The handler can't read its payload; the message names the field.
    TaskInvalid = "TASK_INVALID", Task, InvalidArgument, TaskSpec, Never;
    /// The handler panicked; the runner goes on. Its log has the place.
    HandlerPanicked = "HANDLER_PANICKED", Task, Internal, Runner, SameRunner;
    /// The handler returned an error without a reason of its own; the message and its causes say what it was.
    HandlerError = "HANDLER_ERROR", Task, Unknown, Runner, Never;
    /// The handler was dropped by the runner's own runtime, which usually means that the runner was stopping.
    HandlerStopped = "HANDLER_STOPPED", Task, Unavailable, Runner, Never;
    /// The result is larger than a frame may be. The task ran to its end; its result can't be carried. Have the handler return less.
    ResultTooLarge = "RESULT_TOO_LARGE", Task, ResourceExhausted, Runner, Never;
    /// The command of an exec handler could not be started: not found, not executable, or no process could be made. Nothing ran.
    CommandNotStarted = "COMMAND_NOT_STARTED", Task, Unavailable, Infrastructure, OtherRunner;
    /// The command used more memory than its handler allows and was killed.
    MemoryLimit = "MEMORY_LIMIT", Task, ResourceExhausted, UserCode, Never;
    /// The command asked to be tried again later (exit code 75).
    TemporaryFailure = "TEMPORARY_FAILURE", Task, Unavailable, Infrastructure, SameRunner;
    /// The command says that it may not do this (exit code 77).
    PermissionDenied = "PERMISSION_DENIED", Task, PermissionDenied, UserCode, Never;
    /// A signal ended the command; the message names it. `SIGKILL` without a limit of the handler often is the system, out of memory.
    KilledBySignal = "KILLED_BY_SIGNAL", Task, Aborted, UserCode, Never;
    /// The exec or pipeline runner could not prepare the task: no directory, no file, no stream. The message has the system's word.
    RunnerFailed = "RUNNER_FAILED", Task, Internal, Runner, OtherRunner;
    /// The process that watches over an exec task was killed, and its command with it.
    KeeperLost = "KEEPER_LOST", Task, Unavailable, Runner, Never;
    /// A step of a pipeline could not be executed: no sources to fetch, no shell, no process. The message names step and cause.
    StepBroken = "STEP_BROKEN", Task, Internal, Runner, Never;
    /// The delegate sent an assignment without a task: a fault of the delegate.
    TaskMissing = "TASK_MISSING", Rejection, InvalidArgument, Delegate, OtherRunner;
    /// The runner has no handler for the type; it may have changed since it attached.
    NoHandler = "NO_HANDLER", Rejection, Unimplemented, Runner, OtherRunner;
    /// The runner is about to leave.
    RunnerLeaving = "RUNNER_LEAVING", Rejection, Unavailable, Runner, OtherRunner;
    /// No time was left for the task when it reached the runner.
    TaskExpired = "TASK_EXPIRED", Rejection, DeadlineExceeded, Upstream, Never;
    /// All slots of the class are taken, by the runner's own count.
    RunnerFull = "RUNNER_FULL", Rejection, ResourceExhausted, Runner, OtherRunner;
    /// The runner neither accepted nor rejected the assignment within `runners.accept_timeout`. The task was not started by it, and goes to
    /// whichever runner can take it. See the runner's log for what held it up.
    AcceptTimeout = "ACCEPT_TIMEOUT", Rejection, DeadlineExceeded, Runner, OtherRunner;

    // === why a listed task is not acquired ===
    /// Every slot of the class is in use or promised. Tasks stay with the upstream, where another delegate may take them. More slots,
    /// or more runners, take more at once.
    NoSlot = "NO_SLOT", Listed, ResourceExhausted, Delegate, OtherDelegate;
    /// As many tasks are open as `tasks_max` allows.
    TasksMax = "TASKS_MAX", Listed, ResourceExhausted, Delegate, OtherDelegate;
    /// As many stages are open as the delegate keeps, so no further one begins. `dlite sessions list` shows them; those that nobody closes
    /// end by `sessions.ttl`, or by `dlite sessions close`.
    SessionsMax = "SESSIONS_MAX", Listed, ResourceExhausted, Delegate, OtherDelegate;
    /// Runners of this type are attached, and every one of them says that it takes no new stage. Steps and cleanups of open stages still
    /// reach them. See their logs for why.
    SessionsRefused = "SESSIONS_REFUSED", Listed, Unavailable, Runner, OtherDelegate;
    /// The journal can't write, so nothing could be promised: nothing new is taken until it can. Look at the disk of `state_dir`.
    StoreFailing = "STORE_FAILING", Listed, Unavailable, Delegate, OtherDelegate;
    /// The upstream gave the task's data without assigning it, so it is left alone for half a minute.
    HandedOutUnassigned = "HANDED_OUT_UNASSIGNED", Listed, FailedPrecondition, Upstream, OtherDelegate;
    /// The upstream aborted the task before it was taken.
    Aborted = "ABORTED", Listed, Cancelled, Upstream, Never;
    /// The upstream owes an answer to an acquire and gets one request at a time until it gives one.
    UpstreamSilent = "UPSTREAM_SILENT", Listed, Unavailable, Upstream, OtherDelegate;
    /// The delegate drains: nothing new is taken. `dlite resume` takes that back.
    Draining = "DRAINING", Listed, Unavailable, Delegate, OtherDelegate;
    /// The host's memory is above the high mark (`admission.memory_high`); setups wait until it is below the low one. Cleanups pass
    /// always, executes of open sessions longer than setups.
    AdmissionMemory = "ADMISSION_MEMORY", Listed, ResourceExhausted, Infrastructure, OtherDelegate;
    /// As `ADMISSION_MEMORY`, for the processors.
    AdmissionCpu = "ADMISSION_CPU", Listed, ResourceExhausted, Infrastructure, OtherDelegate;
    /// As `ADMISSION_MEMORY`, for the disk of the workspaces.
    AdmissionDisk = "ADMISSION_DISK", Listed, ResourceExhausted, Infrastructure, OtherDelegate;
    /// Processes on the host wait for memory (PSI), which comes before it is full; as `ADMISSION_MEMORY` otherwise.
    AdmissionMemoryPressure = "ADMISSION_MEMORY_PRESSURE", Listed, ResourceExhausted, Infrastructure, OtherDelegate;
    /// Processes on the host wait for a core (PSI); as `ADMISSION_MEMORY` otherwise.
    AdmissionCpuPressure = "ADMISSION_CPU_PRESSURE", Listed, ResourceExhausted, Infrastructure, OtherDelegate;
    /// Processes on the host wait for a disk (PSI); as `ADMISSION_MEMORY` otherwise.
    AdmissionIoPressure = "ADMISSION_IO_PRESSURE", Listed, ResourceExhausted, Infrastructure, OtherDelegate;
    /// The memory that handlers declare for what runs would exceed `admission.memory_capacity_mib`.
    AdmissionDeclaredMemory = "ADMISSION_DECLARED_MEMORY", Listed, ResourceExhausted, Delegate, OtherDelegate;
    /// The processors that handlers declare for what runs would exceed `admission.cpu_capacity_millis`.
    AdmissionDeclaredCpu = "ADMISSION_DECLARED_CPU", Listed, ResourceExhausted, Delegate, OtherDelegate;
    /// The disk that handlers declare for what runs would exceed `admission.disk_capacity_mib`.
    AdmissionDeclaredDisk = "ADMISSION_DECLARED_DISK", Listed, ResourceExhausted, Delegate, OtherDelegate;
    /// The operator paused the upstream: nothing new is taken from it, and stages that are open here go on. `dlite upstreams resume`
    /// takes that back.
    UpstreamPaused = "UPSTREAM_PAUSED", Listed, FailedPrecondition, Delegate, OtherDelegate;
    /// The operator drained every runner with a handler for the type. `dlite runners resume` takes that back.
    RunnerDrained = "RUNNER_DRAINED", Listed, FailedPrecondition, Delegate, OtherDelegate;
    /// Every runner with a handler for the type says that it is not healthy. Its log says why.
    RunnerUnhealthy = "RUNNER_UNHEALTHY", Listed, FailedPrecondition, Runner, OtherDelegate;
    /// As many stages began within the last instant as `admission.starts_per_second` allows; the next ones follow at that rate.
    AdmissionStartRate = "ADMISSION_START_RATE", Listed, ResourceExhausted, Delegate, SameRunner;

    // === upstreams that refuse this delegate ===
    /// The upstream refuses the credentials. Nothing is taken from it; what runs is finished, and results wait in the journal. Put the
    /// right secret into the file (it is read again when it changes), or see `dlite upstreams check`.
    UpstreamUnauthorized = "UPSTREAM_UNAUTHORIZED", Listed, Unauthenticated, Upstream, Never;
    /// The token is too old by the upstream's clock: compare the clocks.
    UpstreamTokenExpired = "UPSTREAM_TOKEN_EXPIRED", Listed, Unauthenticated, Upstream, Never;
    /// The secret that tokens are made from was revoked at the upstream: get a new one.
    UpstreamTokenRevoked = "UPSTREAM_TOKEN_REVOKED", Listed, Unauthenticated, Upstream, Never;
    /// This machine's address is not on the upstream's list of allowed ones.
    UpstreamAddressRefused = "UPSTREAM_ADDRESS_REFUSED", Listed, PermissionDenied, Upstream, Never;
    /// The upstream deleted this delegate and refuses a new registration. What is open is finished, then the process ends.
    DelegateDeleted = "DELEGATE_DELETED", Delegate, FailedPrecondition, Upstream, Never;

    // === frames of runners ===
    /// The frame's number is not the next one: sender and receiver count differently. Mend the runner's SDK.
    SequenceInvalid = "SEQUENCE_INVALID", Frame, InvalidArgument, Runner, Never;
    /// A field of the frame breaks its bound; the message names it. Mend the runner.
    FrameInvalid = "FRAME_INVALID", Frame, InvalidArgument, Runner, Never;
    /// A frame of a newer runner that this delegate does not know. Harmless; an update of the delegate brings what it is for.
    FrameUnknown = "FRAME_UNKNOWN", Frame, Unimplemented, Runner, Never;
    /// The assignment was not answered within `runners.accept_timeout`, or was cancelled before: the handler must not start.
    AssignmentWithdrawn = "ASSIGNMENT_WITHDRAWN", Frame, FailedPrecondition, Delegate, Never;
    /// The session's state was changed by another task in the meantime. The newest state follows; the handler makes its change
    /// again from there.
    SessionEtagStale = "SESSION_ETAG_STALE", Frame, Aborted, Runner, SameRunner;
    /// The task belongs to no session, so there is no state to change.
    SessionNone = "SESSION_NONE", Frame, FailedPrecondition, Runner, Never;

    // === ends of runners' streams ===
    /// The first frame is no hello, or a field of it breaks its bound; the message names it.
    HelloInvalid = "HELLO_INVALID", Stream, InvalidArgument, Runner, Never;
    /// No token came over TCP, or a wrong one. The runner needs the content of the delegate's token file.
    TokenInvalid = "TOKEN_INVALID", Stream, Unauthenticated, Runner, Never;
    /// The peer at the Unix socket is neither root, nor the delegate's user, nor in the socket's group.
    PeerForbidden = "PEER_FORBIDDEN", Stream, PermissionDenied, Runner, Never;
    /// These credentials may not use this runner id.
    RunnerIdForbidden = "RUNNER_ID_FORBIDDEN", Stream, PermissionDenied, Runner, Never;
    /// A newer process attached under the same runner id; this one is to exit. If both should run, give them two ids.
    Replaced = "REPLACED", Stream, FailedPrecondition, Runner, Never;
    /// Processes under one runner id replaced one another three times within a minute. The message names both peers: give them two ids.
    RunnerIdInUse = "RUNNER_ID_IN_USE", Stream, AlreadyExists, Runner, SameRunner;
    /// A newer stream of the same process took over.
    Superseded = "SUPERSEDED", Stream, Unavailable, Runner, Never;
    /// Nothing was heard of the runner for three heartbeat intervals. Its leases live on until their ttl.
    Silent = "SILENT", Stream, Unavailable, Runner, SameRunner;
    /// The runner does not read what it is sent, or sends beyond the bound on unacknowledged frames.
    LinkOverrun = "LINK_OVERRUN", Stream, ResourceExhausted, Runner, SameRunner;

    /// The delegate stops. Work goes on; the runner attaches again when the delegate is back.
    Shutdown = "SHUTDOWN", Stream, Unavailable, Delegate, SameRunner;

    // === the way of results ===
    /// The upstream does not take the result as it is. A minimal failure was sent in its place; the original is kept as a dead letter.
    ResultRefused = "RESULT_REFUSED", Report, FailedPrecondition, Upstream, Never;
    /// The upstream no longer knows the task; its result is kept as a dead letter.
    TaskGone = "TASK_GONE", Report, NotFound, Upstream, Never;
    /// The upstream did not take the result within `report_age_max`; it is kept as a dead letter.
    ReportAgeMax = "REPORT_AGE_MAX", Report, DeadlineExceeded, Upstream, Never;
    /// The task was handed back, and the upstream did not say that it knows. If the hand-back did not arrive, the upstream finds out by
    /// the task's own timeout.
    HandBackUnanswered = "HAND_BACK_UNANSWERED", Report, Unavailable, Upstream, Never;

    /// The operator gave the result up (`dlite reports drop`). The upstream finds out by the task's own timeout.
    ReportDropped = "REPORT_DROPPED", Report, Cancelled, Delegate, Never;

    // === operators' orders ===
    /// The task runs or waits, so there is no result to send or to drop. `dlite tasks cancel` stops it.
    NoResult = "NO_RESULT", Order, FailedPrecondition, Delegate, Never;
    /// The task is on its way back to its upstream, which is done once whatever becomes of it.
    HandedBack = "HANDED_BACK", Order, FailedPrecondition, Delegate, Never;
    /// The upstream took a minimal failure in place of this result. Two results of one task are never sent.
    AlreadyReported = "ALREADY_REPORTED", Order, FailedPrecondition, Upstream, Never;
    /// The upstream has given the task out again; what that try brings is its result. Drop the old one.
    ReportSuperseded = "REPORT_SUPERSEDED", Order, FailedPrecondition, Upstream, Never;
    /// The result belongs to an upstream that is not configured any more. Configure it again under the same name, or drop the result.
    ReportOrphaned = "REPORT_ORPHANED", Order, FailedPrecondition, Delegate, Never;
    /// No open task has this id; it may be reported already.
    TaskUnknown = "TASK_UNKNOWN", Order, NotFound, Delegate, Never;
    /// The task's result is decided; what is left is its way to the upstream.
    TaskFinished = "TASK_FINISHED", Order, FailedPrecondition, Delegate, Never;
    /// No open session has this id.
    SessionUnknown = "SESSION_UNKNOWN", Order, NotFound, Delegate, Never;
    /// The session's cleanup waits or runs already.
    SessionClosing = "SESSION_CLOSING", Order, FailedPrecondition, Delegate, Never;
    /// No upstream of this name is configured; `dlite upstreams list` has the names.
    UpstreamUnknown = "UPSTREAM_UNKNOWN", Order, NotFound, Delegate, Never;
    /// The upstream is not paused, so there is nothing to resume.
    UpstreamNotPaused = "UPSTREAM_NOT_PAUSED", Order, FailedPrecondition, Delegate, Never;
    /// No runner of this id is attached, and none left work behind; `dlite runners list` has the ids.
    RunnerUnknown = "RUNNER_UNKNOWN", Order, NotFound, Delegate, Never;
    /// The runner is not drained, so there is nothing to resume.
    RunnerNotDrained = "RUNNER_NOT_DRAINED", Order, FailedPrecondition, Delegate, Never;
    /// As many runners are drained as are remembered. Resume those that will not come back.
    RunnersDrainedMax = "RUNNERS_DRAINED_MAX", Order, ResourceExhausted, Delegate, Never;
    /// A drain is under way. `dlite resume` takes it back; a signal ends the waiting.
    AlreadyDraining = "ALREADY_DRAINING", Order, FailedPrecondition, Delegate, Never;
    /// The process is to end, which can't be taken back.
    Stopping = "STOPPING", Order, FailedPrecondition, Delegate, Never;
    /// There is no drain to take back.
    NotDraining = "NOT_DRAINING", Order, FailedPrecondition, Delegate, Never;
    /// The configuration has mistakes, all of them in the message; what was in force stays in force.
    ConfigRejected = "CONFIG_REJECTED", Order, FailedPrecondition, Delegate, Never;

    // === the delegate itself ===
    /// A runner holds an acknowledgement that the journal lacks: the journal lost its tail, by a restored backup or a disk that lies
    /// about syncing. Results that were acknowledged may be gone; their tasks end as lost leases.
    JournalRolledBack = "JOURNAL_ROLLED_BACK", Delegate, DataLoss, Infrastructure, Never;
}

// === impl Reason ===

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// All reasons for operators, by place, as Markdown: the content of `docs/reasons.md`.
pub fn page() -> String {
    let mut text = String::from(
        "# Reasons\n\nEvery refusal, wait and error that dlite itself gives has one of these words. A runner's own errors may have other \
         words, which pass\nthrough as they are. Behind each word: its google.rpc code, who can mend it, and where another try makes sense.\n\n\
         This page is written from `src/reason.rs`: `DLITE_BLESS=1 cargo test --test limits reasons`.\n",
    );
    let mut places: Vec<Place> = Reason::ALL.iter().map(|reason| reason.place()).collect();
    places.sort_unstable();
    places.dedup();
    for place in places {
        text += &format!("\n## {}\n", place.title());
        for reason in Reason::ALL.iter().filter(|reason| reason.place() == place) {
            text += &format!(
                "\n### {reason}\n\n`{:?}` · mended by: {} · try again: {}\n\n{}\n",
                reason.code(),
                mender(reason.blame()),
                again(reason.retry()),
                reason.text().lines().map(str::trim).collect::<Vec<_>>().join("\n")
            );
        }
    }
    text
}

fn mender(blame: Blame) -> &'static str {
    match blame {
        Blame::UserCode => "the task's own code",
        Blame::TaskSpec => "the task as written",
        Blame::Runner => "the runner",
        Blame::Infrastructure => "the host and what it needs",
        Blame::Delegate => "the delegate's operator",
        Blame::Upstream => "the upstream",
    }
}

fn again(retry: Retry) -> &'static str {
    match retry {
        Retry::Never => "no",
        Retry::SameRunner => "on any runner",
        Retry::OtherRunner => "on another runner",
        Retry::OtherDelegate => "on another delegate",
    }
}

// === impl Place ===

impl Place {
    fn title(self) -> &'static str {
        match self {
            Self::Task => "How tasks end",
            Self::Rejection => "Why a runner does not take an assignment",
            Self::Listed => "Why a listed task is not acquired",
            Self::Frame => "Why a runner's frame is refused",
            Self::Stream => "Why a runner's stream ends",
            Self::Report => "What keeps a result from its upstream",
            Self::Order => "Why an operator's order is not followed",
            Self::Delegate => "What befalls the delegate itself",
        }
    }
}
