//! Assignments: who decides, when a handler starts, what is sent again.

use dlite::{
    proto::runner::v1::{HeldTaskDisposition, RetryDisposition, TaskOutcome, Welcome, assignment_decision::Decision},
    sdk::{Handler, Output, Payload, Runner},
};
use tonic::{Code, Status};

use crate::{
    delegate::{Delegate, terms},
    handlers::{Steps, echo},
};

#[tokio::test]
async fn hello_says_who_attaches_and_what_it_can_do() {
    let mut delegate = Delegate::listen().await;
    let _running =
        delegate.run(Runner::new("runner-1").handler(echo().idempotent()).slots("default", 3).version("1.2"));
    let mut link = delegate.link().await;
    let hello = link.hello().await;
    assert_eq!(hello.runner_id, "runner-1");
    assert!(!hello.instance_id.is_empty());
    assert_eq!(hello.handlers.len(), 1);
    assert_eq!((hello.handlers[0].task_type.as_str(), hello.handlers[0].idempotent), ("ECHO", true));
    assert_eq!(hello.capacity.expect("capacity").slots["default"], 3);
    assert_eq!(hello.info.expect("info").version, "1.2");
}

#[tokio::test]
async fn a_handler_starts_only_after_its_accept_is_acknowledged() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.assign("lease-1", "STEP").await;
    let accept = link.accept("lease-1").await;
    assert_eq!(accept, 1);
    // Two heartbeats later it is alive and well, and renews the lease, but has not started.
    link.heartbeat().await;
    assert_eq!(link.heartbeat().await.lease_ids, ["lease-1"]);
    assert_eq!(steps.starts(), 0);
    link.acknowledge(accept).await;
    assert_eq!(steps.next().await.context.task_id(), "task-of-lease-1");
}

#[tokio::test]
async fn a_refused_accept_never_starts_its_handler() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.assign("lease-1", "STEP").await;
    let accept = link.accept("lease-1").await;
    link.refuse(accept, "lease-1", "ASSIGNMENT_WITHDRAWN").await;
    // The slot is free again, and the next lease is the first to start.
    link.start("lease-2", "STEP").await;
    assert_eq!(steps.next().await.context.lease_id(), "lease-2");
    assert_eq!(steps.starts(), 1);
    assert_eq!(link.heartbeat.take().map(|heartbeat| heartbeat.lease_ids).unwrap_or_default(), [""; 0]);
}

#[tokio::test]
async fn a_second_assignment_of_a_known_lease_repeats_the_decision_and_starts_nothing() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(4);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "STEP").await;
    let mut step = steps.next().await;
    let (_, started) = link.update().await;
    assert_eq!(started.number, 1);
    link.assign("lease-1", "STEP").await;
    let again = link.accept("lease-1").await;
    link.acknowledge(again).await;
    step.finish(Ok(Payload::text("done")));
    assert_eq!(link.result().await.1.outcome(), TaskOutcome::Succeeded);
    assert_eq!(steps.starts(), 1);
}

#[tokio::test]
async fn what_it_can_not_do_or_has_no_slot_for_goes_to_another_runner() {
    let mut delegate = Delegate::listen().await;
    let (runner, _steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.assign("lease-1", "OTHER").await;
    let (_, unknown) = link.decision("lease-1").await;
    link.assign("lease-2", "STEP").await;
    link.accept("lease-2").await;
    link.assign("lease-3", "STEP").await;
    let (_, full) = link.decision("lease-3").await;
    for (decision, code) in [(unknown, Code::Unimplemented), (full, Code::ResourceExhausted)] {
        let Decision::Rejected(rejected) = decision else { panic!("wanted a rejection, got {decision:?}") };
        assert_eq!(rejected.retry(), RetryDisposition::OtherRunner);
        assert_eq!(rejected.status.expect("a status").code, code as i32);
    }
}

#[tokio::test]
async fn after_a_cut_link_the_held_tasks_are_listed_and_the_result_goes_out_until_acknowledged() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(2);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "STEP").await;
    let mut step = steps.next().await;
    step.finish(Ok(Payload::text("kept")));
    let (_, first) = link.result().await;
    link.end(Status::unavailable("cut")).await;

    for disposition in [HeldTaskDisposition::ResendResult, HeldTaskDisposition::Keep] {
        let mut link = delegate.link().await;
        let hello = link.hello().await;
        assert_eq!(hello.held_tasks.len(), 1);
        let held = &hello.held_tasks[0];
        assert_eq!((held.task_id.as_str(), held.lease_id.as_str()), ("task-of-lease-1", "lease-1"));
        assert!(held.accept_acknowledged && held.finished);
        link.welcome([("lease-1", disposition)]).await;
        let (_, again) = link.result().await;
        assert_eq!(again, first);
        link.end(Status::unavailable("cut")).await;
    }

    let mut link = delegate.link().await;
    assert_eq!(link.hello().await.held_tasks.len(), 1);
    link.welcome([]).await;
    // Without a decision all of it comes again, from the accept on.
    link.accept("lease-1").await;
    let (sequence, again) = link.result().await;
    assert_eq!(again, first);
    link.acknowledge(sequence).await;
    link.start("lease-2", "STEP").await;
    steps.next().await;
    link.end(Status::unavailable("cut")).await;
    let mut link = delegate.link().await;
    let held: Vec<_> = link.hello().await.held_tasks.into_iter().map(|held| held.lease_id).collect();
    assert_eq!(held, ["lease-2"], "the acknowledged one is forgotten");
}

#[tokio::test]
async fn a_result_the_delegate_has_is_forgotten_and_a_running_task_works_on_over_a_cut_link() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(2);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "STEP").await;
    let mut first = steps.next().await;
    link.update().await;
    link.start("lease-2", "STEP").await;
    let mut second = steps.next().await;
    first.finish(Ok(Payload::text("one")));
    link.result().await;
    link.end(Status::unavailable("cut")).await;

    let mut link = delegate.link().await;
    assert_eq!(link.hello().await.held_tasks.len(), 2);
    link.welcome([("lease-1", HeldTaskDisposition::Acknowledged), ("lease-2", HeldTaskDisposition::Keep)]).await;
    second.finish(Ok(Payload::text("two")));
    let (_, result) = link.result().await;
    assert_eq!((result.lease_id.as_str(), result.payload.expect("a payload")), ("lease-2", Payload::text("two")));
    assert_eq!(steps.starts(), 2);
}

#[tokio::test]
async fn keep_starts_a_handler_whose_acknowledgement_was_lost_with_the_link() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.assign("lease-1", "STEP").await;
    link.accept("lease-1").await;
    link.end(Status::unavailable("cut")).await;

    let mut link = delegate.link().await;
    assert!(!link.hello().await.held_tasks[0].accept_acknowledged);
    assert_eq!(steps.starts(), 0);
    link.welcome([("lease-1", HeldTaskDisposition::Keep)]).await;
    steps.next().await;
}

#[tokio::test]
async fn outputs_wait_while_1024_updates_are_not_acknowledged() {
    let mut delegate = Delegate::listen().await;
    let (count, counted) = tokio::sync::watch::channel(0_u32);
    let handler = Handler::new("CHATTY", move |context: dlite::sdk::Context, _: Payload| {
        let count = count.clone();
        async move {
            for number in 1..=1100 {
                context.output(Output::text("n", number.to_string())).await?;
                count.send_replace(number);
            }
            Ok(())
        }
    });
    let (_running, mut link) = delegate.welcome(Runner::new("runner-1").handler(handler)).await;
    link.start("lease-1", "CHATTY").await;
    let mut last = 0;
    for number in 1..=1024 {
        let (sequence, update) = link.update().await;
        assert_eq!(update.number, number);
        last = sequence;
    }
    // Started is one of them; nothing more comes until something is acknowledged.
    link.heartbeat().await;
    link.heartbeat().await;
    assert_eq!(*counted.borrow(), 1023);
    link.acknowledge(last - 1000).await;
    for number in 1025..=1048 {
        assert_eq!(link.update().await.1.number, number);
    }
    link.heartbeat().await;
    assert_eq!(*counted.borrow(), 1047);
    link.acknowledge(last).await;
    let (_, result) = link.result().await;
    assert_eq!(result.outcome(), TaskOutcome::Succeeded);
    assert_eq!(*counted.borrow(), 1100);
}

#[tokio::test]
async fn unacknowledged_updates_go_out_again_under_their_numbers() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "STEP").await;
    let step = steps.next().await;
    step.context.output(Output::text("sha", "abc")).await.expect("taken");
    let (started, _) = link.update().await;
    let (_, outputs) = link.update().await;
    link.acknowledge(started).await;
    // The acknowledgement has arrived once a later frame is answered.
    link.assign("lease-1", "STEP").await;
    link.accept("lease-1").await;
    link.end(Status::unavailable("cut")).await;

    let mut link = delegate.link().await;
    assert_eq!(link.hello().await.held_tasks[0].acknowledged_number, 1);
    link.welcome([("lease-1", HeldTaskDisposition::Keep)]).await;
    let (sequence, again) = link.update().await;
    assert_eq!((sequence, again), (1, outputs));
}

#[tokio::test]
async fn a_result_above_the_delegates_limit_becomes_a_failure_that_fits() {
    let mut delegate = Delegate::listen().await;
    let running = delegate.run(Runner::new("runner-1").handler(echo()));
    let mut link = delegate.link().await;
    link.hello().await;
    link.welcome_with(Welcome { payload_bytes_max: 4, ..terms() }).await;
    link.start("lease-1", "ECHO").await;
    let (_, result) = link.result().await;
    assert_eq!((result.outcome(), result.payload.clone()), (TaskOutcome::Errored, None));
    assert_eq!(crate::outcomes::reason(&result), "RESULT_TOO_LARGE");
    drop(running);
}

#[tokio::test]
async fn a_result_the_delegate_refuses_as_too_large_is_replaced_by_a_failure() {
    let mut delegate = Delegate::listen().await;
    let (_running, mut link) = delegate.welcome(Runner::new("runner-1").handler(echo())).await;
    link.start("lease-1", "ECHO").await;
    let (sequence, result) = link.result().await;
    assert_eq!(result.outcome(), TaskOutcome::Succeeded);
    link.refuse(sequence, "lease-1", "RESULT_TOO_LARGE").await;
    let (_, result) = link.result().await;
    assert_eq!(result.outcome(), TaskOutcome::Errored);
    assert_eq!(crate::outcomes::reason(&result), "RESULT_TOO_LARGE");
}
