//! Tasks from poll to report.

use dlite::{
    core::{input::AcquireError, task::Outcome},
    doubles::manager::{Dialect, NewTask, Route},
    upstreams::harness::LegacyStatusCode,
};

use crate::support::{Pair, TYPE, failed, succeeded, task, task_b};

/// Nothing that parses JSON and writes it again would leave this as it is.
const STRANGE: &str =
    "{ \"big\":123456789012345678901234567890 ,\t\"f\":1.10e+2,\"s\":\"\\u00e9é\\/<&>\\ud83d\",\n \"a\":1,\"a\":2}";

#[tokio::test]
async fn one_handlers_result_arrives_through_both_dialects() {
    let pair = Pair::new().await;
    for (new, dialect) in [(task(), Dialect::A), (task_b(), Dialect::B)] {
        let id = pair.manager.submit(new).unwrap();
        let listing = pair.poll().await.unwrap();
        assert_eq!((listing.tasks[0].external_id.as_str(), listing.tasks[0].task_type.as_str()), (&*id, TYPE));
        let spec = pair.acquire(&id).await.unwrap();
        assert_eq!(pair.report(&id, &spec, succeeded(STRANGE)).await, Ok(()));
        let answer = pair.manager.effective(&id).unwrap();
        assert_eq!((answer.dialect, &*answer.code, &*answer.error), (dialect, "OK", ""));
        assert_eq!(std::str::from_utf8(&answer.data).unwrap(), STRANGE);
        assert_eq!(answer.delegate, pair.identity.delegate_id);
    }
    assert_eq!(pair.manager.record().totals().effective, 2);
}

#[tokio::test]
async fn a_failure_is_a_failure_in_both_dialects() {
    let pair = Pair::new().await;
    let own = r#"{"command_execution_status":"FAILURE","error_message":"no"}"#;
    let made = r#"{"command_execution_status":"FAILURE","error_message":"STEP_FAILED: exit code 3"}"#;
    for (payload, data) in [(Some(own), own), (None, made)] {
        let (a, spec) = pair.acquired(task()).await;
        pair.report(&a, &spec, failed(Outcome::Failed, payload)).await.unwrap();
        let (b, spec) = pair.acquired(task_b()).await;
        pair.report(&b, &spec, failed(Outcome::Failed, payload)).await.unwrap();
        let (a, b) = (pair.manager.effective(&a).unwrap(), pair.manager.effective(&b).unwrap());
        assert_eq!((&*a.code, &*b.code, &*b.error), ("FAILED", "FAILED", "STEP_FAILED: exit code 3"));
        assert_eq!((&a.data[..], &b.data[..]), (data.as_bytes(), data.as_bytes()));
    }
}

#[tokio::test]
async fn a_timeout_is_one_in_b_and_a_failure_in_a() {
    let pair = Pair::new().await;
    let (a, spec) = pair.acquired(task()).await;
    pair.report(&a, &spec, failed(Outcome::TimedOut, None)).await.unwrap();
    let (b, spec) = pair.acquired(task_b()).await;
    pair.report(&b, &spec, failed(Outcome::TimedOut, None)).await.unwrap();
    assert_eq!(pair.manager.effective(&a).unwrap().code, "FAILED");
    assert_eq!(pair.manager.effective(&b).unwrap().code, "TIMEOUT");
}

#[tokio::test]
async fn the_go_clients_code_can_be_had_and_stays_with_the_task() {
    let mut pair = Pair::with(|options| options.legacy_status_code = LegacyStatusCode::Ok).await;
    let (id, spec) = pair.acquired(task()).await;
    pair.report(&id, &spec, failed(Outcome::Failed, None)).await.unwrap();
    // As after a restart with another configuration.
    pair.harness = crate::support::adapter(&pair.manager.endpoint(), |_| ());
    pair.report(&id, &spec, failed(Outcome::Failed, None)).await.unwrap();
    let task = pair.manager.task(&id).unwrap();
    assert_eq!(task.effective.unwrap().code, "OK");
    assert_eq!((task.repeats.total(), task.conflicts), (1, 0));
}

#[tokio::test]
async fn a_payload_reaches_the_runner_byte_for_byte() {
    let pair = Pair::new().await;
    for data in [STRANGE, "[1,  2.0]", "\"\\u0000\"", "null", "-0.0"] {
        let (_, spec) = pair.acquired(NewTask::new(TYPE, data)).await;
        assert_eq!(&spec.payload.unwrap().content[..], data.as_bytes());
    }
}

#[tokio::test]
async fn a_report_sent_again_is_the_same_bytes() {
    let pair = Pair::new().await;
    for new in [task(), task_b()] {
        let (id, spec) = pair.acquired(new).await;
        for _ in 0..3 {
            pair.report(&id, &spec, succeeded(STRANGE)).await.unwrap();
        }
        let task = pair.manager.task(&id).unwrap();
        assert_eq!((task.repeats.total(), task.conflicts), (2, 0));
    }
}

#[tokio::test]
async fn a_result_too_many_is_a_minimal_failure() {
    let pair = Pair::new().await;
    let (id, spec) = pair.acquired(task()).await;
    let mut report = pair.answerable(&id, &spec, succeeded(STRANGE));
    report.refusal = Some("400: too strange".into());
    pair.send(report).await.unwrap();
    let answer = pair.manager.effective(&id).unwrap();
    assert_eq!(answer.code, "FAILED");
    let minimal = r#"{"command_execution_status":"FAILURE","error_message":"RESULT_REFUSED: 400: too strange"}"#;
    assert_eq!(&answer.data[..], minimal.as_bytes());
}

#[tokio::test]
async fn an_id_that_no_path_can_hold_is_refused_without_a_request() {
    let pair = Pair::new().await;
    let Err(AcquireError::Refused(text)) = pair.acquire("..").await else { panic!("not refused") };
    assert!(text.contains("task id"), "{text}");
    assert_eq!(pair.manager.record().calls(Route::Acquire), 0);
}
