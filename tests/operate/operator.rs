//! Questions to a daemon in process.

use dlite::proto::admin::v1::{ExplainTaskRequest, Explanation, TaskView, Wait};

use crate::support::{patiently, place::Running};

/// All that the delegate says of a task by this name.
pub async fn explain(daemon: &Running, name: &str) -> Result<Vec<Explanation>, tonic::Status> {
    let mut admin = daemon.admin().await;
    let answer = patiently(admin.explain_task(ExplainTaskRequest { task_id: name.to_owned() })).await?;
    Ok(answer.into_inner().explanations)
}

/// One task that is explained: its sentence, its view, and its wait.
pub struct Why {
    pub sentence: String,
    pub task: TaskView,
    pub wait: Wait,
}

impl Why {
    pub fn detail(&self, key: &str) -> &str {
        self.wait.details.get(key).map_or("", String::as_str)
    }

    /// How many seconds from now the wait ends by itself.
    pub fn seconds_left(&self) -> f64 {
        let deadline = self.wait.deadline.unwrap_or_else(|| panic!("a deadline: {}", self.sentence));
        let deadline = std::time::SystemTime::try_from(deadline).unwrap();
        deadline.duration_since(std::time::SystemTime::now()).unwrap_or_default().as_secs_f64()
    }
}

/// Asks until the one task of this name waits for what is called `wait`, which is announced nowhere.
pub async fn waits(daemon: &Running, name: &str, wait: &str) -> Why {
    let mut last = None;
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while std::time::Instant::now() < deadline {
        let found = explain(daemon, name).await;
        if let Ok([Explanation { sentence, task: Some(task) }]) = found.as_deref()
            && let Some(found) = task.wait.clone().filter(|found| found.name == wait)
        {
            assert!(found.since_time.is_some() && !found.ends.is_empty() && !found.text.is_empty(), "{found:?}");
            assert_eq!(task.waiting_for, found.text, "one wait, said in one way");
            return Why { sentence: sentence.clone(), task: task.clone(), wait: found };
        }
        last = Some(found);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{name} does not wait for {wait}: {last:#?}");
}
