//! Orders to drain and to take that back, and how far a drain is.

use tonic::{Request, Response, Status};

use super::{Service, audit::deed, count, short_text, span, timestamp};
use crate::{
    core::{
        audit::Deed,
        command::Command,
        drain::{Mode, Phase},
        status::{self, DrainStatus},
    },
    proto::admin::v1::{self as proto, DrainMode},
};

impl Service {
    pub(super) async fn begin_drain(
        &self,
        request: Request<proto::DrainRequest>,
    ) -> Result<Response<proto::DrainResponse>, Status> {
        let by = deed(&request, "drain", "");
        let request = request.into_inner();
        let mode = match DrainMode::try_from(request.mode) {
            Ok(DrainMode::Unspecified | DrainMode::FinishTasks) => Mode::FinishTasks,
            Ok(DrainMode::FinishSessions) => Mode::FinishSessions,
            Ok(DrainMode::Cancel) => Mode::Cancel,
            // A newer client's; reading it as another one could end work that it meant to spare.
            Err(_) => return Err(Status::invalid_argument(format!("mode: {} is not known here", request.mode))),
        };
        let grace = span("grace_period", request.grace_period)?;
        let reason = short_text("reason", request.reason, "drained by the operator")?;
        let arguments = format!("{} --reason {reason:?}", mode.word());
        let deed = Deed { arguments: arguments.into(), ..by };
        self.order_by(deed, Command::Drain { mode, grace, reason }).await?;
        Ok(Response::new(proto::DrainResponse {}))
    }

    pub(super) async fn take_drain_back(
        &self,
        request: &Request<proto::ResumeRequest>,
    ) -> Result<Response<proto::ResumeResponse>, Status> {
        self.order_by(deed(request, "resume", ""), Command::Resume).await?;
        Ok(Response::new(proto::ResumeResponse {}))
    }
}

/// The delegate's state in one word. A drain outranks a failing journal, which it waits for.
pub(super) fn state(status: &status::Status) -> &'static str {
    match status.phase {
        Phase::Draining => "draining",
        Phase::Drained => "drained",
        Phase::Serving if status.store_failing.is_some() => "store_failing",
        Phase::Serving => "serving",
    }
}

pub(super) fn state_reason(status: &status::Status) -> String {
    let drain = status.drain.as_ref().map(|drain| drain.reason.to_string());
    let store = status.store_failing.as_ref().map(|reason| format!("the journal can't write: {reason}"));
    match (drain, store) {
        (None, _) => status.store_failing.as_deref().unwrap_or_default().to_owned(),
        (Some(drain), None) => drain,
        (Some(drain), Some(store)) => format!("{drain}; {store}"),
    }
}

pub(super) fn view(drain: DrainStatus) -> proto::DrainView {
    proto::DrainView {
        mode: drain.mode.to_owned(),
        reason: drain.reason.to_string(),
        begin_time: Some(timestamp(drain.began)),
        grace_end_time: Some(timestamp(drain.grace_end)),
        end_time: Some(timestamp(drain.end)),
        cancelled_task_count: count(drain.cancelled),
        handed_back_task_count: count(drain.handed_back),
        acquiring_count: count(drain.acquiring),
    }
}
