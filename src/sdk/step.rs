//! The steps of a task, for upstreams that show them.
//!
//! ```no_run
//! # use dlite::sdk::{Context, Failure, Payload, Step, StepError, StepState};
//! async fn stage(task: Context, _: Payload) -> Result<Payload, StepError> {
//!     let steps = vec![Step::pending(1, "clone"), Step::pending(2, "test")];
//!     task.plan(steps.clone()).await?;
//!     for step in steps {
//!         let step = step.running();
//!         task.step(step.clone()).await?;
//!         task.log(&step.step_id).line("hello").await;
//!         // Closes the step's log, too.
//!         task.step(step.ended(StepState::Succeeded, 0)).await?;
//!     }
//!     Ok(Payload::default())
//! }
//! ```

use std::time::SystemTime;

use serde::Serialize;

use super::refusal::Refusal;
use crate::proto::runner::v1::{Card, Step, StepState};

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

    /// The same with a card, shown once it has ended.
    #[must_use]
    pub fn with_card(mut self, card: Card) -> Self {
        self.card = Some(card);
        self
    }

    /// Whether nothing more happens to it.
    pub fn is_final(&self) -> bool {
        !matches!(self.state(), StepState::Unspecified | StepState::Pending | StepState::Running)
    }
}

// === impl Card ===

impl Card {
    /// `data`, up to 64 KiB as JSON, shown by the template at `schema_uri`. Fails as `serde_json` does.
    pub fn json<T: Serialize + ?Sized>(schema_uri: impl Into<String>, data: &T) -> Result<Self, serde_json::Error> {
        Ok(Self { schema_uri: schema_uri.into(), data: serde_json::to_vec(data)?.into() })
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
