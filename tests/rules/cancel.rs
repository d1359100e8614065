//! Who may stop a task, in which order, and when the delegate answers for a runner that does not.

use std::time::Duration;

use dlite::{
    core::{
        command::{Command, Refusal},
        effect::{Assignment, Order},
        id::{RequestId, TaskId},
        input::{Answer, Handler, Hello, Input, Listing},
        task::{CancelReason, Finish, Outcome, Spec},
    },
    reason::Reason,
};

use super::support::{Rig, TYPE, spec};

const SECOND: Duration = Duration::from_secs(1);
/// As configured in the rig: 30 s of grace and 5 s of margin.
const PATIENCE: Duration = Duration::from_secs(35);

fn cancel(rig: &mut Rig, task: TaskId, grace: Option<u64>, force: bool) -> Result<(), Refusal> {
    let grace = grace.map(Duration::from_secs);
    let command = Command::CancelTask { task, message: "not needed".into(), grace, force };
    rig.tell(Input::Commanded { request: RequestId(1), command });
    rig.answers.pop().expect("an order is answered")
}

fn abort(rig: &mut Rig, id: &str) {
    rig.pass(4 * SECOND);
    rig.answer(Answer::Poll(Ok(Listing { aborts: vec![id.into()], ..Listing::default() })));
}

fn cancels(rig: &mut Rig) -> Vec<(CancelReason, u64)> {
    let orders = std::mem::take(&mut rig.orders);
    let cancels = orders.into_iter().filter_map(|order| match order {
        Order::Cancel { reason, grace, .. } => Some((reason, grace.as_secs())),
        _ => None,
    });
    cancels.collect()
}

fn ends(rig: &mut Rig) -> Vec<(Outcome, String)> {
    let reports = rig.reports();
    let ends = reports.into_iter().map(|(_, report)| {
        let error = report.finish.error.as_ref();
        (report.finish.outcome, error.map(|error| format!("{}: {}", error.reason, error.message)).unwrap_or_default())
    });
    ends.collect()
}

fn with_timeout(seconds: u64) -> Spec {
    Spec { timeout: Some(Duration::from_secs(seconds)), ..spec() }
}

/// The newest assignment, whole.
fn assignment(rig: &Rig) -> &Assignment {
    let mut assigned = rig.orders.iter().rev().filter_map(|order| match order {
        Order::Assign(assignment) => Some(&**assignment),
        _ => None,
    });
    assigned.next().expect("an assignment")
}

/// A delegate with a runner whose handler has a limit of its own.
fn limited(own: u64, run_time_max: Option<u64>) -> Rig {
    let mut rig = Rig::with(|config| config.run_time_max = run_time_max.map(Duration::from_secs));
    rig.register();
    let handler = Handler {
        task_type: TYPE.into(),
        kind: Default::default(),
        amount: Default::default(),
        class: "default".into(),
        idempotent: false,
        default_timeout: Some(Duration::from_secs(own)),
        extensions: Vec::new(),
        match_labels: Default::default(),
        any_runner: false,
    };
    let hello = Hello {
        runner: "r-1".into(),
        instance: dlite::core::id::InstanceId("i-1".into()),
        sdk: "test".into(),
        handlers: vec![handler],
        slots: [("default".into(), 10)].into(),
        refuses_sessions: false,
        held: Vec::new(),
    };
    rig.attach_as(hello);
    rig
}

#[test]
fn an_order_that_is_forced_is_answered_at_once_and_the_runner_still_told() {
    let mut rig = Rig::ready(false);
    let task = rig.take("a", spec());
    let lease = rig.accept();
    assert_eq!(cancel(&mut rig, task, None, true), Ok(()));
    assert_eq!(cancels(&mut rig), [(CancelReason::User, 0)]);
    assert_eq!(ends(&mut rig), [(Outcome::Cancelled, "TASK_CANCELLED: not needed".to_owned())]);
    // What the runner says of it now is refused, and changes nothing.
    rig.result(lease, Finish::of(Outcome::Succeeded, None));
    assert!(rig.orders.iter().any(|order| matches!(order, Order::Refuse { reason: Reason::LeaseLost, .. })));
    assert_eq!(cancel(&mut rig, task, None, true), Err(Refusal::TaskFinished));
}

#[test]
fn a_repeated_order_shortens_the_grace_and_never_lengthens_it() {
    let mut rig = Rig::ready(false);
    let task = rig.take("a", spec());
    rig.accept();
    assert_eq!(cancel(&mut rig, task, Some(600), false), Ok(()));
    assert_eq!(cancel(&mut rig, task, Some(60), false), Ok(()));
    assert_eq!(cancel(&mut rig, task, Some(3_600), false), Ok(()));
    assert_eq!(cancels(&mut rig), [(CancelReason::User, 600), (CancelReason::User, 60)]);
    rig.pass(64 * SECOND);
    assert_eq!(ends(&mut rig), []);
    rig.pass(SECOND);
    assert_eq!(ends(&mut rig).len(), 1);
}

#[test]
fn the_first_reason_stands_when_another_comes() {
    let mut rig = Rig::ready(false);
    let task = rig.take("a", spec());
    rig.accept();
    assert_eq!(cancel(&mut rig, task, Some(600), false), Ok(()));
    abort(&mut rig, "a");
    assert_eq!(cancels(&mut rig), [(CancelReason::User, 600), (CancelReason::User, 30)]);
    rig.pass(PATIENCE);
    assert_eq!(ends(&mut rig), [(Outcome::Cancelled, "TASK_CANCELLED: not needed".to_owned())]);
}

#[test]
fn a_deadline_holds_beside_a_grace_that_is_longer() {
    let mut rig = Rig::ready(false);
    let task = rig.take("a", with_timeout(100));
    rig.accept();
    assert_eq!(cancel(&mut rig, task, Some(3_600), false), Ok(()));
    rig.pass(99 * SECOND);
    assert_eq!(cancels(&mut rig), [(CancelReason::User, 3_600)]);
    rig.pass(SECOND);
    assert_eq!(cancels(&mut rig), [(CancelReason::User, 30)], "the reason stays, the grace does not");
    rig.pass(PATIENCE);
    assert_eq!(ends(&mut rig), [(Outcome::Cancelled, "TASK_CANCELLED: not needed".to_owned())]);
}

#[test]
fn a_grace_and_a_deadline_survive_the_process() {
    let mut rig = Rig::ready(false);
    let task = rig.take("a", with_timeout(100));
    rig.accept();
    assert_eq!(cancel(&mut rig, task, Some(3_600), false), Ok(()));
    rig.pass(50 * SECOND);
    let mut rig = rig.restarted();
    rig.pass(50 * SECOND + PATIENCE - SECOND);
    assert_eq!(ends(&mut rig), []);
    rig.pass(SECOND);
    assert_eq!(ends(&mut rig).len(), 1);
}

#[test]
fn a_runner_that_ignores_the_deadline_loses_the_task() {
    let mut rig = Rig::ready(false);
    rig.take("a", with_timeout(100));
    let lease = rig.accept();
    rig.pass(100 * SECOND);
    assert_eq!(cancels(&mut rig), [(CancelReason::Deadline, 30)]);
    rig.pass(PATIENCE);
    assert_eq!(ends(&mut rig), [(Outcome::TimedOut, "DEADLINE_EXCEEDED: the task's time is over".to_owned())]);
    rig.result(lease, Finish::of(Outcome::Succeeded, None));
    assert_eq!(ends(&mut rig), []);
}

#[test]
fn a_task_whose_time_was_over_when_it_came_is_never_given_to_a_runner() {
    let mut rig = Rig::ready(false);
    rig.list(&["a"]);
    let [(task, _)] = rig.acquires()[..] else { panic!("one acquire") };
    // Its answer took longer than the task may.
    rig.pass(10 * SECOND);
    rig.answer(Answer::Acquire { task, result: Ok(Box::new(with_timeout(10))) });
    assert!(!rig.orders.iter().any(|order| matches!(order, Order::Assign(_))));
    let text = "DEADLINE_EXCEEDED: the task's time was over before it could start";
    assert_eq!(ends(&mut rig), [(Outcome::TimedOut, text.to_owned())]);
}

#[test]
fn the_smallest_of_timeout_own_limit_and_configured_limit_counts_and_is_what_the_runner_is_told() {
    let cases = [
        (Some(50), 60, Some(70), 50),
        (Some(70), 50, Some(60), 50),
        (Some(70), 60, Some(50), 50),
        (None, 60, Some(50), 50),
        (None, 50, None, 50),
    ];
    for (timeout, own, run_time_max, smallest) in cases {
        let mut rig = limited(own, run_time_max);
        rig.take("a", Spec { timeout: timeout.map(Duration::from_secs), ..spec() });
        assert_eq!(assignment(&rig).time_remaining, Some(Duration::from_secs(smallest)));
        rig.accept();
        rig.pass(Duration::from_secs(smallest - 1));
        assert_eq!(cancels(&mut rig), []);
        rig.pass(SECOND);
        assert_eq!(cancels(&mut rig), [(CancelReason::Deadline, 30)], "{timeout:?} {own} {run_time_max:?}");
    }
}

#[test]
fn a_run_is_limited_from_its_start_and_not_from_its_wait() {
    let mut rig = limited(60, Some(50));
    rig.take("a", spec());
    rig.pass(9 * SECOND);
    rig.accept();
    rig.pass(49 * SECOND);
    assert_eq!(cancels(&mut rig), []);
    rig.pass(SECOND);
    assert_eq!(cancels(&mut rig).len(), 1);
}
