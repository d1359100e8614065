//! The way back to the manager.

use dlite::core::{
    input::{Answer, CallError, ReportError},
    task::{Report, State},
};

use super::desk::{Desk, LEASE, TASK, result};

const NOTHING: [&str; 0] = [];

#[test]
fn a_result_is_acknowledged_and_reported_once_it_is_durable() {
    let mut desk = Desk::new().running();
    assert_eq!(desk.frame(1, 2, result(LEASE, "done")), NOTHING);
    assert_eq!(desk.sync(), ["report t-4 Succeeded done", "acknowledge 2 on link-1"]);
}

#[test]
fn a_result_waits_for_its_report_without_a_slot() {
    let desk = Desk::new().reporting();
    assert_eq!(desk.core.status().runners[0].slots_used, 0);
}

#[test]
fn a_report_without_an_answer_goes_out_again_unchanged() {
    let mut desk = Desk::new().reporting();
    assert_eq!(desk.reported(TASK, Err(ReportError::Unanswered("timed out".into()))), NOTHING);
    assert_eq!(desk.pass(1), ["report t-4 Succeeded done"]);
}

#[test]
fn a_reported_task_leaves_nothing_behind() {
    let mut desk = Desk::new().reporting();
    desk.reported(TASK, Ok(()));
    assert_eq!(desk.core.ledger().rows(TASK.0), 0);
    assert_eq!(desk.sync(), NOTHING);
    desk.pass(5);
    assert!(desk.rebuilt_equals_live());
}

#[test]
fn a_refused_body_is_replaced_once_by_a_minimal_failure() {
    let mut desk = Desk::new().reporting();
    assert_eq!(desk.reported(TASK, Err(ReportError::Refused("400".into()))), NOTHING);
    assert_eq!(desk.sync(), ["report t-4 Succeeded done minimal"]);
    desk.reported(TASK, Err(ReportError::Refused("400".into())));
    desk.sync();
    assert!(matches!(
        desk.core.ledger().task(TASK).unwrap().state,
        State::Finished { report: Report::Dead { .. }, .. }
    ));
}

#[test]
fn the_same_fault_five_times_while_other_calls_succeed_is_about_the_body() {
    let mut desk = Desk::new().reporting();
    for _ in 0..4 {
        desk.reported(TASK, Err(ReportError::Fault("500".into())));
        let mut effects = desk.pass(60);
        effects.retain(|line| line.starts_with("report"));
        assert_eq!(effects, ["report t-4 Succeeded done"]);
        desk.listed(&[], &[]);
    }
    desk.reported(TASK, Err(ReportError::Fault("500".into())));
    assert_eq!(desk.sync(), ["report t-4 Succeeded done minimal"]);
}

#[test]
fn a_fault_while_everything_fails_is_about_the_manager() {
    let mut desk = Desk::new().reporting();
    for _ in 0..10 {
        desk.reported(TASK, Err(ReportError::Fault("503".into())));
        let effects = desk.pass(60);
        assert!(effects.contains(&"report t-4 Succeeded done".to_owned()), "{effects:?}");
    }
}

#[test]
fn a_clock_set_forward_does_not_give_a_result_up() {
    let mut desk = Desk::new().reporting();
    desk.now.wall.0 += 48 * 3_600 * 1_000_000;
    desk.reported(TASK, Err(ReportError::Unanswered("timed out".into())));
    assert_eq!(desk.pass(1), ["report t-4 Succeeded done"]);
}

#[test]
fn a_dead_letter_does_not_stand_in_the_way_of_its_task() {
    let mut desk = Desk::new().reporting();
    desk.reported(TASK, Err(ReportError::Gone("404".into())));
    desk.sync();
    desk.pass(12);
    desk.listed(&["e-1"], &[]);
    assert_eq!(desk.sync(), ["acquire e-1 as t-6"]);
    desk.acquired(dlite::core::id::TaskId(6), Err(dlite::core::input::AcquireError::Unassigned));
    // Whichever of the two ends first.
    assert!(desk.rebuilt_equals_live());
}

#[test]
fn a_report_that_alone_is_not_answered_keeps_its_pace_although_polls_succeed() {
    let mut desk = Desk::new().reporting();
    let (mut tries, mut is_sent) = (0, true);
    for _ in 0..30 {
        if is_sent {
            desk.reported(TASK, Err(ReportError::Unanswered("timed out".into())));
        }
        let effects = [desk.listed(&[], &[]), desk.pass(10)].concat();
        is_sent = effects.iter().any(|line| line.starts_with("report"));
        tries += u32::from(is_sent);
    }
    // 1 s, doubled up to 60 s: within five minutes, with polls every ten seconds.
    assert!((5..=12).contains(&tries), "{tries} tries");
}

#[test]
fn a_manager_that_is_back_gets_what_is_owed_at_once() {
    let mut desk = Desk::new().reporting();
    for _ in 0..8 {
        desk.reported(TASK, Err(ReportError::Unanswered("timed out".into())));
        desk.answer(Answer::Poll(Err(CallError::Failed("timed out".into()))));
        desk.pass(60);
    }
    desk.reported(TASK, Err(ReportError::Unanswered("timed out".into())));
    assert_eq!(desk.listed(&[], &[]), ["report t-4 Succeeded done"]);
}

#[test]
fn a_result_sent_twice_is_acknowledged_twice_and_reported_once() {
    let mut desk = Desk::new().reporting();
    assert_eq!(desk.frame(1, 3, result(LEASE, "done")), ["acknowledge 3 on link-1"]);
    assert_eq!(desk.sync(), NOTHING);
}
