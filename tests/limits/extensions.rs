//! Limit 10, "ti-config is in the runner config; it should not be special cased": what one product needs travels as a typed extension,
//! to handlers that ask for it, and neither the core nor the runner protocol opens it.

use bytes::Bytes;
use dlite::{
    core::task::Extension,
    doubles::manager::NewTask,
    proto::upstream::harness::v1::{TaskReport, TestIntelligence},
    sdk::{Context, Failure, Handler, Payload, Runner, Success},
};
use prost::{Message, Name};
use serde_json::{Value, json};

use crate::{
    lab::{Lab, SOON},
    spawn,
    support::{
        place::Place,
        stub::{self, Stub},
    },
};

/// A type that the delegate has never heard of.
#[derive(Clone, PartialEq, Message)]
struct Probe {
    #[prost(bytes = "bytes", tag = "1")]
    content: Bytes,
}

impl Name for Probe {
    const NAME: &'static str = "Probe";
    const PACKAGE: &'static str = "tests.limits";
}

/// Echoes the probe it finds; says how many extensions it saw.
async fn probe(task: Context, _: Payload) -> Result<Success, Failure> {
    let success = Success::from(Payload::text(task.task().extensions.len().to_string()));
    Ok(match task.extension::<Probe>() {
        Some(probe) => success.extension(&probe),
        None => success,
    })
}

fn offer(stub: &Stub, external_id: &str, task_type: &str, extensions: &[Extension]) {
    let spec = stub::spec(task_type, b"");
    stub.offer_spec(external_id, dlite::core::task::Spec { extensions: extensions.to_vec(), ..spec });
}

#[tokio::test]
async fn an_extension_nobody_knows_travels_both_ways_byte_for_byte_and_only_to_handlers_that_ask() {
    let daemon = Place::new().start().await;
    let runner = Runner::new("runner-1")
        .handler(Handler::new("ASKS", probe).extension::<Probe>())
        .handler(Handler::new("ASKS_NOT", probe))
        .slots("default", 2);
    let runner = spawn(runner, daemon.target());
    let all_bytes: Vec<u8> = (0..=u8::MAX).collect();
    let value = Bytes::from(Probe { content: all_bytes.into() }.encode_to_vec());
    let known = Extension { name: Probe::full_name().into(), value: value.clone() };
    let other = Extension { name: "tests.limits.Other".into(), value: Bytes::from_static(b"\xff no protobuf") };
    let extensions = [known.clone(), other];
    offer(&daemon.stub, "asks", "ASKS", &extensions);
    offer(&daemon.stub, "asks-not", "ASKS_NOT", &extensions);

    let report = daemon.stub.report("asks").await;
    assert_eq!(report.finish.extensions, [known], "up as it came down");
    assert_eq!(&report.finish.payload.as_ref().expect("a payload").content[..], b"1", "the one it asked for");
    let report = daemon.stub.report("asks-not").await;
    assert_eq!(report.finish.extensions, []);
    assert_eq!(&report.finish.payload.as_ref().expect("a payload").content[..], b"0");
    runner.abort();
}

#[tokio::test]
async fn an_extension_that_is_no_protobuf_passes_unopened() {
    let daemon = Place::new().start().await;
    let handler = Handler::new("RAW", |task: Context, _: Payload| async move {
        let extension = task.task().extensions.first().cloned().unwrap_or_default();
        assert!(task.extension::<Probe>().is_none(), "undecodable is absent");
        Ok(Payload::new("", extension.value))
    });
    let runner = spawn(Runner::new("runner-1").handler(handler.extension::<Probe>()), daemon.target());
    let garbage = Bytes::from_static(b"\xff\xff\xff no protobuf \0");
    offer(&daemon.stub, "raw", "RAW", &[Extension { name: Probe::full_name().into(), value: garbage.clone() }]);
    let report = daemon.stub.report("raw").await;
    assert_eq!(report.finish.payload.as_ref().expect("a payload").content, garbage);
    runner.abort();
}

/// Of CI tasks of a stage, as the manager sends them.
fn data(task_type: &str, stage: &str) -> Value {
    let ti_config = json!({ "url": "https://ti.example.test", "token": "hush-ti-77", "sha": "11aa", "build_id": "77" });
    match task_type {
        "CI_DOCKER_INITIALIZE_TASK" => json!({ "id": stage, "setup_request": { "ti_config": ti_config } }),
        _ => json!({ "stage_runtime_id": stage, "start_step_request": { "ti_config": ti_config } }),
    }
}

/// What a handler saw, as its answer.
async fn witness(task: Context, payload: Payload) -> Result<Success, Failure> {
    let intelligence: Option<TestIntelligence> = task.extension();
    let masked = task.secrets().iter().any(|secret| &secret.value[..] == b"hush-ti-77" && secret.mask_only);
    let seen = intelligence
        .map(|ti| json!({ "url": ti.url, "token": ti.token, "config": String::from_utf8_lossy(&ti.config_json) }));
    let data: Value = payload.parse()?;
    let report = TaskReport { telemetry_json: r#"{"tests":12}"#.into(), optimization_state: "FULL".to_owned() };
    let body = json!({ "command_execution_status": "SUCCESS", "seen": seen, "masked": masked, "data": data });
    Ok(Success::from(Payload::json(&body)?).extension(&report).extension(&Probe::default()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_intelligence_reaches_the_handler_that_asks_and_its_telemetry_the_manager() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    let runner = Runner::new("runner-1")
        .handler(Handler::new("CI_DOCKER_INITIALIZE_TASK", witness).extension::<TestIntelligence>())
        .handler(Handler::new("CI_DOCKER_EXECUTE_TASK", witness))
        .slots("default", 2);
    let runner = spawn(runner, lab.socket());
    let mut answers = Vec::new();
    for (task_type, stage, runner_response) in [
        ("CI_DOCKER_INITIALIZE_TASK", "stg-77", false),
        ("CI_DOCKER_INITIALIZE_TASK", "stg-78", true),
        ("CI_DOCKER_EXECUTE_TASK", "stg-77", false),
    ] {
        let data = data(task_type, stage);
        let task = NewTask { runner_response, ..NewTask::new(task_type, data.to_string()) };
        let id = lab.manager.submit(task).expect("a task");
        lab.manager_when("a result", |record| record.effective(&id).is_some(), SOON).await;
        let answer = lab.manager.effective(&id).expect("a result");
        let answer: Value = serde_json::from_slice(&answer.data).expect("json");
        assert_eq!(answer["data"], data, "the payload has it all the same: {answer}");
        assert_eq!(answer["telemetry_data"], json!({ "tests": 12 }));
        assert_eq!(answer["optimization_state"], "FULL");
        answers.push(answer);
    }
    for answer in &answers[..2] {
        assert_eq!(answer["seen"]["url"], "https://ti.example.test", "{answer}");
        assert_eq!(answer["seen"]["config"], r#"{"build_id":"77","sha":"11aa"}"#);
        assert_eq!((&answer["seen"]["token"], &answer["masked"]), (&json!("hush-ti-77"), &json!(true)));
    }
    assert_eq!(answers[2]["seen"], Value::Null, "it did not ask");
    runner.abort();
    let log = std::fs::read_to_string(lab.path("delegate.log")).expect("a log");
    assert!(!log.contains("hush"), "{log}");
}

#[test]
fn no_product_of_an_upstream_is_named_in_the_core() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut places = vec![root.join("src/core"), root.join("src/runners"), root.join("proto/dlite/runner")];
    let mut seen = 0;
    while let Some(place) = places.pop() {
        for entry in std::fs::read_dir(&place).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                places.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("text").to_lowercase();
            for word in ["ti_config", "testintelligence", "test_intelligence", "telemetry_data"] {
                assert!(!text.contains(word), "{word} in {}", path.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "the core has more files than {seen}");
}
