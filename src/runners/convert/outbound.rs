//! What the core has for a runner, as the contract says it.

use std::time::Duration;

use prost_types::Any;
use tonic_types::Status as RpcStatus;

use super::{FRAME_BYTES_MAX, PAYLOAD_BYTES_MAX, ends::rpc_status};
use crate::{
    core::{
        config::Config,
        effect::{Assignment, Decision},
        id::LeaseId,
        session::{Phase, Session},
        task::{CancelReason, Kind, Payload, Priority},
        time::Wall,
    },
    proto::runner::v1 as proto,
    reason::Reason,
    runners::ids::Ids,
    telemetry::traces::Propagation,
};

/// The terms of a stream.
pub fn welcome(config: &Config, ids: &Ids, decisions: &[(LeaseId, Decision)], delegate: String) -> proto::Welcome {
    let decisions = decisions.iter().map(|(lease, decision)| proto::HeldTaskDecision {
        lease_id: ids.lease(*lease),
        disposition: match decision {
            Decision::Keep => proto::HeldTaskDisposition::Keep,
            Decision::ResendDecision => proto::HeldTaskDisposition::ResendDecision,
            Decision::ResendResult => proto::HeldTaskDisposition::ResendResult,
            Decision::Acknowledged => proto::HeldTaskDisposition::Acknowledged,
            Decision::Abandon => proto::HeldTaskDisposition::Abandon,
        } as i32,
        reason: (*decision == Decision::Abandon).then(lease_lost),
    });
    proto::Welcome {
        heartbeat_interval: Some(span(config.heartbeat_interval)),
        lease_ttl: Some(span(config.lease_ttl)),
        accept_timeout: Some(span(config.accept_timeout)),
        frame_bytes_max: FRAME_BYTES_MAX as u64,
        payload_bytes_max: PAYLOAD_BYTES_MAX as u64,
        features: Vec::new(),
        decisions: decisions.collect(),
        delegate: Some(proto::DelegateInfo {
            delegate_id: delegate,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            current_time: Some(std::time::SystemTime::now().into()),
        }),
    }
}

/// Work, as its runner sees it.
pub fn assignment(
    work: &Assignment,
    upstream_kind: &str,
    ids: &Ids,
    propagation: &Propagation,
) -> proto::TaskAssignment {
    let spec = &work.spec;
    let task = proto::Task {
        task_id: ids.task(work.task),
        task_type: spec.task_type.to_string(),
        kind: match spec.kind {
            Kind::Standalone => proto::TaskKind::Standalone,
            Kind::SessionSetup => proto::TaskKind::SessionSetup,
            Kind::SessionExecute => proto::TaskKind::SessionExecute,
            Kind::SessionCleanup => proto::TaskKind::SessionCleanup,
            Kind::Pipeline => proto::TaskKind::Pipeline,
        } as i32,
        payload: spec.payload.as_ref().map(|payload| proto::Payload {
            content_type: payload.content_type.to_string(),
            inline: payload.content.clone(),
        }),
        attempt: work.attempt,
        max_attempts: work.attempts_max,
        execution_timeout: None,
        deadline: work.deadline.map(timestamp),
        cancel_grace_period: Some(span(work.cancel_grace)),
        priority: match spec.priority {
            Priority::High => proto::Priority::High,
            Priority::Normal => proto::Priority::Normal,
            Priority::Low => proto::Priority::Low,
        } as i32,
        labels: spec.labels.clone(),
        resources: None,
        secrets: spec
            .secrets
            .iter()
            .map(|secret| proto::Secret {
                name: secret.name.to_string(),
                value: secret.value.clone(),
                mask_only: secret.mask_only,
            })
            .collect(),
        origin: Some(proto::Origin {
            upstream: work.upstream.to_string(),
            upstream_kind: upstream_kind.to_owned(),
            external_id: work.external_id.to_string(),
            tenant: spec.tenant.to_string(),
        }),
        create_time: Some(timestamp(work.acquired)),
        extensions: spec
            .extensions
            .iter()
            .filter(|extension| work.extensions.contains(&extension.name))
            .map(|extension| Any {
                type_url: format!("type.googleapis.com/{}", extension.name),
                value: extension.value.to_vec(),
            })
            .collect(),
    };
    let (traceparent, tracestate) = propagation.context(ids, work);
    proto::TaskAssignment {
        task: Some(task),
        lease_id: ids.lease(work.lease),
        trace: Some(proto::TraceContext { traceparent, tracestate }),
        time_remaining: work.time_remaining.map(span),
        session: work
            .session
            .as_ref()
            .map(|held| proto::Session { synthesized_cleanup: work.synthesized, ..session(held, ids) }),
    }
}

/// A stage as its handlers see it.
pub fn session(session: &Session, ids: &Ids) -> proto::Session {
    let payload = |payload: &Option<Payload>| {
        payload.as_ref().map(|payload| proto::Payload {
            content_type: payload.content_type.to_string(),
            inline: payload.content.clone(),
        })
    };
    let variables = session.variables.iter().map(|(name, variable)| proto::ExportedVariable {
        name: name.to_string(),
        value: variable.value.to_string(),
        sensitive: variable.sensitive,
    });
    proto::Session {
        session_id: ids.session(session.id),
        phase: match session.phase {
            Phase::SettingUp => proto::SessionPhase::SettingUp,
            Phase::Ready => proto::SessionPhase::Ready,
            Phase::Closing => proto::SessionPhase::Closing,
            Phase::Orphaned => proto::SessionPhase::Orphaned,
        } as i32,
        etag: session.etag().to_string(),
        state: payload(&session.state),
        sensitive_state: payload(&session.sensitive_state),
        external_id: session.external_id.to_string(),
        runner_id: session.runner.as_ref().map(ToString::to_string).unwrap_or_default(),
        create_time: Some(timestamp(session.created)),
        expire_time: Some(timestamp(session.expires)),
        exported_variables: variables.collect(),
        synthesized_cleanup: false,
    }
}

pub fn cancellation(
    ids: &Ids,
    lease: LeaseId,
    reason: CancelReason,
    message: &str,
    grace: Duration,
) -> proto::TaskCancellation {
    proto::TaskCancellation {
        lease_id: ids.lease(lease),
        reason: match reason {
            CancelReason::User => proto::CancelReason::User,
            CancelReason::Deadline => proto::CancelReason::Deadline,
            CancelReason::Drain => proto::CancelReason::Drain,
            CancelReason::UpstreamGone => proto::CancelReason::UpstreamGone,
            CancelReason::SessionClosed => proto::CancelReason::SessionClosed,
        } as i32,
        message: message.to_owned(),
        grace_period: Some(span(grace)),
    }
}

pub fn drain(reason: &str, grace: Duration) -> proto::Drain {
    proto::Drain { reason: reason.to_owned(), grace_period: Some(span(grace)) }
}

pub fn heartbeat_ack(ids: &Ids, id: u64, lost: &[LeaseId]) -> proto::HeartbeatAck {
    let lost = lost.iter().map(|lease| proto::LostLease { lease_id: ids.lease(*lease), reason: Some(lease_lost()) });
    proto::HeartbeatAck { heartbeat_id: id, lost: lost.collect() }
}

pub fn rejection(
    ids: &Ids,
    sequence: u64,
    lease: Option<LeaseId>,
    frame: &str,
    reason: Reason,
    message: &str,
) -> proto::FrameRejection {
    // A progress update is the contract's "update", too.
    let frame = if frame == "progress" { "update" } else { frame };
    proto::FrameRejection {
        sequence,
        lease_id: lease.map(|lease| ids.lease(lease)).unwrap_or_default(),
        frame: frame.to_owned(),
        status: Some(rpc_status(reason, message)),
    }
}

fn lease_lost() -> RpcStatus {
    let text = "the lease is not in force here: lost, withdrawn, or its result is reported";
    rpc_status(Reason::LeaseLost, text)
}

fn span(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

fn timestamp(at: Wall) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.0.div_euclid(1_000_000),
        nanos: i32::try_from(at.0.rem_euclid(1_000_000) * 1_000).unwrap_or(0),
    }
}
