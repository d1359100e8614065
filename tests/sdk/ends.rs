//! How a runner ends: when told to, or when attaching again can't help.

use std::time::Duration;

use dlite::{
    proto::runner::v1::{HeldTaskDisposition, TaskOutcome, assignment_decision::Decision},
    sdk::{Payload, RunError},
};
use tonic::{Code, Status};

use crate::{
    delegate::{Delegate, status},
    handlers::Steps,
};

#[tokio::test]
async fn told_to_stop_it_takes_no_more_work_finishes_what_runs_and_leaves_once_all_is_acknowledged() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(2);
    let (mut running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "STEP").await;
    let mut step = steps.next().await;
    link.update().await;
    running.stop();
    link.drain_notice().await;
    link.assign("lease-2", "STEP").await;
    let (rejection, decision) = link.decision("lease-2").await;
    assert!(matches!(decision, Decision::Rejected(_)), "{decision:?}");
    step.finish(Ok(Payload::text("last")));
    let (sequence, _) = link.result().await;
    assert_eq!(sequence, rejection + 1);
    assert!(!running.task.is_finished(), "the result is not acknowledged");
    link.acknowledge(sequence).await;
    link.closed().await;
    drop(link);
    running.ended().await.expect("a clean end");
}

#[tokio::test]
async fn told_to_stop_it_attaches_again_for_a_result_that_nobody_acknowledged() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let (mut running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "STEP").await;
    steps.next().await.finish(Ok(Payload::text("last")));
    link.result().await;
    running.stop();
    link.drain_notice().await;
    link.end(Status::unavailable("cut")).await;

    let mut link = delegate.link().await;
    assert!(link.hello().await.held_tasks[0].finished);
    link.welcome([("lease-1", HeldTaskDisposition::ResendResult)]).await;
    link.drain_notice().await;
    let (sequence, _) = link.result().await;
    link.acknowledge(sequence).await;
    link.closed().await;
    drop(link);
    running.ended().await.expect("a clean end");
}

#[tokio::test]
async fn an_idle_runner_stops_at_once() {
    let mut delegate = Delegate::listen().await;
    let (runner, _steps) = Steps::runner(1);
    let (mut running, mut link) = delegate.welcome(runner).await;
    link.heartbeat().await;
    running.stop();
    link.drain_notice().await;
    link.closed().await;
    drop(link);
    running.ended().await.expect("a clean end");
}

#[tokio::test]
async fn a_shutdown_with_a_grace_ends_even_if_nobody_acknowledges() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let mut running = delegate.run_with(runner, |connection| connection.shutdown_grace(Duration::from_millis(100)));
    let mut link = delegate.link().await;
    link.hello().await;
    link.welcome([]).await;
    link.start("lease-1", "STEP").await;
    let mut step = steps.next().await;
    running.stop();
    crate::delegate::patiently(step.context.cancelled()).await;
    let error = running.ended().await.expect_err("nobody acknowledged");
    assert!(matches!(error, RunError::Unacknowledged { count: 1 }), "{error}");
    step.dropped().await;
}

#[tokio::test]
async fn a_refused_runner_exits_with_the_delegates_reason() {
    for (code, reason) in [
        (Code::InvalidArgument, "HELLO_INVALID"),
        (Code::Unauthenticated, "TOKEN_INVALID"),
        (Code::PermissionDenied, "RUNNER_ID_FORBIDDEN"),
        (Code::FailedPrecondition, "REPLACED"),
    ] {
        let mut delegate = Delegate::listen().await;
        let (runner, _steps) = Steps::runner(1);
        let running = delegate.run(runner);
        let mut link = delegate.link().await;
        link.hello().await;
        link.end(status(code, reason)).await;
        let error = running.ended().await.expect_err(reason);
        let matches = match reason {
            "HELLO_INVALID" => matches!(error, RunError::HelloInvalid { .. }),
            "TOKEN_INVALID" => matches!(error, RunError::TokenInvalid { .. }),
            "RUNNER_ID_FORBIDDEN" => matches!(error, RunError::RunnerIdForbidden { .. }),
            _ => matches!(error, RunError::Replaced { .. }),
        };
        assert!(matches, "{reason} became {error}");
    }
}

#[tokio::test]
async fn passing_troubles_make_it_attach_again_and_work() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let _running = delegate.run(runner);
    for end in [status(Code::ResourceExhausted, "LINK_OVERRUN"), Status::unavailable(""), Status::internal("a proxy")] {
        let mut link = delegate.link().await;
        link.hello().await;
        link.end(end).await;
    }
    let mut link = delegate.link().await;
    link.hello().await;
    link.welcome([]).await;
    link.start("lease-1", "STEP").await;
    steps.next().await.finish(Ok(Payload::text("fine")));
    assert_eq!(link.result().await.1.outcome(), TaskOutcome::Succeeded);
}
