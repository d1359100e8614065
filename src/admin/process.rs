//! The process itself: its log, its metrics, and what it costs.

use std::time::{Duration, SystemTime};

use tonic::{Request, Response, Status};

use super::{Service, audit::deed, span};
use crate::{
    core::{audit::FOLLOWED, command::Command},
    proto::admin::v1 as proto,
    telemetry::{
        level::{FOR_MAX, InForce, LogFilter},
        recent,
        resources::Resources,
    },
};

/// How long the log tells otherwise, if the order does not say.
const LEVEL_FOR: Duration = Duration::from_secs(10 * 60);

impl Service {
    pub(super) async fn log_level(
        &self,
        request: Request<proto::SetLogLevelRequest>,
    ) -> Result<Response<proto::SetLogLevelResponse>, Status> {
        let filter = LogFilter::of_process()
            .ok_or_else(|| Status::failed_precondition("this process does not write the log itself"))?;
        let wanted = request.get_ref();
        if wanted.directives.is_empty() && !wanted.reset {
            return Ok(Response::new(level_view(filter.in_force())));
        }
        let time = span("for_time", wanted.for_time)?.unwrap_or(LEVEL_FOR);
        if time.is_zero() || time > FOR_MAX {
            return Err(Status::invalid_argument(format!("for_time: more than none, and at most {FOR_MAX:?}")));
        }
        let (arguments, in_force) = if wanted.reset {
            ("--reset".to_owned(), filter.reset())
        } else {
            let in_force = filter.set_for(&wanted.directives, time);
            let in_force = in_force.map_err(|error| Status::invalid_argument(format!("directives: {error}")))?;
            (format!("{} --for {}s", wanted.directives, time.as_secs()), in_force)
        };
        let deed = deed(&request, "log level", arguments);
        self.order(Command::PutOnRecord { deed, outcome: FOLLOWED.into() }).await?;
        Ok(Response::new(level_view(in_force)))
    }

    pub(super) fn telemetry(
        &self,
        request: &proto::CollectTelemetryRequest,
    ) -> Result<proto::CollectTelemetryResponse, Status> {
        let since = span("since", request.since)?;
        let since = since.and_then(|since| SystemTime::now().checked_sub(since)).unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(proto::CollectTelemetryResponse {
            metrics: self.metrics.text(),
            log_lines: recent::lines(since).into_iter().map(|line| line.text).collect(),
        })
    }

    pub(super) async fn resources(&self) -> Result<proto::GetResourcesResponse, Status> {
        let state_dir = self.state_dir.clone();
        // It reads some small files, and counts others.
        let read = tokio::task::spawn_blocking(move || Resources::of_process(&state_dir)).await;
        let read = read.map_err(|_| Status::internal("the look was broken off"))?;
        Ok(proto::GetResourcesResponse {
            resident_bytes: read.resident_bytes,
            cpu_time: read.cpu_time.and_then(|time| time.try_into().ok()),
            open_files: read.open_files,
            open_files_max: read.open_files_max,
            journal_bytes: read.journal_bytes,
            log_spool_bytes: self.logs.spool().used_bytes(),
        })
    }
}

fn level_view(level: InForce) -> proto::SetLogLevelResponse {
    proto::SetLogLevelResponse {
        directives: level.directives,
        configured: level.configured,
        until_time: level.until.map(Into::into),
    }
}
