//! The operator's service: readings of the core's state, on a Unix socket of its own that only the delegate's user can open.

use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot},
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, transport::Server};

use crate::{
    config::{Changes, Complaints},
    core::{
        admission::Refusal,
        audit::{Actor, Deed},
        command::Command,
        id::UpstreamName,
        status,
        time::Wall,
    },
    health::grpc::Health,
    inbox::{Event, Question},
    logs::desk::Desk,
    proto::admin::v1 as proto,
    reason::Reason,
    runners::{convert, ids::Ids},
    telemetry::{events::Events, metrics::Metrics},
    upstreams::certificate,
};

mod aside;
mod audit;
pub mod client;
mod drain;
mod explain;
mod logs;
mod process;
mod reports;
mod sessions;
mod tasks;
mod watch;

/// How long an answer of the driver may take before the operator is told that it is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest reason an operator may give, in bytes; it travels on to runners and upstreams.
const TEXT_BYTES_MAX: usize = 1 << 10;

/// `AdminService` of one delegate.
pub struct Service {
    pub name: String,
    pub ids: Ids,
    /// Kind of each upstream.
    pub kinds: BTreeMap<UpstreamName, &'static str>,
    pub driver: mpsc::Sender<Event>,
    pub reloads: mpsc::Sender<Reload>,
    pub logs: Desk,
    pub events: Events,
    pub metrics: Metrics,
    pub state_dir: PathBuf,
    /// The certificates configured for each upstream.
    pub certificates: BTreeMap<UpstreamName, Vec<PathBuf>>,
}

/// An order to read the configuration anew.
pub struct Reload {
    /// Who gives it.
    pub by: Actor,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Changes, Complaints>>,
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
    service: Arc<Service>,
    health: Health,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    Server::builder()
        .add_service(proto::admin_service_server::AdminServiceServer::from_arc(service))
        .add_service(health.service())
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop)
        .await
}

// === impl Service ===

impl Service {
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, Status> {
        self.tell(|answer| Event::Ask(question(answer))).await
    }

    /// When the first of an upstream's certificates ends.
    fn certificate_end(&self, upstream: &UpstreamName) -> Option<std::time::SystemTime> {
        let files = self.certificates.get(upstream)?;
        files.iter().filter_map(|path| certificate::end_of_file(path)).min()
    }

    /// Gives an order; answered once it is durable.
    async fn order(&self, command: Command) -> Result<(), Status> {
        let answer = self.tell(|answer| Event::Order(command, answer)).await?;
        answer.map_err(|refusal| refused(refusal.reason(), &refusal.to_string()))
    }

    /// The same by somebody: it goes on record with what came of it.
    async fn order_by(&self, deed: Deed, command: Command) -> Result<(), Status> {
        self.order(Command::Audited { deed, command: Box::new(command) }).await
    }

    async fn tell<T>(&self, event: impl FnOnce(oneshot::Sender<T>) -> Event) -> Result<T, Status> {
        let (sender, answer) = oneshot::channel();
        let asked = async {
            self.driver.send(event(sender)).await.ok()?;
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
        let (state, state_reason) = (drain::state(&status).to_owned(), drain::state_reason(&status));
        let upstreams = status.upstreams.into_iter().map(|up| proto::Upstream {
            kind: self.kinds.get(&up.name).copied().unwrap_or_default().to_owned(),
            certificate_end_time: self.certificate_end(&up.name).map(Into::into),
            name: up.name.to_string(),
            state: up.state.to_owned(),
            registered_id: up.registered_id.map(|id| id.to_string()).unwrap_or_default(),
            last_success_time: up.last_success.map(timestamp),
            last_error: up.last_error.map(|error| error.to_string()).unwrap_or_default(),
            pause: up.paused.map(aside::view),
        });
        let runners = status.runners.into_iter().map(|runner| self.runner_view(runner));
        Ok(Response::new(proto::GetDelegateResponse {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            delegate_id: status.delegate.to_string(),
            state,
            state_reason,
            drain: status.drain.map(drain::view),
            start_time: Some(timestamp(status.started)),
            upstreams: upstreams.collect(),
            runners: runners.collect(),
            open_task_count: count(status.open),
            unreported_result_count: count(status.unreported),
            dead_letter_count: count(status.dead_letters),
            open_session_count: count(status.sessions),
            admission: Some(admission(&status.admission)),
            log_spool_bytes: self.logs.spool().used_bytes(),
        }))
    }

    async fn list_tasks(
        &self,
        _: Request<proto::ListTasksRequest>,
    ) -> Result<Response<proto::ListTasksResponse>, Status> {
        self.all_tasks().await
    }

    async fn get_task(
        &self,
        request: Request<proto::GetTaskRequest>,
    ) -> Result<Response<proto::GetTaskResponse>, Status> {
        self.one_task(request).await
    }

    async fn cancel_task(
        &self,
        request: Request<proto::CancelTaskRequest>,
    ) -> Result<Response<proto::CancelTaskResponse>, Status> {
        self.stop_task(request).await
    }

    async fn drain(&self, request: Request<proto::DrainRequest>) -> Result<Response<proto::DrainResponse>, Status> {
        self.begin_drain(request).await
    }

    async fn resume(&self, request: Request<proto::ResumeRequest>) -> Result<Response<proto::ResumeResponse>, Status> {
        self.take_drain_back(&request).await
    }

    async fn reload(&self, request: Request<proto::ReloadRequest>) -> Result<Response<proto::ReloadResponse>, Status> {
        let (sender, answer) = oneshot::channel();
        let sender = Reload { by: audit::deed(&request, "reload", "").actor, answer: sender };
        let under_way =
            |_| Status::unavailable("another reload is under way, or this delegate was not started from a file");
        self.reloads.try_send(sender).map_err(under_way)?;
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(Ok(Changes { changed, needs_restart }))) => {
                Ok(Response::new(proto::ReloadResponse { changed, needs_restart }))
            }
            Ok(Ok(Err(complaints))) => Err(refused(Reason::ConfigRejected, &complaints.to_string())),
            Ok(Err(_)) => Err(Status::unavailable("the delegate stops")),
            Err(_) => {
                Err(Status::deadline_exceeded(format!("the configuration was not read within {ANSWER_TIMEOUT:?}")))
            }
        }
    }

    async fn list_sessions(
        &self,
        _: Request<proto::ListSessionsRequest>,
    ) -> Result<Response<proto::ListSessionsResponse>, Status> {
        self.all_sessions().await
    }

    async fn close_session(
        &self,
        request: Request<proto::CloseSessionRequest>,
    ) -> Result<Response<proto::CloseSessionResponse>, Status> {
        self.end_session(request).await
    }

    async fn explain_task(
        &self,
        request: Request<proto::ExplainTaskRequest>,
    ) -> Result<Response<proto::ExplainTaskResponse>, Status> {
        self.explain(request).await
    }

    async fn pause_upstream(
        &self,
        request: Request<proto::PauseUpstreamRequest>,
    ) -> Result<Response<proto::PauseUpstreamResponse>, Status> {
        self.begin_pause(request).await
    }

    async fn resume_upstream(
        &self,
        request: Request<proto::ResumeUpstreamRequest>,
    ) -> Result<Response<proto::ResumeUpstreamResponse>, Status> {
        self.end_pause(request).await
    }

    async fn drain_runner(
        &self,
        request: Request<proto::DrainRunnerRequest>,
    ) -> Result<Response<proto::DrainRunnerResponse>, Status> {
        self.begin_runner_drain(request).await
    }

    async fn resume_runner(
        &self,
        request: Request<proto::ResumeRunnerRequest>,
    ) -> Result<Response<proto::ResumeRunnerResponse>, Status> {
        self.end_runner_drain(request).await
    }

    type ReadLogStream = logs::Entries;

    async fn read_log(&self, request: Request<proto::ReadLogRequest>) -> Result<Response<logs::Entries>, Status> {
        self.one_log(request).await
    }

    async fn list_reports(
        &self,
        _: Request<proto::ListReportsRequest>,
    ) -> Result<Response<proto::ListReportsResponse>, Status> {
        self.all_reports().await
    }

    async fn get_report(
        &self,
        request: Request<proto::GetReportRequest>,
    ) -> Result<Response<proto::GetReportResponse>, Status> {
        self.one_report(request).await
    }

    async fn replay_report(
        &self,
        request: Request<proto::ReplayReportRequest>,
    ) -> Result<Response<proto::ReplayReportResponse>, Status> {
        self.send_report_again(request).await
    }

    async fn drop_report(
        &self,
        request: Request<proto::DropReportRequest>,
    ) -> Result<Response<proto::DropReportResponse>, Status> {
        self.forget_report(request).await
    }

    async fn list_audits(
        &self,
        request: Request<proto::ListAuditsRequest>,
    ) -> Result<Response<proto::ListAuditsResponse>, Status> {
        self.deeds(request).await
    }

    type WatchEventsStream = watch::Watched;

    async fn watch_events(
        &self,
        request: Request<proto::WatchEventsRequest>,
    ) -> Result<Response<watch::Watched>, Status> {
        self.watch(request)
    }

    async fn set_log_level(
        &self,
        request: Request<proto::SetLogLevelRequest>,
    ) -> Result<Response<proto::SetLogLevelResponse>, Status> {
        self.log_level(request).await
    }

    async fn get_resources(
        &self,
        _: Request<proto::GetResourcesRequest>,
    ) -> Result<Response<proto::GetResourcesResponse>, Status> {
        self.resources().await.map(Response::new)
    }

    async fn collect_telemetry(
        &self,
        request: Request<proto::CollectTelemetryRequest>,
    ) -> Result<Response<proto::CollectTelemetryResponse>, Status> {
        self.telemetry(request.get_ref()).map(Response::new)
    }
}

/// Why a question has no answer or an order is not followed.
fn refused(reason: Reason, text: &str) -> Status {
    convert::stream_end(reason, text, None)
}

/// Text of an operator for people and logs; `absent` if there is none.
fn short_text(field: &str, text: String, absent: &str) -> Result<Arc<str>, Status> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Status::invalid_argument(format!("{field}: {} bytes; at most {TEXT_BYTES_MAX}", text.len())));
    }
    Ok(if text.is_empty() { absent.into() } else { text.into() })
}

fn span(field: &str, span: Option<prost_types::Duration>) -> Result<Option<Duration>, Status> {
    let negative = |_| Status::invalid_argument(format!("{field}: a duration is not negative"));
    span.map(|span| Duration::try_from(span).map_err(negative)).transpose()
}

fn admission(admission: &status::Admission) -> proto::Admission {
    let text = |refusal: &Option<Refusal>| refusal.as_ref().map(ToString::to_string).unwrap_or_default();
    proto::Admission {
        usage_percent: admission.usage.iter().map(|(of, percent)| (of.to_string(), (*percent).into())).collect(),
        beginnings_refused: text(&admission.beginnings),
        steps_refused: text(&admission.steps),
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
