//! The double's own control endpoint, which no real manager has: `dlite dev submit` talks to it.
//!
//! | call | answer |
//! |---|---|
//! | `POST /dev/tasks?type=X`, body = data | `{"id": …}`; 400 `{"error": …}` |
//! | `GET /dev/tasks/{id}` | the task's state; with `wait_ms=N`, once it is over, or after N ms |
//! | `POST /dev/tasks/{id}/abort` | `{"told": …}`: whether the delegate will hear of it |
//!
//! Further parameters of a submission: `id`, `timeout_ms`, `sync`, `runner_response`, `listed_to_all`. There is no authentication:
//! the double listens on loopback only, and holds nothing worth taking.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, Path, Query, State, rejection::QueryRejection},
    response::Response,
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    NewTask, Shared,
    record::{Answer, Dialect, TaskRecord, TaskState},
    server::respond,
    wire::{Reply, to_json},
};
use crate::doubles::door::{House as _, Link};

/// Longest wait that `wait_ms` can ask for.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/dev/tasks", post(submit))
        .route("/dev/tasks/{id}", get(show))
        .route("/dev/tasks/{id}/abort", post(abort))
}

#[derive(Deserialize)]
struct Submission {
    #[serde(rename = "type")]
    task_type: String,
    id: Option<String>,
    timeout_ms: Option<u64>,
    #[serde(default)]
    sync: bool,
    #[serde(default)]
    runner_response: bool,
    #[serde(default)]
    listed_to_all: bool,
}

#[derive(Deserialize)]
struct Wait {
    #[serde(default)]
    wait_ms: u64,
}

#[derive(Serialize)]
struct Failed<'a> {
    error: &'a str,
}

#[derive(Serialize)]
struct Submitted<'a> {
    id: &'a str,
}

#[derive(Serialize)]
struct Aborted {
    told: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    task_type: &'a str,
    state: &'static str,
    listed: u64,
    acquires: u64,
    repeats: u64,
    conflicts: u64,
    result: Option<ShownResult<'a>>,
}

#[derive(Serialize)]
struct ShownResult<'a> {
    dialect: &'static str,
    code: &'a str,
    error: &'a str,
    /// The data if it is JSON.
    data: Option<&'a RawValue>,
    /// The data if it is not.
    data_base64: Option<String>,
}

async fn submit(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(link): ConnectInfo<Link>,
    query: Result<Query<Submission>, QueryRejection>,
    body: Bytes,
) -> Response {
    if shared.is_down() {
        return link.cut();
    }
    let submission = match query {
        Ok(Query(submission)) => submission,
        Err(rejection) => return refuse(400, &rejection.body_text()),
    };
    let mut task = NewTask::new(submission.task_type, body);
    task.id = submission.id;
    task.sync = submission.sync;
    task.runner_response = submission.runner_response;
    task.listed_to_all = submission.listed_to_all;
    if let Some(timeout_ms) = submission.timeout_ms {
        task.timeout = Duration::from_millis(timeout_ms);
    }
    match shared.submit(task) {
        Ok(id) => respond(Reply::json(to_json(&Submitted { id: &id }))),
        Err(error) => refuse(400, &error.to_string()),
    }
}

async fn show(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(link): ConnectInfo<Link>,
    Path(id): Path<String>,
    query: Result<Query<Wait>, QueryRejection>,
) -> Response {
    if shared.is_down() {
        return link.cut();
    }
    let wait = match query {
        Ok(Query(Wait { wait_ms })) => Duration::from_millis(wait_ms).min(WAIT_MAX),
        Err(rejection) => return refuse(400, &rejection.body_text()),
    };
    let is_over = |task: &TaskRecord| matches!(task.state, TaskState::Reported | TaskState::Failed(_));
    if !wait.is_zero() {
        // Whether it is over or the wait is: the state tells.
        let _ = shared.wait_until(|record| record.task(&id).is_none_or(is_over), wait).await;
    }
    let task = shared.lock().record.task(&id).cloned();
    match task {
        Some(task) => respond(Reply::json(to_json(&shown(&task)))),
        None => refuse(404, "no such task, or forgotten"),
    }
}

async fn abort(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(link): ConnectInfo<Link>,
    Path(id): Path<String>,
) -> Response {
    if shared.is_down() {
        return link.cut();
    }
    if !shared.lock().knows_task(&id) {
        return refuse(404, "no such task, or forgotten");
    }
    respond(Reply::json(to_json(&Aborted { told: shared.abort(&id) })))
}

fn refuse(status: u16, error: &str) -> Response {
    respond(Reply { status, ..Reply::json(to_json(&Failed { error })) })
}

fn shown(task: &TaskRecord) -> Shown<'_> {
    Shown {
        id: task.id(),
        task_type: task.task_type(),
        state: task.state.name(),
        listed: task.listed,
        acquires: task.acquires.total(),
        repeats: task.repeats.total(),
        conflicts: task.conflicts,
        result: task.effective.as_ref().map(shown_result),
    }
}

fn shown_result(answer: &Answer) -> ShownResult<'_> {
    let data = serde_json::from_slice::<&RawValue>(&answer.data).ok();
    ShownResult {
        dialect: match answer.dialect {
            Dialect::A => "A",
            Dialect::B => "B",
            Dialect::C => "C",
        },
        code: &answer.code,
        error: &answer.error,
        data,
        data_base64: (data.is_none() && !answer.data.is_empty()).then(|| STANDARD.encode(&answer.data)),
    }
}
