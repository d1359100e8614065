//! What the operator orders, and why an order can't be followed. Whatever an order changes is durable before its answer leaves.

use std::{sync::Arc, time::Duration};

use super::{
    Core,
    effect::Effect,
    id::{RequestId, SessionId, TaskId},
    task::CancelReason,
    time::Now,
};

/// One order.
#[derive(Clone, Debug)]
pub enum Command {
    /// Stops a task. `grace` absent: the configured one. `force`: answers the upstream at once, without waiting for the runner.
    CancelTask { task: TaskId, message: Arc<str>, grace: Option<Duration>, force: bool },
    /// Ends a session. `force`: forgets it, without a cleanup.
    CloseSession { session: SessionId, reason: Arc<str>, force: bool },
}

/// Why an order is not followed; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    TaskUnknown,
    TaskFinished,
    SessionUnknown,
    SessionClosing,
}

impl Core {
    pub(super) fn commanded(&mut self, now: Now, request: RequestId, command: Command) {
        let answer = match command {
            Command::CancelTask { task, message, grace, force } => {
                self.cancel_ordered(now, task, &message, grace, force)
            }
            Command::CloseSession { session, reason, force } => self.close_session(now, session, &reason, force),
        };
        self.promise(Effect::Answer { request, answer });
    }

    fn cancel_ordered(
        &mut self,
        now: Now,
        id: TaskId,
        message: &str,
        grace: Option<Duration>,
        force: bool,
    ) -> Result<(), Refusal> {
        let task = self.ledger.task(id).ok_or(Refusal::TaskUnknown)?;
        if task.is_finished() {
            return Err(Refusal::TaskFinished);
        }
        let grace = if force { Some(Duration::ZERO) } else { grace };
        self.cancel(now, id, CancelReason::User, message, grace);
        if force {
            self.cancel_expired(now, id);
        }
        Ok(())
    }
}

// === impl Refusal ===

impl Refusal {
    /// A stable word for the operator's tools.
    pub fn code(self) -> &'static str {
        match self {
            Self::TaskUnknown => "TASK_UNKNOWN",
            Self::TaskFinished => "TASK_FINISHED",
            Self::SessionUnknown => "SESSION_UNKNOWN",
            Self::SessionClosing => "SESSION_CLOSING",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TaskUnknown => "there is no open task of this id here",
            Self::SessionUnknown => "there is no open session of this id here",
            Self::SessionClosing => "the session's cleanup waits or runs already",
            Self::TaskFinished => "the task's result is decided already; what is left is its way to the upstream",
        })
    }
}
