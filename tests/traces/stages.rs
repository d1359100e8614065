//! A stage as a manager sends it: setup, two executes, cleanup.

use std::fs;

use dlite::doubles::manager::NewTask;

use crate::{
    receiver::{Transport, attribute},
    scene::{Scene, trace_id},
};

const SETUP: &str = "DLITE_CI_VM_INITIALIZE_TASK";
const EXECUTE: &str = "DLITE_CI_VM_EXECUTE_TASK_V2";
const CLEANUP: &str = "DLITE_CI_VM_CLEANUP_TASK_V2";

/// Planted wherever content passes: none of them may come out in a span.
const SECRETS: [&str; 4] = ["hunter-in-payload", "hunter-in-output", "hunter-in-result", "hunter-in-log"];
const TOKEN: &str = "hunter-of-the-collector";

/// A script that makes a span of its own.
const SCRIPT: &str = r#"set -eu
cat > /dev/null
echo "KEY=hunter-in-output" >> "$DLITE_OUTPUT"
echo "hunter-in-log" >&2
echo "$DLITE_TASK_ID" >> "$STARTS"
"$PROGRAM" dev span step -- sleep 0.3
printf '{"command_execution_status":"SUCCESS","error_message":"hunter-in-result"}'
"#;

/// Scripts for the three types, which may find the collector.
fn write_scripts(scene: &Scene) {
    let (script, program) = (scene.lab.path("stage.sh"), env!("CARGO_BIN_EXE_dlite"));
    let starts = scene.lab.path("starts").display().to_string();
    fs::write(&script, SCRIPT).unwrap();
    let routes = [(SETUP, "setup"), (EXECUTE, "execute"), (CLEANUP, "cleanup")].map(|(task_type, kind)| {
        format!(
            "[routes.{task_type}]\ncommand = [\"/bin/sh\", {:?}]\nkind = {kind:?}\nenv = {{ PROGRAM = {program:?}, STARTS = {starts:?} }}\n\
             pass_env = [\"OTEL_EXPORTER_OTLP_ENDPOINT\", \"OTEL_EXPORTER_OTLP_PROTOCOL\"]\n",
            script.display().to_string()
        )
    });
    let head = format!(
        "runner_id = \"scripts-1\"\nconnect = {:?}\nstate_dir = {:?}\nslots = 4\n",
        scene.lab.socket(),
        scene.lab.path("scripts").display().to_string()
    );
    fs::write(scene.lab.path("exec.toml"), head + &routes.concat()).unwrap();
}

/// A payload that names the stage where its type has it.
fn data(task_type: &str) -> String {
    let stage = match task_type {
        SETUP => r#""setup_vm_request":{"id":"stage-1"}"#,
        EXECUTE => r#""execute_step_request":{"stage_runtime_id":"stage-1"}"#,
        _ => r#""stage_runtime_id":"stage-1""#,
    };
    format!(r#"{{{stage},"secret":"hunter-in-payload"}}"#)
}

/// `kills`: the delegate, in the midst of each task.
async fn a_stage_is_traced(transport: Transport, kills: bool) {
    let headers = tempfile::NamedTempFile::new().unwrap();
    fs::write(headers.path(), format!("Authorization: Bearer {TOKEN}\n")).unwrap();
    let mut scene =
        Scene::start(transport, &format!("headers_file = {:?}\n", headers.path().display().to_string())).await;
    write_scripts(&scene);
    let config = scene.lab.path("exec.toml").display().to_string();
    scene.start_runner(&["runner", "exec", "--config", &config]);
    let mut ids = Vec::new();
    for task_type in [SETUP, EXECUTE, EXECUTE, CLEANUP] {
        let task = NewTask::new(task_type, data(task_type));
        let id = scene.lab.manager.submit(task).unwrap();
        if kills {
            scene.started(u32::try_from(ids.len()).unwrap() + 1).await;
            scene.lab.kill_delegate();
            scene.lab.start_delegate();
        }
        assert_eq!(scene.result(&id).await, "OK");
        // Its report is on record a moment after the manager has the result.
        scene.receiver.whole(&trace_id(&id)).await;
        ids.push((id, task_type));
    }
    scene.stop();

    let book = scene.receiver.book();
    let mut sessions = std::collections::BTreeSet::new();
    for (id, task_type) in &ids {
        let trace = book.trace(&trace_id(id));
        trace.assert_connected("");
        let mut names = trace.names();
        names.sort_unstable();
        let (root, handle) = (format!("task {task_type}"), format!("handle {task_type}"));
        let mut expected =
            vec!["poll", "admit", "acquire", "queue", "assign", "run", "report", &*root, &*handle, "step"];
        expected.sort_unstable();
        assert_eq!(names, expected);
        let below = |child: &str, parent: &str| {
            assert_eq!(trace.one(child).parent_span_id, trace.one(parent).span_id, "{child}")
        };
        for phase in ["poll", "admit", "acquire", "queue", "assign", "run", "report"] {
            below(phase, &root);
        }
        below(&handle, "run");
        below("step", &handle);
        let root = trace.one(&root);
        assert_eq!(attribute(root, "cicd.pipeline.task.run.id").as_ref(), Some(id));
        assert_eq!(attribute(root, "cicd.pipeline.task.run.result").as_deref(), Some("success"));
        sessions.extend([root, trace.one("run")].map(|span| attribute(span, "dlite.session.id")));
        assert_eq!(attribute(trace.one("run"), "cicd.worker.id").as_deref(), Some("scripts-1"));
        // The phases follow one another without a gap.
        let order = ["poll", "admit", "acquire", "queue", "assign", "run", "report"];
        for pair in order.windows(2) {
            let (before, after) = (trace.one(pair[0]), trace.one(pair[1]));
            assert_eq!(before.end_time_unix_nano, after.start_time_unix_nano, "{pair:?}");
        }
    }
    let shared = sessions.first().cloned().flatten();
    assert!(sessions.len() == 1 && shared.is_some_and(|id| id.starts_with("s-")), "{sessions:?}");
    if !kills {
        assert_eq!(book.spans.len(), ids.len() * 10, "nothing is told twice");
    }
    let services: std::collections::BTreeSet<&str> = book.spans.iter().map(|(service, _)| service.as_str()).collect();
    assert_eq!(services.into_iter().collect::<Vec<_>>(), ["dlite", "dlite-runner", "dlite-span"]);
    assert!(book.authorizations.contains(&format!("Bearer {TOKEN}")), "{:?}", book.authorizations.len());
    let log = fs::read_to_string(scene.lab.path("delegate.log")).unwrap();
    for secret in SECRETS.into_iter().chain([TOKEN, crate::lab::SECRET]) {
        assert!(!contains(&book.raw, secret), "{secret} is in a span");
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    assert!(contains(&book.raw, &ids[0].0), "the search finds what is there");
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_task_of_a_stage_is_one_connected_trace_over_grpc() {
    a_stage_is_traced(Transport::Grpc, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_task_of_a_stage_is_one_connected_trace_over_http() {
    a_stage_is_traced(Transport::Http, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_holds_when_the_delegate_is_killed_in_the_midst_of_each_task() {
    a_stage_is_traced(Transport::Grpc, true).await;
}
