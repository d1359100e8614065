//! The three parts of a stage as one type with small handlers.

use std::sync::Arc;

use dlite::{
    proto::runner::v1::{ErrorOrigin, Payload, Task, TaskKind, TaskOutcome},
    sdk::{Cleanup, Context, Execute, Failure, Handler, Runner, Session, Setup, Success},
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    delegate::{Delegate, session, task},
    handlers::Steps,
    outcomes::reason,
};

#[derive(Deserialize)]
struct Request {
    setup_request: SetupRequest,
}

#[derive(Deserialize)]
struct SetupRequest {
    network: String,
}

struct Stage;

impl Setup for Stage {
    type Payload = Request;

    async fn setup(&self, _: Context, request: Request, session: Session) -> Result<Success, Failure> {
        Ok(Success::new().session_state(session.change().state(&request.setup_request.network)?))
    }
}

impl Execute for Stage {
    type Payload = serde_json::Value;

    async fn execute(&self, _: Context, step: serde_json::Value, session: Session) -> Result<Success, Failure> {
        let network: Option<String> = session.state()?;
        Ok(Payload::json(&json!({ "step": step, "network": network }))?.into())
    }
}

impl Cleanup for Stage {
    async fn cleanup(&self, _: Context, session: Session) -> Result<Success, Failure> {
        Ok(Payload::json(&session.state::<String>()?)?.into())
    }
}

fn runner() -> Runner {
    let stage = Arc::new(Stage);
    Runner::new("runner-1")
        .handler(Handler::setup("SETUP", stage.clone()))
        .handler(Handler::execute("EXECUTE", stage.clone()))
        .handler(Handler::cleanup("CLEANUP", stage))
}

fn json_task(lease_id: &str, task_type: &str, payload: serde_json::Value) -> Task {
    Task { payload: Some(Payload::json(&payload).expect("it serializes")), ..task(lease_id, task_type) }
}

#[tokio::test]
async fn each_part_declares_its_kind_and_cleanups_have_slots_of_their_own() {
    let mut delegate = Delegate::listen().await;
    let _running = delegate.run(runner());
    let hello = delegate.link().await.hello().await;
    let kinds: Vec<_> = hello.handlers.iter().map(|handler| (handler.kind(), handler.slot_class.as_str())).collect();
    assert_eq!(
        kinds,
        [(TaskKind::SessionSetup, ""), (TaskKind::SessionExecute, ""), (TaskKind::SessionCleanup, "cleanup")]
    );
    let slots = hello.capacity.expect("capacity").slots;
    assert_eq!((slots["default"], slots["cleanup"]), (1, 4));
}

#[tokio::test]
async fn a_cleanup_runs_while_all_other_slots_are_taken() {
    let mut delegate = Delegate::listen().await;
    let (handler, mut steps) = Steps::handler();
    let runner = Runner::new("runner-1").handler(handler).handler(Handler::cleanup("CLEANUP", Arc::new(Stage)));
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "STEP").await;
    let _busy = steps.next().await;
    link.update().await;
    link.start_in(session("e1", Some(json!("n-1"))), "lease-2", task("lease-2", "CLEANUP")).await;
    let (_, result) = link.result().await;
    assert_eq!((result.lease_id.as_str(), result.outcome()), ("lease-2", TaskOutcome::Succeeded));
}

#[tokio::test]
async fn a_stage_goes_from_setup_to_cleanup_by_its_state_alone() {
    let mut delegate = Delegate::listen().await;
    let (_running, mut link) = delegate.welcome(runner()).await;
    let payload = json!({ "id": "stg", "setup_request": { "network": "n-1" } });
    link.start_in(session("e1", None), "lease-1", json_task("lease-1", "SETUP", payload)).await;
    let (sequence, result) = link.result().await;
    let state = result.session_state.and_then(|change| change.state).expect("a state");
    assert_eq!(state.inline, r#""n-1""#);
    link.acknowledge(sequence).await;
    for (lease_id, task_type, answer) in
        [("lease-2", "EXECUTE", json!({ "step": 5, "network": "n-1" })), ("lease-3", "CLEANUP", json!("n-1"))]
    {
        link.start_in(session("e2", Some(json!("n-1"))), lease_id, json_task(lease_id, task_type, json!(5))).await;
        let (sequence, result) = link.result().await;
        assert_eq!(result.payload, Some(Payload::json(&answer).expect("json")));
        link.acknowledge(sequence).await;
    }
}

#[tokio::test]
async fn a_payload_that_does_not_fit_fails_the_task_and_names_the_field_but_not_its_value() {
    let mut delegate = Delegate::listen().await;
    let (_running, mut link) = delegate.welcome(runner()).await;
    let payload = json!({ "setup_request": { "network": ["hush"] } });
    link.start_in(session("e1", None), "lease-1", json_task("lease-1", "SETUP", payload)).await;
    let (_, result) = link.result().await;
    assert_eq!((result.outcome(), reason(&result).as_str()), (TaskOutcome::Errored, "TASK_INVALID"));
    let error = result.error.expect("an error");
    assert_eq!(error.origin(), ErrorOrigin::TaskSpec);
    let text = error.status.expect("a status").message;
    assert_eq!(text, "the payload is not as expected: setup_request.network: expected a string");
}

#[tokio::test]
async fn a_part_of_a_stage_without_a_session_is_the_tasks_fault() {
    let mut delegate = Delegate::listen().await;
    let (_running, mut link) = delegate.welcome(runner()).await;
    link.start("lease-1", "CLEANUP").await;
    let (_, result) = link.result().await;
    assert_eq!(reason(&result), "TASK_INVALID");
    let text = result.error.and_then(|error| error.status).expect("a status").message;
    assert_eq!(text, "the task belongs to no session");
}
