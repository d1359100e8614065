//! Orders about upstreams and runners that are taken out one at a time, and how they are shown.

use tonic::{Request, Response, Status};

use super::{Service, audit::deed, short_text, span, timestamp};
use crate::{
    core::{audit::Deed, command::Command, ledger::Aside, status::RunnerStatus},
    proto::admin::v1 as proto,
};

impl Service {
    pub(super) async fn begin_pause(
        &self,
        request: Request<proto::PauseUpstreamRequest>,
    ) -> Result<Response<proto::PauseUpstreamResponse>, Status> {
        let by = deed(&request, "upstreams pause", "");
        let proto::PauseUpstreamRequest { upstream, reason } = request.into_inner();
        let reason = short_text("reason", reason, "paused by the operator")?;
        let upstream = needed("upstream", upstream)?;
        let by = Deed { arguments: format!("{upstream} --reason {reason:?}").into(), ..by };
        self.order_by(by, Command::PauseUpstream { upstream: upstream.into(), reason }).await?;
        Ok(Response::new(proto::PauseUpstreamResponse {}))
    }

    pub(super) async fn end_pause(
        &self,
        request: Request<proto::ResumeUpstreamRequest>,
    ) -> Result<Response<proto::ResumeUpstreamResponse>, Status> {
        let by = deed(&request, "upstreams resume", request.get_ref().upstream.as_str());
        let upstream = needed("upstream", request.into_inner().upstream)?.into();
        self.order_by(by, Command::ResumeUpstream { upstream }).await?;
        Ok(Response::new(proto::ResumeUpstreamResponse {}))
    }

    pub(super) async fn begin_runner_drain(
        &self,
        request: Request<proto::DrainRunnerRequest>,
    ) -> Result<Response<proto::DrainRunnerResponse>, Status> {
        let by = deed(&request, "runners drain", "");
        let proto::DrainRunnerRequest { runner_id, grace_period, reason } = request.into_inner();
        let reason = short_text("reason", reason, "drained by the operator")?;
        let grace = span("grace_period", grace_period)?;
        let runner = needed("runner_id", runner_id)?;
        let within = grace.map(|grace| format!(" --grace {grace:?}")).unwrap_or_default();
        let by = Deed { arguments: format!("{runner}{within} --reason {reason:?}").into(), ..by };
        self.order_by(by, Command::DrainRunner { runner: runner.into(), grace, reason }).await?;
        Ok(Response::new(proto::DrainRunnerResponse {}))
    }

    pub(super) async fn end_runner_drain(
        &self,
        request: Request<proto::ResumeRunnerRequest>,
    ) -> Result<Response<proto::ResumeRunnerResponse>, Status> {
        let by = deed(&request, "runners resume", request.get_ref().runner_id.as_str());
        let runner = needed("runner_id", request.into_inner().runner_id)?.into();
        self.order_by(by, Command::ResumeRunner { runner }).await?;
        Ok(Response::new(proto::ResumeRunnerResponse {}))
    }

    pub(super) fn runner_view(&self, runner: RunnerStatus) -> proto::Runner {
        proto::Runner {
            state: state(&runner).to_owned(),
            runner_id: runner.runner.to_string(),
            instance_id: runner.instance.to_string(),
            task_types: runner.task_types.iter().map(ToString::to_string).collect(),
            slots_used: runner.slots_used,
            slots_total: runner.slots_total,
            sdk: runner.sdk.to_string(),
            last_seen_time: runner.last_seen.map(timestamp),
            peer: runner.peer.to_string(),
            drain: runner.drained.map(view),
            handlers: runner
                .handlers
                .iter()
                .map(|(task_type, kind, class)| proto::RunnerHandler {
                    task_type: task_type.to_string(),
                    kind: kind.word().to_owned(),
                    slot_class: class.to_string(),
                })
                .collect(),
            classes: runner
                .classes
                .iter()
                .map(|(class, used, total)| proto::RunnerSlots {
                    slot_class: class.to_string(),
                    used: *used,
                    total: *total,
                })
                .collect(),
            task_ids: runner.tasks.iter().map(|task| self.ids.task(*task)).collect(),
            session_ids: runner.sessions.iter().map(|session| self.ids.session(*session)).collect(),
        }
    }
}

pub(super) fn view(aside: Aside) -> proto::Aside {
    proto::Aside {
        reason: aside.reason.to_string(),
        since_time: Some(timestamp(aside.since)),
        end_time: aside.ends.map(timestamp),
    }
}

/// What it is most of all: the operator's word about one that is here outranks its own.
fn state(runner: &RunnerStatus) -> &'static str {
    match runner {
        RunnerStatus { attached: false, .. } => "detached",
        RunnerStatus { drained: Some(_), .. } => "drained",
        RunnerStatus { draining: true, .. } => "draining",
        RunnerStatus { healthy: false, .. } => "unhealthy",
        _ => "attached",
    }
}

fn needed(field: &str, text: String) -> Result<String, Status> {
    if text.is_empty() { Err(Status::invalid_argument(format!("{field}: needed"))) } else { Ok(text) }
}
