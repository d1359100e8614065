//! What a runner says, in the core's words.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prost::Message;
use tonic_types::Status as RpcStatus;

use super::{
    FRAME_BYTES_MAX, PAYLOAD_BYTES_MAX,
    bounds::{Broken, NAME_BYTES_MAX, at_most, broken, cut, cut_to, duration, id, map, name},
};
use crate::{
    core::{
        admission::{Amount, Resource, Usage},
        id::{LeaseId, SlotClass},
        input::{Frame, Handler, Held, Hello},
        session::{STATE_BYTES_MAX, StateUpdate},
        step::{CARD_BYTES_MAX, Card, STEPS_MAX, Step, StepState},
        task::{Blame, Error, Extension, Finish, Kind, OUTPUTS_MAX, Outcome, Output, OutputValue, Payload, Retry},
        time::Wall,
    },
    proto::runner::v1 as proto,
    reason::Reason,
    runners::ids::Ids,
};

const LIST_MAX: usize = 1_024;
const HEARTBEAT_LEASES_MAX: usize = 10_000;
const SLOT_CLASSES_MAX: usize = 16;
const SLOTS_MAX: u32 = 10_000;
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Longest URL of a card's template, in bytes: as long as any text may be.
const SCHEMA_URI_BYTES_MAX: usize = 4 << 10;

/// One frame after its bounds were checked.
#[derive(Debug)]
pub enum Inbound {
    Frame(Frame),
    /// Nothing but an acknowledgement of the envelope.
    Ack,
}

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
    let capacity = hello.capacity.unwrap_or_default();
    Ok(Hello {
        runner: hello.runner_id.into(),
        instance: hello.instance_id.into(),
        sdk: hello.info.map(|info| cut(&info.sdk)).unwrap_or_default(),
        handlers: handlers.collect::<Result<_, _>>()?,
        slots: read_slots("hello.capacity.slots", capacity.slots)?,
        refuses_sessions: capacity.refuse_new_sessions,
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
        kind: match proto::TaskKind::try_from(handler.kind).unwrap_or_default() {
            proto::TaskKind::Unspecified | proto::TaskKind::Standalone => Kind::Standalone,
            proto::TaskKind::SessionSetup => Kind::SessionSetup,
            proto::TaskKind::SessionExecute => Kind::SessionExecute,
            proto::TaskKind::SessionCleanup => Kind::SessionCleanup,
            proto::TaskKind::Pipeline => Kind::Pipeline,
        },
        amount: handler.default_resources.map(read_amount).unwrap_or_default(),
        class: class(handler.slot_class),
        idempotent: handler.idempotent,
        default_timeout: duration(&field("default_timeout"), handler.default_timeout)?,
        extensions: handler.extensions.into_iter().map(Into::into).collect(),
        match_labels: handler.match_labels,
        any_runner: handler.any_runner,
    })
}

fn read_amount(resources: proto::ResourceRequest) -> Amount {
    Amount { cpu_millis: resources.cpu_millis, memory_bytes: resources.memory_bytes, disk_bytes: resources.disk_bytes }
}

/// Reads any later frame. What breaks a bound comes back as a frame, too: it is refused in its turn, with its number.
pub fn frame(request: proto::AttachRequest, ids: &Ids) -> Inbound {
    use proto::attach_request::Frame as In;
    let bytes = request.encoded_len();
    let Some(frame) = request.frame else {
        return Inbound::Frame(invalid("", None, Reason::FrameUnknown, "no frame this delegate knows"));
    };
    let (name, lease) = subject(&frame, ids);
    if bytes > FRAME_BYTES_MAX {
        let reason = if name == "result" { Reason::ResultTooLarge } else { Reason::FrameInvalid };
        let text = format!("the frame has {bytes} bytes, {FRAME_BYTES_MAX} may be sent");
        return Inbound::Frame(invalid(name, lease, reason, &text));
    }
    let read = match frame {
        In::Hello(_) => Err(broken("hello", "said already on this stream")),
        In::Ack(_) => return Inbound::Ack,
        In::Heartbeat(heartbeat) => read_heartbeat(heartbeat, ids),
        In::Capacity(capacity) => read_slots("capacity.slots", capacity.slots)
            .map(|slots| Frame::Capacity { slots, refuses_sessions: capacity.refuse_new_sessions }),
        In::Decision(decision) => read_decision(decision, ids),
        In::Update(update) => read_update(update, ids),
        In::Result(result) => {
            let payload = result.payload.as_ref().map_or(0, |payload| payload.inline.len());
            if payload > PAYLOAD_BYTES_MAX {
                let text = format!("the payload has {payload} bytes, {PAYLOAD_BYTES_MAX} are allowed");
                return Inbound::Frame(invalid("result", lease, Reason::ResultTooLarge, &text));
            }
            read_result(result, ids)
        }
        In::Drain(notice) => {
            Ok(Frame::DrainNotice { grace: notice.grace_period.map(|grace| grace.try_into().unwrap_or_default()) })
        }
    };
    Inbound::Frame(read.unwrap_or_else(|broken| {
        let reason = if broken.what == UNKNOWN { Reason::FrameUnknown } else { Reason::FrameInvalid };
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
        usage: heartbeat.usage.map(read_usage).unwrap_or_default(),
    })
}

/// Whole percents; what is no share is not known.
fn read_usage(usage: proto::HostUsage) -> Usage {
    let shares = [
        (Resource::Cpu, usage.cpu_fraction),
        (Resource::Memory, usage.memory_fraction),
        (Resource::Disk, usage.disk_fraction),
    ];
    let known = shares.into_iter().filter_map(|(resource, share)| {
        let share = share.filter(|share| (0.0..=1.0).contains(share))?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // it was just seen to be from 0 to 100
        Some((resource, (share * 100.0).round() as u8))
    });
    known.collect()
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
        let why = "started, outputs, session_state and steps are numbered from 1 within the lease";
        return Err(broken("update.number", why));
    }
    match update.update {
        Some(Update::Started(_)) => Ok(Frame::Started { lease, number }),
        Some(Update::Outputs(set)) => {
            Ok(Frame::Outputs { lease, number, outputs: read_outputs("update.outputs.outputs", set.outputs)? })
        }
        Some(Update::Progress(progress)) => Ok(Frame::Progress { lease, progress: read_progress(&progress) }),
        Some(Update::SessionState(state)) => {
            let update = Box::new(read_state("update.session_state", state)?);
            Ok(Frame::State { lease, number, update })
        }
        Some(Update::StepPlan(plan)) => {
            at_most("update.step_plan.steps", plan.steps.len(), STEPS_MAX)?;
            let steps = plan.steps.into_iter().enumerate();
            let steps = steps.map(|(n, step)| read_step(&format!("update.step_plan.steps[{n}]"), step));
            Ok(Frame::Plan { lease, number, steps: steps.collect::<Result<_, _>>()? })
        }
        Some(Update::Step(step)) => Ok(Frame::Step { lease, number, step: Box::new(read_step("update.step", step)?) }),
        None => Err(broken("update.update", UNKNOWN)),
    }
}

fn read_step(field: &str, step: proto::Step) -> Result<Step, Broken> {
    let at = |name: &str| format!("{field}.{name}");
    id(&at("step_id"), &step.step_id)?;
    name(&at("name"), &step.name)?;
    if step.number == 0 {
        return Err(broken(&at("number"), "counts from 1"));
    }
    at_most(&at("depends_on"), step.depends_on.len(), LIST_MAX)?;
    Ok(Step {
        state: match step.state() {
            proto::StepState::Unspecified | proto::StepState::Pending => StepState::Pending,
            proto::StepState::Running => StepState::Running,
            proto::StepState::Succeeded => StepState::Succeeded,
            proto::StepState::Failed => StepState::Failed,
            proto::StepState::Errored => StepState::Errored,
            proto::StepState::Cancelled => StepState::Cancelled,
            proto::StepState::Skipped => StepState::Skipped,
        },
        id: step.step_id.into(),
        number: step.number,
        name: step.name.into(),
        exit_code: step.exit_code,
        error: cut(&step.error),
        started: step.start_time.and_then(wall),
        ended: step.end_time.and_then(wall),
        image: cut(&step.image),
        detached: step.detached,
        ignore_error: step.ignore_error,
        depends_on: step.depends_on.into_iter().map(Into::into).collect(),
        card: step.card.map(|card| read_card(&at("card"), &card)).transpose()?,
        has_log: step.has_log,
    })
}

fn read_card(field: &str, card: &proto::Card) -> Result<Card, Broken> {
    let field = |name: &str| format!("{field}.{name}");
    if card.schema_uri.is_empty() {
        return Err(broken(&field("schema_uri"), "is needed"));
    }
    at_most(&field("schema_uri"), card.schema_uri.len(), SCHEMA_URI_BYTES_MAX)?;
    at_most(&field("data"), card.data.len(), CARD_BYTES_MAX)?;
    if serde_json::from_slice::<&serde_json::value::RawValue>(&card.data).is_err() {
        return Err(broken(&field("data"), "is not JSON"));
    }
    Ok(Card { schema_uri: card.schema_uri.as_str().into(), data: bytes::Bytes::copy_from_slice(&card.data) })
}

/// None: a time before 1970, or beyond what is counted.
fn wall(at: prost_types::Timestamp) -> Option<Wall> {
    let micros = at.seconds.checked_mul(1_000_000)?.checked_add(i64::from(at.nanos / 1_000))?;
    (micros > 0).then_some(Wall(micros))
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
    let state = result.session_state.map(|state| read_state("result.session_state", state)).transpose()?.map(Box::new);
    Ok(Frame::Result { lease: ids.parse_lease(&result.lease_id), finish: Box::new(finish), state })
}

fn read_state(field: &str, update: proto::SessionStateUpdate) -> Result<StateUpdate, Broken> {
    name(&format!("{field}.expected_etag"), &update.expected_etag)?;
    let read = |part: &str, payload: Option<proto::Payload>| {
        payload.map(|payload| read_payload(&format!("{field}.{part}"), payload)).transpose()
    };
    let read = StateUpdate {
        expected: update.expected_etag.into(),
        state: read("state", update.state)?,
        sensitive_state: read("sensitive_state", update.sensitive_state)?,
        extend_ttl: duration(&format!("{field}.extend_ttl"), update.extend_ttl)?,
    };
    let size = |payload: &Option<Payload>| payload.as_ref().map_or(0, |payload| payload.content.len());
    at_most(&format!("{field}.state"), size(&read.state), STATE_BYTES_MAX)?;
    at_most(&format!("{field}.sensitive_state"), size(&read.sensitive_state), STATE_BYTES_MAX)?;
    Ok(read)
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
        let exported = output.scope == proto::OutputScope::Exported as i32;
        Ok(Output { name: output.name.into(), value, sensitive: output.sensitive, exported })
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

fn invalid(name: &'static str, lease: Option<LeaseId>, reason: Reason, message: &str) -> Frame {
    Frame::Invalid { name, lease, reason, message: message.to_owned() }
}
