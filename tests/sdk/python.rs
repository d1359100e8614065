//! A runner that is no Rust: the Python one in `tests/python`, made from `proto/` with plain grpcio.

use std::{
    path::Path,
    process::{Command, Output},
};

use dlite::proto::runner::v1::{HeldTaskDisposition, TaskOutcome};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::{
    delegate::{Delegate, patiently, session, task},
    toolchain::python_has_grpcio,
};

/// The runner in Python against `delegate`, until `tasks` results are acknowledged.
fn start(delegate: &Delegate, stubs: &Path, more: &[&str]) -> JoinHandle<std::io::Result<Output>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new("python3");
    python.arg(root.join("tests/python/runner.py")).arg("--proto").arg(root.join("proto")).arg("--generated");
    python.arg(stubs).args(["--target", &delegate.target(), "--handler", "ECHO", "--timeout", "15"]).args(more);
    tokio::task::spawn_blocking(move || python.output())
}

#[tokio::test]
async fn a_python_runner_changes_the_state_of_its_session() {
    if !python_has_grpcio() {
        return;
    }
    let mut delegate = Delegate::listen().await;
    let stubs = tempfile::tempdir().expect("a directory");
    let python = start(&delegate, stubs.path(), &["--tasks", "1"]);
    let mut link = delegate.link().await;
    link.hello().await;
    link.welcome([]).await;
    link.start_in(session("e1", Some(json!(["setup"]))), "lease-1", task("lease-1", "ECHO")).await;
    let (sequence, _) = link.state_update().await;
    link.refuse(sequence, "lease-1", "SESSION_ETAG_STALE").await;
    link.tell(session("e2", Some(json!(["setup", "other"])))).await;
    let (sequence, update) = link.state_update().await;
    assert_eq!(update.expected_etag, "e2");
    let state: serde_json::Value = serde_json::from_slice(&update.state.expect("a state").inline).expect("json");
    assert_eq!(state, json!(["setup", "other", "task-of-lease-1"]));
    link.acknowledge(sequence).await;
    let (sequence, result) = link.result().await;
    assert_eq!(result.outcome(), TaskOutcome::Succeeded);
    link.acknowledge(sequence).await;
    link.closed().await;
    drop(link);
    let Output { status, stderr, .. } = patiently(python).await.expect("no panic").expect("python3 starts");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
}

#[tokio::test]
async fn a_python_runner_executes_its_tasks_over_a_cut_link() {
    if !python_has_grpcio() {
        return;
    }
    let mut delegate = Delegate::listen().await;
    let stubs = tempfile::tempdir().expect("a directory");
    let python = start(&delegate, stubs.path(), &["--tasks", "3", "--cut-after", "1"]);

    let mut link = delegate.link().await;
    assert_eq!(link.hello().await.held_tasks, []);
    link.welcome([]).await;
    link.start("lease-1", "ECHO").await;
    // The cut may swallow the result; nobody acknowledged it anyway, so that it comes on the next stream.
    link.gone().await;
    drop(link);

    let mut link = delegate.link().await;
    let held = link.hello().await.held_tasks;
    assert_eq!((held.len(), held[0].lease_id.as_str(), held[0].finished), (1, "lease-1", true));
    link.welcome([("lease-1", HeldTaskDisposition::ResendResult)]).await;
    for lease in ["lease-1", "lease-2", "lease-3"] {
        if lease != "lease-1" {
            link.start(lease, "ECHO").await;
        }
        let (sequence, result) = link.result().await;
        assert_eq!((result.lease_id.as_str(), result.outcome()), (lease, TaskOutcome::Succeeded));
        assert_eq!(result.payload.expect("a payload").inline, lease);
        link.acknowledge(sequence).await;
    }
    link.closed().await;
    drop(link);

    let Output { status, stdout, stderr } = patiently(python).await.expect("no panic").expect("python3 starts");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let told: serde_json::Value = serde_json::from_slice(&stdout).expect("one line of JSON");
    assert_eq!((told["acknowledged"].as_u64(), told["handlers_started"].as_u64()), (Some(3), Some(3)));
    assert_eq!((told["links"].as_u64(), told["results_resent"].as_u64()), (Some(2), Some(1)));
}
