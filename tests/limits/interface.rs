//! Limit 5: one interface for every kind of runner; the form of the answer follows the task's envelope, never the runner.

use dlite::doubles::manager::{Answer, Dialect, NewTask};

use super::lab::{Lab, SOON};

const WORKS: &str = r#"{"millis":1}"#;
const FAILS: &str = r#"{"millis":1,"fail":"2 of 80 tests failed"}"#;

/// What the manager got for a task with these data, for each of the three envelopes.
async fn answers(data: &'static str) -> [Answer; 3] {
    let (mut legacy, mut runner) = (Lab::new().await, Lab::new().await);
    runner.configure("family = \"runner\"");
    for lab in [&mut legacy, &mut runner] {
        lab.start_delegate();
        lab.start_runner("r-1", 1);
    }
    let plain = legacy.manager.submit(NewTask::new("DEV_WORK", data)).unwrap();
    let response = NewTask { runner_response: true, ..NewTask::new("DEV_WORK", data) };
    let response = legacy.manager.submit(response).unwrap();
    let execution = runner.manager.submit(NewTask::for_runners("DEV_WORK", data)).unwrap();
    [
        legacy.manager.wait_for(&plain, SOON).await.expect("dialect A"),
        legacy.manager.wait_for(&response, SOON).await.expect("dialect B"),
        runner.manager.wait_for(&execution, SOON).await.expect("dialect C"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_handler_answers_in_three_wire_forms_by_the_envelope_of_the_task() {
    let answers = answers(WORKS).await;
    assert_eq!(answers.each_ref().map(|answer| answer.dialect), [Dialect::A, Dialect::B, Dialect::C]);
    for answer in &answers {
        assert_eq!((answer.code.as_str(), answer.error.as_str()), ("OK", ""), "{:?}", answer.dialect);
        let body: serde_json::Value = serde_json::from_slice(&answer.data).expect("the handler's own body");
        assert_eq!(body["command_execution_status"], "SUCCESS");
        assert_eq!(body["output_vars"]["millis"].as_str().map(str::is_empty), Some(false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_fails_is_never_ok_and_its_words_arrive() {
    for answer in answers(FAILS).await {
        let body = String::from_utf8_lossy(&answer.data).into_owned();
        assert_eq!(answer.code, "FAILED", "{:?}: {body}", answer.dialect);
        assert!(body.contains("2 of 80 tests failed"), "{:?}: {body}", answer.dialect);
        if answer.dialect != Dialect::A {
            assert!(answer.error.contains("2 of 80 tests failed"), "{:?}: {:?}", answer.dialect, answer.error);
        }
    }
}
