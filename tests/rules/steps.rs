//! What an upstream is told of a task's steps, and that its result comes after.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use dlite::core::{
    effect::{Call, Order, Tellable},
    id::{LeaseId, TaskId},
    input::{Answer, Frame, ReportError, Told},
    step::{Step, StepState},
    task::{CancelReason, Error, Finish, Outcome, Retry},
};

use crate::support::{Rig, other_delegate, spec};

fn step(number: u32, state: StepState) -> Step {
    Step {
        id: number.to_string().into(),
        number,
        name: format!("step {number}").into(),
        state,
        exit_code: None,
        error: "".into(),
        started: None,
        ended: None,
        image: "".into(),
        detached: false,
        ignore_error: false,
        depends_on: Vec::new(),
        card: None,
        has_log: false,
    }
}

/// A task that runs, and its lease.
fn running() -> (Rig, TaskId, LeaseId) {
    let mut rig = Rig::ready(false);
    let task = rig.take("e-1", spec());
    let lease = rig.accept();
    (rig, task, lease)
}

fn plan(rig: &mut Rig, lease: LeaseId) {
    rig.frame(Frame::Started { lease, number: 1 });
    let steps = vec![step(1, StepState::Pending), step(2, StepState::Pending)];
    rig.frame(Frame::Plan { lease, number: 2, steps });
}

fn change(rig: &mut Rig, lease: LeaseId, number: u64, step: Step) {
    rig.frame(Frame::Step { lease, number, step: Box::new(step) });
}

fn tells(rig: &mut Rig) -> Vec<Arc<Tellable>> {
    let calls = std::mem::take(&mut rig.calls);
    let tells = calls.into_iter().filter_map(|call| match call {
        Call::Tell { news, .. } => Some(news),
        _ => None,
    });
    tells.collect()
}

fn told(rig: &mut Rig, task: TaskId, note: &'static str, behind: bool) {
    let note = Some(Bytes::from_static(note.as_bytes()));
    rig.answer(Answer::Tell { task, result: Ok(Told { note, behind }) });
}

fn failed(rig: &mut Rig, task: TaskId, error: ReportError) {
    rig.answer(Answer::Tell { task, result: Err(error) });
}

fn refusals(rig: &mut Rig) -> Vec<String> {
    let orders = std::mem::take(&mut rig.orders);
    let texts = orders.into_iter().filter_map(|order| match order {
        Order::Refuse { message, .. } => Some(message),
        _ => None,
    });
    texts.collect()
}

#[test]
fn one_call_is_under_way_and_the_next_has_the_newest_steps_and_the_last_note() {
    let (mut rig, task, lease) = running();
    plan(&mut rig, lease);
    let first = tells(&mut rig);
    assert_eq!((first.len(), first[0].told.clone(), first[0].steps.len()), (1, None, 2));
    change(&mut rig, lease, 3, step(1, StepState::Running));
    change(&mut rig, lease, 4, step(1, StepState::Failed));
    assert!(tells(&mut rig).is_empty(), "one at a time");
    told(&mut rig, task, "n-1", false);
    let second = tells(&mut rig);
    assert_eq!((second.len(), second[0].told.as_deref()), (1, Some(&b"n-1"[..])));
    assert_eq!(second[0].steps[0].state, StepState::Failed);
    assert!(second[0].steps[0].ended.is_some(), "the time of receipt");
    told(&mut rig, task, "n-2", false);
    assert!(tells(&mut rig).is_empty(), "nothing changed since");
}

#[test]
fn an_adapter_that_is_behind_is_asked_again_at_once() {
    let (mut rig, task, lease) = running();
    plan(&mut rig, lease);
    tells(&mut rig);
    told(&mut rig, task, "n-1", true);
    assert_eq!(tells(&mut rig).len(), 1);
    // One that says so and has nothing to show for it would be asked for ever.
    rig.answer(Answer::Tell { task, result: Ok(Told { note: None, behind: true }) });
    assert!(tells(&mut rig).is_empty());
}

#[test]
fn the_result_waits_until_the_upstream_knows_the_steps() {
    let (mut rig, task, lease) = running();
    plan(&mut rig, lease);
    rig.result(lease, Finish::of(Outcome::Succeeded, None));
    failed(&mut rig, task, ReportError::Unanswered("reset".into()));
    assert!(rig.reports().is_empty());
    rig.pass(Duration::from_secs(120));
    let retries = tells(&mut rig).len();
    assert!(retries == 1, "{retries}");
    told(&mut rig, task, "n-1", true);
    assert!(rig.reports().is_empty());
    told(&mut rig, task, "n-2", false);
    let reports = rig.reports();
    assert_eq!((reports.len(), reports[0].1.told.as_deref()), (1, Some(&b"n-2"[..])));
    rig.report_answered(task, Ok(()));
    assert!(!rig.knows(task));
}

#[test]
fn a_restart_tells_what_was_not_confirmed_under_the_note_of_what_was() {
    let (mut rig, task, lease) = running();
    plan(&mut rig, lease);
    told(&mut rig, task, "n-1", false);
    change(&mut rig, lease, 3, step(1, StepState::Running));
    let mut rig = rig.restarted();
    let again = tells(&mut rig);
    assert_eq!((again.len(), again[0].told.as_deref()), (1, Some(&b"n-1"[..])));
    assert_eq!(again[0].steps[0].state, StepState::Running);
}

#[test]
fn a_task_that_the_upstream_has_closed_is_stopped_and_its_steps_are_told_no_more() {
    let (mut rig, task, lease) = running();
    plan(&mut rig, lease);
    failed(&mut rig, task, ReportError::Gone("the server has ended it".into()));
    let cancelled =
        rig.orders.iter().any(|order| matches!(order, Order::Cancel { reason: CancelReason::UpstreamGone, .. }));
    assert!(cancelled);
    change(&mut rig, lease, 3, step(1, StepState::Cancelled));
    rig.calls.clear();
    rig.result(lease, Finish::of(Outcome::Cancelled, None));
    assert_eq!(rig.calls.iter().filter(|call| matches!(call, Call::Tell { .. })).count(), 0);
    assert_eq!(rig.reports().len(), 1, "the result says the rest");
}

#[test]
fn a_fault_that_lasts_costs_the_steps_and_not_the_result() {
    let (mut rig, task, lease) = running();
    plan(&mut rig, lease);
    rig.result(lease, Finish::of(Outcome::Succeeded, None));
    for _ in 0..5 {
        failed(&mut rig, task, ReportError::Fault("500".into()));
        rig.pass(Duration::from_secs(120));
    }
    assert_eq!(rig.reports().len(), 1);
}

#[test]
fn another_try_plans_anew_and_what_the_upstream_knows_stays() {
    let mut rig = Rig::ready(true);
    let task = rig.take("e-1", spec());
    let lease = rig.accept();
    plan(&mut rig, lease);
    told(&mut rig, task, "n-1", false);
    let again = Error { retry: Retry::SameRunner, ..other_delegate(None) };
    rig.result(lease, Finish::of(Outcome::Errored, Some(again)));
    rig.pass(Duration::from_secs(60));
    let second = rig.accept();
    assert_ne!(second, lease);
    tells(&mut rig);
    rig.frame(Frame::Started { lease: second, number: 1 });
    let steps = vec![step(1, StepState::Pending), step(3, StepState::Pending)];
    rig.frame(Frame::Plan { lease: second, number: 2, steps });
    assert!(refusals(&mut rig).is_empty());
    let news = tells(&mut rig);
    let numbers: Vec<u32> = news[0].steps.iter().map(|step| step.number).collect();
    assert_eq!((news.len(), news[0].told.as_deref(), &numbers[..]), (1, Some(&b"n-1"[..]), &[1, 3][..]));
    // What the first try says late counts no more.
    change(&mut rig, lease, 3, step(2, StepState::Failed));
    assert!(tells(&mut rig).is_empty());
}

#[test]
fn steps_that_fit_no_plan_are_refused_by_name() {
    let (mut rig, _, lease) = running();
    rig.frame(Frame::Started { lease, number: 1 });
    change(&mut rig, lease, 2, step(1, StepState::Running));
    assert!(refusals(&mut rig)[0].contains("not a step of the plan"));
    let twice = vec![step(1, StepState::Pending), step(1, StepState::Pending)];
    rig.frame(Frame::Plan { lease, number: 3, steps: twice });
    assert!(refusals(&mut rig)[0].contains("two steps share"));
    let steps = vec![step(1, StepState::Pending)];
    rig.frame(Frame::Plan { lease, number: 4, steps: steps.clone() });
    // Sent again after a cut.
    rig.frame(Frame::Plan { lease, number: 4, steps: steps.clone() });
    assert!(refusals(&mut rig).is_empty());
    rig.frame(Frame::Plan { lease, number: 5, steps });
    assert!(refusals(&mut rig)[0].contains("planned already"));
}
