//! Limit 11, "handler implementations are too huge": a whole docker runner in small handlers, and without a memory of its own.
//!
//! The handlers are those of `examples/docker_runner.rs`; their container command is a script that keeps its things as files.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use dlite::{
    proto::runner::v1::{
        CancelReason, ErrorOrigin, ExportedVariable, OutputScope, Payload, Secret, Session, Task, TaskCancellation,
        TaskKind, TaskOutcome, TaskResult,
    },
    sdk::Runner,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::delegate::{Delegate, Link, Running, patiently, session, task};

#[allow(dead_code, reason = "its main is not used here")]
#[path = "../../examples/docker_runner.rs"]
mod docker_runner;

const HANDLER_LINES_MAX: usize = 100;

/// A container command, and what it has been told.
pub struct Docker {
    directory: TempDir,
}

impl Docker {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["network", "volume", "container", "pid"] {
            fs::create_dir(directory.path().join(name)).expect("a directory");
        }
        let docker = Self { directory };
        // It finds its things beside its own name. A copy could still be open for writing in a child of another test when it starts.
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/limits/docker.sh");
        symlink(script, docker.path("docker")).expect("a link");
        docker
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn runner(&self) -> Runner {
        docker_runner::runner(self.path("docker").display().to_string())
    }

    pub fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }

    /// Names of what there is of a kind.
    pub fn list(&self, kind: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(kind)).expect("a directory");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("utf-8")).collect()
    }
}

pub fn setup_data() -> Value {
    json!({
        "id": "stg-77-ci-Ab3",
        "setup_request": {
            "envs": { "CI": "true", "STAGE_TOKEN": "hush-stage" },
            "network": { "id": "drone-77-ci" },
            "volumes": [
                { "host": { "id": "harness", "name": "harness", "path": "/tmp/harness" } },
                { "host": { "id": "cache", "name": "cache" } }
            ],
            "secrets": ["hunter22"]
        }
    })
}

/// A step with `more` fields.
pub fn step_data(more: &Value) -> Value {
    let mut step = json!({
        "id": "build-9", "image": "golang:1.26", "user": "0",
        "environment": { "STEP_TOKEN": "hush-step", "LONG": "two\nlines" },
        "secrets": ["hunter22"],
        "volumes": [ { "name": "harness", "path": "/harness" }, { "name": "cache", "path": "/cache" } ]
    });
    let fields = more.as_object().expect("an object").clone();
    step.as_object_mut().expect("an object").extend(fields);
    json!({ "stage_runtime_id": "stg-77-ci-Ab3", "start_step_request": step })
}

pub fn cleanup_data() -> Value {
    json!({ "id": "stg-77-ci-Ab3" })
}

fn setup() -> Task {
    of(TaskKind::SessionSetup, "setup", "CI_DOCKER_INITIALIZE_TASK", setup_data())
}

fn step(lease_id: &str, more: Value) -> Task {
    of(TaskKind::SessionExecute, lease_id, "CI_DOCKER_EXECUTE_TASK", step_data(&more))
}

fn cleanup() -> Task {
    of(TaskKind::SessionCleanup, "cleanup", "CI_DOCKER_CLEANUP_TASK", cleanup_data())
}

fn of(kind: TaskKind, lease_id: &str, task_type: &str, payload: Value) -> Task {
    let payload = Some(Payload::json(&payload).expect("it serializes"));
    let secret = Secret { name: String::new(), value: "hunter22".into(), mask_only: true };
    Task { kind: kind as i32, payload, secrets: vec![secret], ..task(lease_id, task_type) }
}

/// Plays a setup up to its durable state: the session as later tasks see it.
async fn durable(link: &mut Link) -> Session {
    link.start_in(session("e0", None), "setup", setup()).await;
    let (sequence, change) = link.state_update().await;
    let ready = Session { state: change.state, sensitive_state: change.sensitive_state, ..session("e1", None) };
    link.tell(ready.clone()).await;
    link.acknowledge(sequence).await;
    ready
}

async fn set_up(link: &mut Link) -> Session {
    let ready = durable(link).await;
    let (sequence, result) = link.result().await;
    assert_eq!(result.outcome(), TaskOutcome::Succeeded, "{result:?}");
    link.acknowledge(sequence).await;
    ready
}

async fn run(link: &mut Link, stage: &Session, lease_id: &str, task: Task) -> TaskResult {
    link.start_in(stage.clone(), lease_id, task).await;
    let (sequence, result) = link.result().await;
    link.acknowledge(sequence).await;
    result
}

/// As by SIGKILL: nothing is said, and nothing is remembered.
async fn kill(running: Running, mut link: Link) {
    running.task.abort();
    link.gone().await;
}

fn body(result: &TaskResult) -> Value {
    serde_json::from_slice(&result.payload.as_ref().expect("a payload").inline).expect("json")
}

#[test]
fn the_three_docker_tasks_take_at_most_100_lines_of_handler_code() {
    let source = include_str!("../../examples/docker_runner.rs");
    let (_, handlers) = source.split_once("// handlers: begin").expect("a begin");
    let (handlers, _) = handlers.split_once("// handlers: end").expect("an end");
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    let lines = handlers.lines().filter(is_code).count();
    assert!((1..=HANDLER_LINES_MAX).contains(&lines), "{lines} lines");
    for task_type in ["CI_DOCKER_INITIALIZE_TASK", "CI_DOCKER_EXECUTE_TASK", "CI_DOCKER_CLEANUP_TASK"] {
        assert!(source.contains(task_type), "{task_type}");
    }
}

#[tokio::test]
async fn a_stage_goes_on_in_a_new_runner_before_each_of_its_tasks_and_leaves_nothing() {
    let docker = Docker::new();
    let mut delegate = Delegate::listen().await;
    let (running, mut link) = delegate.welcome(docker.runner()).await;
    let mut stage = set_up(&mut link).await;
    assert_eq!(
        (docker.list("network"), docker.list("volume")),
        (vec!["drone-77-ci".into()], vec!["stg-77-ci-Ab3-cache".into()])
    );
    kill(running, link).await;

    let (running, mut link) = delegate.welcome(docker.runner()).await;
    let commands = json!(["sha=\"$CI-$STAGE_TOKEN-$STEP_TOKEN\"", "lines=$LONG"]);
    let first = step("first", json!({ "run": { "commands": commands }, "output_vars": ["sha", "lines"] }));
    let result = run(&mut link, &stage, "first", first).await;
    assert_eq!((result.outcome(), result.exit_code), (TaskOutcome::Succeeded, Some(0)), "{result:?}");
    let outputs = json!({ "sha": "true-hush-stage-hush-step", "lines": "two\nlines" });
    assert_eq!(body(&result), json!({ "command_execution_status": "SUCCESS", "output_vars": outputs }));
    assert!(result.outputs.iter().all(|output| output.scope() == OutputScope::Exported), "{result:?}");
    kill(running, link).await;

    let (running, mut link) = delegate.welcome(docker.runner()).await;
    let exported = ExportedVariable { name: "sha".to_owned(), value: "11aa".to_owned(), sensitive: false };
    stage.exported_variables.push(exported);
    let second = step("second", json!({ "run": { "commands": ["test \"$sha\" = 11aa"], "entrypoint": ["sh", "-c"] } }));
    assert_eq!(run(&mut link, &stage, "second", second).await.outcome(), TaskOutcome::Succeeded);
    kill(running, link).await;

    let (_running, mut link) = delegate.welcome(docker.runner()).await;
    assert_eq!(run(&mut link, &stage, "cleanup", cleanup()).await.outcome(), TaskOutcome::Succeeded);
    for kind in ["network", "volume", "container"] {
        assert_eq!(docker.list(kind), [""; 0], "{kind}");
    }
    let calls = docker.calls();
    assert!(calls.contains("--network drone-77-ci") && calls.contains("--volume /tmp/harness:/harness"), "{calls}");
    assert!(calls.contains("--volume stg-77-ci-Ab3-cache:/cache") && calls.contains("--user 0"), "{calls}");
    assert!(!calls.contains("hush"), "nothing secret is in an argument: {calls}");
    assert_eq!(fs::read_to_string(docker.path("modes")).expect("modes"), "600\n600\n");
}

#[tokio::test]
async fn what_a_killed_setup_left_is_cleaned_up_by_the_state_it_had_made_durable_before() {
    let docker = Docker::new();
    let mut delegate = Delegate::listen().await;
    let (running, mut link) = delegate.welcome(docker.runner()).await;
    let stage = durable(&mut link).await;
    kill(running, link).await;
    let (_running, mut link) = delegate.welcome(docker.runner()).await;
    assert_eq!(run(&mut link, &stage, "cleanup", cleanup()).await.outcome(), TaskOutcome::Succeeded);
    assert!(docker.calls().contains("network ls -q --filter label=dlite.stage=stg-77-ci-Ab3"));
}

#[tokio::test]
async fn a_cancelled_step_takes_its_container_along() {
    let docker = Docker::new();
    let mut delegate = Delegate::listen().await;
    let (_running, mut link) = delegate.welcome(docker.runner()).await;
    let stage = set_up(&mut link).await;
    let endless = step("endless", json!({ "run": { "commands": ["sleep 600"] } }));
    link.start_in(stage, "endless", endless).await;
    let is_up = async {
        while docker.list("container").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    patiently(is_up).await;
    let reason = CancelReason::User as i32;
    link.cancel(TaskCancellation { lease_id: "endless".to_owned(), reason, ..TaskCancellation::default() }).await;
    let (_, result) = link.result().await;
    assert_eq!(result.outcome(), TaskOutcome::Cancelled);
    assert!(docker.calls().contains("kill dlite-endless"));
    assert_eq!(docker.list("container"), [""; 0]);
}

#[tokio::test]
async fn a_step_that_is_too_slow_times_out_and_one_that_fails_says_why_without_secrets() {
    let docker = Docker::new();
    let mut delegate = Delegate::listen().await;
    let (_running, mut link) = delegate.welcome(docker.runner()).await;
    let stage = set_up(&mut link).await;
    let slow = step("slow", json!({ "run": { "commands": ["sleep 600"] }, "timeout": 1 }));
    assert_eq!(run(&mut link, &stage, "slow", slow).await.outcome(), TaskOutcome::TimedOut);
    let bad = step("bad", json!({ "run": { "commands": ["echo no hunter22 here >&2", "exit 3"] } }));
    let result = run(&mut link, &stage, "bad", bad).await;
    assert_eq!((result.outcome(), result.exit_code), (TaskOutcome::Failed, Some(3)));
    assert_eq!(body(&result)["error_message"], "step build-9 ended with exit code 3");
    assert_eq!(result.error.expect("an error").hints[0].resolution, "no *** here\n");
}

#[tokio::test]
async fn what_makes_no_sense_is_the_tasks_fault_and_a_missing_network_the_hosts() {
    let docker = Docker::new();
    let mut delegate = Delegate::listen().await;
    let (_running, mut link) = delegate.welcome(docker.runner()).await;
    let stage = set_up(&mut link).await;
    for (more, complaint) in [
        (json!({ "run": { "commands": "ls" } }), "start_step_request.run.commands: expected a sequence"),
        (json!({ "run": { "commands": [] }, "output_vars": ["a;b"] }), "\"a;b\" is no variable's name"),
        (json!({ "run": { "commands": [] }, "volumes": [{ "name": "x", "path": "/x" }] }), "has no volume x"),
    ] {
        let error = run(&mut link, &stage, "bad", step("bad", more)).await.error.expect("an error");
        let text = &error.status.as_ref().expect("a status").message;
        assert!(error.origin() == ErrorOrigin::TaskSpec && text.contains(complaint), "{error:?}");
    }
    fs::remove_file(docker.path("network/drone-77-ci")).expect("a network");
    let result = run(&mut link, &stage, "bad", step("bad", json!({ "run": { "commands": [] } }))).await;
    let error = result.error.expect("an error");
    assert_eq!((error.origin(), result.outcome), (ErrorOrigin::Infrastructure, TaskOutcome::Errored as i32));
}
