//! What a task's logs came to, and how long its report waits to know.

use dlite::core::{
    id::{LeaseId, TaskId},
    input::{Input, ReportError},
    logs::{LogGap, LogReceipt, RECEIPTS_MAX},
    status::TaskName,
};

use super::desk::{Desk, LEASE, TASK, result};

const NOTHING: [&str; 0] = [];
const REPORT: &str = "report t-4 Succeeded done";

fn opened(log_id: &str) -> Input {
    Input::LogOpened { lease: LEASE, log_id: log_id.into() }
}

fn receipt(lease: LeaseId, log_id: &str) -> LogReceipt {
    let gaps = vec![LogGap { reason: "spool_full".into(), lines: 2, bytes: 90 }];
    let (log_id, digest) = (log_id.into(), "5891b5b5".into());
    LogReceipt { lease, log_id, step_id: "compile".into(), lines: 40, bytes: 900, digest, gaps, truncated: false }
}

fn closed(log_id: &str) -> Input {
    Input::LogClosed { task: TASK, log: Box::new(receipt(LEASE, log_id)) }
}

fn known(desk: &Desk, task: TaskId) -> Vec<LogReceipt> {
    desk.core.find_task(desk.now, &TaskName::Ours(task)).unwrap().logs
}

/// Finished, with these logs open.
fn finished_with(logs: &[&str]) -> (Desk, Vec<String>) {
    let mut desk = Desk::new().running();
    for log in logs {
        desk.tell(opened(log));
    }
    let mut effects = desk.frame_synced(1, 2, result(LEASE, "done"));
    effects.retain(|line| line.starts_with("report"));
    (desk, effects)
}

#[test]
fn a_receipt_is_on_record_with_its_task_and_survives_the_process() {
    let mut desk = Desk::new().running();
    desk.tell(opened("a"));
    desk.tell(closed("a"));
    desk.sync();
    assert!(desk.rebuilt_equals_live());
    desk.restart(1);
    assert_eq!(known(&desk, TASK), [receipt(LEASE, "a")]);
    // The next process finds the log on disk and says so once more.
    desk.tell(closed("a"));
    assert_eq!(known(&desk, TASK).len(), 1);
}

#[test]
fn a_result_whose_logs_are_closed_is_reported_at_once() {
    let mut desk = Desk::new().running();
    desk.tell(opened("a"));
    desk.tell(closed("a"));
    desk.frame(1, 2, result(LEASE, "done"));
    assert!(desk.sync().contains(&REPORT.to_owned()));
}

#[test]
fn a_report_waits_for_the_last_open_log_and_no_longer() {
    let (mut desk, effects) = finished_with(&["a", "b"]);
    assert_eq!(effects, NOTHING);
    let waits_for = desk.core.find_task(desk.now, &TaskName::Ours(TASK)).unwrap().status.waiting_for;
    assert_eq!(waits_for, "its logs to be closed (at most 2000 ms more)");
    desk.tell(closed("a"));
    assert_eq!(desk.sync(), NOTHING);
    desk.tell(closed("b"));
    assert_eq!(desk.sync(), [REPORT]);
    assert_eq!(known(&desk, TASK).len(), 2);
}

#[test]
fn a_log_that_stays_open_delays_a_report_by_log_wait_at_most() {
    let (mut desk, effects) = finished_with(&["a"]);
    assert_eq!(effects, NOTHING);
    let begun = desk.now.mono;
    let mut late = desk.pass(2);
    late.retain(|line| line.starts_with("report"));
    assert_eq!((late.as_slice(), desk.now.mono.since(begun).as_secs()), (&[REPORT.to_owned()][..], 2));
    // What it comes to is on record all the same, while the upstream does not answer.
    desk.tell(closed("a"));
    assert_eq!(desk.sync(), NOTHING);
    assert_eq!(known(&desk, TASK).len(), 1);
    desk.reported(TASK, Ok(()));
    assert_eq!(desk.core.ledger().rows(TASK.0), 0);
}

#[test]
fn a_failed_report_is_not_put_off_by_logs_again() {
    let (mut desk, _) = finished_with(&["a"]);
    desk.pass(2);
    desk.reported(TASK, Err(ReportError::Unanswered("timed out".into())));
    desk.tell(opened("b"));
    let mut again = desk.pass(1);
    again.retain(|line| line.starts_with("report"));
    assert_eq!(again, [REPORT]);
}

#[test]
fn no_report_waits_for_a_log_of_another_process_or_of_a_lost_runner() {
    let (mut desk, _) = finished_with(&["a"]);
    assert!(desk.restart(1).contains(&REPORT.to_owned()), "which logs are open is not on record");
    let mut desk = Desk::new().running();
    desk.tell(opened("a"));
    let mut effects = desk.pass(120);
    effects.extend(desk.sync());
    assert!(effects.iter().any(|line| line.starts_with("report t-4 Errored")), "{effects:?}");
}

#[test]
fn receipts_of_one_task_are_bounded_and_those_of_no_task_fall() {
    let mut desk = Desk::new().running();
    for nth in 0..RECEIPTS_MAX + 10 {
        desk.tell(closed(&format!("log-{nth}")));
    }
    assert_eq!(known(&desk, TASK).len(), RECEIPTS_MAX);
    let rows = desk.core.ledger().rows(99);
    desk.tell(Input::LogClosed { task: TaskId(99), log: Box::new(receipt(LEASE, "a")) });
    assert_eq!(desk.core.ledger().rows(99), rows);
    assert!(desk.rebuilt_equals_live());
}
