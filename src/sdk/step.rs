//! The steps of a task, for upstreams that show them.

use std::time::SystemTime;

use super::refusal::Refusal;
use crate::proto::runner::v1::{Step, StepState};

/// Why steps were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The task has a result, was stopped, or its lease is gone.
    #[error("the task has ended")]
    TaskEnded,
    /// More than the delegate takes in one frame.
    #[error("the steps have {bytes} bytes; one call may carry {bytes_max}")]
    TooLarge { bytes: u64, bytes_max: u64 },
}

// === impl Step ===

impl Step {
    /// A step that has not started. Its number, from 1, is its id as well.
    pub fn pending(number: u32, name: impl Into<String>) -> Self {
        let (step_id, name) = (number.to_string(), name.into());
        Self { step_id, number, name, state: StepState::Pending as i32, ..Self::default() }
    }

    /// The same, started now.
    #[must_use]
    pub fn running(mut self) -> Self {
        self.set_state(StepState::Running);
        self.start_time = Some(SystemTime::now().into());
        self
    }

    /// The same, ended now; the process ended with `exit_code`, if there was one.
    #[must_use]
    pub fn ended(mut self, state: StepState, exit_code: impl Into<Option<i32>>) -> Self {
        self.set_state(state);
        self.exit_code = exit_code.into();
        self.end_time = Some(SystemTime::now().into());
        self
    }
}

impl From<Refusal> for StepError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooLarge { bytes, bytes_max } => Self::TooLarge { bytes, bytes_max },
            // The last two are said of a session's state alone.
            Refusal::TaskEnded | Refusal::Stale | Refusal::Refused { .. } => Self::TaskEnded,
        }
    }
}
