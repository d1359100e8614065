//! A runner that is no Rust: `tests/python/runner.py`, plain grpcio and `proto/`, against the real daemon.

use std::{
    path::Path,
    process::{Command, Output},
};

use dlite::core::task::Outcome;

use crate::{
    support::{neighbour::Neighbour, patiently, place::Place},
    toolchain::python_has_grpcio,
};

const TASKS: usize = 10;

#[tokio::test]
async fn a_python_runner_runs_ten_tasks_over_a_cut_link_and_each_is_reported_once() {
    if !python_has_grpcio() {
        return;
    }
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let names: Vec<String> = (0..TASKS).map(|n| format!("python-{n}")).collect();
    for name in &names {
        daemon.stub.offer(name, "ECHO");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stubs = tempfile::tempdir().expect("a directory");
    let mut python = Command::new("python3");
    python.arg(root.join("tests/python/runner.py")).arg("--proto").arg(root.join("proto"));
    python.arg("--generated").arg(stubs.path()).args(["--target", &daemon.target(), "--handler", "ECHO"]);
    python.args(["--tasks", &TASKS.to_string(), "--cut-after", "3", "--timeout", "15"]);
    let python = tokio::task::spawn_blocking(move || python.output().expect("python3 starts"));
    let Output { status, stdout, stderr } = patiently(python).await.expect("no panic");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));

    let told: serde_json::Value = serde_json::from_slice(&stdout).expect("one line of JSON");
    let number = |key: &str| told[key].as_u64().unwrap_or_else(|| panic!("{key} in {told}"));
    assert_eq!((number("acknowledged"), number("handlers_started")), (10, 10), "{told}");
    assert_eq!((told["cut"].as_bool(), number("links")), (Some(true), 2), "{told}");
    for name in &names {
        let report = daemon.stub.report(name).await;
        assert_eq!(report.finish.outcome, Outcome::Succeeded, "{name}");
        assert_eq!(report.finish.payload.as_ref().expect("a payload").content, name.as_bytes());
    }
    daemon.stub.read(|book| {
        for name in &names {
            assert_eq!(book.reports_of(name).count(), 1, "{name}");
        }
    });
    neighbour.ends_unhurt().await;
}
