//! Sessions: what a handler sees of its stage, and how it changes the state that the stage's tasks share.

use dlite::{
    proto::runner::v1::{
        ExportedVariable, HeldTaskDisposition, OutputScope, Payload, Session, SessionPhase, SessionStateUpdate,
        TaskOutcome, output::Value,
    },
    sdk::{Context, Failure, Handler, Output, Runner, StateError, Success, UPDATE_TRIES_MAX},
};
use serde_json::json;
use tokio::sync::mpsc;
use tonic::Status;

use crate::{
    delegate::{Delegate, patiently, session, task},
    handlers::Steps,
    outcomes::reason,
};

fn state_of(update: &SessionStateUpdate) -> serde_json::Value {
    serde_json::from_slice(&update.state.as_ref().expect("a state").inline).expect("json")
}

/// Adds its task's id to the list that is the session's state.
fn appender() -> Handler {
    Handler::new("APPEND", |task: Context, _: Payload| async move {
        let mut session = task.session().expect("a session");
        session.update(|names: &mut Vec<String>| names.push(task.task_id().to_owned())).await?;
        Ok(())
    })
}

#[tokio::test]
async fn a_handler_sees_the_whole_stage_and_a_task_outside_of_one_sees_none() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(2);
    let (_running, mut link) = delegate.welcome(runner).await;
    let variable = |name: &str, value: &str, sensitive| {
        let (name, value) = (name.to_owned(), value.to_owned());
        ExportedVariable { name, value, sensitive }
    };
    let whole = Session {
        phase: SessionPhase::Closing as i32,
        sensitive_state: Some(Payload::json(&"hush-1").expect("json")),
        exported_variables: vec![variable("SHA", "11aa", false), variable("TOKEN", "hush-2", true)],
        synthesized_cleanup: true,
        ..session("e1", Some(json!({"network": "n-1"})))
    };
    link.start_in(whole, "lease-1", task("lease-1", "STEP")).await;
    let step = steps.next().await;
    let seen = step.context.session().expect("a session");
    assert_eq!((seen.id(), seen.external_id(), seen.phase()), ("session-1", "stg-77-ci-Ab3", SessionPhase::Closing));
    assert_eq!(seen.state::<serde_json::Value>().expect("json"), Some(json!({"network": "n-1"})));
    assert_eq!(seen.sensitive_state::<String>().expect("json").as_deref(), Some("hush-1"));
    assert_eq!(
        (seen.exported("SHA"), seen.exported("TOKEN"), seen.exported("X")),
        (Some("11aa"), Some("hush-2"), None)
    );
    assert!(seen.is_synthesized_cleanup());
    assert!(!format!("{seen:?} {:?}", seen.proto()).contains("hush"));
    assert_eq!(link.update().await.1.lease_id, "lease-1");
    link.start("lease-2", "STEP").await;
    assert!(steps.next().await.context.session().is_none());
}

#[tokio::test]
async fn a_changed_state_is_durable_when_the_call_returns_and_not_before() {
    let mut delegate = Delegate::listen().await;
    let (told, mut tells) = mpsc::channel(1);
    let handler = Handler::new("SET", move |task: Context, _: Payload| {
        let told = told.clone();
        async move {
            let mut session = task.session().expect("a session");
            session.set_state(&json!({"n": 1})).await?;
            told.send(session.state::<serde_json::Value>()?).await.expect("the test listens");
            // It goes on from its own change.
            session.set_sensitive_state("hush").await?;
            Ok(())
        }
    });
    let (_running, mut link) = delegate.welcome(Runner::new("runner-1").handler(handler)).await;
    link.start_in(session("e1", None), "lease-1", task("lease-1", "SET")).await;
    let (sequence, update) = link.state_update().await;
    assert_eq!((update.expected_etag.as_str(), state_of(&update)), ("e1", json!({"n": 1})));
    assert_eq!(update.sensitive_state, None, "what is not named stays");
    link.heartbeat().await;
    assert!(tells.try_recv().is_err(), "nothing is acknowledged");
    link.tell(session("e2", Some(json!({"n": 1})))).await;
    link.acknowledge(sequence).await;
    assert_eq!(patiently(tells.recv()).await.expect("told"), Some(json!({"n": 1})));
    let (sequence, update) = link.state_update().await;
    assert_eq!((update.expected_etag.as_str(), update.state), ("e2", None));
    assert_eq!(update.sensitive_state.expect("a state").inline, r#""hush""#);
    link.acknowledge(sequence).await;
    assert_eq!(link.result().await.1.outcome(), TaskOutcome::Succeeded);
}

#[tokio::test]
async fn a_lost_race_returns_the_newest_state() {
    let mut delegate = Delegate::listen().await;
    let handler = Handler::new("SET", |task: Context, _: Payload| async move {
        let mut session = task.session().expect("a session");
        match session.set_state(&json!("mine")).await {
            Err(StateError::Stale { newest }) => Ok(Payload::json(&newest.state::<String>()?)?),
            other => Err(Failure::failed(format!("{other:?}"))),
        }
    });
    let (_running, mut link) = delegate.welcome(Runner::new("runner-1").handler(handler)).await;
    link.start_in(session("e1", Some(json!("old"))), "lease-1", task("lease-1", "SET")).await;
    let (sequence, _) = link.state_update().await;
    link.refuse(sequence, "lease-1", "SESSION_ETAG_STALE").await;
    link.tell(session("e2", Some(json!("theirs")))).await;
    let (_, result) = link.result().await;
    assert_eq!(result.payload.expect("a payload").inline, r#""theirs""#);
}

#[tokio::test]
async fn an_update_is_made_anew_from_the_newest_state_until_it_counts() {
    let mut delegate = Delegate::listen().await;
    let (_running, mut link) = delegate.welcome(Runner::new("runner-1").handler(appender())).await;
    link.start_in(session("e1", None), "lease-1", task("lease-1", "APPEND")).await;
    let (sequence, update) = link.state_update().await;
    assert_eq!(state_of(&update), json!(["task-of-lease-1"]));
    link.refuse(sequence, "lease-1", "SESSION_ETAG_STALE").await;
    link.tell(session("e2", Some(json!(["other"])))).await;
    let (sequence, update) = link.state_update().await;
    assert_eq!((update.expected_etag.as_str(), state_of(&update)), ("e2", json!(["other", "task-of-lease-1"])));
    link.acknowledge(sequence).await;
    assert_eq!(link.result().await.1.outcome(), TaskOutcome::Succeeded);
}

#[tokio::test]
async fn an_update_that_never_wins_gives_up() {
    let mut delegate = Delegate::listen().await;
    let (_running, mut link) = delegate.welcome(Runner::new("runner-1").handler(appender())).await;
    link.start_in(session("e0", None), "lease-1", task("lease-1", "APPEND")).await;
    for attempt in 1..=UPDATE_TRIES_MAX {
        let (sequence, _) = link.state_update().await;
        link.refuse(sequence, "lease-1", "SESSION_ETAG_STALE").await;
        link.tell(session(&format!("e{attempt}"), Some(json!([attempt.to_string()])))).await;
    }
    let (_, result) = link.result().await;
    assert_eq!((result.outcome(), reason(&result).as_str()), (TaskOutcome::Errored, "HANDLER_ERROR"));
    let text = result.error.and_then(|error| error.status).expect("a status").message;
    assert_eq!(text, "another task changed the state of session session-1 first");
}

#[tokio::test]
async fn a_change_crosses_a_cut_link_once() {
    let mut delegate = Delegate::listen().await;
    let (_running, mut link) = delegate.welcome(Runner::new("runner-1").handler(appender())).await;
    link.start_in(session("e1", None), "lease-1", task("lease-1", "APPEND")).await;
    let (_, first) = link.update().await;
    let (_, change) = link.update().await;
    assert_eq!((first.number, change.number), (1, 2));
    link.end(Status::unavailable("cut")).await;

    let mut link = delegate.link().await;
    link.hello().await;
    link.welcome([("lease-1", HeldTaskDisposition::Keep)]).await;
    link.update().await;
    let (sequence, again) = link.update().await;
    assert_eq!(again, change, "the same number, by which the delegate knows whether it has it");
    link.acknowledge(sequence).await;
    let (_, result) = link.result().await;
    assert_eq!((result.outcome(), result.session_state), (TaskOutcome::Succeeded, None));
}

#[tokio::test]
async fn the_last_change_rides_with_the_result() {
    let mut delegate = Delegate::listen().await;
    let handler = Handler::new("SET", |task: Context, _: Payload| async move {
        let session = task.session().expect("a session");
        let change = session.change().state("ready")?.sensitive_state("hush")?;
        Ok(Success::new().session_state(change).output(Output::exported("SHA", "11aa")))
    });
    let (_running, mut link) = delegate.welcome(Runner::new("runner-1").handler(handler)).await;
    link.start_in(session("e1", None), "lease-1", task("lease-1", "SET")).await;
    let (sequence, result) = link.result().await;
    let change = result.session_state.as_ref().expect("a change");
    assert_eq!((change.expected_etag.as_str(), state_of(change)), ("e1", json!("ready")));
    assert_eq!(result.outputs[0].scope(), OutputScope::Exported);
    assert!(matches!(&result.outputs[0].value, Some(Value::Text(text)) if text == "11aa"));
    // Somebody renamed the etag, nobody changed the state.
    link.refuse(sequence, "lease-1", "SESSION_ETAG_STALE").await;
    link.tell(session("e2", None)).await;
    let (sequence, again) = link.result().await;
    assert_eq!(
        (again.outcome(), again.session_state.expect("a change").expected_etag.as_str()),
        (TaskOutcome::Succeeded, "e2")
    );
    link.acknowledge(sequence).await;
}

#[tokio::test]
async fn a_state_beyond_the_bound_is_refused_before_it_leaves() {
    let mut delegate = Delegate::listen().await;
    let handler = Handler::new("SET", |task: Context, _: Payload| async move {
        let mut session = task.session().expect("a session");
        session.set_state(&"x".repeat(200 * 1024)).await?;
        Ok(())
    });
    let (_running, mut link) = delegate.welcome(Runner::new("runner-1").handler(handler)).await;
    link.start_in(session("e1", None), "lease-1", task("lease-1", "SET")).await;
    let (_, result) = link.result().await;
    let text = result.error.and_then(|error| error.status).expect("a status").message;
    assert_eq!(text, "the session's state has 204802 bytes; 196608 are taken");
}

#[tokio::test]
async fn what_another_task_changed_is_seen_by_those_that_wait_for_it() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start_in(session("e1", None), "lease-1", task("lease-1", "STEP")).await;
    let step = steps.next().await;
    let mut seen = step.context.session().expect("a session");
    link.tell(session("e2", Some(json!("theirs")))).await;
    patiently(seen.changed()).await;
    assert_eq!(seen.state::<String>().expect("json").as_deref(), Some("theirs"));
    link.tell(Session { phase: SessionPhase::Closing as i32, ..session("e2", Some(json!("theirs"))) }).await;
    patiently(seen.changed()).await;
    assert_eq!(seen.phase(), SessionPhase::Closing);
}
