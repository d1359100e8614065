//! Handlers of a stage's life, each with its payload typed and the session at hand.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{
    context::Context,
    handler::Handler,
    outcome::{Failure, Success},
    runner::CLEANUP_CLASS,
    session::Session,
};
use crate::proto::runner::v1::{Payload, TaskKind};

/// Prepares a stage.
///
/// ```
/// use std::sync::Arc;
///
/// use dlite::sdk::{Context, Failure, Handler, Session, Setup, Success};
///
/// #[derive(serde::Deserialize)]
/// struct Request {
///     id: String,
/// }
///
/// struct Rooms;
///
/// impl Setup for Rooms {
///     type Payload = Request;
///
///     async fn setup(&self, _: Context, request: Request, session: Session) -> Result<Success, Failure> {
///         let change = session.change().state(&format!("room of {}", request.id))?;
///         Ok(Success::new().session_state(change))
///     }
/// }
///
/// let handler = Handler::setup("CI_DOCKER_INITIALIZE_TASK", Arc::new(Rooms));
/// ```
pub trait Setup: Send + Sync + 'static {
    /// Read from the task's payload as JSON. One that does not fit fails the task as `TASK_INVALID`, naming the field.
    type Payload: DeserializeOwned + Send + 'static;

    /// Executes one task.
    fn setup(
        &self,
        task: Context,
        payload: Self::Payload,
        session: Session,
    ) -> impl Future<Output = Result<Success, Failure>> + Send;
}

/// A step in a prepared stage; see [`Setup`] for an example.
pub trait Execute: Send + Sync + 'static {
    /// As [`Setup::Payload`].
    type Payload: DeserializeOwned + Send + 'static;

    /// Executes one task.
    fn execute(
        &self,
        task: Context,
        payload: Self::Payload,
        session: Session,
    ) -> impl Future<Output = Result<Success, Failure>> + Send;
}

/// Tears a stage down; see [`Setup`] for an example. The payload may be the setup's, where the upstream never sent one for the cleanup:
/// what a cleanup needs belongs into the session's state.
pub trait Cleanup: Send + Sync + 'static {
    /// Executes one task.
    fn cleanup(&self, task: Context, session: Session) -> impl Future<Output = Result<Success, Failure>> + Send;
}

// === impl Handler ===

impl Handler {
    /// Executes setups of exactly `task_type`.
    pub fn setup<S: Setup>(task_type: impl Into<String>, stage: Arc<S>) -> Self {
        let execute = move |task: Context, payload: Payload| {
            let stage = stage.clone();
            async move {
                let (payload, session) = (payload.parse()?, session_of(&task)?);
                stage.setup(task, payload, session).await
            }
        };
        Self::new(task_type, execute).kind(TaskKind::SessionSetup)
    }

    /// Executes steps of exactly `task_type`.
    pub fn execute<E: Execute>(task_type: impl Into<String>, stage: Arc<E>) -> Self {
        let execute = move |task: Context, payload: Payload| {
            let stage = stage.clone();
            async move {
                let (payload, session) = (payload.parse()?, session_of(&task)?);
                stage.execute(task, payload, session).await
            }
        };
        Self::new(task_type, execute).kind(TaskKind::SessionExecute)
    }

    /// Executes cleanups of exactly `task_type`. They have the slot class "cleanup" and, unless [`Runner::slots`](super::Runner::slots)
    /// says otherwise, four slots there, so that executes never keep them waiting.
    pub fn cleanup<C: Cleanup>(task_type: impl Into<String>, stage: Arc<C>) -> Self {
        let execute = move |task: Context, _: Payload| {
            let stage = stage.clone();
            async move {
                let session = session_of(&task)?;
                stage.cleanup(task, session).await
            }
        };
        Self::new(task_type, execute).kind(TaskKind::SessionCleanup).slot_class(CLEANUP_CLASS)
    }
}

fn session_of(task: &Context) -> Result<Session, Failure> {
    task.session().ok_or_else(|| Failure::invalid("the task belongs to no session"))
}
