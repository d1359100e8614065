//! What stands around handlers: timing, limits, checks, whatever is the same for many of them.
//!
//! The shape is tower's, without its readiness and its type parameters: a layer gets the task and what comes [`Next`], and answers in
//! its stead, or calls it.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::{
    context::Context,
    handler::{Execute, Work},
    outcome::{Failure, Success},
};
use crate::proto::runner::v1::{Payload, TaskOutcome};

/// Something around a handler. Any async function of context, payload and [`Next`] is one.
///
/// ```
/// use dlite::sdk::{Context, Failure, Handler, Next, Payload, Success};
///
/// async fn only_trusted(task: Context, payload: Payload, next: Next) -> Result<Success, Failure> {
///     if task.labels().get("trusted").is_none_or(|trusted| trusted != "true") {
///         return Err(Failure::invalid("tasks of untrusted repositories are not executed here"));
///     }
///     next.run(task, payload).await
/// }
///
/// let handler = Handler::new("DEPLOY", |_: Context, _: Payload| async { Ok(()) }).layer(only_trusted);
/// ```
pub trait Layer: Send + Sync + 'static {
    /// Answers the task, by `next` or without it.
    fn call(
        &self,
        task: Context,
        payload: Payload,
        next: Next,
    ) -> impl Future<Output = Result<Success, Failure>> + Send;
}

/// What a layer stands around: the next layer, or the handler itself.
pub struct Next(Execute);

/// Tells how long each task took, and how it ended, to a function of yours: for metrics and logs.
///
/// ```
/// use dlite::sdk::{Runner, Timing};
///
/// let runner = Runner::new("echo-1").layer(Timing::new(|task, outcome, took| {
///     println!("{} of type {} ended as {outcome:?} after {took:?}", task.task_id(), task.task_type());
/// }));
/// ```
pub struct Timing<F> {
    tell: F,
}

/// Ends tasks that take longer as timed out, without asking them to stop before; for handlers that are safe to drop. One that wants
/// to be asked has [`Handler::timeout`](super::Handler::timeout).
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    limit: Duration,
}

/// A layer whose future has no type of its own.
pub(crate) type Around = Arc<dyn Fn(Context, Payload, Next) -> Work + Send + Sync>;

pub(crate) fn around(layer: impl Layer) -> Around {
    let layer = Arc::new(layer);
    Arc::new(move |task, payload, next| {
        let layer = layer.clone();
        Box::pin(async move { layer.call(task, payload, next).await }) as Pin<Box<_>>
    })
}

pub(crate) fn wrap(execute: Execute, layer: Around) -> Execute {
    Arc::new(move |task, payload| layer(task, payload, Next(execute.clone())))
}

// === impl Layer ===

impl<F, Fut> Layer for F
where
    F: Fn(Context, Payload, Next) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Success, Failure>> + Send,
{
    fn call(
        &self,
        task: Context,
        payload: Payload,
        next: Next,
    ) -> impl Future<Output = Result<Success, Failure>> + Send {
        self(task, payload, next)
    }
}

// === impl Next ===

impl Next {
    /// Has the task executed by what the layer stands around.
    pub async fn run(self, task: Context, payload: Payload) -> Result<Success, Failure> {
        (self.0)(task, payload).await
    }
}

// === impl Timing ===

impl<F: Fn(&Context, TaskOutcome, Duration) + Send + Sync + 'static> Timing<F> {
    /// Calls `tell` at each handler's end, unless it is dropped before: a task that is killed has no end of its own.
    pub fn new(tell: F) -> Self {
        Self { tell }
    }
}

impl<F: Fn(&Context, TaskOutcome, Duration) + Send + Sync + 'static> Layer for Timing<F> {
    async fn call(&self, task: Context, payload: Payload, next: Next) -> Result<Success, Failure> {
        let started = Instant::now();
        let result = next.run(task.clone(), payload).await;
        let outcome = result.as_ref().map_or_else(Failure::outcome, |_| TaskOutcome::Succeeded);
        (self.tell)(&task, outcome, started.elapsed());
        result
    }
}

// === impl Deadline ===

impl Deadline {
    /// Of `limit` from the start of what it stands around.
    pub fn after(limit: Duration) -> Self {
        Self { limit }
    }
}

impl Layer for Deadline {
    async fn call(&self, task: Context, payload: Payload, next: Next) -> Result<Success, Failure> {
        let late = |_| Err(Failure::timed_out(format!("it took longer than {:?}", self.limit)));
        timeout(self.limit, next.run(task, payload)).await.unwrap_or_else(late)
    }
}
