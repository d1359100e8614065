//! The runner protocol and the core's words, translated in one place, bounds checked on the way in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use prost::Message;
use prost_types::Any;
use tonic_types::{ErrorDetail, ErrorDetails, Status as RpcStatus, StatusExt};

use super::ids::Ids;
use crate::{
    core::{
        config::Config,
        effect::{Assignment, Close, Decision},
        id::{LeaseId, SlotClass},
        input::{Frame, Handler, Held, Hello},
        task::{
            Blame, CancelReason, Error, Extension, Finish, Kind, OUTPUTS_MAX, Outcome, Output, OutputValue, Payload,
            Priority, Retry,
        },
        time::Wall,
    },
    proto::runner::v1 as proto,
};

/// Domain of every `google.rpc.ErrorInfo` of ours.
pub const ERROR_DOMAIN: &str = "dlite";
/// Largest frame either side may send, in bytes: the default gRPC message size, which every client library takes.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Largest inline payload, in bytes; leaves room for the rest of the frame.
pub const PAYLOAD_BYTES_MAX: usize = 3_584 << 10;

const ID_BYTES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 128;
const TEXT_BYTES_MAX: usize = 4 << 10;
const LIST_MAX: usize = 1_024;
const HEARTBEAT_LEASES_MAX: usize = 10_000;
const SLOT_CLASSES_MAX: usize = 16;
const SLOTS_MAX: u32 = 10_000;
const MAP_MAX: usize = 64;
const MAP_VALUE_BYTES_MAX: usize = 1 << 10;
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// A bound that a peer broke.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub struct Broken {
    pub field: String,
    pub what: String,
}

/// One frame after its bounds were checked.
#[derive(Debug)]
pub enum Inbound {
    Frame(Frame),
    /// Nothing but an acknowledgement of the envelope.
    Ack,
}

// === the runner's side ===

/// Reads the first frame.
///
/// # Errors
/// If it is no hello, or breaks a bound of its fields.
pub fn hello(request: proto::AttachRequest, ids: &Ids) -> Result<Hello, Broken> {
    at_most("hello", request.encoded_len(), FRAME_BYTES_MAX)?;
    let Some(proto::attach_request::Frame::Hello(hello)) = request.frame else {
        return Err(broken("frame", "the first frame must be hello"));
    };
    if request.sequence != 0 {
        return Err(broken("sequence", "a hello has sequence 0"));
    }
    id("hello.runner_id", &hello.runner_id)?;
    id("hello.instance_id", &hello.instance_id)?;
    at_most("hello.handlers", hello.handlers.len(), LIST_MAX)?;
    at_most("hello.held_tasks", hello.held_tasks.len(), HEARTBEAT_LEASES_MAX)?;
    at_most("hello.features", hello.features.len(), LIST_MAX)?;
    for feature in &hello.features {
        name("hello.features", feature)?;
    }
    map("hello.info.labels", hello.info.as_ref().map_or(&BTreeMap::new(), |info| &info.labels))?;
    let mut types = BTreeSet::new();
    for (n, handler) in hello.handlers.iter().enumerate() {
        if !types.insert(&handler.task_type) {
            return Err(broken(&format!("hello.handlers[{n}].task_type"), "occurs twice"));
        }
    }
    let handlers = hello.handlers.into_iter().enumerate().map(|(n, handler)| read_handler(n, handler));
    let held = hello.held_tasks.into_iter().enumerate().map(|(n, held)| {
        id(&format!("hello.held_tasks[{n}].task_id"), &held.task_id)?;
        id(&format!("hello.held_tasks[{n}].lease_id"), &held.lease_id)?;
        Ok(Held {
            lease: ids.parse_lease(&held.lease_id),
            accept_acknowledged: held.accept_acknowledged,
            acknowledged_number: held.acknowledged_number,
            finished: held.finished,
        })
    });
    Ok(Hello {
        runner: hello.runner_id.into(),
        instance: hello.instance_id.into(),
        sdk: hello.info.map(|info| cut(&info.sdk)).unwrap_or_default(),
        handlers: handlers.collect::<Result<_, _>>()?,
        slots: read_slots("hello.capacity.slots", hello.capacity.unwrap_or_default().slots)?,
        held: held.collect::<Result<_, _>>()?,
    })
}

fn read_handler(n: usize, handler: proto::Handler) -> Result<Handler, Broken> {
    let field = |name: &str| format!("hello.handlers[{n}].{name}");
    name(&field("task_type"), &handler.task_type)?;
    at_most(&field("slot_class"), handler.slot_class.len(), NAME_BYTES_MAX)?;
    at_most(&field("extensions"), handler.extensions.len(), LIST_MAX)?;
    for extension in &handler.extensions {
        name(&field("extensions"), extension)?;
    }
    map(&field("match_labels"), &handler.match_labels)?;
    Ok(Handler {
        task_type: handler.task_type.into(),
        class: class(handler.slot_class),
        idempotent: handler.idempotent,
        default_timeout: duration(&field("default_timeout"), handler.default_timeout)?,
        extensions: handler.extensions.into_iter().map(Into::into).collect(),
        match_labels: handler.match_labels,
    })
}

/// Reads any later frame. What breaks a bound comes back as a frame, too: it is refused in its turn, with its number.
pub fn frame(request: proto::AttachRequest, ids: &Ids) -> Inbound {
    use proto::attach_request::Frame as In;
    let bytes = request.encoded_len();
    let Some(frame) = request.frame else {
        return Inbound::Frame(invalid("", None, "FRAME_UNKNOWN", "no frame this delegate knows"));
    };
    let (name, lease) = subject(&frame, ids);
    if bytes > FRAME_BYTES_MAX {
        let reason = if name == "result" { "RESULT_TOO_LARGE" } else { "FRAME_INVALID" };
        let text = format!("the frame has {bytes} bytes, {FRAME_BYTES_MAX} may be sent");
        return Inbound::Frame(invalid(name, lease, reason, &text));
    }
    let read = match frame {
        In::Hello(_) => Err(broken("hello", "said already on this stream")),
        In::Ack(_) => return Inbound::Ack,
        In::Heartbeat(heartbeat) => read_heartbeat(heartbeat, ids),
        In::Capacity(capacity) => read_slots("capacity.slots", capacity.slots).map(|slots| Frame::Capacity { slots }),
        In::Decision(decision) => read_decision(decision, ids),
        In::Update(update) => read_update(update, ids),
        In::Result(result) => {
            let payload = result.payload.as_ref().map_or(0, |payload| payload.inline.len());
            if payload > PAYLOAD_BYTES_MAX {
                let text = format!("the payload has {payload} bytes, {PAYLOAD_BYTES_MAX} are allowed");
                return Inbound::Frame(invalid("result", lease, "RESULT_TOO_LARGE", &text));
            }
            read_result(result, ids)
        }
        In::Drain(_) => Ok(Frame::DrainNotice),
    };
    Inbound::Frame(read.unwrap_or_else(|broken| {
        let reason = if broken.what == UNKNOWN { "FRAME_UNKNOWN" } else { "FRAME_INVALID" };
        invalid(name, lease, reason, &broken.to_string())
    }))
}

/// A oneof whose member this version does not know.
const UNKNOWN: &str = "no variant this delegate knows";

fn subject(frame: &proto::attach_request::Frame, ids: &Ids) -> (&'static str, Option<LeaseId>) {
    use proto::attach_request::Frame as In;
    let (name, lease) = match frame {
        In::Hello(_) => ("hello", None),
        In::Heartbeat(_) => ("heartbeat", None),
        In::Capacity(_) => ("capacity", None),
        In::Decision(decision) => ("decision", Some(&decision.lease_id)),
        // Only progress goes without a number.
        In::Update(update) if matches!(update.update, Some(proto::task_update::Update::Progress(_))) => {
            ("progress", Some(&update.lease_id))
        }
        In::Update(update) => ("update", Some(&update.lease_id)),
        In::Result(result) => ("result", Some(&result.lease_id)),
        In::Drain(_) => ("drain", None),
        In::Ack(_) => ("ack", None),
    };
    (name, lease.filter(|text| !text.is_empty()).map(|text| ids.parse_lease(text)))
}

fn read_heartbeat(heartbeat: proto::Heartbeat, ids: &Ids) -> Result<Frame, Broken> {
    at_most("heartbeat.lease_ids", heartbeat.lease_ids.len(), HEARTBEAT_LEASES_MAX)?;
    let leases = heartbeat.lease_ids.iter().map(|lease| {
        id("heartbeat.lease_ids", lease)?;
        Ok(ids.parse_lease(lease))
    });
    Ok(Frame::Heartbeat {
        id: heartbeat.heartbeat_id,
        leases: leases.collect::<Result<_, _>>()?,
        healthy: heartbeat.health != proto::RunnerHealth::Unhealthy as i32,
    })
}

fn read_decision(decision: proto::AssignmentDecision, ids: &Ids) -> Result<Frame, Broken> {
    use proto::assignment_decision::Decision;
    id("decision.lease_id", &decision.lease_id)?;
    let lease = ids.parse_lease(&decision.lease_id);
    match decision.decision {
        Some(Decision::Accepted(_)) => Ok(Frame::Accepted { lease }),
        Some(Decision::Rejected(rejected)) => {
            let retry = match proto::RetryDisposition::try_from(rejected.retry).unwrap_or_default() {
                // Nothing was started, so another runner may always try.
                proto::RetryDisposition::Unspecified => Retry::OtherRunner,
                given => retry(given),
            };
            let (code, reason, message) = read_status(rejected.status);
            let retry_delay = duration("decision.rejected.retry_delay", rejected.retry_delay)?;
            let error = Error {
                code,
                reason,
                message,
                blame: Blame::Runner,
                retry,
                retry_delay,
                side_effects_possible: Some(false),
            };
            Ok(Frame::Rejected { lease, error })
        }
        None => Err(broken("decision.decision", "neither accepted nor rejected")),
    }
}

fn read_update(update: proto::TaskUpdate, ids: &Ids) -> Result<Frame, Broken> {
    use proto::task_update::Update;
    id("update.lease_id", &update.lease_id)?;
    let lease = ids.parse_lease(&update.lease_id);
    let number = update.number;
    if number == 0 && !matches!(update.update, Some(Update::Progress(_)) | None) {
        return Err(broken("update.number", "started and outputs are numbered from 1 within the lease"));
    }
    match update.update {
        Some(Update::Started(_)) => Ok(Frame::Started { lease, number }),
        Some(Update::Outputs(set)) => {
            Ok(Frame::Outputs { lease, number, outputs: read_outputs("update.outputs.outputs", set.outputs)? })
        }
        Some(Update::Progress(progress)) => Ok(Frame::Progress { lease, progress: read_progress(&progress) }),
        None => Err(broken("update.update", UNKNOWN)),
    }
}

fn read_progress(progress: &proto::Progress) -> Arc<str> {
    let fraction = progress.fraction.filter(|fraction| (0.0..=1.0).contains(fraction));
    let percent = fraction.map_or_else(String::new, |fraction| format!(" {:.0} %", fraction * 100.0));
    let phase = if progress.phase.is_empty() { "working" } else { &progress.phase };
    cut(&format!("{phase}{percent} {}", progress.message)).trim_end().into()
}

fn read_result(result: proto::TaskResult, ids: &Ids) -> Result<Frame, Broken> {
    id("result.lease_id", &result.lease_id)?;
    at_most("result.extensions", result.extensions.len(), LIST_MAX)?;
    let outcome = match proto::TaskOutcome::try_from(result.outcome).unwrap_or_default() {
        proto::TaskOutcome::Unspecified | proto::TaskOutcome::Errored => Outcome::Errored,
        proto::TaskOutcome::Succeeded => Outcome::Succeeded,
        proto::TaskOutcome::Failed => Outcome::Failed,
        proto::TaskOutcome::Cancelled => Outcome::Cancelled,
        proto::TaskOutcome::TimedOut => Outcome::TimedOut,
        proto::TaskOutcome::Skipped => Outcome::Skipped,
    };
    let error = result.error.map(read_error).transpose()?;
    let finish = Finish {
        outcome,
        exit_code: result.exit_code,
        error: if outcome == Outcome::Succeeded { None } else { error },
        payload: result.payload.map(|payload| read_payload("result.payload", payload)).transpose()?,
        outputs: read_outputs("result.outputs", result.outputs)?,
        extensions: result
            .extensions
            .into_iter()
            .map(|any| Extension { name: message_name(&any.type_url).into(), value: any.value.into() })
            .collect(),
    };
    Ok(Frame::Result { lease: ids.parse_lease(&result.lease_id), finish: Box::new(finish) })
}

fn read_error(error: proto::TaskError) -> Result<Error, Broken> {
    let (code, reason, message) = read_status(error.status);
    Ok(Error {
        code,
        reason,
        message,
        blame: match proto::ErrorOrigin::try_from(error.origin).unwrap_or_default() {
            proto::ErrorOrigin::Unspecified | proto::ErrorOrigin::Runner => Blame::Runner,
            proto::ErrorOrigin::UserCode => Blame::UserCode,
            proto::ErrorOrigin::TaskSpec => Blame::TaskSpec,
            proto::ErrorOrigin::Infrastructure => Blame::Infrastructure,
            proto::ErrorOrigin::Delegate => Blame::Delegate,
            proto::ErrorOrigin::Upstream => Blame::Upstream,
        },
        retry: retry(proto::RetryDisposition::try_from(error.retry).unwrap_or_default()),
        retry_delay: duration("result.error.retry_delay", error.retry_delay)?,
        side_effects_possible: error.side_effects_possible,
    })
}

fn read_payload(field: &str, payload: proto::Payload) -> Result<Payload, Broken> {
    at_most(&format!("{field}.content_type"), payload.content_type.len(), 256)?;
    let content_type =
        if payload.content_type.is_empty() { "application/octet-stream".into() } else { payload.content_type.into() };
    // The frame's buffer holds more than this payload; a task may live long.
    Ok(Payload { content_type, content: bytes::Bytes::copy_from_slice(&payload.inline) })
}

fn read_outputs(field: &str, outputs: Vec<proto::Output>) -> Result<Vec<Output>, Broken> {
    use proto::output::Value;
    at_most(field, outputs.len(), OUTPUTS_MAX)?;
    let read = outputs.into_iter().enumerate().map(|(n, output)| {
        let field = format!("{field}[{n}]");
        name(&format!("{field}.name"), &output.name)?;
        let value = match output.value {
            None => OutputValue::Text("".into()),
            Some(Value::Text(text)) => OutputValue::Text(text.into()),
            Some(Value::Data(data)) => OutputValue::Data(bytes::Bytes::copy_from_slice(&data)),
            Some(Value::Json(json)) => {
                if serde_json::from_slice::<&serde_json::value::RawValue>(&json).is_err() {
                    return Err(broken(&format!("{field}.json"), "is not JSON"));
                }
                OutputValue::Json(bytes::Bytes::copy_from_slice(&json))
            }
        };
        let size = match &value {
            OutputValue::Text(text) => text.len(),
            OutputValue::Data(bytes) | OutputValue::Json(bytes) => bytes.len(),
        };
        at_most(&format!("{field}.value"), size, OUTPUT_BYTES_MAX)?;
        Ok(Output { name: output.name.into(), value, sensitive: output.sensitive })
    });
    read.collect()
}

fn read_slots(field: &str, slots: BTreeMap<String, u32>) -> Result<BTreeMap<SlotClass, u32>, Broken> {
    at_most(field, slots.len(), SLOT_CLASSES_MAX)?;
    let total = slots.values().fold(0_u32, |sum, slots| sum.saturating_add(*slots));
    at_most(field, usize::try_from(total).unwrap_or(usize::MAX), usize::try_from(SLOTS_MAX).unwrap_or(0))?;
    slots
        .into_iter()
        .map(|(name, slots)| {
            at_most(field, name.len(), NAME_BYTES_MAX)?;
            Ok((class(name), slots))
        })
        .collect()
}

/// Code, reason and text; absent or OK reads as UNKNOWN.
fn read_status(status: Option<RpcStatus>) -> (i32, Arc<str>, Arc<str>) {
    let status = status.unwrap_or_default();
    let code = if status.code == 0 { tonic::Code::Unknown as i32 } else { status.code };
    let info = status.details.iter().find(|any| any.type_url.ends_with("/google.rpc.ErrorInfo"));
    // `google.rpc.ErrorInfo.reason` is its first field.
    #[derive(Clone, PartialEq, Message)]
    struct Reason {
        #[prost(string, tag = "1")]
        reason: String,
    }
    let reason = info.and_then(|any| Reason::decode(&*any.value).ok()).map(|info| cut_to(&info.reason, NAME_BYTES_MAX));
    (code, reason.unwrap_or_default(), cut(&status.message))
}

fn retry(retry: proto::RetryDisposition) -> Retry {
    match retry {
        proto::RetryDisposition::Unspecified | proto::RetryDisposition::Never => Retry::Never,
        proto::RetryDisposition::SameRunner => Retry::SameRunner,
        proto::RetryDisposition::OtherRunner => Retry::OtherRunner,
        proto::RetryDisposition::OtherDelegate => Retry::OtherDelegate,
    }
}

fn class(name: String) -> SlotClass {
    if name.is_empty() { "default".into() } else { name.into() }
}

fn message_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

fn invalid(name: &'static str, lease: Option<LeaseId>, reason: &'static str, message: &str) -> Frame {
    Frame::Invalid { name, lease, reason, message: message.to_owned() }
}

fn broken(field: &str, what: &str) -> Broken {
    Broken { field: field.to_owned(), what: what.to_owned() }
}

fn at_most(field: &str, size: usize, max: usize) -> Result<(), Broken> {
    if size > max { Err(broken(field, &format!("is {size}, at most {max} is allowed"))) } else { Ok(()) }
}

fn id(field: &str, text: &str) -> Result<(), Broken> {
    if text.is_empty() || text.len() > ID_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(broken(field, &format!("needs 1 to {ID_BYTES_MAX} visible ASCII characters")));
    }
    Ok(())
}

fn name(field: &str, text: &str) -> Result<(), Broken> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(broken(field, &format!("needs 1 to {NAME_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn map(field: &str, map: &BTreeMap<String, String>) -> Result<(), Broken> {
    at_most(field, map.len(), MAP_MAX)?;
    for (key, value) in map {
        name(field, key)?;
        at_most(&format!("{field}[{key}]"), value.len(), MAP_VALUE_BYTES_MAX)?;
    }
    Ok(())
}

fn duration(field: &str, duration: Option<prost_types::Duration>) -> Result<Option<Duration>, Broken> {
    duration.map(|span| Duration::try_from(span).map_err(|_| broken(field, "is negative or too long"))).transpose()
}

fn cut(text: &str) -> Arc<str> {
    cut_to(text, TEXT_BYTES_MAX)
}

fn cut_to(text: &str, max: usize) -> Arc<str> {
    text[..text.floor_char_boundary(max)].into()
}

// === the delegate's side ===

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
pub fn assignment(work: &Assignment, upstream_kind: &str, ids: &Ids) -> proto::TaskAssignment {
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
    // The span id of the delegate's own span for this attempt: the trace's lower half, moved on by the attempt.
    let span_id = u64::try_from(work.trace_id.0 & u128::from(u64::MAX)).unwrap_or(1) ^ u64::from(work.attempt);
    proto::TaskAssignment {
        task: Some(task),
        lease_id: ids.lease(work.lease),
        trace: Some(proto::TraceContext {
            traceparent: format!("00-{}-{:016x}-01", work.trace_id, span_id.max(1)),
            tracestate: String::new(),
        }),
        time_remaining: work.time_remaining.map(span),
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
        } as i32,
        message: message.to_owned(),
        grace_period: Some(span(grace)),
    }
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
    reason: &str,
    message: &str,
) -> proto::FrameRejection {
    let code = match reason {
        "ASSIGNMENT_WITHDRAWN" | "LEASE_LOST" => tonic::Code::FailedPrecondition,
        "FRAME_UNKNOWN" => tonic::Code::Unimplemented,
        "RESULT_TOO_LARGE" => tonic::Code::ResourceExhausted,
        _ => tonic::Code::InvalidArgument,
    };
    // A progress update is the contract's "update", too.
    let frame = if frame == "progress" { "update" } else { frame };
    proto::FrameRejection {
        sequence,
        lease_id: lease.map(|lease| ids.lease(lease)).unwrap_or_default(),
        frame: frame.to_owned(),
        status: Some(rpc_status(code, reason, message)),
    }
}

fn lease_lost() -> RpcStatus {
    let text = "the lease is not in force here: lost, withdrawn, or its result is reported";
    rpc_status(tonic::Code::FailedPrecondition, "LEASE_LOST", text)
}

fn rpc_status(code: tonic::Code, reason: &str, message: &str) -> RpcStatus {
    let info =
        ErrorDetail::ErrorInfo(tonic_types::ErrorInfo::new(reason, ERROR_DOMAIN, std::collections::HashMap::new()));
    let status = tonic::Status::with_error_details_vec(code, message, vec![info]);
    Message::decode(status.details()).unwrap_or_else(|_| RpcStatus {
        code: code as i32,
        message: message.to_owned(),
        details: Vec::new(),
    })
}

/// How a stream ends; the table stands above `Attach` in the contract.
pub fn ending(close: &Close) -> tonic::Status {
    match close {
        Close::Replaced => {
            stream_end(tonic::Code::FailedPrecondition, "REPLACED", "a newer instance holds the runner id", None)
        }
        Close::RunnerIdInUse { holder, newcomer, retry_after } => stream_end(
            tonic::Code::AlreadyExists,
            "RUNNER_ID_IN_USE",
            &format!("instances of this runner id replace one another; {holder} holds it, this one is {newcomer}"),
            Some(*retry_after),
        ),
        Close::Superseded => {
            stream_end(tonic::Code::Unavailable, "SUPERSEDED", "a newer stream of this instance took over", None)
        }
        Close::Silent => stream_end(tonic::Code::Unavailable, "SILENT", "nothing heard for three heartbeats", None),
        Close::Overrun => stream_end(
            tonic::Code::ResourceExhausted,
            "LINK_OVERRUN",
            "the runner does not read, or sends beyond the bound on unacknowledged frames",
            None,
        ),
    }
}

/// What a stream ends with whose bytes can't be read. A frame too large to decode keeps its code; bytes that are no frame of the
/// contract are the peer's fault, not this server's.
pub fn undecodable(status: tonic::Status) -> tonic::Status {
    match status.code() {
        tonic::Code::Internal => {
            stream_end(tonic::Code::InvalidArgument, "FRAME_INVALID", &format!("frame: {}", status.message()), None)
        }
        _ => status,
    }
}

/// The end of a stream with its reason.
pub fn stream_end(code: tonic::Code, reason: &str, message: &str, retry_after: Option<Duration>) -> tonic::Status {
    let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, std::collections::HashMap::new());
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    tonic::Status::with_error_details(code, message, details)
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
