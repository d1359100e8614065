//! What a handler sees of its task, and what it can tell while it runs.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

pub use super::output::OutputError;
use super::{
    extension::{Extension, find},
    holdings::LeaseId,
    log::{Log, TaskLogs},
    output::{Output, output_set},
    refusal::Refusal,
    session::{Session, Snapshot},
    state::StateChange,
    step::StepError,
    trace,
};
use crate::proto::runner::v1::{
    CancelReason, Origin, OutputSet, Progress, Secret, Step, StepPlan, Task, TaskAssignment, TaskKind, TraceContext,
    task_update::Update,
};

/// A request to stop: end soon, or be dropped once the grace has passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancellation {
    /// Who or what stops the task.
    pub reason: CancelReason,
    /// For people: who and why. Empty: nothing known.
    pub message: String,
    /// Between this request and the drop of the handler; a repeated request may shorten it unseen.
    pub grace: Duration,
}

/// Cheap to clone; of use until the handler ends. Prints ids only.
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
}

struct Shared {
    lease_id: LeaseId,
    task: Task,
    trace: Option<TraceContext>,
    deadline: Option<Instant>,
    cancellation: watch::Receiver<Option<Cancellation>>,
    session: Option<watch::Receiver<Arc<Snapshot>>>,
    news: mpsc::Sender<News>,
    logs: TaskLogs,
}

/// What handlers tell the driver.
pub(crate) enum News {
    Progress { lease_id: LeaseId, progress: Progress },
    Output { lease_id: LeaseId, outputs: OutputSet, taken: oneshot::Sender<Result<(), Refusal>> },
    Steps { lease_id: LeaseId, update: Update, taken: oneshot::Sender<Result<(), Refusal>> },
    State { lease_id: LeaseId, change: StateChange, written: oneshot::Sender<Result<(), Refusal>> },
}

// === impl Cancellation ===

impl Cancellation {
    /// The work is being dropped already; what it spawned should end too.
    pub(crate) fn lease_lost() -> Self {
        Self { reason: CancelReason::LeaseLost, message: "the lease is gone".to_owned(), grace: Duration::ZERO }
    }
}

// === impl Context ===

impl Context {
    pub(crate) fn new(
        lease_id: LeaseId,
        assignment: TaskAssignment,
        deadline: Option<Instant>,
        cancellation: watch::Receiver<Option<Cancellation>>,
        session: Option<watch::Receiver<Arc<Snapshot>>>,
        news: mpsc::Sender<News>,
        logs: TaskLogs,
    ) -> Self {
        let task = assignment.task.unwrap_or_default();
        let trace = assignment.trace;
        Self { shared: Arc::new(Shared { lease_id, task, trace, deadline, cancellation, session, news, logs }) }
    }

    /// The log of a step (its `step_id`), or of the task itself if `step` is empty; the same one each time. It is closed when the step
    /// is told to have ended, or else when the handler ends, and the task's result waits for it no longer than
    /// [`LOG_FLUSH_MAX`](super::LOG_FLUSH_MAX).
    pub fn log(&self, step: &str) -> Log {
        self.shared.logs.open(step)
    }

    /// The idempotency key: the same for all attempts.
    pub fn task_id(&self) -> &str {
        &self.task().task_id
    }

    /// The fencing token of this assignment, for systems that ask for one.
    pub fn lease_id(&self) -> &str {
        &self.shared.lease_id
    }

    /// What chose this handler.
    pub fn task_type(&self) -> &str {
        &self.task().task_type
    }

    /// The part of a stage's life that the task plays.
    pub fn kind(&self) -> TaskKind {
        self.task().kind()
    }

    /// 1 for the first try.
    pub fn attempt(&self) -> u32 {
        self.task().attempt
    }

    /// Tries in all; 0: unknown.
    pub fn max_attempts(&self) -> u32 {
        self.task().max_attempts
    }

    /// Tenant, pipeline, repository and the like.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.task().labels
    }

    /// Values to use and to mask; they print their names only.
    pub fn secrets(&self) -> &[Secret] {
        &self.task().secrets
    }

    /// The value of the secret called `name`, unless it is listed for masking alone.
    pub fn secret(&self, name: &str) -> Option<&[u8]> {
        let usable = |secret: &&Secret| secret.name == name && !secret.mask_only;
        self.secrets().iter().find(usable).map(|secret| &secret.value[..])
    }

    /// Where the task came from. `None`: made by the delegate itself.
    pub fn origin(&self) -> Option<&Origin> {
        self.task().origin.as_ref()
    }

    /// The typed addition `E`, if the handler [asked for it](super::Handler::extension) and the task has one. Undecodable ones are
    /// absent.
    pub fn extension<E: Extension>(&self) -> Option<E> {
        find(&self.task().extensions)
    }

    /// The stage that the task belongs to, as it is now. `None`: it belongs to none.
    pub fn session(&self) -> Option<Session> {
        let newest = self.shared.session.clone()?;
        Some(Session::new(self.shared.lease_id.clone(), newest, self.shared.news.clone()))
    }

    /// The W3C trace parent that this task's spans belong to.
    pub fn traceparent(&self) -> Option<&str> {
        self.shared.trace.as_ref().map(|trace| trace.traceparent.as_str()).filter(|parent| !parent.is_empty())
    }

    /// The W3C trace state that goes with it.
    pub fn tracestate(&self) -> Option<&str> {
        self.shared.trace.as_ref().map(|trace| trace.tracestate.as_str()).filter(|state| !state.is_empty())
    }

    /// The delegate's span, as the remote parent of whatever the handler traces. In the handler's own task the current context of
    /// OpenTelemetry is this one already, or a span of the process's tracer below it; what the handler spawns needs to be given one.
    pub fn trace_context(&self) -> opentelemetry::Context {
        trace::remote_parent(self.shared.trace.as_ref())
    }

    /// `traceparent` and `tracestate` for a child process, or for a call to somebody else: of the span in force where this is called,
    /// else of the delegate's. `None`: the task has no trace.
    pub fn trace_headers(&self) -> Option<(String, String)> {
        let delegates = || Some((self.traceparent()?.to_owned(), self.tracestate().unwrap_or_default().to_owned()));
        trace::current().or_else(delegates)
    }

    /// The whole task, for what has no method here. Its payload was given to the handler.
    pub fn task(&self) -> &Task {
        &self.shared.task
    }

    /// Until the handler is asked to stop for want of time; zero: it has been. `None`: no limit.
    pub fn time_remaining(&self) -> Option<Duration> {
        self.shared.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits for the request to stop. Meant for `select!`; a handler that never looks is dropped when the grace has passed. A
    /// handler whose lease is lost is dropped at once; what it has spawned sees that here, as `CancelReason::LeaseLost`.
    pub async fn cancelled(&self) -> Cancellation {
        let mut cancellation = self.shared.cancellation.clone();
        let asked = cancellation.wait_for(Option::is_some).await.ok().and_then(|asked| asked.clone());
        match asked {
            Some(asked) => asked,
            // The runner is gone, and this future with it.
            None => std::future::pending().await,
        }
    }

    /// The request to stop, if one was made.
    pub fn cancellation(&self) -> Option<Cancellation> {
        self.shared.cancellation.borrow().clone()
    }

    /// A request to stop was made.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancellation.borrow().is_some()
    }

    /// Tells people how far the task is: one sentence and, if known, the done part of the whole (0 to 1). The latest wins and
    /// any may be lost; never waits.
    pub fn progress(&self, message: impl Into<String>, fraction: impl Into<Option<f32>>) {
        self.progress_with(Progress { message: message.into(), fraction: fraction.into(), ..Progress::default() });
    }

    /// As [`Context::progress`], with phase and details.
    pub fn progress_with(&self, progress: Progress) {
        // Full means that news comes faster than it can leave; then this one is among those that get lost.
        let _ = self.shared.news.try_send(News::Progress { lease_id: self.shared.lease_id.clone(), progress });
    }

    /// Makes one value known before the end; see [`Context::outputs`].
    pub async fn output(&self, output: Output) -> Result<(), OutputError> {
        self.outputs(vec![output]).await
    }

    /// Makes up to 256 values known before the end; a later one of the same name replaces an earlier one. Returns when they are
    /// kept until acknowledged, link up or not; waits while 1,024 updates of this runner are not acknowledged. Dropped while
    /// it waits, the values may still be told.
    pub async fn outputs(&self, outputs: Vec<Output>) -> Result<(), OutputError> {
        let outputs = output_set(outputs)?;
        let (taken, answer) = oneshot::channel();
        let news = News::Output { lease_id: self.shared.lease_id.clone(), outputs, taken };
        self.shared.news.send(news).await.map_err(|_| OutputError::TaskEnded)?;
        Ok(answer.await.unwrap_or(Err(Refusal::TaskEnded))?)
    }

    /// Names all steps of the task, up to 1,024, once and before the first of them changes. Returns as [`Context::outputs`] does.
    ///
    /// # Errors
    /// Any [`StepError`].
    pub async fn plan(&self, steps: Vec<Step>) -> Result<(), StepError> {
        self.tell_steps(Update::StepPlan(StepPlan { steps })).await
    }

    /// Tells one step of the plan as it is now: state, times, [card](Step::with_card). The end of a step closes its
    /// [log](Context::log); write all of it before. Returns as [`Context::outputs`] does, and waits for no log.
    ///
    /// # Errors
    /// Any [`StepError`].
    pub async fn step(&self, mut step: Step) -> Result<(), StepError> {
        step.has_log |= self.shared.logs.has(&step.step_id);
        if step.is_final() {
            self.shared.logs.close(&step.step_id);
        }
        self.tell_steps(Update::Step(step)).await
    }

    async fn tell_steps(&self, update: Update) -> Result<(), StepError> {
        let (taken, answer) = oneshot::channel();
        let news = News::Steps { lease_id: self.shared.lease_id.clone(), update, taken };
        self.shared.news.send(news).await.map_err(|_| StepError::TaskEnded)?;
        Ok(answer.await.unwrap_or(Err(Refusal::TaskEnded))?)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = self.task();
        f.debug_struct("Context")
            .field("task_id", &task.task_id)
            .field("task_type", &task.task_type)
            .field("attempt", &task.attempt)
            .field("lease_id", &self.shared.lease_id)
            .finish_non_exhaustive()
    }
}
