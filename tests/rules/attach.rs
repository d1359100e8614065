//! Streams: who may attach, what becomes of what a runner holds, and numbered frames.

use dlite::core::{
    id::{LeaseId, LinkId},
    input::{Frame, Input},
};

use super::desk::{Desk, LEASE, held, result};

const NOTHING: [&str; 0] = [];

/// The stream is cut, and the same process attaches again with what it holds.
fn again(desk: &mut Desk, held: Vec<dlite::core::input::Held>) -> Vec<String> {
    desk.tell(Input::Detached { link: LinkId(1) });
    let mut effects = desk.attach("r", "r/1", false, 1, held);
    effects.extend(desk.sync());
    effects
}

#[test]
fn an_assignment_that_did_not_arrive_is_sent_again_under_its_lease() {
    let mut desk = Desk::new().assigned();
    assert_eq!(again(&mut desk, vec![]), ["welcome link-2 []", "assign t-4 under l-5 to link-2 (attempt 1)"]);
}

#[test]
fn an_assignment_whose_decision_was_lost_is_asked_for_it() {
    let mut desk = Desk::new().assigned();
    assert_eq!(again(&mut desk, held(LEASE, false, false)), ["welcome link-2 [(l-5, ResendDecision)]"]);
}

#[test]
fn accepted_work_goes_on() {
    let mut desk = Desk::new().running();
    assert_eq!(again(&mut desk, held(LEASE, true, false)), ["welcome link-2 [(l-5, Keep)]"]);
}

#[test]
fn a_pending_cancellation_comes_again() {
    let mut desk = Desk::new().running();
    desk.pass(12);
    desk.listed(&[], &["e-1"]);
    desk.sync();
    let effects = again(&mut desk, held(LEASE, true, false));
    assert_eq!(effects, ["welcome link-2 [(l-5, Keep)]", "cancel l-5 on link-2 (User)"]);
}

#[test]
fn a_finished_result_is_asked_for() {
    let mut desk = Desk::new().running();
    assert_eq!(again(&mut desk, held(LEASE, true, true)), ["welcome link-2 [(l-5, ResendResult)]"]);
}

#[test]
fn a_journalled_result_is_acknowledged() {
    let mut desk = Desk::new().reporting();
    assert_eq!(again(&mut desk, held(LEASE, true, true)), ["welcome link-2 [(l-5, Acknowledged)]"]);
}

#[test]
fn an_unknown_lease_is_abandoned() {
    let mut desk = Desk::new();
    assert_eq!(again(&mut desk, held(LeaseId(99), true, false)), ["welcome link-2 [(l-63, Abandon)]"]);
    assert_eq!(desk.core.status().runners[0].slots_used, 1, "it works until it has stopped");
    desk.beat(2, &[]);
    assert_eq!(desk.core.status().runners[0].slots_used, 0);
}

#[test]
fn accepted_work_that_a_runner_came_back_without_is_lost() {
    let mut desk = Desk::new().running();
    let effects = again(&mut desk, vec![]);
    assert_eq!(effects, ["welcome link-2 []", "report t-4 Errored LEASE_LOST"]);
}

#[test]
fn the_newer_instance_wins_and_the_older_is_turned_away() {
    let mut desk = Desk::new();
    let effects = desk.attach("r", "r/2", false, 1, vec![]);
    assert_eq!(effects, ["close link-1 (Replaced)", "welcome link-2 []"]);
    assert_eq!(desk.attach("r", "r/1", false, 1, vec![]), ["close link-3 (Replaced)"]);
}

#[test]
fn instances_that_fight_for_a_runner_id_are_kept_apart() {
    let mut desk = Desk::new();
    for nth in 2..5 {
        desk.attach("r", &format!("r/{nth}"), false, 1, vec![]);
    }
    let effects = desk.attach("r", "r/5", false, 1, vec![]);
    assert_eq!(effects, ["close link-5 (RunnerIdInUse { holder: \"desk\", newcomer: \"desk\", retry_after: 60s })"]);
    desk.pass(61);
    assert_eq!(desk.attach("r", "r/6", false, 1, vec![]), ["welcome link-6 []"]);
}

#[test]
fn a_silent_link_ends_and_its_leases_live_on() {
    let mut desk = Desk::new().running();
    let effects = desk.pass(30);
    assert!(effects.contains(&"close link-1 (Silent)".to_owned()), "{effects:?}");
    assert_eq!(desk.core.ledger().leases().count(), 1);
}

#[test]
fn a_gap_in_the_numbers_is_refused_and_the_stream_goes_on() {
    let mut desk = Desk::new().running();
    // A refused frame counts as received, and what the gap left out was never sent.
    let refused = ["refuse 5 on link-1 (SEQUENCE_INVALID)", "acknowledge 5 on link-1"];
    assert_eq!(desk.frame(1, 5, Frame::Started { lease: LEASE, number: 1 }), refused);
    desk.frame(1, 6, Frame::Started { lease: LEASE, number: 1 });
    assert_eq!(desk.sync(), ["acknowledge 6 on link-1"]);
}

#[test]
fn the_largest_number_there_is_hurts_nobody() {
    let mut desk = Desk::new().running();
    let frame = || Frame::Started { lease: LEASE, number: 1 };
    let refused =
        ["refuse 18446744073709551615 on link-1 (SEQUENCE_INVALID)", "acknowledge 18446744073709551615 on link-1"];
    assert_eq!(desk.frame(1, u64::MAX, frame()), refused);
    assert_eq!(desk.frame(1, 2, frame()), ["refuse 2 on link-1 (SEQUENCE_INVALID)"]);
}

#[test]
fn a_frame_on_a_stream_that_never_said_hello_is_nothing() {
    let mut desk = Desk::new().running();
    assert_eq!(desk.frame(77, 1, result(LEASE, "forged")), NOTHING);
    assert_eq!(desk.core.ledger().leases().count(), 1);
}

#[test]
fn a_drained_runner_gets_no_more_work() {
    let mut desk = Desk::new();
    desk.frame(1, 0, Frame::DrainNotice { grace: None });
    desk.listed(&["e-1"], &[]);
    assert_eq!(desk.sync(), NOTHING);
}
