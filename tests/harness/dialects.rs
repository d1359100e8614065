//! One handler's result through three envelopes: the three bodies on the wire are those of the golden files, which were written by hand
//! after the wire reference, 9.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dlite::{
    core::task::{Blame, Error, Finish, Outcome, Retry},
    doubles::manager::{Dialect, NewTask},
    upstreams::harness::Family,
};
use serde_json::Value;

use crate::support::{Pair, failed, succeeded};

const TYPE: &str = "DLITE_CI_VM_EXECUTE_TASK_V2";
const SUCCESS: &str = "{\n  \"command_execution_status\": \"SUCCESS\",\n  \"output_vars\": {\"IMAGE_TAG\": \"r42\"},\n  \"size\": 1.50\n}\n";
const FAILURE: &str = r#"{"command_execution_status":"FAILURE","error_message":"tests failed","exit":3}"#;

fn golden(name: &str) -> String {
    let path = format!("{}/tests/harness/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    // The last newline is the file's own.
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim_end_matches('\n').to_owned()
}

/// The result as it arrives in each dialect.
async fn sent(story: &str, finish: Finish) -> [String; 3] {
    let legacy = Pair::new().await;
    let runner = Pair::with(|options| options.family = Family::Runner).await;
    let mut bodies = Vec::new();
    for (dialect, letter) in [(Dialect::A, 'a'), (Dialect::B, 'b'), (Dialect::C, 'c')] {
        let pair = if dialect == Dialect::C { &runner } else { &legacy };
        let data = r#"{"step":"compile"}"#;
        let new = match dialect {
            Dialect::C => NewTask::for_runners(TYPE, data),
            _ => NewTask { runner_response: dialect == Dialect::B, ..NewTask::new(TYPE, data) },
        };
        let id = format!("tskEXAMPLE-{story}-{letter}");
        let (_, spec) = pair.acquired(NewTask { id: Some(id.clone()), ..new }).await;
        // The handler sees the same, whatever the envelope.
        assert_eq!(&spec.payload.as_ref().unwrap().content[..], data.as_bytes());
        assert_eq!(pair.report(&id, &spec, finish.clone()).await, Ok(()));
        let answer = pair.manager.effective(&id).unwrap();
        assert_eq!((answer.dialect, answer.delegate), (dialect, pair.identity.delegate_id.clone()));
        bodies.push(String::from_utf8(answer.body.to_vec()).unwrap());
    }
    bodies.try_into().unwrap()
}

/// Compares with the golden files, field by field for people and then byte by byte.
async fn check(story: &str, finish: Finish) -> [Value; 3] {
    let bodies = sent(story, finish).await;
    let mut parsed = Vec::new();
    for (body, letter) in bodies.iter().zip(["a", "b", "c"]) {
        let golden = golden(&format!("{story}.{letter}"));
        let (is, due): (Value, Value) = (serde_json::from_str(body).unwrap(), serde_json::from_str(&golden).unwrap());
        for (field, due) in due.as_object().unwrap() {
            assert_eq!(&is[field], due, "{story}.{letter}: {field}");
        }
        assert_eq!(body, &golden, "{story}.{letter}");
        parsed.push(is);
    }
    parsed.try_into().unwrap()
}

fn decoded(body: &Value) -> String {
    String::from_utf8(STANDARD.decode(body["data"].as_str().unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_success_is_the_handlers_bytes_in_three_envelopes() {
    let [_, b, c] = check("success", succeeded(SUCCESS)).await;
    assert_eq!((decoded(&b), decoded(&c)), (SUCCESS.to_owned(), SUCCESS.to_owned()));
}

#[tokio::test]
async fn a_failure_is_one_in_three_envelopes_beside_the_handlers_bytes() {
    let bodies = check("failure", failed(Outcome::Failed, Some(FAILURE))).await;
    assert!(bodies.iter().all(|body| body["code"] == "FAILED"), "{bodies:?}");
    assert_eq!(decoded(&bodies[2]), FAILURE);
}

#[tokio::test]
async fn a_failure_without_a_handlers_word_says_reason_and_text_and_is_never_null() {
    let text = "runner mac-07 lost the task: not renewed within lease_ttl";
    let bodies = check("lost", Finish::of(Outcome::Errored, Some(error("LEASE_LOST", text)))).await;
    assert!(bodies.iter().all(|body| body["code"] == "FAILED" && !body["data"].is_null()), "{bodies:?}");
    assert!(decoded(&bodies[2]).contains("error_message"));
}

#[tokio::test]
async fn a_timeout_is_named_where_the_dialect_has_a_word_for_it() {
    let bodies =
        check("timeout", Finish::of(Outcome::TimedOut, Some(error("DEADLINE", "the task's time is over")))).await;
    assert_eq!(bodies.map(|body| body["code"].as_str().unwrap().to_owned()), ["FAILED", "TIMEOUT", "TIMEOUT"]);
}

fn error(reason: &str, message: &str) -> Error {
    Error {
        code: 14,
        reason: reason.into(),
        message: message.into(),
        blame: Blame::Runner,
        retry: Retry::Never,
        retry_delay: None,
        side_effects_possible: Some(true),
    }
}
