//! A stage's steps as the server stores them, and what it knows of them. Pure.
//!
//! A step is registered by its number and written by the id and version that the server gave it; both are in the note of what it
//! knows, which the core keeps with the task.
//!
//! | state | status | exit code, if the runner names none |
//! |---|---|---|
//! | pending, running | the same | 0 |
//! | succeeded | success | 0 |
//! | failed | failure | 1 |
//! | errored | error | 255 |
//! | cancelled | killed | 137 |
//! | skipped | skipped | 0 |
//!
//! What a stage leaves unsaid at its end: pending steps are skipped, detached ones that still run have succeeded with the stage, and
//! other running ones are killed with it, or in error.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::wire::{self, is_open};
use crate::core::{
    step::{Step, StepState},
    task::Outcome,
    time::Wall,
};

/// Exit code of a step that failed without one.
const EXIT_FAILED: i64 = 1;
/// Error of a step whose runner ended the stage without it.
const UNSAID: &str = "the runner did not say how the step ended";

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

/// A step as it is sent. Absent fields are zeroed by the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct StepBody {
    pub id: i64,
    /// The *stage's*.
    pub step_id: i64,
    pub number: u32,
    pub name: String,
    pub status: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    #[serde(skip_serializing_if = "is_false")]
    pub errignore: bool,
    pub exit_code: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub started: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub stopped: i64,
    pub version: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    #[serde(skip_serializing_if = "is_false")]
    pub detached: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub schema: String,
}

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

// === bodies ===

/// The steps of a registration.
/// `all` has the names of those before them.
pub(super) fn planned(stage: i64, steps: &[Step], all: &[Step]) -> Vec<StepBody> {
    let bodies = steps.iter().map(|step| StepBody {
        started: 0,
        stopped: 0,
        exit_code: 0,
        error: String::new(),
        ..body(stage, step, all, wire::STATUS_PENDING)
    });
    bodies.collect()
}

/// One step under the status it is told as.
pub(super) fn changed(stage: i64, known: &KnownStep, steps: &[Step], status: &'static str) -> Option<StepBody> {
    let step = steps.iter().find(|step| step.number == known.number)?;
    let whole = StepBody { id: known.id, version: known.version, ..body(stage, step, steps, status) };
    Some(match status {
        wire::STATUS_RUNNING => StepBody { stopped: 0, exit_code: 0, error: String::new(), ..whole },
        _ => whole,
    })
}

/// All registered steps at the end of their stage.
pub(super) fn ended(stage: i64, known: &Known, steps: &[Step], outcome: Outcome, at: Wall) -> Vec<StepBody> {
    let bodies = known.steps.iter().filter(|known| known.id > 0).filter_map(|known| {
        let Some(step) = steps.iter().find(|step| step.number == known.number) else {
            return abandoned(stage, known, outcome, at);
        };
        let (state, error) = at_end(step.state, step.detached, outcome);
        let mut step = Step { state, ..step.clone() }.at(at);
        if !error.is_empty() {
            step.error = error.into();
        }
        Some(StepBody { id: known.id, version: known.version, ..body(stage, &step, steps, status(state)) })
    });
    bodies.collect()
}

/// A step that no later plan of the stage has; none if it has ended.
fn abandoned(stage: i64, known: &KnownStep, outcome: Outcome, at: Wall) -> Option<StepBody> {
    let state = match &*known.status {
        wire::STATUS_PENDING => StepState::Pending,
        wire::STATUS_RUNNING => StepState::Running,
        _ => return None,
    };
    let (state, error) = at_end(state, false, outcome);
    Some(StepBody {
        id: known.id,
        step_id: stage,
        number: known.number,
        name: known.name.clone(),
        status: status(state),
        error: error.to_owned(),
        errignore: false,
        exit_code: exit_code(state),
        started: known.started,
        stopped: unix(at),
        version: known.version,
        depends_on: Vec::new(),
        image: String::new(),
        detached: false,
        schema: String::new(),
    })
}

/// How a step ends that its runner left open.
fn at_end(state: StepState, detached: bool, outcome: Outcome) -> (StepState, &'static str) {
    match (state, outcome) {
        (StepState::Pending, _) => (StepState::Skipped, ""),
        (StepState::Running, Outcome::Cancelled | Outcome::TimedOut) => (StepState::Cancelled, ""),
        (StepState::Running, Outcome::Succeeded | Outcome::Failed | Outcome::Skipped) if detached => {
            (StepState::Succeeded, "")
        }
        (StepState::Running, _) => (StepState::Errored, UNSAID),
        (state, _) => (state, ""),
    }
}

fn body(stage: i64, step: &Step, steps: &[Step], status: &'static str) -> StepBody {
    let name = |id: &str| steps.iter().find(|other| *other.id == *id).map(|other| other.name.to_string());
    let mut error = step.error.to_string();
    error.truncate(error.floor_char_boundary(wire::ERROR_BYTES_MAX));
    StepBody {
        id: 0,
        step_id: stage,
        number: step.number,
        name: step.name.to_string(),
        status,
        error,
        errignore: step.ignore_error,
        exit_code: step.exit_code.map_or_else(|| exit_code(step.state), i64::from),
        // One that never began has no length, rather than that since 1970.
        started: step.started.or(step.ended).map_or(0, unix),
        stopped: step.ended.map_or(0, unix),
        version: 0,
        depends_on: step.depends_on.iter().filter_map(|id| name(id)).collect(),
        image: step.image.to_string(),
        detached: step.detached,
        // Stored by whatever PUT names it, and zeroed by one that does not.
        schema: step
            .card
            .as_ref()
            .filter(|_| !is_open(status))
            .map_or_else(String::new, |card| card.schema_uri.to_string()),
    }
}

pub(super) fn status(state: StepState) -> &'static str {
    match state {
        StepState::Pending => wire::STATUS_PENDING,
        StepState::Running => wire::STATUS_RUNNING,
        StepState::Succeeded => wire::STATUS_SUCCESS,
        StepState::Failed => wire::STATUS_FAILURE,
        StepState::Errored => wire::STATUS_ERROR,
        StepState::Cancelled => wire::STATUS_KILLED,
        StepState::Skipped => wire::STATUS_SKIPPED,
    }
}

fn exit_code(state: StepState) -> i64 {
    match state {
        StepState::Pending | StepState::Running | StepState::Succeeded | StepState::Skipped => 0,
        StepState::Failed => EXIT_FAILED,
        StepState::Errored => wire::EXIT_ERROR,
        StepState::Cancelled => wire::EXIT_KILLED,
    }
}

/// Whole seconds, which is all the server keeps.
pub(super) fn unix(at: Wall) -> i64 {
    at.0 / 1_000_000
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::step::Card;

    fn step(number: u32, state: StepState) -> Step {
        Step {
            id: format!("s{number}").into(),
            number,
            name: format!("step-{number}").into(),
            state,
            exit_code: None,
            error: "".into(),
            started: Some(Wall(1_000_000)),
            ended: state.is_final().then_some(Wall(3_000_000)),
            image: "alpine".into(),
            detached: false,
            ignore_error: false,
            depends_on: if number > 1 { vec![format!("s{}", number - 1).as_str().into()] } else { Vec::new() },
            card: None,
            has_log: false,
        }
    }

    fn known(steps: &[(u32, &str)]) -> Known {
        let steps = steps.iter().map(|(number, status)| KnownStep {
            number: *number,
            id: 100 + i64::from(*number),
            version: 1,
            status: (*status).to_owned(),
            name: format!("step-{number}"),
            started: 1,
        });
        Known { version: 3, updated: 7, lost: false, steps: steps.collect() }
    }

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
    fn what_a_stage_leaves_unsaid_ends_with_it() {
        let detached = Step { detached: true, ..step(2, StepState::Running) };
        let steps = [step(1, StepState::Running), detached, step(3, StepState::Pending)];
        let known = known(&[(1, "running"), (2, "running"), (3, "pending")]);
        let end = |outcome| {
            let bodies = ended(9, &known, &steps, outcome, Wall(5_000_000));
            bodies.iter().map(|body| (body.status, body.exit_code, body.stopped)).collect::<Vec<_>>()
        };
        assert_eq!(end(Outcome::Succeeded), [("error", 255, 5), ("success", 0, 5), ("skipped", 0, 5)]);
        assert_eq!(end(Outcome::Cancelled), [("killed", 137, 5), ("killed", 137, 5), ("skipped", 0, 5)]);
    }

    #[test]
    fn steps_that_no_later_plan_has_end_with_the_stage_too() {
        let steps = [step(1, StepState::Succeeded)];
        let known = known(&[(1, "success"), (2, "running"), (3, "pending"), (4, "failure")]);
        let bodies = ended(9, &known, &steps, Outcome::Succeeded, Wall(5_000_000));
        let bodies: Vec<_> = bodies.iter().map(|body| (body.number, &*body.name, body.status, body.started)).collect();
        assert_eq!(bodies, [(1, "step-1", "success", 1), (2, "step-2", "error", 1), (3, "step-3", "skipped", 1)]);
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

    #[test]
    fn a_step_names_its_stage_and_those_before_it() {
        let steps = [step(1, StepState::Succeeded), step(2, StepState::Failed)];
        let known = known(&[(1, "running"), (2, "running")]);
        let body = changed(9104, &known.steps[1], &steps, "failure").unwrap();
        assert_eq!(
            serde_json::to_string(&body).unwrap(),
            r#"{"id":102,"step_id":9104,"number":2,"name":"step-2","status":"failure","exit_code":1,"started":1,"stopped":3,"version":1,"depends_on":["step-1"],"image":"alpine"}"#
        );
    }

    #[test]
    fn a_card_names_its_template_once_the_step_has_ended() {
        let card = Card { schema_uri: "https://cards.example.test/a.json".into(), data: Bytes::from_static(b"{}") };
        let known = known(&[(1, "running")]);
        for (state, schema) in [(StepState::Running, ""), (StepState::Succeeded, "https://cards.example.test/a.json")] {
            let steps = [Step { card: Some(card.clone()), ..step(1, state) }];
            assert_eq!(changed(9, &known.steps[0], &steps, status(state)).unwrap().schema, schema);
        }
    }
}
