//! The operator's service: readings of the core's state, on a Unix socket of its own that only the delegate's user can open.

use std::{future::Future, path::Path, time::Duration};

use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot},
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use crate::{
    core::{status, time::Wall},
    health::grpc::Health,
    inbox::{Event, Question},
    proto::admin::v1 as proto,
    runners::ids::Ids,
};

pub mod client;

/// How long an answer of the driver may take before the operator is told that it is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// `AdminService` of one delegate.
pub struct Service {
    pub name: String,
    pub ids: Ids,
    /// Kind of each upstream.
    pub kinds: std::collections::BTreeMap<crate::core::id::UpstreamName, &'static str>,
    pub driver: mpsc::Sender<Event>,
}

/// Binds the socket; only the delegate's own user may open it.
///
/// # Errors
/// If the path can't be bound.
pub fn bind(path: &Path) -> std::io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

/// Serves operators until `stop`.
///
/// # Errors
/// If the transport fails as a whole.
pub async fn serve(
    listener: UnixListener,
    service: Service,
    health: Health,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    Server::builder()
        .add_service(proto::admin_service_server::AdminServiceServer::new(service))
        .add_service(health.service())
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop)
        .await
}

// === impl Service ===

impl Service {
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, Status> {
        let (sender, answer) = oneshot::channel();
        let asked = async {
            self.driver.send(Event::Ask(question(sender))).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Status::unavailable("the delegate stops")),
            Err(_) => Err(Status::deadline_exceeded(format!("the delegate did not answer within {ANSWER_TIMEOUT:?}"))),
        }
    }
}

#[tonic::async_trait]
impl proto::admin_service_server::AdminService for Service {
    async fn get_delegate(
        &self,
        _: Request<proto::GetDelegateRequest>,
    ) -> Result<Response<proto::GetDelegateResponse>, Status> {
        let status = self.ask(Question::Status).await?;
        let upstreams = status.upstreams.into_iter().map(|up| proto::Upstream {
            kind: self.kinds.get(&up.name).copied().unwrap_or_default().to_owned(),
            name: up.name.to_string(),
            state: up.state.to_owned(),
            registered_id: up.registered_id.map(|id| id.to_string()).unwrap_or_default(),
            last_success_time: up.last_success.map(timestamp),
            last_error: up.last_error.map(|error| error.to_string()).unwrap_or_default(),
        });
        let runners = status.runners.into_iter().map(|runner| proto::Runner {
            runner_id: runner.runner.to_string(),
            instance_id: runner.instance.to_string(),
            state: if runner.attached { "attached" } else { "detached" }.to_owned(),
            task_types: runner.task_types.iter().map(ToString::to_string).collect(),
            slots_used: runner.slots_used,
            slots_total: runner.slots_total,
            sdk: runner.sdk.to_string(),
            last_seen_time: runner.last_seen.map(timestamp),
        });
        Ok(Response::new(proto::GetDelegateResponse {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            delegate_id: status.delegate.to_string(),
            state: if status.store_failing.is_some() { "store_failing" } else { "serving" }.to_owned(),
            state_reason: status.store_failing.map(|reason| reason.to_string()).unwrap_or_default(),
            start_time: Some(timestamp(status.started)),
            upstreams: upstreams.collect(),
            runners: runners.collect(),
            open_task_count: count(status.open),
            unreported_result_count: count(status.unreported),
            dead_letter_count: count(status.dead_letters),
        }))
    }

    async fn list_tasks(
        &self,
        _: Request<proto::ListTasksRequest>,
    ) -> Result<Response<proto::ListTasksResponse>, Status> {
        let tasks = self.ask(Question::Tasks).await?;
        let truncated = tasks.len() >= status::TASKS_SHOWN_MAX;
        let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = Wall(i64::try_from(now.as_micros()).unwrap_or(i64::MAX));
        let tasks = tasks.into_iter().map(|task| proto::TaskView {
            task_id: task.task.map(|id| self.ids.task(id)).unwrap_or_default(),
            upstream: task.upstream.to_string(),
            external_id: task.external_id.to_string(),
            task_type: task.task_type.map(|task_type| task_type.to_string()).unwrap_or_default(),
            state: task.state.to_owned(),
            waiting_for: task.waiting_for,
            waiting_since: Some(timestamp(task.since)),
            runner_id: task.runner.map(|runner| runner.to_string()).unwrap_or_default(),
            attempt: task.attempt,
            deadline: task.deadline.map(timestamp),
            trace_id: task.trace_id.map(|trace| trace.to_string()).unwrap_or_default(),
            age: task.acquired.and_then(|at| now.since(at).try_into().ok()),
        });
        Ok(Response::new(proto::ListTasksResponse { tasks: tasks.collect(), truncated }))
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn timestamp(at: Wall) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.0.div_euclid(1_000_000),
        nanos: i32::try_from(at.0.rem_euclid(1_000_000) * 1_000).unwrap_or(0),
    }
}
