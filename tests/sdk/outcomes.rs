//! Ends of handlers and what each is told as.

use dlite::{
    proto::runner::v1::{TaskOutcome, TaskResult, task_update::Update},
    sdk::{Context, Failure, Handler, Payload, Retry, Runner},
};
use prost::Message as _;
use tonic_types::pb::ErrorInfo;

use crate::{
    delegate::Delegate,
    handlers::{Steps, echo},
};

pub fn reason(result: &TaskResult) -> String {
    let status = result.error.as_ref().and_then(|error| error.status.as_ref()).expect("an error");
    ErrorInfo::decode(&status.details[0].value[..]).expect("an ErrorInfo").reason
}

async fn result_of(runner: Runner, task_type: &str) -> TaskResult {
    let mut delegate = Delegate::listen().await;
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", task_type).await;
    link.result().await.1
}

#[tokio::test]
async fn a_payload_reaches_the_handler_and_returns_byte_for_byte() {
    let result = result_of(Runner::new("runner-1").handler(echo()), "ECHO").await;
    assert_eq!((result.outcome(), result.payload), (TaskOutcome::Succeeded, Some(Payload::text("lease-1"))));
    assert!(result.start_time.is_some() && result.end_time.is_some());
}

#[tokio::test]
async fn a_panicking_handler_ends_its_task_and_not_the_runner() {
    let mut delegate = Delegate::listen().await;
    let panics = Handler::new("PANIC", |_: Context, payload: Payload| async move {
        assert!(payload.inline.is_empty(), "seven is not prime enough");
        Ok(())
    });
    let (_running, mut link) = delegate.welcome(Runner::new("runner-1").handler(panics).handler(echo())).await;
    link.start("lease-1", "PANIC").await;
    let (sequence, result) = link.result().await;
    assert_eq!((result.outcome(), reason(&result).as_str()), (TaskOutcome::Errored, "HANDLER_PANICKED"));
    let status = result.error.and_then(|error| error.status).expect("a status");
    assert_eq!(status.code, tonic::Code::Internal as i32);
    link.acknowledge(sequence).await;
    link.start("lease-2", "ECHO").await;
    assert_eq!(link.result().await.1.outcome(), TaskOutcome::Succeeded);
}

#[tokio::test]
async fn a_panic_before_the_first_await_is_a_panic_like_any_other() {
    let handler = Handler::new("PANIC", |_: Context, payload: Payload| {
        assert!(payload.inline.is_empty(), "at once");
        async { Ok(()) }
    });
    let result = result_of(Runner::new("runner-1").handler(handler), "PANIC").await;
    assert_eq!(reason(&result), "HANDLER_PANICKED");
}

#[tokio::test]
async fn failed_errored_and_skipped_are_told_apart() {
    let handler = Handler::new("FAIL", |_: Context, _: Payload| async {
        Err::<(), _>(Failure::failed("exit status 3").exit_code(3).payload(Payload::text("body")))
    });
    let failed = result_of(Runner::new("runner-1").handler(handler), "FAIL").await;
    assert_eq!((failed.outcome(), failed.exit_code), (TaskOutcome::Failed, Some(3)));
    assert_eq!(failed.payload, Some(Payload::text("body")));

    let handler = Handler::new("ERR", |_: Context, _: Payload| async {
        Err::<(), _>(Failure::errored("IMAGE_PULL_FAILED", "no such tag").retry(Retry::OtherRunner).side_effects(false))
    });
    let errored = result_of(Runner::new("runner-1").handler(handler), "ERR").await;
    assert_eq!((errored.outcome(), reason(&errored).as_str()), (TaskOutcome::Errored, "IMAGE_PULL_FAILED"));
    assert_eq!(errored.error.expect("an error").side_effects_possible, Some(false));

    let handler =
        Handler::new("SKIP", |_: Context, _: Payload| async { Err::<(), _>(Failure::skipped("nothing changed")) });
    let skipped = result_of(Runner::new("runner-1").handler(handler), "SKIP").await;
    assert_eq!(skipped.outcome(), TaskOutcome::Skipped);
}

#[tokio::test]
async fn a_payload_that_does_not_parse_is_the_tasks_fault() {
    let handler = Handler::new("PARSE", |_: Context, payload: Payload| async move {
        let number: u32 = payload.parse()?;
        Ok(Payload::json(&number)?)
    });
    let result = result_of(Runner::new("runner-1").handler(handler), "PARSE").await;
    assert_eq!((result.outcome(), reason(&result).as_str()), (TaskOutcome::Errored, "TASK_INVALID"));
}

#[tokio::test]
async fn progress_is_told_without_a_number() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "STEP").await;
    let step = steps.next().await;
    link.update().await;
    step.context.progress("half way", 0.5);
    let (sequence, update) = link.update().await;
    assert_eq!((sequence, update.number), (0, 0));
    let Some(Update::Progress(progress)) = update.update else { panic!("wanted progress, got {update:?}") };
    assert_eq!((progress.message.as_str(), progress.fraction), ("half way", Some(0.5)));
}
