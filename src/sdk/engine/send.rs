//! The frames that leave, made at the moment they leave.

use std::time::Instant;

use prost::Message as _;

use super::{Engine, terms::Terms, work::too_large};
use crate::{
    proto::runner::v1::{
        Accepted, Ack, AssignmentDecision, AttachRequest, DrainNotice, Heartbeat, Hello, TaskResult, TaskUpdate,
        assignment_decision::Decision, attach_request::Frame, task_update::Update,
    },
    sdk::{
        holdings::{LeaseId, Phase},
        stream::Outgoing,
    },
};

/// Room for the envelope's own fields around a frame: two numbers, a lease id, tags and lengths.
pub(super) const ENVELOPE_BYTES_MAX: u64 = 128;

impl Engine {
    /// A frame, or an acknowledgement, waits to go out.
    pub fn has_frame(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| !stream.queue.is_empty() || stream.owes_acknowledgement())
    }

    /// The next frame; it has to go out before anything else does, and counts as sent at `now`.
    pub fn poll_frame(&mut self, now: Instant) -> Option<AttachRequest> {
        while let Some(outgoing) = self.stream.as_mut()?.queue.pop_front() {
            let Some(frame) = self.make(&outgoing, now) else { continue };
            let stream = self.stream.as_mut()?;
            let sequence = stream.number(outgoing, now);
            return Some(AttachRequest { sequence, ack_sequence: stream.tell_received(), frame: Some(frame) });
        }
        let stream = self.stream.as_mut().filter(|stream| stream.owes_acknowledgement())?;
        Some(AttachRequest { sequence: 0, ack_sequence: stream.tell_received(), frame: Some(Frame::Ack(Ack {})) })
    }

    /// `None`: what the frame was about has gone meanwhile.
    fn make(&mut self, outgoing: &Outgoing, now: Instant) -> Option<Frame> {
        Some(match outgoing {
            Outgoing::Hello => Frame::Hello(self.hello()),
            Outgoing::Heartbeat => Frame::Heartbeat(self.heartbeat(now)?),
            Outgoing::Decision(lease_id) => Frame::Decision(self.decision(lease_id, now)?),
            Outgoing::Capacity => Frame::Capacity(self.profile.capacity.clone()),
            Outgoing::Update(lease_id, number) => Frame::Update(self.update(lease_id, *number)?),
            Outgoing::Progress(lease_id) => {
                let progress = self.held.get_mut(lease_id)?.progress.take()?;
                let update = Some(Update::Progress(progress));
                Frame::Update(TaskUpdate { lease_id: lease_id.to_string(), number: 0, event_time: None, update })
            }
            Outgoing::Result(lease_id) => Frame::Result(self.result(lease_id)?),
            Outgoing::Drain => Frame::Drain(DrainNotice { reason: "the runner stops".to_owned(), grace_period: None }),
        })
    }

    fn hello(&self) -> Hello {
        let profile = self.profile.clone();
        Hello {
            runner_id: profile.runner_id,
            instance_id: profile.instance_id,
            info: Some(profile.info),
            handlers: profile.handlers,
            capacity: Some(profile.capacity),
            features: Vec::new(),
            held_tasks: self.held.iter().map(|(lease_id, held)| held.to_held_task(lease_id)).collect(),
        }
    }

    fn heartbeat(&mut self, now: Instant) -> Option<Heartbeat> {
        let live = self.held.iter().filter(|(_, held)| held.is_live());
        let leases: Vec<LeaseId> = live.map(|(lease_id, _)| lease_id.clone()).collect();
        let lease_ids = leases.iter().map(|lease_id| lease_id.to_string()).collect();
        let heartbeat_id = self.stream.as_mut()?.heartbeat(now, leases);
        Some(Heartbeat { heartbeat_id, lease_ids, health: self.health as i32, usage: self.usage.take() })
    }

    fn decision(&mut self, lease_id: &LeaseId, now: Instant) -> Option<AssignmentDecision> {
        let held = self.held.get_mut(lease_id)?;
        held.accept_sent_at.get_or_insert(now);
        let decision = match &held.phase {
            Phase::Rejected(rejected) => Decision::Rejected(rejected.clone()),
            Phase::Accepted(_) | Phase::Running(_) | Phase::Finished(_) => Decision::Accepted(Accepted {}),
        };
        Some(AssignmentDecision { lease_id: lease_id.to_string(), decision: Some(decision) })
    }

    fn update(&self, lease_id: &LeaseId, number: u64) -> Option<TaskUpdate> {
        let held = self.held.get(lease_id)?;
        let mut update = held.updates.get(&number)?.clone();
        if let (Some(Update::SessionState(state)), Some(write)) = (&mut update.update, held.writes.get(&number)) {
            self.set_etag(held.session_id.as_ref(), write.base, state);
        }
        Some(update)
    }

    fn result(&mut self, lease_id: &LeaseId) -> Option<TaskResult> {
        let held = self.held.get_mut(lease_id)?;
        let Phase::Finished(result) = &mut held.phase else { return None };
        if let Some(complaint) = self.terms.complaint(result) {
            held.result_replaced = true;
            **result = TaskResult { lease_id: lease_id.to_string(), ..too_large(complaint) };
        }
        held.result_sent = true;
        let (mut result, base, session_id) = ((**result).clone(), held.result_base, held.session_id.clone());
        if let Some(state) = &mut result.session_state {
            self.set_etag(session_id.as_ref(), base, state);
        }
        Some(result)
    }
}

impl Terms {
    /// Why the delegate would refuse `result` for its size.
    fn complaint(&self, result: &TaskResult) -> Option<String> {
        let payload = result.payload.as_ref().map_or(0, |payload| payload.inline.len() as u64);
        let frame = result.encoded_len() as u64 + ENVELOPE_BYTES_MAX;
        if payload > self.payload_bytes_max {
            Some(format!("the payload has {payload} bytes; the delegate takes up to {}", self.payload_bytes_max))
        } else if frame > self.frame_bytes_max {
            Some(format!("the result has {frame} bytes; the delegate takes up to {}", self.frame_bytes_max))
        } else {
            None
        }
    }
}
