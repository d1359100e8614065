//! Who joins whose trace: tasks that bring one, and parties that compute the id.

use std::process::Command;

use dlite::doubles::manager::NewTask;

use crate::{
    receiver::{Transport, hex},
    scene::{ACCOUNT, Scene, trace_id},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_brings_a_traceparent_joins_that_trace() {
    let mut scene = Scene::start(Transport::Grpc, "sample_ratio = 0\n").await;
    scene.start_sdk_runner("r-1");
    let data = format!(r#"{{"millis":1,"context":{{"traceparent":"00-{TRACE}-{SPAN}-01","tracestate":"vendor=1"}}}}"#);
    let id = scene.lab.manager.submit(NewTask::new("DEV_WORK", data)).unwrap();
    assert_eq!(scene.result(&id).await, "OK");
    scene.receiver.whole(TRACE).await;
    scene.stop();
    let trace = scene.receiver.book().trace(TRACE);
    // Its span is somebody else's, and above our root.
    trace.assert_connected(SPAN);
    assert_eq!(trace.one("handle DEV_WORK").parent_span_id, trace.one("run").span_id);
    assert!(trace.0.iter().all(|span| span.trace_state == "vendor=1"));
    assert_eq!(scene.receiver.book().trace(&trace_id(&id)).0.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_traceparent_that_is_none_is_ignored() {
    let mut scene = Scene::start(Transport::Http, "").await;
    scene.start_sdk_runner("r-1");
    let id = scene.lab.manager.submit(NewTask::new("DEV_WORK", r#"{"traceparent":"00-nonsense-01"}"#)).unwrap();
    assert_eq!(scene.result(&id).await, "OK");
    scene.receiver.whole(&trace_id(&id)).await.assert_connected("");
}

#[test]
fn any_party_computes_the_trace_id_with_the_documented_line() {
    let task = "tskEXAMPLE-7f31";
    let recipe = r#"printf 'harness\0%s\0%s' "$ACCOUNT" "$TASK" | sha256sum | cut -c 1-32"#;
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tracing.md")).unwrap();
    assert!(docs.contains(recipe), "the line is in docs/tracing.md");
    let output =
        Command::new("/bin/sh").args(["-c", recipe]).env("ACCOUNT", ACCOUNT).env("TASK", task).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), trace_id(task));
}

#[test]
fn any_party_computes_the_span_of_a_run_with_the_documented_line() {
    let recipe = r#"printf '%s\0%s\0run' "$TASK_ID" "$LEASE_ID" | sha256sum | cut -c 1-16"#;
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tracing.md")).unwrap();
    assert!(docs.contains(recipe), "the line is in docs/tracing.md");
    let shell = Command::new("/bin/sh").args(["-c", recipe]).env("TASK_ID", "t-1-2").env("LEASE_ID", "l-1-3").output();
    let ours = dlite::telemetry::traces::span_id("t-1-2", "l-1-3", "run");
    assert_eq!(String::from_utf8(shell.unwrap().stdout).unwrap().trim(), ours.to_string());
    assert_eq!(hex(&ours.0.to_be_bytes()), ours.to_string());
}
