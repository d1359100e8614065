//! Who may work on a task, until when, and whose result counts.

use std::{collections::BTreeMap, time::Duration};

use dlite::core::{
    admission::Amount,
    id::{LeaseId, SlotClass, TaskType},
    input::{Frame, Handler},
    task::{Kind, Outcome, Retry, State},
};

use super::desk::{Desk, LEASE, TASK, error, result, spec};

const NOTHING: [&str; 0] = [];

#[test]
fn an_accept_is_acknowledged_once_it_is_durable() {
    let mut desk = Desk::new().assigned();
    assert_eq!(desk.frame(1, 1, Frame::Accepted { lease: LEASE }), NOTHING);
    assert_eq!(desk.sync(), ["acknowledge 1 on link-1"]);
}

#[test]
fn a_late_accept_is_refused_and_its_slot_comes_back() {
    let mut desk = Desk::new().assigned();
    desk.pass(10);
    let effects = desk.sync();
    assert!(!effects.iter().any(|line| line.starts_with("assign")), "the slot is still the late runner's: {effects:?}");
    assert_eq!(
        desk.frame_synced(1, 1, Frame::Accepted { lease: LEASE }),
        ["refuse 1 on link-1 (ASSIGNMENT_WITHDRAWN)", "acknowledge 1 on link-1"]
    );
    desk.pass(2);
    assert_eq!(desk.sync(), ["assign t-4 under l-6 to link-1 (attempt 1)"]);
}

#[test]
fn an_undecided_assignment_keeps_its_slot_whatever_a_heartbeat_leaves_out() {
    let mut desk = Desk::new().assigned();
    desk.pass(10);
    // This heartbeat left before the assignment came.
    desk.beat(1, &[]);
    desk.pass(3);
    assert_eq!(desk.sync(), NOTHING);
    assert_eq!(desk.core.status().runners[0].slots_used, 1);
}

#[test]
fn a_rejected_task_goes_to_another_runner() {
    let mut desk = Desk::new().assigned();
    desk.attach("s", "s/1", false, 1, Vec::new());
    let effects = desk.frame_synced(1, 1, Frame::Rejected { lease: LEASE, error: error(Retry::OtherRunner) });
    assert!(effects.contains(&"assign t-4 under l-6 to link-2 (attempt 1)".to_owned()), "{effects:?}");
}

#[test]
fn a_task_rejected_for_good_ends_with_the_runners_error() {
    let mut desk = Desk::new().assigned();
    desk.frame(1, 1, Frame::Rejected { lease: LEASE, error: error(Retry::Never) });
    assert_eq!(desk.sync(), ["report t-4 Errored BUSY", "acknowledge 1 on link-1"]);
}

#[test]
fn stale_lease_cannot_finish_a_task() {
    let mut desk = Desk::with(true, 1).running();
    // Other frames keep the link alive while heartbeats stay away.
    for _ in 0..7 {
        desk.pass(10);
        desk.frame(1, 0, Frame::Progress { lease: LEASE, progress: "half".into() });
    }
    desk.sync();
    assert!(matches!(desk.core.ledger().task(TASK).unwrap().state, State::Waiting { .. }), "the attempt is over");
    let effects = desk.frame_synced(1, 2, result(LEASE, "stale"));
    assert_eq!(effects[..1], ["refuse 2 on link-1 (LEASE_LOST)"]);
    assert!(!effects.iter().any(|line| line.starts_with("report")), "{effects:?}");
    assert!(
        effects.contains(&"assign t-4 under l-6 to link-1 (attempt 2)".to_owned()),
        "the slot is back: {effects:?}"
    );
}

#[test]
fn a_result_before_its_accept_is_refused() {
    let mut desk = Desk::new().assigned();
    let effects = desk.frame_synced(1, 1, result(LEASE, "early"));
    assert_eq!(effects[..1], ["refuse 1 on link-1 (LEASE_LOST)"]);
}

#[test]
fn a_lease_of_another_runner_is_nobodys_business() {
    let mut desk = Desk::new().running();
    desk.attach("s", "s/1", false, 1, Vec::new());
    desk.sync();
    assert_eq!(
        desk.frame_synced(2, 1, result(LEASE, "forged")),
        ["refuse 1 on link-2 (LEASE_LOST)", "acknowledge 1 on link-2"]
    );
    assert_eq!(
        desk.frame_synced(2, 2, Frame::Rejected { lease: LEASE, error: error(Retry::Never) }),
        ["refuse 2 on link-2 (ASSIGNMENT_WITHDRAWN)", "acknowledge 2 on link-2"]
    );
    assert!(matches!(desk.core.ledger().task(TASK).unwrap().state, State::Accepted(_)));
}

#[test]
fn heartbeats_keep_a_lease_for_ever() {
    let mut desk = Desk::new().running();
    desk.pass_beating(3_600, &[LEASE]);
    assert!(matches!(desk.core.ledger().task(TASK).unwrap().state, State::Accepted(_)));
}

#[test]
fn an_accepted_lease_that_a_heartbeat_leaves_out_is_lost_at_once() {
    let mut desk = Desk::new().running();
    desk.beat(1, &[]);
    let effects = desk.sync();
    assert!(effects.contains(&"report t-4 Errored LEASE_LOST".to_owned()), "{effects:?}");
}

#[test]
fn a_lost_task_is_repeated_only_if_its_handler_is_idempotent() {
    for (idempotent, expected) in
        [(false, "report t-4 Errored LEASE_LOST"), (true, "assign t-4 under l-6 to link-2 (attempt 2)")]
    {
        let mut desk = Desk::with(idempotent, 1).running();
        desk.attach("r", "r/2", idempotent, 1, Vec::new());
        let effects = desk.sync();
        assert!(effects.contains(&expected.to_owned()), "{effects:?}");
    }
}

#[test]
fn an_idempotent_task_is_assigned_anew_after_ttl_and_margin_and_not_before() {
    let mut desk = Desk::with(true, 1).running();
    desk.tell(dlite::core::input::Input::Detached { link: dlite::core::id::LinkId(1) });
    desk.attach("s", "s/1", true, 1, Vec::new());
    desk.sync();
    desk.links_beat(64);
    assert_eq!(desk.sync(), NOTHING);
    desk.links_beat(1);
    assert_eq!(desk.sync(), ["assign t-4 under l-6 to link-2 (attempt 2)"]);
}

#[test]
fn attempts_have_an_end() {
    let mut desk = Desk::with(true, 1).running();
    for attempt in 2..=4 {
        desk.attach("r", &format!("r/{attempt}"), true, 1, Vec::new());
        desk.sync();
        // Replacements too fast would be turned away.
        desk.pass(61);
        let Some(lease) = desk.core.ledger().leases().next().map(|(lease, _)| lease) else { break };
        let _ = desk.frame(attempt, 1, Frame::Accepted { lease });
        desk.sync();
    }
    let task = desk.core.ledger().task(TASK).unwrap();
    assert!(task.attempt <= 3, "{}", task.attempt);
}

#[test]
fn an_error_is_tried_again_if_its_handler_says_that_nothing_was_done() {
    let mut desk = Desk::new().running();
    let mut broken = error(Retry::SameRunner);
    broken.side_effects_possible = Some(false);
    let finish = dlite::core::task::Finish::of(Outcome::Errored, Some(broken));
    desk.frame(1, 2, Frame::Result { lease: LEASE, finish: Box::new(finish), state: None });
    desk.sync();
    desk.pass(2);
    assert_eq!(desk.sync(), ["assign t-4 under l-6 to link-1 (attempt 2)"]);
}

#[test]
fn an_error_of_a_handler_that_is_not_idempotent_is_final() {
    let mut desk = Desk::new().running();
    let finish = dlite::core::task::Finish::of(Outcome::Errored, Some(error(Retry::SameRunner)));
    desk.frame(1, 2, Frame::Result { lease: LEASE, finish: Box::new(finish), state: None });
    assert_eq!(desk.sync(), ["report t-4 Errored BUSY", "acknowledge 2 on link-1"]);
}

#[test]
fn a_cancelled_handler_has_its_grace_and_no_more() {
    let mut desk = Desk::new().running();
    desk.pass(12);
    desk.listed(&[], &["e-1"]);
    desk.sync();
    desk.pass_beating(10, &[LEASE]);
    assert_eq!(desk.sync(), NOTHING);
    desk.pass_beating(5, &[LEASE]);
    assert!(desk.sync().contains(&"report t-4 Cancelled TASK_CANCELLED".to_owned()));
    // The slot is the runner's until it names the work stopped.
    assert_eq!(desk.core.status().runners[0].slots_used, 1);
    desk.beat(1, &[]);
    assert_eq!(desk.core.status().runners[0].slots_used, 0);
}

#[test]
fn what_a_cancelled_handler_finished_first_counts() {
    let mut desk = Desk::new().running();
    desk.pass(12);
    desk.listed(&[], &["e-1"]);
    desk.sync();
    desk.frame(1, 2, result(LEASE, "done"));
    assert_eq!(desk.sync(), ["report t-4 Succeeded done", "acknowledge 2 on link-1"]);
}

#[test]
fn a_tasks_timeout_counts_from_its_acquire() {
    let mut desk = Desk::new();
    desk.listed(&["e-1"], &[]);
    desk.sync();
    desk.pass(5);
    desk.acquired(TASK, Ok(dlite::core::task::Spec { timeout: Some(Duration::from_secs(20)), ..spec() }));
    desk.sync();
    desk.frame(1, 1, Frame::Accepted { lease: LEASE });
    desk.sync();
    desk.pass_beating(10, &[LEASE]);
    assert_eq!(desk.sync(), NOTHING);
    desk.pass_beating(5, &[LEASE]);
    assert_eq!(desk.sync(), ["cancel l-5 on link-1 (Deadline)"]);
}

#[test]
fn a_handlers_own_limit_is_enforced() {
    let mut desk = Desk::bare();
    let handler = Handler {
        task_type: TaskType::from("build"),
        kind: Kind::Standalone,
        class: SlotClass::from("default"),
        amount: Amount::default(),
        idempotent: false,
        default_timeout: Some(Duration::from_secs(20)),
        extensions: Vec::new(),
        match_labels: BTreeMap::new(),
        any_runner: false,
    };
    desk.attach_with("r", "r/1", handler, 1, Vec::new());
    desk.pass(0);
    let host = dlite::core::record::Host { name: "host".into(), ip: "10.0.0.1".into() };
    let granted = dlite::core::input::Registered { delegate_id: "delegate-1".into(), host, moved_to: None };
    desk.answer(dlite::core::input::Answer::Register(Ok(granted)));
    desk.pass(0);
    desk.sync();
    let mut desk = desk.running();
    desk.pass_beating(15, &[LEASE]);
    assert_eq!(desk.sync(), NOTHING);
    desk.pass_beating(5, &[LEASE]);
    assert_eq!(desk.sync(), ["cancel l-5 on link-1 (Deadline)"]);
}

#[test]
fn a_process_that_stood_still_gives_leases_the_time_back() {
    let mut desk = Desk::new().running();
    desk.now.mono = desk.now.mono + Duration::from_secs(300);
    desk.now.wall = desk.now.wall + Duration::from_secs(300);
    // What the runner said meanwhile is taken in first.
    desk.beat(1, &[LEASE]);
    desk.pass(0);
    assert!(matches!(desk.core.ledger().task(TASK).unwrap().state, State::Accepted(_)));
}

#[test]
fn updates_are_recorded_once_however_often_they_are_sent() {
    let mut desk = Desk::new().running();
    desk.frame(1, 2, Frame::Started { lease: LEASE, number: 1 });
    let rows = desk.core.ledger().rows(TASK.0);
    desk.frame(1, 3, Frame::Started { lease: LEASE, number: 1 });
    assert_eq!(desk.core.ledger().rows(TASK.0), rows);
    assert_eq!(desk.sync(), ["acknowledge 2 on link-1", "acknowledge 3 on link-1"]);
}

#[test]
fn news_of_an_unknown_lease_is_refused() {
    let mut desk = Desk::new().running();
    assert_eq!(
        desk.frame_synced(1, 2, Frame::Started { lease: LeaseId(99), number: 1 }),
        ["refuse 2 on link-1 (LEASE_LOST)", "acknowledge 2 on link-1"]
    );
}
