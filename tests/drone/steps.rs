//! A stage's steps on their way to the server, and who is right when an answer is lost or somebody else has written.

use std::sync::Arc;

use bytes::Bytes;
use dlite::{
    core::{
        effect::{Call, Tellable},
        id::TaskId,
        input::{Answer, ReportError, Told},
        step::{Step, StepState},
        task::{Outcome, Spec},
        time::Wall,
    },
    doubles::drone::{self, Calls, Fault, Route, Submitted},
    upstreams::{Upstream, drone::Options},
};

use crate::support::{Pair, ended, external, succeeded};

pub fn step(number: u32, state: StepState) -> Step {
    Step {
        id: format!("s{number}").into(),
        number,
        name: format!("step-{number}").into(),
        state,
        exit_code: None,
        error: "".into(),
        started: (state != StepState::Pending).then_some(Wall(1_738_660_006_000_000)),
        ended: state.is_final().then_some(Wall(1_738_660_012_000_000)),
        image: "docker.io/library/alpine:3.20".into(),
        detached: false,
        ignore_error: false,
        depends_on: if number > 1 { vec![format!("s{}", number - 1).as_str().into()] } else { Vec::new() },
        card: None,
        has_log: false,
    }
}

/// A stage of ours with two steps, and the note of what the server knows of them.
pub struct Stage {
    pub pair: Pair,
    submitted: Submitted,
    pub spec: Box<Spec>,
    told: Option<Bytes>,
}

impl Stage {
    async fn taken() -> Self {
        Self::of(Pair::new().await).await
    }

    async fn of(pair: Pair) -> Self {
        let (submitted, spec) = pair.taken().await;
        Self { pair, submitted, spec, told: None }
    }

    async fn planned() -> Self {
        let mut stage = Self::taken().await;
        stage.tell(&pending()).await.unwrap();
        stage
    }

    pub async fn planned_with(
        change_server: impl FnOnce(&mut drone::Options),
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let mut stage = Self::of(Pair::with(change_server, change).await).await;
        stage.tell(&pending()).await.unwrap();
        stage
    }

    pub fn id(&self) -> i64 {
        self.submitted.stages[0]
    }

    /// One call.
    pub async fn tell(&mut self, steps: &[Step]) -> Result<Told, ReportError> {
        let news = Tellable {
            external_id: external(&self.submitted).as_str().into(),
            identity: self.pair.identity.clone(),
            reply: self.spec.reply.clone(),
            told: self.told.clone(),
            steps: Arc::new(steps.to_vec()),
            started: Wall(1_738_660_005_000_000),
        };
        let call = Call::Tell { task: TaskId(9), news: Arc::new(news) };
        let Answer::Tell { result, .. } = self.pair.adapter.perform(call).await else { panic!("another answer") };
        if let Ok(Told { note: Some(note), .. }) = &result {
            self.told = Some(note.clone());
        }
        result
    }

    /// Calls until the server knows these.
    pub async fn tell_all(&mut self, steps: &[Step]) {
        while self.tell(steps).await.unwrap().behind {}
    }

    pub async fn report(&self, steps: &[Step], outcome: Outcome) -> Result<(), ReportError> {
        let finish = if outcome == Outcome::Succeeded { succeeded() } else { ended(outcome, "", "it failed") };
        let mut report = self.pair.answerable(&external(&self.submitted), &self.spec, finish);
        (report.steps, report.told) = (Arc::new(steps.to_vec()), self.told.clone());
        self.pair.send(report).await
    }

    fn statuses(&self) -> Vec<String> {
        self.pair.server.read(|record| record.steps_of(self.id()).map(|step| step.row.status.clone()).collect())
    }

    pub fn violations(&self) -> Vec<String> {
        self.pair.server.read(|record| record.violations.iter().cloned().collect())
    }
}

fn pending() -> [Step; 2] {
    [step(1, StepState::Pending), step(2, StepState::Pending)]
}

#[tokio::test]
async fn steps_are_registered_run_and_end_each_by_one_put() {
    let mut stage = Stage::planned().await;
    assert_eq!(stage.pair.server.status(stage.id()).as_deref(), Some("running"));
    assert_eq!(stage.statuses(), ["pending", "pending"]);
    stage.tell_all(&[step(1, StepState::Running), step(2, StepState::Pending)]).await;
    assert_eq!(stage.statuses(), ["running", "pending"]);
    let last = [step(1, StepState::Succeeded), Step { exit_code: Some(2), ..step(2, StepState::Failed) }];
    stage.tell_all(&last).await;
    assert_eq!(stage.statuses(), ["success", "failure"]);
    assert_eq!(stage.tell(&last).await, Ok(Told::default()), "there is nothing more to tell");
    stage.report(&last, Outcome::Failed).await.unwrap();
    stage.pair.server.read(|record| {
        let end = record.effective(stage.id()).unwrap();
        assert_eq!((end.stage.status.as_str(), end.stage.steps.len()), ("failure", 2));
        let puts: Vec<Vec<String>> =
            record.steps_of(stage.id()).map(|step| step.puts.iter().map(|put| put.status.clone()).collect()).collect();
        assert_eq!(puts, [["running", "success"], ["running", "failure"]]);
        for step in record.steps_of(stage.id()) {
            assert_eq!((step.uploads, step.row.version), (1, 4));
        }
        assert_eq!(record.steps_of(stage.id()).last().unwrap().row.exit_code, 2);
    });
    assert!(stage.violations().is_empty(), "{:?}", stage.violations());
}

#[tokio::test]
async fn a_registration_whose_answer_is_lost_costs_the_steps_and_not_the_stage() {
    let mut stage = Stage::taken().await;
    stage.pair.server.fault(Route::UpdateStage, Fault::CutBeforeAnswer, Calls::Next(1));
    stage.tell(&pending()).await.unwrap();
    let done = [step(1, StepState::Succeeded), step(2, StepState::Succeeded)];
    assert_eq!(stage.tell(&done).await, Ok(Told::default()), "their ids are lost");
    stage.report(&done, Outcome::Succeeded).await.unwrap();
    stage.pair.server.read(|record| {
        assert_eq!(record.effective(stage.id()).unwrap().stage.status, "success");
        assert_eq!((record.totals.conflicts, record.totals.repeats, record.totals.stale), (0, 0, 0));
    });
}

#[tokio::test]
async fn a_registration_that_never_arrived_is_sent_once_more() {
    let mut stage = Stage::taken().await;
    stage.pair.server.fault(Route::UpdateStage, Fault::CutBefore, Calls::Next(1));
    stage.tell(&pending()).await.unwrap();
    assert_eq!(stage.statuses(), ["pending", "pending"]);
}

#[tokio::test]
async fn a_step_whose_answer_is_lost_is_found_out_and_goes_on() {
    for state in [StepState::Running, StepState::Succeeded] {
        let mut stage = Stage::planned().await;
        let steps = [step(1, state), step(2, StepState::Pending)];
        if state == StepState::Succeeded {
            stage.tell_all(&[step(1, StepState::Running), step(2, StepState::Pending)]).await;
        }
        stage.pair.server.fault(Route::UpdateStep, Fault::CutBeforeAnswer, Calls::Next(1));
        assert!(matches!(stage.tell(&steps).await, Err(ReportError::Unanswered(_))));
        stage.tell_all(&steps).await;
        let done = [step(1, StepState::Succeeded), step(2, StepState::Succeeded)];
        stage.tell_all(&done).await;
        assert_eq!(stage.statuses(), ["success", "success"]);
        stage.report(&done, Outcome::Succeeded).await.unwrap();
        assert_eq!(stage.pair.server.status(stage.id()).as_deref(), Some("success"));
    }
}

#[tokio::test]
async fn a_conflict_after_a_cancel_says_that_the_stage_is_gone() {
    // 409 on the registration.
    let mut stage = Stage::taken().await;
    assert!(stage.pair.server.cancel(stage.submitted.build));
    assert!(matches!(stage.tell(&pending()).await, Err(ReportError::Gone(_))));
    // 409 on a step that runs; 500 with the text of the lost race on one that ends.
    for state in [StepState::Running, StepState::Succeeded] {
        let mut stage = Stage::planned().await;
        let running = [step(1, StepState::Running), step(2, StepState::Pending)];
        if state == StepState::Succeeded {
            stage.tell_all(&running).await;
        }
        assert!(stage.pair.server.cancel(stage.submitted.build));
        let steps = [step(1, state), step(2, StepState::Pending)];
        assert!(matches!(stage.tell(&steps).await, Err(ReportError::Gone(_))), "{state:?}");
        // 409 on the final PUT.
        assert_eq!(stage.report(&steps, Outcome::Cancelled).await, Ok(()), "the server has said so itself");
        assert_eq!(stage.pair.server.status(stage.id()).as_deref(), Some("killed"));
    }
}

#[tokio::test]
async fn a_stage_of_a_lost_runner_closes_with_all_its_steps() {
    let mut stage = Stage::planned().await;
    let steps = [step(1, StepState::Running), step(2, StepState::Pending)];
    stage.tell_all(&steps).await;
    // The next process of the delegate knows no more than the note.
    stage.pair.restart();
    stage.report(&steps, Outcome::Errored).await.unwrap();
    assert_eq!(stage.statuses(), ["error", "skipped"]);
    assert_eq!(stage.pair.server.status(stage.id()).as_deref(), Some("error"));
}

#[tokio::test]
async fn a_log_that_is_there_already_is_no_obstacle() {
    let mut stage = Stage::planned().await;
    stage.tell_all(&[step(1, StepState::Running), step(2, StepState::Pending)]).await;
    stage.pair.server.fault(Route::Upload, Fault::CutBeforeAnswer, Calls::Next(1));
    let steps = [step(1, StepState::Succeeded), step(2, StepState::Pending)];
    assert!(matches!(stage.tell(&steps).await, Err(ReportError::Unanswered(_))));
    stage.tell_all(&steps).await;
    assert_eq!(stage.statuses(), ["success", "pending"]);
}

#[tokio::test]
async fn steps_of_a_later_plan_are_registered_too_and_those_it_has_no_more_end_with_the_stage() {
    let mut stage = Stage::planned().await;
    stage.tell_all(&[step(1, StepState::Succeeded), step(2, StepState::Running)]).await;
    // Another runner takes the stage over: it has no second step, and a third.
    let replanned = [step(1, StepState::Pending), step(3, StepState::Pending)];
    stage.tell_all(&replanned).await;
    assert_eq!(stage.statuses(), ["success", "running", "pending"]);
    let done = [step(1, StepState::Succeeded), Step { exit_code: Some(2), ..step(3, StepState::Failed) }];
    stage.tell_all(&done).await;
    assert_eq!(stage.statuses(), ["success", "running", "failure"]);
    stage.report(&done, Outcome::Failed).await.unwrap();
    assert_eq!(stage.statuses(), ["success", "error", "failure"]);
    stage.pair.server.read(|record| {
        let second = &record.steps_of(stage.id()).nth(1).unwrap().row;
        assert_eq!((second.name.as_str(), second.started), ("step-2", 1_738_660_006));
        assert_eq!((record.totals.conflicts, record.totals.repeats), (0, 0));
    });
    assert!(stage.violations().is_empty(), "{:?}", stage.violations());
}

#[tokio::test]
async fn a_later_registration_whose_answer_is_lost_costs_those_steps_alone() {
    for fault in [Fault::CutBeforeAnswer, Fault::CutBefore] {
        let mut stage = Stage::planned().await;
        let arrives = matches!(fault, Fault::CutBeforeAnswer);
        stage.pair.server.fault(Route::UpdateStage, fault, Calls::Next(1));
        let replanned = [step(1, StepState::Succeeded), step(3, StepState::Succeeded)];
        if !arrives {
            assert!(matches!(stage.tell(&replanned).await, Err(ReportError::Unanswered(_))));
        }
        stage.tell_all(&replanned).await;
        let third = if arrives { "pending" } else { "success" };
        assert_eq!(stage.statuses(), ["success", "pending", third]);
        stage.report(&replanned, Outcome::Succeeded).await.unwrap();
        assert_eq!(stage.pair.server.status(stage.id()).as_deref(), Some("success"));
    }
}
