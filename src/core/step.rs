//! The steps of a task, as its runner tells them and its upstream is to know them.

use std::{collections::BTreeSet, fmt, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{id::LeaseId, time::Wall};

/// Steps of one task. From the protocol.
pub const STEPS_MAX: usize = 1_024;
/// Steps of one task that have a card. From the protocol.
pub const CARDS_MAX: usize = 64;
/// Data of one card. From the protocol.
pub const CARD_BYTES_MAX: usize = 64 << 10;

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
    /// What it shows people beside its log.
    pub card: Option<Card>,
    /// Its runner writes a log of it, which may still be on its way.
    pub has_log: bool,
}

/// Data about a step, and the template that shows it. Prints its size only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// URL of the template.
    pub schema_uri: Arc<str>,
    /// JSON.
    pub data: Bytes,
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
    #[error("card: {CARDS_MAX} steps of the task have one already, which is the most there may be")]
    TooManyCards,
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

// === impl Card ===

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Card({}, {} bytes)", self.schema_uri, self.data.len())
    }
}

// === impl Plan ===

impl Plan {
    /// Whether these steps can be a plan.
    ///
    /// # Errors
    /// [`BadSteps::TooMany`], [`BadSteps::Doubled`], [`BadSteps::TooManyCards`].
    pub fn check(steps: &[Step]) -> Result<(), BadSteps> {
        if steps.len() > STEPS_MAX {
            return Err(BadSteps::TooMany);
        }
        let ids: BTreeSet<&str> = steps.iter().map(|step| &*step.id).collect();
        let numbers: BTreeSet<u32> = steps.iter().map(|step| step.number).collect();
        if ids.len() < steps.len() || numbers.len() < steps.len() {
            return Err(BadSteps::Doubled);
        }
        if steps.iter().filter(|step| step.card.is_some()).count() > CARDS_MAX {
            return Err(BadSteps::TooManyCards);
        }
        Ok(())
    }

    /// Whether the step can take the place of what was known of it.
    ///
    /// # Errors
    /// [`BadSteps::Unplanned`], [`BadSteps::TooManyCards`].
    pub fn check_change(&self, step: &Step) -> Result<(), BadSteps> {
        if !self.steps.iter().any(|known| known.id == step.id && known.number == step.number) {
            return Err(BadSteps::Unplanned);
        }
        let cards = self.steps.iter().filter(|known| known.card.is_some() && known.id != step.id).count();
        if step.card.is_some() && cards >= CARDS_MAX { Err(BadSteps::TooManyCards) } else { Ok(()) }
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
            card: None,
            has_log: false,
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
    fn a_task_has_so_many_cards() {
        let card = Card { schema_uri: "https://cards.example.test/a.json".into(), data: Bytes::from_static(b"secret") };
        assert!(!format!("{card:?}").contains("secret"));
        let carded = |number: u32| Step { card: Some(card.clone()), ..step(&number.to_string(), number) };
        let mut steps: Vec<Step> = (1..).take(CARDS_MAX).map(carded).collect();
        steps.push(step("last", 65));
        assert_eq!(Plan::check(&steps), Ok(()));
        let plan = Plan { lease: LeaseId(1), steps: Arc::new(steps.clone()) };
        assert_eq!(plan.check_change(&carded(64)), Ok(()));
        let one_more = Step { card: Some(card.clone()), ..step("last", 65) };
        assert_eq!(plan.check_change(&one_more), Err(BadSteps::TooManyCards));
        assert_eq!(plan.check_change(&step("last", 66)), Err(BadSteps::Unplanned));
        steps.push(carded(66));
        assert_eq!(Plan::check(&steps), Err(BadSteps::TooManyCards));
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
