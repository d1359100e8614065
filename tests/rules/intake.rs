//! From an offer to a task of ours.

use dlite::core::{
    id::TaskId,
    input::{AcquireError, Answer, Frame},
    task::{Retry, Spec},
};

use super::desk::{Desk, LEASE, TASK, error, result, spec};

const NOTHING: [&str; 0] = [];

fn unanswered() -> Result<Spec, AcquireError> {
    Err(AcquireError::Unanswered("timed out".into()))
}

fn refused() -> Result<Spec, AcquireError> {
    Err(AcquireError::Refused("404".into()))
}

#[test]
fn nothing_is_taken_before_a_registration_is_durable() {
    let mut desk = Desk::bare();
    desk.attach("r", "r/1", false, 1, Vec::new());
    assert_eq!(desk.pass(0), ["register [build]"]);
    let host = dlite::core::record::Host { name: "host".into(), ip: "10.0.0.1".into() };
    let granted = dlite::core::input::Registered { delegate_id: "delegate-1".into(), host, moved_to: None };
    assert_eq!(desk.answer(Answer::Register(Ok(granted))), NOTHING);
    assert_eq!(desk.pass(0), NOTHING);
    assert_eq!(desk.sync(), ["welcome link-1 []", "poll"]);
}

#[test]
fn no_acquire_leaves_before_its_intention_is_durable() {
    let mut desk = Desk::new();
    assert_eq!(desk.listed(&["e-1"], &[]), NOTHING);
    assert_eq!(desk.sync(), ["acquire e-1 as t-4"]);
}

#[test]
fn no_more_is_acquired_than_there_are_slots() {
    let mut desk = Desk::with(false, 2);
    desk.listed(&["e-0"], &[]);
    desk.sync();
    desk.acquired(TASK, Ok(spec()));
    desk.sync();
    desk.listed(&["e-1", "e-2", "e-3"], &[]);
    assert_eq!(desk.sync(), ["acquire e-1 as t-6"], "the other slot is taken");
}

#[test]
fn a_task_of_a_type_nobody_handles_stays_with_the_manager() {
    let mut desk = Desk::new();
    desk.tell(dlite::core::input::Input::Detached { link: dlite::core::id::LinkId(1) });
    desk.listed(&["e-1"], &[]);
    assert_eq!(desk.sync(), NOTHING);
}

#[test]
fn polls_keep_their_interval_while_every_slot_is_busy() {
    let mut desk = Desk::new().running();
    let mut polls = 0;
    for second in 0..600 {
        if second % 5 == 0 {
            desk.beat(1, &[LEASE]);
        }
        if desk.pass(1).contains(&"poll".to_owned()) {
            polls += 1;
            desk.listed(&["e-2"], &[]);
        }
    }
    // Answered up to a second late.
    assert!((50..=67).contains(&polls), "{polls} polls in 600 s at 10 s ± 10 %");
}

#[test]
fn a_poll_follows_at_once_only_if_the_last_one_brought_a_task_and_a_slot_is_free() {
    let mut desk = Desk::with(false, 2);
    desk.listed(&["e-1"], &[]);
    desk.sync();
    // A poll promises nothing, so it does not wait for the disk as the assignment does.
    assert_eq!(desk.acquired(TASK, Ok(spec())), ["poll"]);
    assert_eq!(desk.sync(), ["assign t-4 under l-5 to link-1 (attempt 1)"]);
    desk.listed(&["e-2"], &[]);
    desk.sync();
    let second = TaskId(6);
    assert_eq!(desk.acquired(second, Ok(spec())), NOTHING);
    assert_eq!(desk.sync(), ["assign t-6 under l-7 to link-1 (attempt 1)"], "both slots are in use");
}

#[test]
fn an_acquire_without_an_answer_is_made_again_as_the_same_task() {
    let mut desk = Desk::new();
    desk.listed(&["e-1"], &[]);
    desk.sync();
    desk.acquired(TASK, unanswered());
    assert_eq!(desk.pass(12), ["poll"]);
    assert_eq!(desk.listed(&[], &[]), ["acquire e-1 as t-4"]);
    desk.acquired(TASK, Ok(spec()));
    assert_eq!(desk.sync(), ["assign t-4 under l-5 to link-1 (attempt 1)"]);
}

#[test]
fn an_acquire_without_an_answer_is_over_if_the_task_is_still_listed() {
    let mut desk = Desk::new();
    desk.listed(&["e-1"], &[]);
    desk.sync();
    desk.acquired(TASK, unanswered());
    assert_eq!(desk.pass(12), ["poll"]);
    desk.listed(&["e-1"], &[]);
    assert_eq!(desk.sync(), ["acquire e-1 as t-5"]);
}

#[test]
fn a_listing_that_may_have_overtaken_an_acquire_is_not_believed() {
    let mut desk = Desk::new();
    desk.listed(&["e-1"], &[]);
    desk.sync();
    assert_eq!(desk.restart(1), NOTHING);
    assert!(desk.pass(0).contains(&"poll".to_owned()));
    // The dead process's request may be on its way to the manager yet: its intention stays open.
    assert_eq!(desk.listed(&["e-1"], &[]), NOTHING);
    assert_eq!(desk.core.ledger().intentions().count(), 1);
}

#[test]
fn one_refusal_does_not_end_an_acquire_and_a_second_one_does() {
    let mut desk = Desk::new();
    desk.listed(&["e-1"], &[]);
    desk.sync();
    desk.acquired(TASK, refused());
    assert_eq!(desk.core.ledger().intentions().count(), 1);
    assert_eq!(desk.pass(12), ["poll"]);
    assert_eq!(desk.listed(&[], &[]), ["acquire e-1 as t-4"]);
    desk.acquired(TASK, refused());
    assert_eq!(desk.core.ledger().intentions().count(), 0);
}

#[test]
fn a_refused_acquire_gives_its_slot_to_the_next() {
    let mut desk = Desk::new();
    desk.listed(&["e-1", "e-2"], &[]);
    assert_eq!(desk.sync(), ["acquire e-1 as t-4"]);
    desk.acquired(TASK, refused());
    assert_eq!(desk.sync(), ["acquire e-2 as t-5"]);
}

#[test]
fn a_slot_reserved_for_a_lost_acquire_goes_to_the_task_that_waits() {
    let mut desk = Desk::new();
    desk.listed(&["e-1", "e-2"], &[]);
    desk.sync();
    desk.acquired(TASK, Ok(spec()));
    desk.sync();
    // Rejected for a second, in which the next task reserves the slot.
    desk.frame(1, 1, Frame::Rejected { lease: LEASE, error: error(Retry::OtherRunner) });
    assert_eq!(desk.sync(), ["acquire e-2 as t-6", "acknowledge 1 on link-1"]);
    desk.pass(1);
    assert_eq!(desk.sync(), NOTHING, "the slot is promised");
    desk.acquired(TaskId(6), Err(AcquireError::Unassigned));
    assert_eq!(desk.sync(), ["assign t-4 under l-7 to link-1 (attempt 1)"]);
}

#[test]
fn a_task_handed_out_unassigned_is_left_alone_for_a_while() {
    let mut desk = Desk::new();
    desk.listed(&["e-1"], &[]);
    desk.sync();
    desk.acquired(TASK, Err(AcquireError::Unassigned));
    desk.sync();
    for _ in 0..2 {
        assert_eq!(desk.pass(12), ["poll"]);
        desk.listed(&["e-1"], &[]);
        assert_eq!(desk.sync(), NOTHING);
        desk.beat(1, &[]);
    }
    desk.pass(12);
    desk.listed(&["e-1"], &[]);
    assert_eq!(desk.sync(), ["acquire e-1 as t-5"]);
}

#[test]
fn an_abort_of_a_task_under_acquisition_keeps_it_from_starting() {
    let mut desk = Desk::with(false, 1);
    desk.listed(&["e-1"], &[]);
    desk.sync();
    desk.pass(12);
    desk.listed(&[], &["e-1"]);
    desk.acquired(TASK, Ok(spec()));
    assert_eq!(desk.sync()[0], "report t-4 Cancelled TASK_CANCELLED");
    assert!(desk.core.ledger().leases().next().is_none());
}

#[test]
fn an_abort_reaches_the_handler_once_it_is_durable() {
    let mut desk = Desk::new().running();
    desk.pass(12);
    assert_eq!(desk.listed(&[], &["e-1"]), NOTHING);
    assert_eq!(desk.sync(), ["cancel l-5 on link-1 (User)"]);
}

#[test]
fn nothing_is_taken_while_the_journal_fails() {
    let mut desk = Desk::new();
    desk.tell(dlite::core::input::Input::StoreFailing { reason: "the disk is full".into() });
    desk.listed(&["e-1"], &[]);
    assert_eq!(desk.sync(), NOTHING);
    desk.tell(dlite::core::input::Input::StoreRecovered);
    assert_eq!(desk.sync(), ["acquire e-1 as t-4"]);
}

#[test]
fn a_result_makes_room_for_what_is_still_listed() {
    let mut desk = Desk::new();
    desk.listed(&["e-1", "e-2"], &[]);
    desk.sync();
    desk.acquired(TASK, Ok(spec()));
    desk.sync();
    desk.frame(1, 1, Frame::Accepted { lease: LEASE });
    desk.frame(1, 2, result(LEASE, "done"));
    let effects = desk.sync();
    assert!(effects.contains(&"acquire e-2 as t-6".to_owned()), "{effects:?}");
}
