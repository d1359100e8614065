//! Emptying the delegate: what is still taken, what is finished, what is cancelled when, and when it is over.

use std::time::Duration;

use dlite::core::{
    command::{Command, Refusal},
    drain::{CLEANUPS_MAX, HURRIED_CANCEL_MAX, HURRIED_REPORTS_MAX, Mode, Phase, REPORTS_MAX},
    effect::{Call, NotAcquired, Note, Order},
    id::{ExternalId, RequestId, TaskId},
    input::{AcquireError, Answer, Frame, Input, ReportError},
    task::{CancelReason, Finish, Kind, Outcome, Spec},
};

use super::support::{Rig, returnable, spec};

const SECOND: Duration = Duration::from_secs(1);

fn order(rig: &mut Rig, command: Command) -> Result<(), Refusal> {
    rig.tell(Input::Commanded { request: RequestId(1), command });
    rig.answers.pop().expect("an order is answered")
}

fn drain(rig: &mut Rig, mode: Mode, grace: u64) {
    let grace = Some(Duration::from_secs(grace));
    assert_eq!(order(rig, Command::Drain { mode, grace, reason: "reboot".into() }), Ok(()));
}

fn stop(rig: &mut Rig) -> Result<(), Refusal> {
    order(rig, Command::Stop { mode: Mode::FinishTasks, reason: "the delegate stops".into() })
}

fn hurry(rig: &mut Rig) {
    assert_eq!(order(rig, Command::Hurry { reason: "now".into() }), Ok(()));
}

fn cancels(rig: &mut Rig) -> Vec<(CancelReason, Duration)> {
    let orders = std::mem::take(&mut rig.orders);
    let cancels = orders.into_iter().filter_map(|order| match order {
        Order::Cancel { reason, grace, .. } => Some((reason, grace)),
        _ => None,
    });
    cancels.collect()
}

/// Two acquires under way, of an upstream that has answered one before.
fn two_acquires(rig: &mut Rig) -> Vec<(TaskId, ExternalId)> {
    rig.take("first", spec());
    let lease = rig.accept();
    rig.result(lease, succeeded());
    assert_eq!(reported(rig).len(), 1);
    rig.list(&["a", "b"]);
    let acquires = rig.acquires();
    assert_eq!(acquires.len(), 2);
    acquires
}

fn succeeded() -> Finish {
    Finish::of(Outcome::Succeeded, None)
}

/// How the reports that left since the last look ended, by outcome and reason.
fn reported(rig: &mut Rig) -> Vec<(Outcome, String, bool)> {
    let reports = rig.reports();
    let words = reports.into_iter().map(|(task, report)| {
        let reason = report.finish.error.as_ref().map(|error| error.reason.to_string()).unwrap_or_default();
        let said = (report.finish.outcome, reason, report.hand_back);
        rig.report_answered(task, Ok(()));
        said
    });
    words.collect()
}

#[test]
fn a_drained_delegate_acquires_nothing_and_says_why() {
    let mut rig = Rig::ready(false);
    drain(&mut rig, Mode::FinishTasks, 60);
    rig.list(&["a"]);
    assert_eq!(rig.acquires(), []);
    let why = |note: &Note| matches!(note, Note::NotAcquired { reason: NotAcquired::Draining, .. });
    assert!(rig.notes.iter().any(why));
    assert_eq!(rig.core.task_list(rig.now())[0].waiting_for.split(':').next(), Some("DRAINING"));
}

#[test]
fn polls_and_heartbeats_go_on_while_the_delegate_drains() {
    let mut rig = Rig::ready(false);
    rig.take("a", spec());
    rig.accept();
    drain(&mut rig, Mode::FinishTasks, 600);
    rig.calls.clear();
    rig.list(&[]);
    rig.pass(30 * SECOND);
    assert!(rig.calls.iter().any(|call| matches!(call, Call::Poll { .. })), "aborts come by polls");
    let beats = |call: &Call| matches!(call, Call::Heartbeat { running, .. } if running.len() == 1);
    assert!(rig.calls.iter().any(beats), "an upstream fails the tasks of a silent delegate");
}

#[test]
fn what_runs_is_finished_and_reported_before_the_delegate_is_drained() {
    let mut rig = Rig::ready(false);
    let task = rig.take("a", spec());
    let lease = rig.accept();
    drain(&mut rig, Mode::FinishTasks, 60);
    assert_eq!(rig.core.phase(), Phase::Draining);
    rig.pass(30 * SECOND);
    assert_eq!(cancels(&mut rig), []);
    rig.result(lease, succeeded());
    assert_eq!(rig.core.phase(), Phase::Draining, "its result is not reported");
    rig.report_answered(task, Ok(()));
    assert_eq!(rig.core.phase(), Phase::Drained);
    assert!(rig.notes.iter().any(|note| matches!(note, Note::Drained { cancelled: 0, .. })));
    assert_eq!(rig.core.departure(), None, "nobody told the process to end");
}

#[test]
fn runners_are_told_of_a_drain_at_once_on_a_new_link_and_after_whatever_they_are_still_given() {
    let told = |rig: &mut Rig| {
        let orders = std::mem::take(&mut rig.orders);
        let words = orders.iter().filter_map(|order| match order {
            Order::Drain { reason, grace } => Some(format!("{reason} {}", grace.as_secs())),
            Order::Assign(_) => Some("assign".to_owned()),
            _ => None,
        });
        words.collect::<Vec<_>>()
    };
    let mut rig = Rig::ready(false);
    rig.list(&["a"]);
    let [(task, _)] = rig.acquires()[..] else { panic!("one acquire") };
    rig.orders.clear();
    drain(&mut rig, Mode::FinishTasks, 60);
    assert_eq!(told(&mut rig), ["reboot 60"]);
    rig.pass(10 * SECOND);
    rig.detach();
    rig.attach(false);
    assert_eq!(told(&mut rig), ["reboot 50"]);
    // An assignment alone would mean that the drain was taken back.
    rig.answer(Answer::Acquire { task, result: Ok(Box::new(spec())) });
    assert_eq!(told(&mut rig), ["assign", "reboot 50"]);
}

#[test]
fn an_acquire_under_way_is_awaited_and_its_task_is_run() {
    let mut rig = Rig::ready(false);
    rig.list(&["a"]);
    let [(task, _)] = rig.acquires()[..] else { panic!("one acquire") };
    drain(&mut rig, Mode::FinishTasks, 60);
    assert_eq!(rig.core.phase(), Phase::Draining, "the upstream may have assigned it");
    rig.answer(Answer::Acquire { task, result: Ok(Box::new(returnable())) });
    let lease = rig.accept();
    rig.result(lease, succeeded());
    assert_eq!(reported(&mut rig), [(Outcome::Succeeded, String::new(), false)]);
    assert_eq!(rig.core.phase(), Phase::Drained);
}

#[test]
fn a_task_that_finds_no_slot_during_a_drain_goes_back_where_the_upstream_takes_it() {
    let mut rig = Rig::ready(false);
    let acquires = two_acquires(&mut rig);
    rig.detach();
    drain(&mut rig, Mode::FinishTasks, 50);
    for ((task, _), spec) in acquires.iter().zip([returnable(), spec()]) {
        rig.answer(Answer::Acquire { task: *task, result: Ok(Box::new(spec)) });
    }
    assert_eq!(reported(&mut rig), [(Outcome::Errored, "DRAIN".to_owned(), true)]);
    // The other one has nowhere to go: it waits for a runner, and is cancelled with the rest.
    rig.pass(49 * SECOND);
    assert_eq!(reported(&mut rig), []);
    rig.pass(SECOND);
    assert_eq!(reported(&mut rig), [(Outcome::Cancelled, "DRAIN".to_owned(), false)]);
    assert_eq!(rig.core.phase(), Phase::Drained);
    let status = rig.core.status().drain.expect("a drain");
    assert_eq!((status.cancelled, status.handed_back), (1, 1));
}

#[test]
fn what_a_late_acquire_brings_after_the_grace_is_never_started() {
    let mut rig = Rig::ready(false);
    let acquires = two_acquires(&mut rig);
    drain(&mut rig, Mode::FinishTasks, 5);
    rig.pass(30 * SECOND);
    rig.orders.clear();
    for ((task, _), spec) in acquires.iter().zip([returnable(), spec()]) {
        rig.answer(Answer::Acquire { task: *task, result: Ok(Box::new(spec)) });
    }
    assert!(!rig.orders.iter().any(|order| matches!(order, Order::Assign(_))));
    let ends = reported(&mut rig);
    assert_eq!(ends, [(Outcome::Errored, "DRAIN".to_owned(), true), (Outcome::Cancelled, "DRAIN".to_owned(), false)]);
    assert_eq!(rig.core.phase(), Phase::Drained);
}

#[test]
fn what_outlasts_the_grace_is_cancelled_and_answered_for_in_a_known_time() {
    let mut rig = Rig::ready(false);
    rig.take("a", spec());
    rig.accept();
    drain(&mut rig, Mode::FinishTasks, 20);
    rig.pass(19 * SECOND);
    assert_eq!(cancels(&mut rig), []);
    rig.pass(SECOND);
    // 30 s are configured; a stop has to end.
    assert_eq!(cancels(&mut rig), [(CancelReason::Drain, 10 * SECOND)]);
    rig.pass(14 * SECOND);
    assert_eq!(reported(&mut rig), []);
    rig.pass(SECOND);
    assert_eq!(reported(&mut rig), [(Outcome::Cancelled, "DRAIN".to_owned(), false)]);
    assert_eq!(rig.core.phase(), Phase::Drained);
}

#[test]
fn what_a_cancelled_runner_finished_first_counts_and_is_no_loss() {
    let mut rig = Rig::ready(false);
    rig.take("a", spec());
    let lease = rig.accept();
    assert_eq!(stop(&mut rig), Ok(()));
    rig.pass(31 * SECOND);
    rig.result(lease, succeeded());
    assert_eq!(reported(&mut rig), [(Outcome::Succeeded, String::new(), false)]);
    assert!(rig.core.departure().expect("it is over").is_clean());
}

#[test]
fn a_drain_that_cancels_does_so_at_once() {
    let mut rig = Rig::ready(false);
    rig.take("a", spec());
    let lease = rig.accept();
    drain(&mut rig, Mode::Cancel, 600);
    assert_eq!(cancels(&mut rig), [(CancelReason::Drain, 10 * SECOND)]);
    rig.result(lease, Finish::of(Outcome::Cancelled, None));
    assert_eq!(reported(&mut rig).len(), 1);
    assert_eq!((rig.core.phase(), rig.core.status().drain.unwrap().cancelled), (Phase::Drained, 1));
}

#[test]
fn a_cleanup_outlives_the_grace_and_has_a_bound_of_its_own() {
    let cleanup = Spec { kind: Kind::SessionCleanup, session: Some("stage".into()), ..spec() };
    let mut rig = Rig::ready(false);
    rig.take("a", spec());
    let work = rig.accept();
    rig.take("b", cleanup);
    rig.accept();
    drain(&mut rig, Mode::FinishTasks, 20);
    rig.pass(20 * SECOND);
    assert_eq!(cancels(&mut rig).len(), 1, "the work, not the cleanup");
    rig.result(work, Finish::of(Outcome::Cancelled, None));
    rig.pass(15 * SECOND + CLEANUPS_MAX - SECOND);
    assert_eq!(cancels(&mut rig), []);
    rig.pass(SECOND);
    assert_eq!(cancels(&mut rig), [(CancelReason::Drain, 10 * SECOND)]);
    rig.pass(15 * SECOND);
    assert_eq!(reported(&mut rig).len(), 2);
    assert_eq!(rig.core.phase(), Phase::Drained);
}

#[test]
fn a_drain_during_a_drain_and_a_resume_without_one_are_refused_by_name() {
    let mut rig = Rig::ready(false);
    assert_eq!(order(&mut rig, Command::Resume), Err(Refusal::NotDraining));
    drain(&mut rig, Mode::FinishTasks, 60);
    let again = Command::Drain { mode: Mode::Cancel, grace: None, reason: "again".into() };
    assert_eq!(order(&mut rig, again), Err(Refusal::AlreadyDraining));
    assert_eq!(Refusal::AlreadyDraining.reason().word(), "ALREADY_DRAINING");
    assert_eq!(order(&mut rig, Command::Resume), Ok(()));
    assert_eq!(stop(&mut rig), Ok(()));
    assert_eq!(order(&mut rig, Command::Resume), Err(Refusal::Stopping), "the service manager waits for the end");
}

#[test]
fn a_resumed_delegate_takes_at_once_what_it_left() {
    let mut rig = Rig::ready(false);
    drain(&mut rig, Mode::FinishTasks, 60);
    rig.list(&["a"]);
    assert_eq!(rig.acquires(), []);
    assert_eq!(order(&mut rig, Command::Resume), Ok(()));
    assert_eq!(rig.acquires().len(), 1);
    assert_eq!(rig.core.phase(), Phase::Serving);
    // The grace of the drain that is gone ends nothing.
    let [.., Order::Drain { .. }] = rig.orders[..] else { panic!("runners learn of it by the next assignment") };
    rig.pass(120 * SECOND);
    assert_eq!(cancels(&mut rig), []);
}

#[test]
fn a_delegate_that_is_drained_can_be_resumed_or_ended_at_once() {
    let mut rig = Rig::ready(false);
    drain(&mut rig, Mode::FinishTasks, 60);
    assert_eq!(rig.core.phase(), Phase::Drained);
    assert_eq!(order(&mut rig, Command::Resume), Ok(()));
    drain(&mut rig, Mode::FinishTasks, 60);
    assert_eq!(stop(&mut rig), Ok(()));
    assert!(rig.core.departure().expect("nothing is left").is_clean());
}

#[test]
fn a_stop_shortens_the_grace_of_a_drain_and_never_lengthens_it() {
    for (grace, cancelled_after) in [(7_200, 30), (10, 10)] {
        let mut rig = Rig::ready(false);
        rig.take("a", spec());
        rig.accept();
        drain(&mut rig, Mode::FinishTasks, grace);
        assert_eq!(stop(&mut rig), Ok(()));
        rig.pass((cancelled_after - 1) * SECOND);
        assert_eq!(cancels(&mut rig), []);
        rig.pass(SECOND);
        assert_eq!(cancels(&mut rig).len(), 1);
    }
}

#[test]
fn a_process_that_is_to_end_waits_for_reports_within_a_bound_and_says_what_is_left() {
    let mut rig = Rig::ready(false);
    let task = rig.take("a", spec());
    let lease = rig.accept();
    assert_eq!(stop(&mut rig), Ok(()));
    rig.result(lease, succeeded());
    rig.pass(REPORTS_MAX - SECOND);
    rig.report_answered(task, Err(ReportError::Unanswered("down".into())));
    assert_eq!(rig.core.departure(), None);
    rig.pass(SECOND);
    let left = rig.core.departure().expect("the bound has passed");
    assert_eq!((left.unreported, left.cancelled, left.is_clean()), (1, 0, false));
    // The next process goes on with it.
    let mut rig = rig.restarted();
    assert_eq!(rig.core.phase(), Phase::Serving, "a drain ends with its process");
    assert_eq!(reported(&mut rig), [(Outcome::Succeeded, String::new(), false)]);
}

#[test]
fn an_acquire_without_a_clear_answer_stays_in_the_journal_when_the_process_ends() {
    let mut rig = Rig::ready(false);
    rig.list(&["a"]);
    let [(task, _)] = rig.acquires()[..] else { panic!("one acquire") };
    assert_eq!(stop(&mut rig), Ok(()));
    rig.answer(Answer::Acquire { task, result: Err(AcquireError::Unanswered("cut".into())) });
    assert_eq!(rig.core.departure(), None);
    rig.pass(30 * SECOND + 15 * SECOND + REPORTS_MAX);
    let left = rig.core.departure().expect("every bound has passed");
    assert_eq!((left.acquiring, left.is_clean()), (1, false));
}

#[test]
fn a_second_signal_waits_for_nobody_and_still_flushes() {
    let mut rig = Rig::ready(false);
    let task = rig.take("a", spec());
    rig.accept();
    assert_eq!(stop(&mut rig), Ok(()));
    rig.pass(SECOND);
    hurry(&mut rig);
    assert_eq!(cancels(&mut rig), [(CancelReason::Drain, Duration::ZERO)]);
    assert_eq!(rig.core.departure(), None);
    rig.pass(HURRIED_CANCEL_MAX);
    let [(reporting, _)] = rig.reports()[..] else { panic!("its end is reported") };
    assert_eq!(reporting, task);
    rig.pass(HURRIED_REPORTS_MAX - SECOND);
    assert_eq!(rig.core.departure(), None);
    rig.pass(SECOND);
    let left = rig.core.departure().expect("nothing is waited for any more");
    assert_eq!((left.cancelled, left.unreported), (1, 1));
}

#[test]
fn a_second_signal_ends_a_drain_that_only_waits_for_reports() {
    let mut rig = Rig::ready(false);
    rig.take("a", spec());
    let lease = rig.accept();
    assert_eq!(stop(&mut rig), Ok(()));
    rig.result(lease, succeeded());
    hurry(&mut rig);
    rig.pass(HURRIED_REPORTS_MAX);
    assert_eq!(rig.core.departure().map(|left| left.unreported), Some(1));
}

#[test]
fn a_process_that_is_to_end_tries_reports_that_wait_out_a_back_off_at_once() {
    let mut rig = Rig::ready(false);
    let task = rig.take("a", spec());
    let lease = rig.accept();
    rig.result(lease, succeeded());
    for _ in 0..8 {
        assert_eq!(rig.reports().len(), 1);
        rig.report_answered(task, Err(ReportError::Unanswered("down".into())));
        rig.pass(61 * SECOND);
    }
    rig.report_answered(task, Err(ReportError::Unanswered("down".into())));
    rig.calls.clear();
    assert_eq!(stop(&mut rig), Ok(()));
    assert_eq!(reported(&mut rig).len(), 1);
    assert!(rig.core.departure().expect("all is reported").is_clean());
}

#[test]
fn a_runner_that_says_when_it_goes_gives_back_what_it_has_not_decided_on() {
    let mut rig = Rig::ready(false);
    rig.take("a", spec());
    rig.accept();
    rig.take("b", spec());
    let withdrawn = |rig: &Rig| rig.notes.iter().filter(|note| matches!(note, Note::AssignmentEnded { .. })).count();
    rig.frame(Frame::DrainNotice { grace: None });
    assert_eq!(withdrawn(&rig), 0, "it decides by itself");
    rig.frame(Frame::DrainNotice { grace: Some(SECOND) });
    assert_eq!(withdrawn(&rig), 1, "what it accepted stays");
    assert_eq!(rig.core.status().open, 2);
}
