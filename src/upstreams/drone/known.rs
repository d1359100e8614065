//! What the server knows of a stage's steps. Pure.
//!
//! A step is registered by its number and written by the id and version that the server gave it; both are in this note, which the core
//! keeps with the task.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    steps::{status, unix},
    wire::{self, is_open},
};
use crate::core::step::Step;

/// What the server knows of a stage since its steps were registered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// Of the stage.
    pub version: i64,
    pub updated: i64,
    /// The answer that told the steps' ids is lost, so nothing more can be said of them.
    #[serde(default)]
    pub lost: bool,
    #[serde(default)]
    pub steps: Vec<KnownStep>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownStep {
    pub number: u32,
    /// 0: the answer that told it is lost.
    pub id: i64,
    pub version: i64,
    pub status: String,
    /// As it was told last, for a step that no later plan has.
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub started: i64,
}

/// A note of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the note of what the server knows of the steps is not of this version")]
pub(super) struct UnknownKnown;

/// The answer to the registration, as far as it is read.
#[derive(Debug, Deserialize)]
struct Registered {
    version: i64,
    #[serde(default)]
    updated: i64,
    #[serde(default)]
    steps: Option<Vec<RegisteredStep>>,
}

#[derive(Debug, Deserialize)]
struct RegisteredStep {
    #[serde(default)]
    id: i64,
    #[serde(default)]
    number: u32,
    #[serde(default)]
    version: i64,
}

// === impl Known ===

impl Known {
    /// From the server's answer to a registration of `steps`. None: it is no such answer.
    pub fn registered(answer: &[u8], steps: &[Step]) -> Option<Self> {
        let mut known = Self::default();
        let lost = !known.add(answer, steps)?;
        Some(if lost { Self { lost, steps: Vec::new(), ..known } } else { known })
    }

    /// Takes in the server's answer to a registration of further steps; false: it does not name all of them.
    pub fn add(&mut self, answer: &[u8], steps: &[Step]) -> Option<bool> {
        let answer: Registered = serde_json::from_slice(answer).ok()?;
        (self.version, self.updated) = (answer.version, answer.updated);
        let named = answer.steps.unwrap_or_default();
        let mut are_all_named = true;
        for step in steps {
            let named = named.iter().find(|named| named.number == step.number && named.id > 0);
            are_all_named &= named.is_some();
            self.steps.push(KnownStep {
                number: step.number,
                id: named.map_or(0, |named| named.id),
                version: named.map_or(0, |named| named.version),
                status: wire::STATUS_PENDING.to_owned(),
                name: step.name.to_string(),
                started: 0,
            });
        }
        Some(are_all_named)
    }

    /// The answer that named these steps is lost.
    pub fn lose(&mut self, steps: &[Step]) {
        let lost = steps.iter().map(|step| KnownStep {
            number: step.number,
            id: 0,
            version: 0,
            status: wire::STATUS_PENDING.to_owned(),
            name: step.name.to_string(),
            started: 0,
        });
        self.steps.extend(lost);
    }

    /// Steps of a later plan that were never registered.
    pub fn unregistered(&self, steps: &[Step]) -> Vec<Step> {
        let is_known = |step: &&Step| self.lost || self.steps.iter().any(|known| known.number == step.number);
        steps.iter().filter(|step| !is_known(step)).cloned().collect()
    }

    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("texts and numbers always serialize").into()
    }

    pub fn decode(note: &[u8]) -> Result<Self, UnknownKnown> {
        serde_json::from_slice(note).map_err(|_| UnknownKnown)
    }

    /// The next step that the server is to be told, and as what. Who ends is told to have run before.
    pub fn next(&self, steps: &[Step]) -> Option<(usize, &'static str)> {
        let mut behind = self.steps.iter().enumerate().filter_map(|(nth, known)| {
            let step = steps.iter().find(|step| step.number == known.number && known.id > 0)?;
            let want = status(step.state);
            let unstarted = known.status == wire::STATUS_PENDING && step.state.is_final();
            match want {
                wire::STATUS_PENDING => None,
                want if known.status == want => None,
                wire::STATUS_SKIPPED => Some((nth, want)),
                _ if unstarted => Some((nth, wire::STATUS_RUNNING)),
                want => Some((nth, want)),
            }
        });
        behind.next()
    }

    /// The server has taken a step's PUT.
    pub fn told(&mut self, nth: usize, status: &str, steps: &[Step]) {
        let Some(known) = self.steps.get_mut(nth) else { return };
        known.version += 1;
        status.clone_into(&mut known.status);
        if let Some(step) = steps.iter().find(|step| step.number == known.number) {
            known.name = step.name.to_string();
            known.started = step.started.map_or(0, unix);
        }
    }

    /// Steps that the stage's last PUT ends, with their ids.
    pub fn open<'a>(&'a self, steps: &'a [Step]) -> impl Iterator<Item = (i64, &'a Step)> {
        let open = self.steps.iter().filter(|known| known.id > 0 && is_open(&known.status));
        open.filter_map(|known| Some((known.id, steps.iter().find(|step| step.number == known.number)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::steps::tests::{known, step},
        *,
    };
    use crate::core::step::StepState;

    #[test]
    fn a_registration_without_the_ids_of_all_steps_is_lost() {
        let steps = [step(1, StepState::Pending), step(2, StepState::Pending)];
        let answer = br#"{"version":3,"steps":[{"id":101,"number":1,"version":1},{"id":102,"number":2,"version":1}]}"#;
        let known = Known::registered(answer, &steps).unwrap();
        assert_eq!((known.version, known.lost, known.steps[1].id), (3, false, 102));
        assert_eq!(Known::decode(&known.encode()), Ok(known));
        for answer in [&br#"{"version":3}"#[..], br#"{"version":3,"steps":[{"id":101,"number":1}]}"#] {
            assert!(Known::registered(answer, &steps).unwrap().lost);
        }
        assert_eq!(Known::registered(b"[]", &steps), None);
    }

    #[test]
    fn a_step_that_ended_unseen_is_told_to_run_before_it_is_told_to_have_ended() {
        let steps = [step(1, StepState::Failed), step(2, StepState::Skipped)];
        let mut known = known(&[(1, "pending"), (2, "pending")]);
        let mut told = Vec::new();
        while let Some((nth, status)) = known.next(&steps) {
            told.push((nth, status));
            known.told(nth, status, &steps);
        }
        assert_eq!(told, [(0, "running"), (0, "failure"), (1, "skipped")]);
        assert_eq!((known.steps[0].version, known.steps[1].version), (3, 2));
    }

    #[test]
    fn further_steps_of_a_later_plan_are_registered_once() {
        let steps = [step(1, StepState::Succeeded), step(7, StepState::Pending), step(8, StepState::Pending)];
        let mut known = known(&[(1, "success")]);
        let further = known.unregistered(&steps);
        assert_eq!(further.iter().map(|step| step.number).collect::<Vec<_>>(), [7, 8]);
        let answer = br#"{"version":4,"steps":[{"id":201,"number":7,"version":1}]}"#;
        assert_eq!(known.add(answer, &further), Some(false));
        assert_eq!((known.version, known.steps[1].id, known.steps[2].id), (4, 201, 0));
        assert!(known.unregistered(&steps).is_empty());
        let done = [step(7, StepState::Skipped), step(8, StepState::Skipped)];
        assert_eq!(known.next(&done), Some((1, "skipped")), "nothing can be said of the other");
        assert!(Known { lost: true, steps: Vec::new(), ..known }.unregistered(&steps).is_empty());
    }
}
