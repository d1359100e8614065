//! Limit 8, "the local runner caches the pipeline's configuration for a session": the docker runner of `small_handlers` under the real
//! binary, killed before each task of a stage, and the delegate with it.

use std::{path::Path, sync::Arc};

use dlite::{
    doubles::manager::NewTask,
    sdk::{Context, Execute, Failure, Handler, Payload, Runner, Session, Setup, Success},
};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::{
    lab::{Lab, SOON},
    small_handlers::{Docker, cleanup_data, setup_data, step_data},
    spawn,
};

/// What the manager is told of a task.
async fn told(lab: &Lab, task_type: &str, data: Value) -> Value {
    let id = lab.manager.submit(NewTask::new(task_type, data.to_string())).expect("a task");
    lab.manager_when("a result", |record| record.effective(&id).is_some(), SOON).await;
    serde_json::from_slice(&lab.manager.effective(&id).expect("a result").data).expect("json")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_succeeds_although_its_runner_and_its_delegate_are_killed_before_each_task() {
    let docker = Docker::new();
    let mut lab = Lab::new().await;
    lab.start_delegate();
    let mut runner = spawn(docker.runner(), lab.socket());
    let commands = json!(["sha=\"$CI-$STAGE_TOKEN\""]);
    let first = json!({ "run": { "commands": commands }, "output_vars": ["sha"] });
    let second = json!({ "run": { "commands": ["test \"$sha\" = true-hush-stage"] } });
    for (task_type, data) in [
        ("CI_DOCKER_INITIALIZE_TASK", setup_data()),
        ("CI_DOCKER_EXECUTE_TASK", step_data(&first)),
        ("CI_DOCKER_EXECUTE_TASK", step_data(&second)),
        ("CI_DOCKER_CLEANUP_TASK", cleanup_data()),
    ] {
        let answer = told(&lab, task_type, data).await;
        assert_eq!(answer["command_execution_status"], "SUCCESS", "{task_type}: {answer}\n{}", lab.tail());
        runner.abort();
        lab.kill_delegate();
        lab.start_delegate();
        runner = spawn(docker.runner(), lab.socket());
    }
    runner.abort();
    for kind in ["network", "volume", "container"] {
        assert_eq!(docker.list(kind), [""; 0], "{kind}");
    }
    assert!(!docker.calls().contains("hush"));
    lab.kill_delegate();
    assert_no_word_of(&lab.path("state"), b"hush");
}

/// Steps that all see the same state before any of them changes it.
struct Together(Barrier);

const TOGETHER: usize = 4;

impl Setup for Together {
    type Payload = Value;

    async fn setup(&self, _: Context, _: Value, mut session: Session) -> Result<Success, Failure> {
        session.set_state(&["setup"]).await?;
        // Again, from its own change.
        session.set_state(&["setup", "ready"]).await?;
        Ok(Payload::json(&json!({}))?.into())
    }
}

impl Execute for Together {
    type Payload = Value;

    async fn execute(&self, _: Context, step: Value, mut session: Session) -> Result<Success, Failure> {
        if step["number"] != 0 {
            self.0.wait().await;
            session.update(|names: &mut Vec<Value>| names.push(step["number"].clone())).await?;
        }
        Ok(Payload::json(&json!({ "names": session.state::<Value>()? }))?.into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_that_change_the_state_at_once_all_count() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    let together = Arc::new(Together(Barrier::new(TOGETHER)));
    let runner = Runner::new("runner-1")
        .handler(Handler::setup("CI_DOCKER_INITIALIZE_TASK", together.clone()))
        .handler(Handler::execute("CI_DOCKER_EXECUTE_TASK", together))
        .slots("default", 2 * TOGETHER as u32);
    let runner = spawn(runner, lab.socket());
    let step = |number: usize| json!({ "stage_runtime_id": "stg-1", "number": number });
    told(&lab, "CI_DOCKER_INITIALIZE_TASK", json!({ "id": "stg-1" })).await;
    let submit = |number| lab.manager.submit(NewTask::new("CI_DOCKER_EXECUTE_TASK", step(number).to_string()));
    let ids: Vec<String> = (1..=TOGETHER).map(|number| submit(number).expect("a task")).collect();
    let all_told = |record: &dlite::doubles::manager::Record| ids.iter().all(|id| record.effective(id).is_some());
    lab.manager_when("all results", all_told, SOON).await;
    let names = told(&lab, "CI_DOCKER_EXECUTE_TASK", step(0)).await["names"].clone();
    let mut names: Vec<String> = names.as_array().expect("a list").iter().map(Value::to_string).collect();
    names.sort();
    assert_eq!(names, ["\"ready\"", "\"setup\"", "1", "2", "3", "4"]);
    runner.abort();
}

/// Payloads and states are sealed.
fn assert_no_word_of(directory: &Path, word: &[u8]) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            assert_no_word_of(&path, word);
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            assert!(!bytes.windows(word.len()).any(|part| part == word), "{}", path.display());
        }
    }
}
