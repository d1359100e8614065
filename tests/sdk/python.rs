//! A runner that is no Rust: the Python one in `tests/python`, made from `proto/` with plain grpcio.

use std::{
    path::Path,
    process::{Command, Output},
};

use dlite::proto::runner::v1::{HeldTaskDisposition, TaskOutcome};

use crate::{
    delegate::{Delegate, patiently},
    toolchain::python_has_grpcio,
};

#[tokio::test]
async fn a_python_runner_executes_its_tasks_over_a_cut_link() {
    if !python_has_grpcio() {
        return;
    }
    let mut delegate = Delegate::listen().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stubs = tempfile::tempdir().expect("a directory");
    let mut python = Command::new("python3");
    python.arg(root.join("tests/python/runner.py")).arg("--proto").arg(root.join("proto")).arg("--generated");
    python.arg(stubs.path()).args(["--target", &delegate.target()]);
    python.args(["--handler", "ECHO", "--tasks", "3", "--cut-after", "1", "--timeout", "15"]);
    let python = tokio::task::spawn_blocking(move || python.output().expect("python3 starts"));

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

    let Output { status, stdout, stderr } = patiently(python).await.expect("no panic");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let told: serde_json::Value = serde_json::from_slice(&stdout).expect("one line of JSON");
    assert_eq!((told["acknowledged"].as_u64(), told["handlers_started"].as_u64()), (Some(3), Some(3)));
    assert_eq!((told["links"].as_u64(), told["results_resent"].as_u64()), (Some(2), Some(1)));
}
