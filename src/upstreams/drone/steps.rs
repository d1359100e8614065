//! A stage's steps as the server stores them. Pure.
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

use serde::Serialize;

use super::{
    known::{Known, KnownStep},
    wire::{self, is_open},
};
use crate::core::{
    step::{Step, StepState},
    task::Outcome,
    time::Wall,
};

/// Exit code of a step that failed without one.
const EXIT_FAILED: i64 = 1;
/// Error of a step whose runner ended the stage without it.
const UNSAID: &str = "the runner did not say how the step ended";

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
pub(super) mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::core::step::Card;

    pub(in super::super) fn step(number: u32, state: StepState) -> Step {
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

    pub(in super::super) fn known(steps: &[(u32, &str)]) -> Known {
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
