//! Stages that are open when the delegate drains: who ends them, what of them is still taken, and when the drain is over.

use std::time::Duration;

use dlite::core::{
    command::Command,
    drain::{Mode, Phase},
    effect::{NotAcquired, Note},
    id::ExternalId,
    input::{Answer, Listed, Listing},
    task::{Kind, Outcome, Spec},
};

use super::stages::{CLEANUP, SETUP, Stages, cleanup, execute, setup, succeeded};

const GRACE: Duration = Duration::from_secs(60);

/// A stage that is set up, nothing of it running, and a drain.
fn drained(mode: Mode) -> Stages {
    let mut stages = Stages::new();
    stages.set_up("a machine");
    let order = Command::Drain { mode, grace: Some(GRACE), reason: "reboot".into() };
    assert_eq!(stages.order(order), Ok(()));
    stages
}

fn phase(stages: &Stages) -> Phase {
    stages.rig.core.phase()
}

/// Runs the cleanup that the delegate made, and answers for the setup.
fn clean_up(stages: &mut Stages) {
    let own = stages.own_cleanup().expect("the delegate makes a cleanup");
    assert_eq!(&*stages.assignment(own).expect("it is assigned").spec.task_type.0, CLEANUP);
    let lease = stages.accept(1, own);
    stages.finish(1, lease, succeeded(), None);
    report_all(stages);
}

fn report_all(stages: &mut Stages) {
    for (task, _) in stages.rig.reports() {
        stages.rig.report_answered(task, Ok(()));
    }
}

#[test]
fn a_drain_that_finishes_tasks_cleans_up_what_stages_left_once_no_task_runs() {
    let mut stages = drained(Mode::FinishTasks);
    assert_eq!(phase(&stages), Phase::Draining);
    clean_up(&mut stages);
    assert_eq!((phase(&stages), stages.left_behind()), (Phase::Drained, Some(None)));
}

#[test]
fn a_step_that_runs_is_finished_before_its_stage_is_cleaned_up() {
    let mut stages = Stages::new();
    stages.set_up("a machine");
    report_all(&mut stages);
    let step = stages.take(execute());
    let lease = stages.accept(1, step);
    let order = Command::Drain { mode: Mode::FinishTasks, grace: Some(GRACE), reason: "reboot".into() };
    assert_eq!(stages.order(order), Ok(()));
    assert_eq!(stages.own_cleanup(), None);
    stages.finish(1, lease, succeeded(), None);
    let reported = stages.rig.reports();
    let of_step = reported.iter().find(|(task, _)| *task == step).expect("it is reported");
    assert_eq!(of_step.1.finish.outcome, Outcome::Succeeded);
    stages.rig.report_answered(step, Ok(()));
    clean_up(&mut stages);
    assert_eq!(phase(&stages), Phase::Drained);
}

#[test]
fn a_drain_that_finishes_sessions_takes_what_is_left_of_them() {
    let mut stages = drained(Mode::FinishSessions);
    report_all(&mut stages);
    for spec in [execute(), cleanup()] {
        assert_eq!((phase(&stages), stages.own_cleanup()), (Phase::Draining, None));
        let task = stages.take(spec);
        let lease = stages.accept(1, task);
        stages.finish(1, lease, succeeded(), None);
        report_all(&mut stages);
    }
    assert_eq!((phase(&stages), stages.left_behind()), (Phase::Drained, Some(None)));
}

#[test]
fn a_drain_that_finishes_sessions_refuses_new_ones_by_name() {
    let mut stages = drained(Mode::FinishSessions);
    offer(&mut stages, setup());
    assert!(stages.rig.acquires().is_empty());
    let refused = |note: &Note| matches!(note, Note::NotAcquired { reason: NotAcquired::Draining, .. });
    assert!(stages.rig.notes.iter().any(refused), "{:?}", stages.rig.notes);
}

#[test]
fn a_session_that_its_upstream_does_not_end_is_closed_at_the_end_of_the_grace() {
    let mut stages = drained(Mode::FinishSessions);
    stages.rig.pass(GRACE - Duration::from_secs(1));
    assert_eq!(stages.own_cleanup(), None);
    stages.rig.pass(Duration::from_secs(2));
    clean_up(&mut stages);
    assert_eq!(phase(&stages), Phase::Drained);
}

#[test]
fn a_drain_that_cancels_leaves_sessions_to_the_next_start_and_counts_them() {
    let mut stages = drained(Mode::Cancel);
    report_all(&mut stages);
    assert_eq!((phase(&stages), stages.own_cleanup()), (Phase::Drained, None));
    let leavings = stages.rig.core.leavings();
    assert_eq!((leavings.sessions, leavings.is_clean()), (1, false));
}

fn offer(stages: &mut Stages, spec: Spec) {
    stages.rig.pass(Duration::from_secs(4));
    assert_eq!((&*spec.task_type.0, spec.kind), (SETUP, Kind::SessionSetup));
    let external_id = ExternalId::from("another");
    let listed = Listed { external_id, task_type: spec.task_type, kind: spec.kind, labels: None, unsupported: false };
    stages.rig.answer(Answer::Poll(Ok(Listing { tasks: vec![listed], aborts: Vec::new(), quiet: false })));
}
