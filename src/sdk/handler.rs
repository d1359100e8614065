//! One task type and the async function that executes it.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use super::{
    context::Context,
    outcome::{Failure, Success},
};
use crate::proto::runner::v1::{self as proto, Payload, ResourceRequest, TaskKind};

/// Class of handlers that name none.
pub(crate) const DEFAULT_CLASS: &str = "default";
/// The same for cleanups.
pub(crate) const CLEANUP_CLASS: &str = "cleanup";

/// The future of one started handler.
pub(crate) type Work = Pin<Box<dyn Future<Output = Result<Success, Failure>> + Send>>;

type Execute = Arc<dyn Fn(Context, Payload) -> Work + Send + Sync>;

/// A task type that a runner executes.
#[derive(Clone)]
pub struct Handler {
    pub(crate) declared: proto::Handler,
    execute: Execute,
}

impl Handler {
    /// Executes tasks of exactly `task_type` (1 to 128 bytes). The function gets the task's context and payload (empty if the
    /// task has none) and returns anything that makes a [`Success`], such as a [`Payload`] or `()`.
    ///
    /// It runs at most once for a task, unless the handler is [`idempotent`](Self::idempotent). A panic ends the task, not the
    /// runner. To be stopped, it has to await now and then: blocking work belongs on `tokio::task::spawn_blocking`.
    pub fn new<F, Fut, S>(task_type: impl Into<String>, execute: F) -> Self
    where
        F: Fn(Context, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, Failure>> + Send + 'static,
        S: Into<Success>,
    {
        let execute = move |context, payload| -> Work {
            let work = execute(context, payload);
            Box::pin(async move { work.await.map(Into::into) })
        };
        let declared = proto::Handler { task_type: task_type.into(), ..proto::Handler::default() };
        Self { declared, execute: Arc::new(execute) }
    }

    /// May run again for the same task after a lost lease, and is stopped when nobody renews its lease.
    pub fn idempotent(mut self) -> Self {
        self.declared.idempotent = true;
        self
    }

    /// Phase of a stage it serves. Unless said: standalone.
    pub fn kind(mut self, kind: TaskKind) -> Self {
        self.declared.kind = kind as i32;
        self
    }

    /// Class whose slots it uses. Unless said: "cleanup" for a cleanup, so that no other task can keep a stage from ending, and
    /// "default" for the rest.
    pub fn slot_class(mut self, class: impl Into<String>) -> Self {
        self.declared.slot_class = class.into();
        self
    }

    /// Longest run from its start, if the task says none that is shorter.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.declared.default_timeout = prost_types::Duration::try_from(timeout).ok();
        self
    }

    /// What a task takes from the host if it does not say so itself.
    pub fn resources(mut self, resources: ResourceRequest) -> Self {
        self.declared.default_resources = Some(resources);
        self
    }

    /// Only tasks with this label; several calls: with all of them.
    pub fn match_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.declared.match_labels.insert(key.into(), value.into());
        self
    }

    /// Asks for the extension of this full message name, such as "dlite.upstream.harness.v1.TaskInfo".
    pub fn extension(mut self, name: impl Into<String>) -> Self {
        self.declared.extensions.push(name.into());
        self
    }

    /// The class that was given, or the one that goes with the kind.
    pub(crate) fn class(&self) -> &str {
        match (&*self.declared.slot_class, self.declared.kind()) {
            ("", TaskKind::SessionCleanup) => CLEANUP_CLASS,
            ("", _) => DEFAULT_CLASS,
            (class, _) => class,
        }
    }

    /// What the delegate is told of it.
    pub(crate) fn declaration(&self) -> proto::Handler {
        proto::Handler { slot_class: self.class().to_owned(), ..self.declared.clone() }
    }

    pub(crate) fn start(&self, context: Context, payload: Payload) -> Work {
        (self.execute)(context, payload)
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handler").field(&self.declared).finish()
    }
}
