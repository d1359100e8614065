//! Upstreams that are paused and runners that are drained: what is left alone, what goes on, when it ends, and that the next process knows.

use std::time::Duration;

use dlite::core::{
    command::{Command, Refusal},
    effect::{Call, Idle, NotAcquired, Note, Order},
    explain::Explained,
    id::{ExternalId, RunnerId, UpstreamName},
    input::{Answer, CallError, Input, Listed, Listing},
    status::TaskName,
    task::{CancelReason, Spec},
    wait::{Name, Wait},
};

use super::{
    stages::{Stages, cleanup, execute, setup, succeeded},
    support::{MANAGER, Rig, spec},
};

fn order(rig: &mut Rig, command: Command) -> Result<(), Refusal> {
    rig.tell(Input::Commanded { request: dlite::core::id::RequestId(1), command });
    rig.answers.pop().expect("an order is answered")
}

fn pause() -> Command {
    Command::PauseUpstream { upstream: UpstreamName::from(MANAGER), reason: "a move".into() }
}

fn unpause() -> Command {
    Command::ResumeUpstream { upstream: UpstreamName::from(MANAGER) }
}

fn drain(runner: &str, grace: Option<u64>) -> Command {
    let grace = grace.map(Duration::from_secs);
    Command::DrainRunner { runner: RunnerId::from(runner), grace, reason: "a new disk".into() }
}

fn undrain(runner: &str) -> Command {
    Command::ResumeRunner { runner: RunnerId::from(runner) }
}

/// Why the newest listing's task was left alone.
fn left(rig: &Rig) -> Option<NotAcquired> {
    rig.notes.iter().rev().find_map(|note| match note {
        Note::NotAcquired { reason, .. } => Some(reason.clone()),
        _ => None,
    })
}

/// Lists one task; whether it is acquired.
fn offered(stages: &mut Stages, spec: &Spec) -> bool {
    stages.rig.pass(Duration::from_secs(4));
    let listed = Listed {
        external_id: ExternalId::from(format!("offer of {}", spec.task_type)),
        task_type: spec.task_type.clone(),
        kind: spec.kind,
        labels: None,
        unsupported: false,
    };
    stages.rig.answer(Answer::Poll(Ok(Listing { tasks: vec![listed], aborts: Vec::new(), quiet: false })));
    !stages.rig.acquires().is_empty()
}

fn wait_of(rig: &Rig, external_id: &str) -> Wait {
    match &rig.core.explain(rig.now(), &TaskName::Theirs(external_id.into()))[..] {
        [Explained::Open(task)] => task.wait.clone(),
        other => panic!("one open task, not {other:?}"),
    }
}

#[test]
fn nothing_is_acquired_from_a_paused_upstream_until_it_is_resumed() {
    let mut rig = Rig::ready(false);
    assert_eq!(order(&mut rig, pause()), Ok(()));
    assert_eq!(order(&mut rig, pause()), Err(Refusal::UpstreamPaused));
    rig.list(&["a"]);
    assert_eq!((rig.acquires().len(), left(&rig)), (0, Some(NotAcquired::Paused)));
    assert_eq!(wait_of(&rig, "a").name(), Name::UpstreamPaused);
    assert_eq!(order(&mut rig, unpause()), Ok(()));
    assert_eq!(rig.acquires().len(), 1, "at once, from the last listing");
    assert_eq!(order(&mut rig, unpause()), Err(Refusal::UpstreamNotPaused));
}

#[test]
fn what_is_here_ends_and_is_reported_and_aborts_come_while_its_upstream_is_paused() {
    let mut rig = Rig::ready(false);
    rig.take("a", spec());
    let first = rig.accept();
    rig.take("b", spec());
    rig.accept();
    assert_eq!(order(&mut rig, pause()), Ok(()));
    rig.result(first, succeeded());
    assert_eq!(rig.reports().len(), 1);
    rig.pass(Duration::from_secs(4));
    rig.answer(Answer::Poll(Ok(Listing { aborts: vec!["b".into()], ..Listing::default() })));
    assert!(rig.orders.iter().any(|order| matches!(order, Order::Cancel { .. })), "{:?}", rig.orders);
    assert!(rig.calls.iter().any(|call| matches!(call, Call::Poll { .. })), "polls go on");
}

#[test]
fn an_upstream_that_is_not_asked_for_anything_new_is_told_so_in_its_polls() {
    let mut rig = Rig::ready(false);
    assert_eq!(order(&mut rig, pause()), Ok(()));
    rig.list(&[]);
    rig.pass(Duration::from_secs(4));
    let wanted = rig.calls.iter().rev().find_map(|call| match call {
        Call::Poll { wanted, .. } => Some(wanted.len()),
        _ => None,
    });
    assert_eq!(wanted, Some(0));
}

#[test]
fn a_pause_is_on_record_and_one_of_an_upstream_that_is_gone_can_be_taken_back() {
    let mut rig = Rig::ready(false);
    assert_eq!(order(&mut rig, pause()), Ok(()));
    let mut rig = rig.restarted();
    rig.attach(false);
    rig.list(&["a"]);
    assert_eq!(rig.acquires().len(), 0);
    assert_eq!(order(&mut rig, unpause()), Ok(()));
    let elsewhere = || UpstreamName::from("elsewhere");
    let unknown = Command::PauseUpstream { upstream: elsewhere(), reason: "".into() };
    assert_eq!(order(&mut rig, unknown), Err(Refusal::UpstreamUnknown));
    assert_eq!(order(&mut rig, Command::ResumeUpstream { upstream: elsewhere() }), Err(Refusal::UpstreamUnknown));
}

#[test]
fn a_stage_that_is_open_goes_on_while_its_upstream_is_paused() {
    let mut stages = Stages::new();
    stages.set_up("a machine");
    assert_eq!(stages.order(pause()), Ok(()));
    assert!(!offered(&mut stages, &setup()), "another stage");
    assert!(offered(&mut stages, &execute()) && offered(&mut stages, &cleanup()));
}

#[test]
fn a_drained_runner_gets_nothing_but_the_rest_of_its_own_stages() {
    let mut stages = Stages::new();
    stages.set_up("a machine");
    assert_eq!(stages.order(drain("r-1", None)), Ok(()));
    assert!(!offered(&mut stages, &setup()));
    let why = Idle::Drained;
    assert_eq!(left(&stages.rig), Some(NotAcquired::NotServing { runner: "r-1".into(), why }));
    let step = stages.take(execute());
    assert!(stages.assignment(step).is_some(), "a step of the stage that is on it");
    let lease = stages.accept(1, step);
    stages.finish(1, lease, succeeded(), None);

    // A step of a stage that is set up nowhere here is anybody's, and so not this runner's.
    let strange = stages.take(Spec { session: Some("stage-2".into()), ..execute() });
    assert!(stages.assignment(strange).is_none());
    assert_eq!(wait_of(&stages.rig, "e-3").name(), Name::RunnerIdle);
    stages.attach(2, false);
    assert!(stages.assignment(strange).is_some(), "another runner has it");

    let end = stages.take(cleanup());
    let lease = stages.accept(1, end);
    stages.finish(1, lease, succeeded(), None);
    assert_eq!(stages.left_behind(), Some(None));
}

#[test]
fn a_runner_gets_work_again_at_once_when_it_is_resumed() {
    let mut rig = Rig::ready(false);
    assert_eq!(order(&mut rig, drain("r-1", None)), Ok(()));
    assert_eq!(order(&mut rig, drain("r-1", None)), Err(Refusal::RunnerDrained));
    rig.list(&["a"]);
    assert_eq!(rig.acquires().len(), 0);
    assert_eq!(order(&mut rig, undrain("r-1")), Ok(()));
    assert_eq!(rig.acquires().len(), 1);
    assert_eq!(order(&mut rig, undrain("r-1")), Err(Refusal::RunnerNotDrained));
    assert_eq!(order(&mut rig, drain("r-9", None)), Err(Refusal::RunnerUnknown));
    assert_eq!(order(&mut rig, undrain("r-9")), Err(Refusal::RunnerUnknown));
}

#[test]
fn a_drain_of_a_runner_is_on_record_with_what_is_left_of_its_grace() {
    let mut rig = Rig::ready(false);
    rig.take("a", spec());
    let lease = rig.accept();
    assert_eq!(order(&mut rig, drain("r-1", Some(60))), Ok(()));
    rig.pass(Duration::from_secs(20));
    let mut rig = rig.restarted_after(Duration::from_secs(10));
    rig.pass(Duration::from_secs(29));
    assert!(rig.core.ledger().task_of(lease).unwrap().cancel.is_none());
    rig.pass(Duration::from_secs(2));
    let cancel = rig.core.ledger().task_of(lease).unwrap().cancel.clone().expect("the grace is over");
    assert_eq!((cancel.reason, &*cancel.message), (CancelReason::Drain, "a new disk"));
}

#[test]
fn the_grace_of_a_drained_runner_ends_its_stages_with_a_cleanup_and_nobody_else_s() {
    let mut stages = Stages::new();
    stages.set_up("a machine");
    let step = stages.take(execute());
    stages.accept(1, step);
    stages.attach(2, false);
    assert_eq!(stages.order(drain("r-1", Some(60))), Ok(()));
    stages.rig.pass(Duration::from_secs(59));
    assert_eq!(stages.own_cleanup(), None);
    stages.rig.pass(Duration::from_secs(2));
    assert!(stages.rig.core.ledger().task(step).unwrap().cancel.is_some());
    let own = stages.own_cleanup().expect("the delegate cleans up");
    let lease = stages.accept(1, own);
    stages.finish(1, lease, succeeded(), None);
    assert_eq!(stages.left_behind(), Some(None), "on the runner that holds what is to be cleaned up");
}

#[test]
fn a_runner_that_was_resumed_before_its_grace_was_over_keeps_its_work() {
    let mut rig = Rig::ready(false);
    rig.take("a", spec());
    let lease = rig.accept();
    assert_eq!(order(&mut rig, drain("r-1", Some(60))), Ok(()));
    assert_eq!(order(&mut rig, undrain("r-1")), Ok(()));
    rig.pass(Duration::from_secs(120));
    assert!(rig.core.ledger().task_of(lease).unwrap().cancel.is_none());
}

#[test]
fn a_runner_that_is_attached_and_not_heard_is_said_to_be_silent_and_then_to_lose_its_lease() {
    let second = Duration::from_secs(1);
    let mut rig = Rig::with(|config| {
        config.heartbeat_interval = second * 20;
        config.lease_ttl = second * 100;
    });
    rig.register();
    rig.attach(true);
    rig.take("a", spec());
    rig.accept();
    assert_eq!(wait_of(&rig, "a").name(), Name::Runner);
    rig.pass(second * 50);
    let wait = wait_of(&rig, "a");
    assert_eq!((wait.name(), wait.details()["attached"].as_str()), (Name::RunnerSilent, "true"));
    rig.pass(second * 40);
    let wait = wait_of(&rig, "a");
    assert_eq!((wait.name(), wait.details()["repeats"].as_str()), (Name::LeaseEnding, "true"));
    assert!(wait.ends(rig.now().wall).ends_with("and the task is tried again"), "{}", wait.ends(rig.now().wall));
}

#[test]
fn polls_that_fail_in_a_row_are_counted_and_a_good_one_forgets_them() {
    let mut rig = Rig::ready(false);
    for nth in 0..10 {
        rig.take(&format!("a-{nth}"), spec());
    }
    rig.list(&["b"]);
    assert_eq!(wait_of(&rig, "b").name(), Name::Slot);
    for tries in 1..=3 {
        rig.pass(Duration::from_secs(4));
        rig.answer(Answer::Poll(Err(CallError::Failed("no route".into()))));
        let wait = wait_of(&rig, "b");
        assert_eq!((wait.name(), wait.details()["tries"].clone()), (Name::UpstreamUnreachable, tries.to_string()));
        assert!(wait.deadline.is_some(), "the next poll");
    }
    rig.list(&["b"]);
    assert_eq!(wait_of(&rig, "b").name(), Name::Slot);
}
