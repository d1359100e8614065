//! Cancellation: asked, then stopped.

use std::time::Duration;

use dlite::{
    proto::runner::v1::{CancelReason, TaskCancellation, TaskOutcome},
    sdk::{Failure, Payload},
};

use crate::{
    delegate::{Delegate, patiently, task},
    handlers::Steps,
};

fn cancellation(reason: CancelReason, grace: Duration) -> TaskCancellation {
    TaskCancellation {
        lease_id: "lease-1".to_owned(),
        reason: reason as i32,
        message: "ann pressed stop".to_owned(),
        grace_period: prost_types::Duration::try_from(grace).ok(),
    }
}

#[tokio::test]
async fn a_cancelled_handler_is_asked_with_reason_and_grace_and_its_own_end_counts() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "STEP").await;
    let mut step = steps.next().await;
    assert!(!step.context.is_cancelled());
    link.cancel(cancellation(CancelReason::User, Duration::from_secs(600))).await;
    let asked = patiently(step.context.cancelled()).await;
    assert_eq!((asked.reason, asked.message.as_str()), (CancelReason::User, "ann pressed stop"));
    assert_eq!(asked.grace, Duration::from_secs(600));
    assert!(step.context.is_cancelled());
    step.finish(Ok(Payload::text("made it")));
    assert_eq!(link.result().await.1.outcome(), TaskOutcome::Succeeded);
}

#[tokio::test]
async fn a_handler_that_outlasts_its_grace_is_dropped_and_told_as_cancelled() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "STEP").await;
    let mut step = steps.next().await;
    link.cancel(cancellation(CancelReason::User, Duration::from_millis(20))).await;
    let (_, result) = link.result().await;
    assert_eq!(result.outcome(), TaskOutcome::Cancelled);
    step.dropped().await;
}

#[tokio::test]
async fn a_deadline_is_told_as_timed_out_and_zero_grace_stops_at_once() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "STEP").await;
    let mut step = steps.next().await;
    link.cancel(cancellation(CancelReason::Deadline, Duration::ZERO)).await;
    assert_eq!(link.result().await.1.outcome(), TaskOutcome::TimedOut);
    step.dropped().await;
}

#[tokio::test]
async fn a_repeated_cancellation_shortens_the_grace() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "STEP").await;
    let mut step = steps.next().await;
    link.cancel(cancellation(CancelReason::User, Duration::from_secs(600))).await;
    patiently(step.context.cancelled()).await;
    link.cancel(cancellation(CancelReason::Deadline, Duration::ZERO)).await;
    let (_, result) = link.result().await;
    assert_eq!(result.outcome(), TaskOutcome::Cancelled, "the first reason counts");
    step.dropped().await;
}

#[tokio::test]
async fn a_handler_that_gives_up_when_asked_says_so_in_one_word() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "STEP").await;
    let mut step = steps.next().await;
    link.cancel(cancellation(CancelReason::Deadline, Duration::from_secs(600))).await;
    patiently(step.context.cancelled()).await;
    step.finish(Err(Failure::cancelled()));
    assert_eq!(link.result().await.1.outcome(), TaskOutcome::TimedOut, "a deadline asked");
}

#[tokio::test]
async fn a_task_cancelled_before_its_accept_is_acknowledged_never_starts() {
    let mut delegate = Delegate::listen().await;
    let (runner, steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.assign("lease-1", "STEP").await;
    let accept = link.accept("lease-1").await;
    link.cancel(cancellation(CancelReason::User, Duration::from_secs(1))).await;
    let (result, told) = link.result().await;
    assert_eq!((told.outcome(), result), (TaskOutcome::Cancelled, accept + 1));
    link.acknowledge(result).await;
    link.heartbeat().await;
    assert_eq!(steps.starts(), 0);
}

#[tokio::test]
async fn a_task_past_its_own_time_limit_is_stopped_without_the_delegates_word() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    let mut task = task("lease-1", "STEP");
    task.execution_timeout = prost_types::Duration::try_from(Duration::from_millis(50)).ok();
    task.cancel_grace_period = prost_types::Duration::try_from(Duration::ZERO).ok();
    link.assign_task("lease-1", task).await;
    let accept = link.accept("lease-1").await;
    link.acknowledge(accept).await;
    let mut step = steps.next().await;
    assert!(step.context.time_remaining().is_some_and(|remaining| remaining <= Duration::from_millis(50)));
    assert_eq!(link.result().await.1.outcome(), TaskOutcome::TimedOut);
    step.dropped().await;
}
