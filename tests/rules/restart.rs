//! What a new process makes of the journal.

use dlite::core::{
    input::{AcquireError, Frame},
    task::State,
};

use super::desk::{Desk, LEASE, TASK, held, result, spec};

const NOTHING: [&str; 0] = [];

#[test]
fn rebuilt_equals_live_at_every_step() {
    let mut desk = Desk::new();
    let steps: [&dyn Fn(&mut Desk); 8] = [
        &|desk| drop(desk.listed(&["e-1"], &[])),
        &|desk| drop(desk.acquired(TASK, Ok(spec()))),
        &|desk| drop(desk.frame(1, 1, Frame::Accepted { lease: LEASE })),
        &|desk| drop(desk.frame(1, 2, Frame::Started { lease: LEASE, number: 1 })),
        &|desk| drop(desk.listed(&[], &["e-1", "e-9"])),
        &|desk| drop(desk.frame(1, 3, result(LEASE, "done"))),
        &|desk| drop(desk.reported(TASK, Ok(()))),
        &|desk| drop(desk.pass(700)),
    ];
    for (nth, step) in steps.into_iter().enumerate() {
        step(&mut desk);
        assert!(desk.rebuilt_equals_live(), "after step {nth}");
        desk.sync();
    }
}

#[test]
fn an_open_acquire_is_settled_by_asking_again() {
    let mut desk = Desk::new();
    desk.listed(&["e-1"], &[]);
    desk.sync();
    desk.restart(1);
    desk.pass(0);
    assert_eq!(desk.listed(&[], &[]), NOTHING);
    let effects = desk.pass(12);
    assert!(effects.contains(&"poll".to_owned()), "{effects:?}");
    assert_eq!(desk.listed(&[], &[]), ["acquire e-1 as t-4"]);
    desk.acquired(TASK, Ok(spec()));
    assert!(matches!(desk.core.ledger().task(TASK).unwrap().state, State::Waiting { .. }));
}

#[test]
fn a_running_task_is_adopted_again() {
    let mut desk = Desk::new().running();
    assert_eq!(desk.restart(1), NOTHING);
    assert_eq!(desk.attach("r", "r/1", false, 1, held(LEASE, true, false)), ["welcome link-b [(l-5, Keep)]"]);
    desk.frame(11, 1, result(LEASE, "done"));
    assert_eq!(desk.sync(), ["report t-4 Succeeded done", "acknowledge 1 on link-b"]);
}

#[test]
fn an_unreported_result_goes_out_again() {
    let mut desk = Desk::new().reporting();
    let mut effects = desk.restart(1);
    effects.extend(desk.sync());
    assert_eq!(effects, ["report t-4 Succeeded done"]);
}

#[test]
fn every_lease_gets_a_full_ttl_from_the_start() {
    let mut desk = Desk::new().running();
    desk.pass(25);
    desk.restart(1);
    desk.pass(59);
    assert_eq!(desk.core.ledger().leases().count(), 1);
    desk.pass(1);
    assert_eq!(desk.core.ledger().leases().count(), 0);
}

#[test]
fn no_number_is_used_twice_though_the_clock_goes_back() {
    let mut desk = Desk::new().assigned();
    // Withdrawn: the lease leaves no trace in the ledger, but the runner may still answer under it.
    desk.pass(10);
    desk.sync();
    desk.restart(-3_600);
    desk.attach("s", "s/1", false, 1, vec![]);
    desk.pass(2);
    desk.sync();
    let (lease, _) = desk.core.ledger().leases().next().expect("the task is assigned again");
    assert!(lease > LEASE, "{lease}");
}

#[test]
fn an_intention_is_given_up_after_its_time_and_not_before() {
    let mut desk = Desk::new();
    desk.listed(&["e-1"], &[]);
    desk.sync();
    desk.acquired(TASK, Err(AcquireError::Unanswered("timed out".into())));
    desk.restart(-10_000);
    desk.pass(599);
    assert_eq!(desk.core.ledger().intentions().count(), 1);
    desk.pass(1);
    assert_eq!(desk.core.ledger().intentions().count(), 0);
}
