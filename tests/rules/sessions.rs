//! Stages: what joins a session, what it sees of its state, where it may run, and how a session ends.

use std::time::Duration;

use dlite::{
    core::{
        command::{Command, Refusal},
        effect::{Note, Order},
        id::{SlotClass, TaskId},
        input::{Answer, Frame, Listed, Listing},
        session::{Phase, STATE_BYTES_MAX},
        task::{CancelReason, Finish, Kind, Outcome, Output, OutputValue, Spec},
        trace::{TraceParent, TraceScope},
    },
    reason::Reason,
};

use super::stages::{CLEANUP, SETUP, Stages, cleanup, execute, setup, succeeded, text, update};

/// The lease_ttl of the rig's configuration, and a little more.
const PAST_TTL: Duration = Duration::from_secs(36_001);

// === joining ===

#[test]
fn what_a_setup_leaves_is_what_an_execute_and_a_cleanup_see() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    let step = stages.take(execute());
    assert_eq!(stages.state_seen(step).as_deref(), Some("vm-7"));
    let lease = stages.accept(1, step);
    stages.finish(1, lease, succeeded(), Some(update("2", "vm-7 used")));
    let end = stages.take(cleanup());
    assert_eq!(stages.state_seen(end).as_deref(), Some("vm-7 used"));
    let lease = stages.accept(1, end);
    stages.finish(1, lease, succeeded(), None);
    assert_eq!((stages.phase(), stages.left_behind()), (None, Some(None)));
}

#[test]
fn a_session_survives_the_delegate() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    stages.rig = stages.rig.restarted();
    stages.sequences.clear();
    stages.rig.register();
    stages.attach(1, false);
    let step = stages.take(execute());
    assert_eq!(stages.state_seen(step).as_deref(), Some("vm-7"));
}

#[test]
fn a_runner_that_was_killed_comes_back_and_works_from_the_state() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    stages.detach(1);
    stages.attach_as(2, 1, false);
    let step = stages.take(execute());
    assert_eq!(stages.state_seen(step).as_deref(), Some("vm-7"));
}

#[test]
fn a_task_of_a_stage_without_the_stages_name_is_answered_by_name() {
    let mut stages = Stages::new();
    let task = stages.take(Spec { session: None, ..execute() });
    assert_eq!(stages.reason(task).as_deref(), Some("SESSION_ID_MISSING"));
}

#[test]
fn a_doubled_setup_is_refused_and_the_first_goes_on() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    let task = stages.take(setup());
    assert_eq!(stages.reason(task).as_deref(), Some("SESSION_DOUBLED"));
    assert_eq!(stages.phase(), Some(Phase::Ready));
}

#[test]
fn another_tenant_s_stage_of_the_same_name_is_another_session() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    let step = stages.take(Spec { tenant: "another".into(), ..execute() });
    assert_eq!(stages.state_seen(step), None);
    assert_eq!(stages.rig.core.ledger().session_count(), 2);
}

#[test]
fn a_step_of_a_stage_set_up_elsewhere_runs_without_state() {
    let mut stages = Stages::new();
    let step = stages.take(execute());
    assert_eq!(stages.state_seen(step), None);
    let end = stages.take(cleanup());
    let lease = stages.accept(1, end);
    stages.finish(1, lease, succeeded(), None);
    assert_eq!(stages.phase(), None);
}

#[test]
fn a_step_waits_until_the_setup_is_over() {
    let mut stages = Stages::new();
    let first = stages.take(setup());
    let step = stages.take(execute());
    assert!(stages.assignment(step).is_none());
    let waits = stages.rig.core.task_list(stages.rig.now());
    assert!(waits.iter().any(|task| task.waiting_for == "the setup of session stage-1"), "{waits:?}");
    let lease = stages.accept(1, first);
    stages.finish(1, lease, succeeded(), None);
    assert!(stages.assignment(step).is_some());
}

// === state ===

#[test]
fn a_change_made_from_an_old_etag_is_refused_and_told_the_new_one() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    let (one, other) = (stages.take(execute()), stages.take(execute()));
    let (one, other) = (stages.accept(1, one), stages.accept(1, other));
    stages.frame(1, Frame::State { lease: one, number: 1, update: update("2", "one was here") });
    stages.rig.orders.clear();
    let sequence = stages.frame(1, Frame::State { lease: other, number: 1, update: update("2", "no, other") });
    let refused = stages.rig.orders.iter().find_map(|order| match order {
        Order::Refuse { sequence, reason, .. } => Some((*sequence, reason.word())),
        _ => None,
    });
    assert_eq!(refused, Some((sequence, "SESSION_ETAG_STALE")));
    let told = stages.rig.orders.iter().find_map(|order| match order {
        Order::Session(session) => Some((session.etag(), session.state.clone())),
        _ => None,
    });
    assert_eq!(told, Some(("3".into(), Some(text("one was here")))));
}

#[test]
fn a_result_made_from_an_old_etag_leaves_the_lease_open_for_another() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    let step = stages.take(execute());
    let lease = stages.accept(1, step);
    stages.finish(1, lease, succeeded(), Some(update("1", "late")));
    assert!(stages.rig.core.ledger().task_of(lease).is_some(), "the lease is open");
    stages.finish(1, lease, succeeded(), Some(update("2", "right")));
    assert!(stages.rig.core.ledger().task_of(lease).is_none());
    let next = stages.take(execute());
    assert_eq!(stages.state_seen(next).as_deref(), Some("right"));
}

#[test]
fn a_change_sent_again_after_a_cut_counts_once() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    let step = stages.take(execute());
    let lease = stages.accept(1, step);
    let frame = Frame::State { lease, number: 1, update: update("2", "once") };
    stages.frame(1, frame.clone());
    stages.rig.orders.clear();
    stages.frame(1, frame);
    let refused = stages.rig.orders.iter().any(|order| matches!(order, Order::Refuse { .. }));
    assert!(!refused, "what is in the journal is acknowledged again");
    assert_eq!(&*stages.rig.core.ledger().sessions().next().unwrap().etag(), "3");
}

#[test]
fn both_parts_of_a_state_share_one_bound() {
    let mut stages = Stages::new();
    stages.set_up(&"x".repeat(STATE_BYTES_MAX / 2));
    let step = stages.take(execute());
    let lease = stages.accept(1, step);
    let mut more = update("2", "");
    (more.state, more.sensitive_state) = (None, Some(text(&"y".repeat(STATE_BYTES_MAX / 2))));
    stages.rig.orders.clear();
    stages.frame(1, Frame::State { lease, number: 1, update: more });
    let refused = stages.rig.orders.iter().find_map(|order| match order {
        Order::Refuse { reason, message, .. } => Some((reason.word(), message.clone())),
        _ => None,
    });
    let (reason, message) = refused.expect("it is refused");
    assert!(reason == "FRAME_INVALID" && message.starts_with("update.session_state: "), "{reason}: {message}");
}

#[test]
fn a_task_without_a_session_has_no_state_to_set() {
    let mut stages = Stages::new();
    let task = stages.take(Spec { kind: Kind::Standalone, session: None, ..execute() });
    let lease = stages.accept(1, task);
    stages.finish(1, lease, succeeded(), Some(update("1", "whose?")));
    let refused = |order: &Order| matches!(order, Order::Refuse { reason: Reason::SessionNone, .. });
    assert!(stages.rig.orders.iter().any(refused));
}

#[test]
fn exported_outputs_reach_the_next_task_and_others_do_not() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    let step = stages.take(execute());
    let lease = stages.accept(1, step);
    let output = |name: &str, exported| Output {
        name: name.into(),
        value: OutputValue::Text("v".into()),
        sensitive: false,
        exported,
    };
    let finish = Finish { outputs: vec![output("TAG", true), output("LOCAL", false)], ..succeeded() };
    stages.finish(1, lease, finish, None);
    let next = stages.take(execute());
    let session = stages.assignment(next).unwrap().session.clone().unwrap();
    assert_eq!(session.variables.keys().map(|name| &**name).collect::<Vec<_>>(), ["TAG"]);
}

// === where ===

#[test]
fn a_stage_stays_with_the_runner_that_set_it_up() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    stages.attach(2, false);
    stages.detach(1);
    let step = stages.take(execute());
    assert!(stages.assignment(step).is_none());
    let waits = stages.rig.core.task_list(stages.rig.now());
    let wait = &waits.iter().find(|task| task.task == Some(step)).unwrap().waiting_for;
    assert!(wait.starts_with("runner r-1 to come back: it holds session stage-1"), "{wait}");
    stages.attach_as(3, 1, false);
    assert!(stages.assignment(step).is_some());
}

#[test]
fn a_stage_whose_handler_needs_only_its_state_goes_to_any_runner() {
    let mut stages = Stages::new();
    stages.detach(1);
    stages.attach(2, true);
    let task = stages.take(setup());
    let lease = stages.accept(2, task);
    stages.finish(2, lease, succeeded(), Some(update("1", "cloud vm")));
    stages.detach(2);
    stages.attach(3, true);
    let step = stages.take(execute());
    assert_eq!(stages.state_seen(step).as_deref(), Some("cloud vm"));
}

#[test]
fn a_stage_whose_runner_stays_away_fails_its_steps_and_is_cleaned_up_by_anyone() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    stages.attach(2, false);
    stages.detach(1);
    let step = stages.take(execute());
    stages.rig.pass(PAST_TTL);
    assert_eq!(stages.reason(step).as_deref(), Some("SESSION_LOST"));
    assert_eq!(stages.phase(), Some(Phase::Orphaned));
    stages.attach(3, false);
    let end = stages.take(cleanup());
    assert_eq!(stages.state_seen(end).as_deref(), Some("vm-7"));
    let lease = stages.accept(3, end);
    stages.finish(3, lease, succeeded(), None);
    assert_eq!(stages.phase(), None);
}

#[test]
fn a_runner_that_refuses_new_sessions_still_gets_steps_of_open_ones() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    stages.frame(1, Frame::Capacity { slots: [(SlotClass::from("default"), 10)].into(), refuses_sessions: true });
    let step = stages.take(execute());
    assert!(stages.assignment(step).is_some());
    stages.rig.pass(Duration::from_secs(4));
    let listed = Listed {
        external_id: "e-x".into(),
        task_type: SETUP.into(),
        kind: Kind::SessionSetup,
        labels: None,
        unsupported: false,
    };
    stages.rig.answer(Answer::Poll(Ok(Listing { tasks: vec![listed], aborts: Vec::new(), quiet: false })));
    assert_eq!(stages.rig.acquires(), []);
    let left =
        |note: &Note| matches!(note, Note::NotAcquired { reason, .. } if reason.reason() == Reason::SessionsRefused);
    assert!(stages.rig.notes.iter().any(left));
}

// === the end ===

#[test]
fn a_cleanup_stops_what_runs_and_what_waits_in_its_session() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    let step = stages.take(execute());
    let lease = stages.accept(1, step);
    let end = stages.take(cleanup());
    let told = |order: &Order| matches!(order, Order::Cancel { lease: of, reason: CancelReason::SessionClosed, .. } if *of == lease);
    assert!(stages.rig.orders.iter().any(told));
    assert!(stages.assignment(end).is_some(), "it does not wait for the step");
    let late = stages.take(execute());
    assert_eq!(stages.reason(late).as_deref(), Some("SESSION_CLOSED"));
}

#[test]
fn a_failed_setup_is_cleaned_up_from_its_own_payload() {
    let mut stages = Stages::new();
    let task = stages.take(setup());
    let lease = stages.accept(1, task);
    stages.finish(1, lease, Finish::of(Outcome::Failed, None), Some(update("1", "half a vm")));
    let own = stages.own_cleanup().expect("a cleanup of the delegate's own");
    let assignment = stages.assignment(own).expect("it is assigned");
    assert!(assignment.synthesized);
    assert_eq!(assignment.spec.payload, setup().payload);
    assert_eq!(assignment.spec.task_type.as_str(), CLEANUP);
    assert_eq!(stages.state_seen(own).as_deref(), Some("half a vm"));
    let lease = stages.accept(1, own);
    stages.rig.calls.clear();
    stages.finish(1, lease, succeeded(), None);
    assert_eq!(stages.rig.reports().len(), 0, "its result goes nowhere");
    assert!(!stages.rig.knows(own) && stages.phase().is_none());
}

#[test]
fn a_setup_that_never_started_leaves_nothing_to_clean_up() {
    let mut stages = Stages::new();
    let task = stages.take(setup());
    stages.order(Command::CancelTask { task, message: "no".into(), grace: None, force: false }).unwrap();
    assert_eq!((stages.phase(), stages.own_cleanup()), (None, None));
    assert_eq!(stages.left_behind(), Some(None));
}

#[test]
fn a_lost_setup_is_cleaned_up() {
    let mut stages = Stages::new();
    let task = stages.take(setup());
    stages.accept(1, task);
    stages.detach(1);
    stages.attach_as(2, 1, false);
    assert_eq!(stages.reason(task).as_deref(), Some("LEASE_LOST"));
    let own = stages.own_cleanup().expect("a cleanup of the delegate's own");
    assert!(stages.assignment(own).is_some());
}

#[test]
fn a_setup_that_ran_out_of_time_while_no_process_was_there_ends_what_waits_for_it_once() {
    let mut stages = Stages::new();
    let task = stages.take(Spec { timeout: Some(Duration::from_secs(20)), ..setup() });
    let step = stages.take(execute());
    // It gives back what it has not decided on.
    stages.frame(1, Frame::DrainNotice { grace: Some(Duration::from_secs(1)) });
    stages.rig = stages.rig.restarted_after(Duration::from_secs(30));
    let reports = stages.rig.reports();
    let ends: Vec<_> = reports.iter().map(|(id, report)| (*id, report.finish.outcome)).collect();
    assert_eq!(ends, [(step, Outcome::Cancelled), (task, Outcome::TimedOut)]);
}

#[test]
fn a_setup_of_the_same_name_waits_until_the_last_one_is_cleaned_up() {
    let mut stages = Stages::new();
    let task = stages.take(setup());
    let lease = stages.accept(1, task);
    stages.finish(1, lease, Finish::of(Outcome::Failed, None), None);
    let again = stages.take(setup());
    assert!(stages.assignment(again).is_none());
    let own = stages.own_cleanup().unwrap();
    let lease = stages.accept(1, own);
    stages.finish(1, lease, succeeded(), None);
    assert!(stages.assignment(again).is_some());
    assert_eq!(stages.phase(), Some(Phase::SettingUp));
}

#[test]
fn a_session_that_nobody_closes_is_closed_after_its_ttl() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    stages.rig.pass(Duration::from_secs(24 * 3600 + 10));
    assert_eq!(stages.phase(), Some(Phase::Closing));
    stages.attach_as(3, 1, false);
    let own = stages.own_cleanup().expect("a cleanup of the delegate's own");
    assert_eq!(stages.state_seen(own).as_deref(), Some("vm-7"));
}

#[test]
fn the_operator_closes_a_session_once() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    let session = stages.session();
    let close = |force| Command::CloseSession { session, reason: "test".into(), force };
    assert_eq!(stages.order(close(false)), Ok(()));
    assert_eq!(stages.order(close(false)), Err(Refusal::SessionClosing));
    assert!(stages.own_cleanup().is_some());
    assert_eq!(stages.order(close(true)), Ok(()));
    assert_eq!(stages.left_behind(), Some(Some("test".to_owned())));
    assert_eq!(stages.order(close(false)), Err(Refusal::SessionUnknown));
}

#[test]
fn the_upstream_s_cleanup_takes_the_place_of_one_that_has_no_runner_yet() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    let session = stages.session();
    stages.detach(1);
    stages.attach(2, false);
    stages.order(Command::CloseSession { session, reason: "test".into(), force: false }).unwrap();
    let own = stages.own_cleanup().expect("it waits for r-1");
    let end = stages.take(cleanup());
    assert!(!stages.rig.knows(own));
    stages.attach_as(3, 1, false);
    assert_eq!(stages.state_seen(end).as_deref(), Some("vm-7"));
}

#[test]
fn a_cleanup_that_fails_ends_its_session_and_says_what_may_be_left() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    let end = stages.take(cleanup());
    let lease = stages.accept(1, end);
    stages.finish(1, lease, Finish::of(Outcome::Failed, None), None);
    assert_eq!(stages.phase(), None);
    assert!(stages.left_behind().flatten().is_some());
}

#[test]
fn what_a_restart_finds_of_sessions_equals_what_was_there() {
    let mut stages = Stages::new();
    stages.set_up("vm-7");
    let step = stages.take(execute());
    stages.accept(1, step);
    let before: Vec<_> = stages.rig.core.ledger().sessions().cloned().collect();
    let members: Vec<_> = stages.rig.core.ledger().members(stages.session()).collect();
    stages.rig = stages.rig.restarted();
    assert_eq!(stages.rig.core.ledger().sessions().cloned().collect::<Vec<_>>(), before);
    assert_eq!(stages.rig.core.ledger().members(stages.session()).collect::<Vec<_>>(), members);
}

#[test]
fn nothing_of_a_state_is_printed() {
    let mut stages = Stages::new();
    stages.set_up("hunter2");
    let printed = format!("{:?} {:?}", stages.rig.core.ledger(), stages.rig.notes);
    assert!(!printed.contains("hunter2"));
    let bytes = format!("{:?}", "hunter2".as_bytes());
    assert!(!printed.contains(&bytes[1..bytes.len() - 1]));
}

// === traces ===

#[test]
fn a_cleanup_of_the_delegates_own_has_a_trace_of_its_own_and_shares_the_session() {
    let mut stages = Stages::new();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let parent = TraceParent::parse(parent, None).unwrap();
    let task = stages.take(Spec { trace_parent: Some(parent.clone()), ..setup() });
    let lease = stages.accept(1, task);
    stages.finish(1, lease, succeeded(), None);
    let session = stages.session();
    stages.order(Command::CloseSession { session, reason: "enough".into(), force: false }).unwrap();
    let own = stages.own_cleanup().expect("a cleanup of the delegate's own");
    let assignment = stages.assignment(own).expect("it is assigned");
    let scope = TraceScope { kind: "model".into(), account: "account".into() };
    assert_eq!(assignment.trace_id, scope.trace_id(&"cleanup of stage-1".into()));
    assert_eq!(assignment.spec.trace_parent, None);
    let lease = stages.accept(1, own);
    stages.finish(1, lease, succeeded(), None);

    let told = |id: TaskId| {
        let lives = stages.rig.notes.iter().filter_map(|note| match note {
            Note::StagesEnded(life) if life.task == id => Some(&**life),
            _ => None,
        });
        lives.collect::<Vec<_>>()
    };
    let life = *told(own).last().expect("its trace is told");
    let phases: Vec<_> = life.stages.iter().map(|stage| stage.phase.name()).collect();
    assert_eq!(phases, ["queue", "assign", "run"], "no upstream was asked, and none is told");
    let end = life.end.as_ref().expect("its end is told");
    assert_eq!((end.outcome, end.report_tries), (Outcome::Succeeded, 0));
    assert_eq!((life.session, &life.parent), (Some(session), &None));
    assert_eq!(life.began, life.stages[0].from);
    let runs = told(task).into_iter().filter(|life| life.stages.iter().any(|stage| stage.phase.name() == "run"));
    let setups: Vec<_> = runs.map(|life| (life.session, life.parent.clone(), life.trace_id)).collect();
    assert_eq!(setups[0], (Some(session), Some(parent.clone()), parent.trace_id));
}
