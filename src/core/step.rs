//! The steps of a task, as its runner tells them and its upstream is to know them.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{id::LeaseId, time::Wall};

/// Steps of one task. From the protocol.
pub const STEPS_MAX: usize = 1_024;

/// One step; a change replaces the whole of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The runner's name for it, unique within the task.
    pub id: Arc<str>,
    /// From 1, in the order of the plan, unique within the task.
    pub number: u32,
    /// As people wrote it.
    pub name: Arc<str>,
    pub state: StepState,
    /// Absent: no process ended.
    pub exit_code: Option<i32>,
    /// What went wrong, in one text; empty: nothing.
    pub error: Arc<str>,
    pub started: Option<Wall>,
    pub ended: Option<Wall>,
    /// Container image; empty: none.
    pub image: Arc<str>,
    /// Runs beside the others.
    pub detached: bool,
    /// Its failure does not fail the task.
    pub ignore_error: bool,
    /// Ids of those before it.
    pub depends_on: Vec<Arc<str>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepState {
    #[default]
    Pending,
    Running,
    Succeeded,
    Failed,
    Errored,
    Cancelled,
    Skipped,
}

/// All steps of a task, under the lease that planned them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub lease: LeaseId,
    pub steps: Arc<Vec<Step>>,
}

/// Why a plan or a step is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSteps {
    #[error("update.step_plan: more than {STEPS_MAX} steps")]
    TooMany,
    #[error("update.step_plan.steps: two steps share an id or a number")]
    Doubled,
    #[error("update.step_plan: the steps are planned already; send the step that changes")]
    PlannedAlready,
    #[error("update.step: not a step of the plan, or under another number")]
    Unplanned,
}

// === impl StepState ===

impl StepState {
    /// Whether nothing more happens to the step.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

// === impl Step ===

impl Step {
    /// With the times that its state asks for, where the runner named none.
    pub fn at(mut self, now: Wall) -> Self {
        if self.state != StepState::Pending && self.state != StepState::Skipped {
            self.started = self.started.or(self.ended).or(Some(now));
        }
        if self.state.is_final() {
            self.ended = self.ended.or(Some(now));
        }
        self
    }
}

// === impl Plan ===

impl Plan {
    /// Whether these steps can be a plan.
    ///
    /// # Errors
    /// [`BadSteps::TooMany`], [`BadSteps::Doubled`].
    pub fn check(steps: &[Step]) -> Result<(), BadSteps> {
        if steps.len() > STEPS_MAX {
            return Err(BadSteps::TooMany);
        }
        let ids: BTreeSet<&str> = steps.iter().map(|step| &*step.id).collect();
        let numbers: BTreeSet<u32> = steps.iter().map(|step| step.number).collect();
        if ids.len() < steps.len() || numbers.len() < steps.len() { Err(BadSteps::Doubled) } else { Ok(()) }
    }

    /// Whether the step is one of these.
    pub fn holds(&self, step: &Step) -> bool {
        self.steps.iter().any(|known| known.id == step.id && known.number == step.number)
    }

    /// Puts the step in the place of what was known of it.
    pub fn change(&mut self, step: &Step) {
        if let Some(known) = Arc::make_mut(&mut self.steps).iter_mut().find(|known| known.id == step.id) {
            known.clone_from(step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(id: &str, number: u32) -> Step {
        Step {
            id: id.into(),
            number,
            name: id.into(),
            state: StepState::Pending,
            exit_code: None,
            error: "".into(),
            started: None,
            ended: None,
            image: "".into(),
            detached: false,
            ignore_error: false,
            depends_on: Vec::new(),
        }
    }

    #[test]
    fn a_plan_names_each_step_once() {
        assert_eq!(Plan::check(&[step("a", 1), step("b", 2)]), Ok(()));
        assert_eq!(Plan::check(&[step("a", 1), step("a", 2)]), Err(BadSteps::Doubled));
        assert_eq!(Plan::check(&[step("a", 1), step("b", 1)]), Err(BadSteps::Doubled));
        let many: Vec<Step> = (1..).take(STEPS_MAX + 1).map(|n| step(&n.to_string(), n)).collect();
        assert_eq!(Plan::check(&many), Err(BadSteps::TooMany));
    }

    #[test]
    fn a_step_has_the_times_that_its_state_asks_for() {
        let at = |state| {
            let step = Step { state, ..step("a", 1) }.at(Wall(7));
            (step.started.is_some(), step.ended.is_some())
        };
        assert_eq!(at(StepState::Pending), (false, false));
        assert_eq!(at(StepState::Running), (true, false));
        assert_eq!(at(StepState::Failed), (true, true));
        assert_eq!(at(StepState::Skipped), (false, true));
    }
}
