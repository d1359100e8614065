//! How a handler's end is said: [`Success`] or [`Failure`], and the result each becomes.

use std::{error::Error, time::Duration};

use tonic::Code;
use tonic_types::Status;

use super::{
    extension::{Extension, to_any},
    output::Output,
    reason::{self, status},
    state::StateChange,
};
use crate::proto::runner::v1::{
    CancelReason, ErrorOrigin, Hint, Payload, ResourceUsage, RetryDisposition, TaskError, TaskOutcome, TaskResult,
};

/// Causes below an error that are told. From the protocol.
const CAUSES_MAX: usize = 8;

/// Hints of one error. From the protocol.
const HINTS_MAX: usize = 8;

/// A task done as asked. Made from a [`Payload`] or from `()` wherever a handler returns one.
#[derive(Debug, Default, Clone)]
pub struct Success {
    result: TaskResult,
    base: u64,
}

/// A task not done as asked. Any error becomes one through `?`: then the task *errored*, and nothing says whether it may be
/// tried again.
#[derive(Debug, Clone)]
pub struct Failure {
    result: Box<TaskResult>,
    error: Box<TaskError>,
    base: u64,
}

/// A handler's end: its result, and the version of the session's state that a change in it was made from.
#[derive(Debug)]
pub(crate) struct End {
    pub result: TaskResult,
    pub base: u64,
}

/// Where an errored task may be tried again; it counts only if the handler is idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Nowhere: the result is final.
    Never,
    /// On any runner, this one included.
    SameRunner,
    /// On another runner of the delegate; with none, on another delegate.
    OtherRunner,
    /// Handed back to the upstream if it can take it.
    OtherDelegate,
}

// === impl Success ===

impl Success {
    /// Done, with nothing to say.
    pub fn new() -> Self {
        Self::default()
    }

    /// The answer in the upstream's own form, passed on byte for byte.
    pub fn payload(mut self, payload: Payload) -> Self {
        self.result.payload = Some(payload);
        self
    }

    /// The code of the process that decided the outcome.
    pub fn exit_code(mut self, exit_code: i32) -> Self {
        self.result.exit_code = Some(exit_code);
        self
    }

    /// A named value, beside those the context told before; the same name replaces. Up to 256.
    pub fn output(mut self, output: Output) -> Self {
        self.result.outputs.push(output.into_proto());
        self
    }

    /// What the task used.
    pub fn usage(mut self, usage: ResourceUsage) -> Self {
        self.result.usage = Some(usage);
        self
    }

    /// A typed addition for the upstream's adapter, each type once; one it does not know is dropped there.
    pub fn extension<E: Extension>(mut self, extension: &E) -> Self {
        self.result.extensions.push(to_any(extension));
        self
    }

    /// The session's last change by this task, durable together with the result. If another task has changed the state meanwhile,
    /// the task errors with `SESSION_ETAG_STALE` instead: who shares the state with others uses
    /// [`Session::update`](super::Session::update) before.
    pub fn session_state(mut self, change: StateChange) -> Self {
        self.base = change.base;
        self.result.session_state = Some(change.update);
        self
    }

    pub(crate) fn into_end(self) -> End {
        End { result: TaskResult { outcome: TaskOutcome::Succeeded as i32, ..self.result }, base: self.base }
    }
}

impl From<()> for Success {
    fn from((): ()) -> Self {
        Self::new()
    }
}

impl From<Payload> for Success {
    fn from(payload: Payload) -> Self {
        Self::new().payload(payload)
    }
}

// === impl Failure ===

impl Failure {
    /// The task itself said no: the user's command or code failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(TaskOutcome::Failed, status(Code::Unknown, "TASK_FAILED", message)).origin(ErrorOrigin::UserCode)
    }

    /// It could not be executed to its end. `reason` is stable and upper case, such as `IMAGE_PULL_FAILED`.
    pub fn errored(reason: &str, message: impl Into<String>) -> Self {
        Self::new(TaskOutcome::Errored, status(Code::Internal, reason, message)).origin(ErrorOrigin::Runner)
    }

    /// The task as written makes no sense: a missing field, a body that does not parse.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::errored("TASK_INVALID", message).code(Code::InvalidArgument).origin(ErrorOrigin::TaskSpec)
    }

    /// There was nothing to do.
    pub fn skipped(message: impl Into<String>) -> Self {
        Self::new(TaskOutcome::Skipped, status(Code::Cancelled, "TASK_SKIPPED", message))
    }

    /// Stopped because [`Context::cancelled`](super::Context::cancelled) asked; told as timed out if a time limit was why.
    pub fn cancelled() -> Self {
        Self::new(TaskOutcome::Cancelled, status(Code::Cancelled, "TASK_CANCELLED", "the handler stopped when asked"))
    }

    /// It took longer than it may.
    pub fn timed_out(message: impl Into<String>) -> Self {
        Self::new(TaskOutcome::TimedOut, status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message))
    }

    /// How the task ends.
    pub fn outcome(&self) -> TaskOutcome {
        self.result.outcome()
    }

    /// Code of the error; says more than the outcome alone.
    pub fn code(mut self, code: Code) -> Self {
        self.error.status.get_or_insert_default().code = code as i32;
        self
    }

    /// The code of the process that decided the outcome.
    pub fn exit_code(mut self, exit_code: i32) -> Self {
        self.result.exit_code = Some(exit_code);
        self
    }

    /// Who can mend it.
    pub fn origin(mut self, origin: ErrorOrigin) -> Self {
        self.error.origin = origin as i32;
        self
    }

    /// Where it may be tried again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.error.retry = match retry {
            Retry::Never => RetryDisposition::Never,
            Retry::SameRunner => RetryDisposition::SameRunner,
            Retry::OtherRunner => RetryDisposition::OtherRunner,
            Retry::OtherDelegate => RetryDisposition::OtherDelegate,
        } as i32;
        self
    }

    /// Not before this has passed.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.error.retry_delay = prost_types::Duration::try_from(delay).ok();
        self
    }

    /// True: something may have been changed. False: the handler is sure that nothing was.
    pub fn side_effects(mut self, possible: bool) -> Self {
        self.error.side_effects_possible = Some(possible);
        self
    }

    /// Advice for a person: what is wrong, and what to do. Up to 8, further ones are left out.
    pub fn hint(mut self, summary: impl Into<String>, resolution: impl Into<String>) -> Self {
        if self.error.hints.len() < HINTS_MAX {
            self.error.hints.push(Hint { summary: summary.into(), resolution: resolution.into() });
        }
        self
    }

    /// The answer in the upstream's own form; without it the upstream's adapter makes one from the error.
    pub fn payload(mut self, payload: Payload) -> Self {
        self.result.payload = Some(payload);
        self
    }

    /// A named value that is told although the task was not done.
    pub fn output(mut self, output: Output) -> Self {
        self.result.outputs.push(output.into_proto());
        self
    }

    /// The stable word of its error; empty: none was given.
    pub(crate) fn reason(&self) -> String {
        reason::reason(self.error.status.as_ref())
    }

    /// A typed addition for the upstream's adapter, each type once; one it does not know is dropped there.
    pub fn extension<E: Extension>(mut self, extension: &E) -> Self {
        self.result.extensions.push(to_any(extension));
        self
    }

    /// As [`Success::session_state`].
    pub fn session_state(mut self, change: StateChange) -> Self {
        self.base = change.base;
        self.result.session_state = Some(change.update);
        self
    }

    pub(crate) fn into_end(self) -> End {
        let base = self.base;
        End { result: self.into_result(), base }
    }

    pub(crate) fn into_result(self) -> TaskResult {
        TaskResult { error: Some(*self.error), ..*self.result }
    }

    fn new(outcome: TaskOutcome, status: Status) -> Self {
        let result = TaskResult { outcome: outcome as i32, ..TaskResult::default() };
        let error = TaskError { status: Some(status), ..TaskError::default() };
        Self { result: Box::new(result), error: Box::new(error), base: 0 }
    }
}

// === impl End ===

impl From<TaskResult> for End {
    fn from(result: TaskResult) -> Self {
        Self { result, base: 0 }
    }
}

/// Errored, with the chain of causes; whether side effects happened is unknown.
impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut failure = Self::errored(reason::HANDLER_ERROR, error.to_string());
        failure.error.cause = cause(error.source(), CAUSES_MAX);
        failure
    }
}

fn cause(error: Option<&dyn Error>, depth_max: usize) -> Option<Box<TaskError>> {
    let error = error.filter(|_| depth_max > 0)?;
    let status = Some(status(Code::Unknown, reason::HANDLER_ERROR, error.to_string()));
    Some(Box::new(TaskError { status, cause: cause(error.source(), depth_max - 1), ..TaskError::default() }))
}

/// The result of a task whose handler was stopped, or never started, for `why`.
pub(crate) fn stopped(why: CancelReason, message: &str) -> TaskResult {
    let (outcome, code, reason) = match why {
        CancelReason::Deadline => (TaskOutcome::TimedOut, Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        CancelReason::Unspecified
        | CancelReason::User
        | CancelReason::Drain
        | CancelReason::LeaseLost
        | CancelReason::UpstreamGone
        | CancelReason::SessionClosed => (TaskOutcome::Cancelled, Code::Cancelled, "TASK_CANCELLED"),
    };
    Failure::new(outcome, status(code, reason, message)).into_result()
}

/// The result of a task whose handler panicked with `message`.
pub(crate) fn panicked(message: &str) -> TaskResult {
    let text = format!("the handler panicked: {message}");
    Failure::errored(reason::HANDLER_PANICKED, text).retry(Retry::SameRunner).side_effects(true).into_result()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_error_becomes_an_errored_task_with_its_causes() {
        let outer = tonic::Status::from_error(Box::new(std::io::Error::other("disk on fire")));
        let result = Failure::from(outer).into_result();
        assert_eq!(result.outcome(), TaskOutcome::Errored);
        let error = result.error.expect("an error");
        assert_eq!(reason::reason(error.status.as_ref()), reason::HANDLER_ERROR);
        let cause = error.cause.and_then(|cause| cause.status).expect("a cause");
        assert_eq!(cause.message, "disk on fire");
    }

    #[test]
    fn a_failed_command_keeps_its_exit_code_and_is_the_users() {
        let result = Failure::failed("make: *** [test] Error 2").exit_code(2).into_result();
        assert_eq!((result.outcome(), result.exit_code), (TaskOutcome::Failed, Some(2)));
        assert_eq!(result.error.expect("an error").origin(), ErrorOrigin::UserCode);
    }

    #[test]
    fn a_deadline_times_out_and_all_else_cancels() {
        assert_eq!(stopped(CancelReason::Deadline, "").outcome(), TaskOutcome::TimedOut);
        assert_eq!(stopped(CancelReason::User, "").outcome(), TaskOutcome::Cancelled);
    }
}
