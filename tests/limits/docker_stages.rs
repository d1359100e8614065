//! Limit 8, "the local runner caches the pipeline's configuration for a session": the docker runner of `small_handlers` under the real
//! binary, killed before each task of a stage, and the delegate with it.

use std::path::Path;

use dlite::doubles::manager::NewTask;
use serde_json::{Value, json};

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
