//! What stands around handlers.

use std::time::Duration;

use dlite::{
    proto::runner::v1::TaskOutcome,
    sdk::{Context, Deadline, Failure, Handler, Next, Payload, Runner, Success, Timing},
};
use tokio::sync::mpsc;

use crate::{
    delegate::{Delegate, patiently},
    handlers::echo,
    outcomes::reason,
};

/// Writes a letter before and after what it stands around.
fn letter(letter: &'static str) -> impl dlite::sdk::Layer {
    move |task: Context, payload: Payload, next: Next| async move {
        let payload = Payload::text(format!("{letter}{}", String::from_utf8_lossy(&payload.inline)));
        next.run(task, payload).await
    }
}

#[tokio::test]
async fn layers_stand_around_each_other_and_those_of_the_runner_around_all_handlers() {
    let mut delegate = Delegate::listen().await;
    let runner = Runner::new("runner-1").layer(letter("c")).layer(letter("d"));
    let runner = runner.handler(echo().layer(letter("a")).layer(letter("b")));
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "ECHO").await;
    let (_, result) = link.result().await;
    assert_eq!(result.payload.expect("a payload").inline, "abcdlease-1", "the last one is the outermost");
}

#[tokio::test]
async fn a_layer_may_answer_in_the_handlers_stead() {
    let mut delegate = Delegate::listen().await;
    let refuse = |task: Context, _: Payload, _: Next| async move {
        Err::<Success, _>(Failure::errored("NOT_TODAY", format!("task {} is not welcome", task.task_id())))
    };
    let (_running, mut link) = delegate.welcome(Runner::new("runner-1").handler(echo().layer(refuse))).await;
    link.start("lease-1", "ECHO").await;
    assert_eq!(reason(&link.result().await.1), "NOT_TODAY");
}

#[tokio::test]
async fn timing_tells_each_end_and_a_deadline_makes_one() {
    let mut delegate = Delegate::listen().await;
    let (told, mut tells) = mpsc::unbounded_channel();
    let timing = Timing::new(move |task: &Context, outcome, took: Duration| {
        told.send((task.task_type().to_owned(), outcome, took)).expect("the test listens");
    });
    let limit = Duration::from_millis(20);
    let stuck = Handler::new("STUCK", |_: Context, _: Payload| std::future::pending::<Result<(), Failure>>());
    let runner = Runner::new("runner-1").handler(echo()).handler(stuck.layer(Deadline::after(limit))).layer(timing);
    let (_running, mut link) = delegate.welcome(runner).await;
    for (lease_id, task_type, outcome) in
        [("lease-1", "ECHO", TaskOutcome::Succeeded), ("lease-2", "STUCK", TaskOutcome::TimedOut)]
    {
        link.start(lease_id, task_type).await;
        let (sequence, result) = link.result().await;
        assert_eq!(result.outcome(), outcome);
        link.acknowledge(sequence).await;
        let (told_type, told_outcome, took) = patiently(tells.recv()).await.expect("told");
        assert_eq!((told_type.as_str(), told_outcome), (task_type, outcome));
        assert!(task_type == "ECHO" || took >= limit, "{took:?}");
    }
}
