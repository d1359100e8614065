//! What each frame of the delegate means.

use std::{collections::HashMap, sync::Arc, time::Instant};

use tonic::Code;

use super::{
    Engine, LinkEnd,
    terms::{Terms, span},
    work::too_large,
};
use crate::{
    proto::runner::v1::{
        AttachResponse, FrameRejection, HeartbeatAck, HeldTaskDecision, HeldTaskDisposition as Disposition, Reconnect,
        Rejected, RetryDisposition, TaskAssignment, TaskCancellation, Welcome, attach_response::Frame,
    },
    sdk::{
        holdings::{Held, LeaseId, Phase, Rule},
        outcome::Failure,
        reason::{self, status},
        stream::{Arrival, Outgoing, Sent},
    },
};

impl Engine {
    /// Takes in one frame.
    pub fn receive(&mut self, now: Instant, response: AttachResponse) {
        let Some(stream) = &mut self.stream else { return };
        stream.last_heard = now;
        if !stream.welcomed && !matches!(response.frame, Some(Frame::Welcome(_))) {
            return self.end_link(LinkEnd::Violation("the first frame is no Welcome".to_owned()));
        }
        let arrival = stream.arrive(response.sequence);
        if arrival == Arrival::Gap {
            let gap = format!("frame {} came before the one it follows", response.sequence);
            return self.end_link(LinkEnd::Violation(gap));
        }
        // A refusal rides with the acknowledgement that covers it, which alone would start the refused task's handler.
        if let Some(Frame::Rejection(rejection)) = &response.frame {
            self.frame_refused(rejection);
        }
        self.acknowledge(now, response.ack_sequence);
        match response.frame {
            _ if arrival == Arrival::Repeated => {}
            Some(Frame::Welcome(welcome)) => self.welcome(now, &welcome),
            Some(Frame::HeartbeatAck(ack)) => self.heartbeat_answered(now, &ack),
            Some(Frame::Assignment(assignment)) => self.assigned(now, assignment),
            Some(Frame::Cancellation(cancellation)) => self.cancellation(now, cancellation),
            Some(Frame::Drain(_)) => self.draining = true,
            Some(Frame::Reconnect(reconnect)) => self.reconnect(reconnect),
            Some(Frame::Session(session)) => self.session_told(session),
            Some(Frame::Rejection(_) | Frame::Ack(_)) | None => {}
        }
    }

    fn welcome(&mut self, now: Instant, welcome: &Welcome) {
        let Some(stream) = self.stream.as_mut().filter(|stream| !stream.welcomed) else { return };
        stream.welcomed = true;
        if stream.capacity_changed {
            stream.queue.push_back(Outgoing::Capacity);
        }
        if self.leaving {
            stream.queue.push_back(Outgoing::Drain);
        }
        self.terms = Terms::of(welcome);
        let decisions: HashMap<&str, &HeldTaskDecision> =
            welcome.decisions.iter().map(|decision| (decision.lease_id.as_str(), decision)).collect();
        for lease_id in self.held.keys().cloned().collect::<Vec<_>>() {
            let disposition =
                decisions.get(&*lease_id).map_or(Disposition::Unspecified, |decision| decision.disposition());
            self.decided(now, &lease_id, disposition);
        }
        if let Some(stream) = &mut self.stream {
            stream.push_once(Outgoing::Heartbeat);
            stream.next_heartbeat = Some(now + self.terms.heartbeat_interval);
        }
    }

    fn decided(&mut self, now: Instant, lease_id: &LeaseId, disposition: Disposition) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        match disposition {
            Disposition::Unspecified | Disposition::ResendDecision => self.send_again(lease_id, true),
            Disposition::Keep | Disposition::ResendResult => {
                // The delegate takes a rejected lease for accepted: it has to hear the rejection.
                let rejected = matches!(held.phase, Phase::Rejected(_));
                held.accept_acknowledged = !rejected;
                if let (None, Some(sent_at)) = (held.renewed_at, held.accept_sent_at) {
                    held.renew(sent_at);
                }
                self.send_again(lease_id, rejected);
                self.start_if_ready(now, lease_id);
            }
            Disposition::Acknowledged | Disposition::Abandon => self.lose(lease_id),
        }
    }

    /// Queues all that is not acknowledged of a lease.
    fn send_again(&mut self, lease_id: &LeaseId, with_decision: bool) {
        let (Some(held), Some(stream)) = (self.held.get(lease_id), &mut self.stream) else { return };
        if held.is_discarded() {
            return;
        }
        if with_decision {
            stream.queue.push_back(Outgoing::Decision(lease_id.clone()));
        }
        stream.queue.extend(held.updates.keys().map(|number| Outgoing::Update(lease_id.clone(), *number)));
        if matches!(held.phase, Phase::Finished(_)) {
            stream.queue.push_back(Outgoing::Result(lease_id.clone()));
        }
    }

    fn assigned(&mut self, now: Instant, mut assignment: TaskAssignment) {
        let lease_id: LeaseId = assignment.lease_id.as_str().into();
        if lease_id.is_empty() {
            return self.end_link(LinkEnd::Violation("assignment.lease_id is empty".to_owned()));
        }
        self.draining = false;
        let session = assignment.session.take().filter(|session| !session.session_id.is_empty());
        if !self.held.contains_key(&lease_id) {
            let mut held = self.decide(now, assignment);
            held.session_id = session.as_ref().map(|session| session.session_id.as_str().into());
            self.held.insert(lease_id.clone(), held);
        } else if self.held[&lease_id].is_discarded() {
            return;
        }
        if let Some(session) = session {
            self.see(session);
        }
        if let Some(stream) = &mut self.stream {
            stream.queue.push_back(Outgoing::Decision(lease_id));
        }
    }

    /// Accepts or rejects; nothing starts yet.
    fn decide(&self, now: Instant, assignment: TaskAssignment) -> Held {
        let task_id = assignment.task.as_ref().map(|task| task.task_id.clone());
        // Hello may have to name it, and can't without an id.
        let task_id = task_id.filter(|id| !id.is_empty()).unwrap_or_else(|| "unknown".to_owned());
        let deadline = span(assignment.time_remaining.as_ref()).map(|remaining| now + remaining);
        match self.rule_for(&assignment) {
            Ok(rule) => Held::new(task_id, rule, Phase::Accepted(Box::new(assignment)), deadline),
            Err(rejected) => Held::new(task_id, Arc::default(), Phase::Rejected(rejected), None),
        }
    }

    fn rule_for(&self, assignment: &TaskAssignment) -> Result<Arc<Rule>, Rejected> {
        let reject = |code, reason, message: String, retry| {
            let status = Some(status(code, reason, message));
            Err(Rejected { status, retry: retry as i32, retry_delay: None })
        };
        let elsewhere = RetryDisposition::OtherRunner;
        let Some(task) = &assignment.task else {
            return reject(Code::InvalidArgument, "TASK_MISSING", "assignment.task is absent".to_owned(), elsewhere);
        };
        let Some(rule) = self.rules.get(&task.task_type) else {
            let message = format!("this runner has no handler for {}", task.task_type);
            return reject(Code::Unimplemented, "NO_HANDLER", message, elsewhere);
        };
        if self.leaving {
            return reject(Code::Unavailable, "RUNNER_LEAVING", "this runner is about to leave".to_owned(), elsewhere);
        }
        if span(assignment.time_remaining.as_ref()).is_some_and(|remaining| remaining.is_zero()) {
            let message = "no time remains for the task".to_owned();
            return reject(Code::DeadlineExceeded, "TASK_EXPIRED", message, RetryDisposition::Never);
        }
        let slots = self.profile.capacity.slots.get(&rule.slot_class).copied().unwrap_or(0);
        let occupies = |held: &&Held| held.occupies_slot() && held.rule.slot_class == rule.slot_class;
        if self.held.values().filter(occupies).count() >= slots as usize {
            let message = format!("all {slots} slots of class {} are taken", rule.slot_class);
            return reject(Code::ResourceExhausted, "RUNNER_FULL", message, elsewhere);
        }
        Ok(rule.clone())
    }

    fn cancellation(&mut self, now: Instant, cancellation: TaskCancellation) {
        let (lease_id, reason) = (LeaseId::from(cancellation.lease_id.as_str()), cancellation.reason());
        self.cancel(now, &lease_id, reason, cancellation.message, span(cancellation.grace_period.as_ref()));
    }

    fn heartbeat_answered(&mut self, now: Instant, ack: &HeartbeatAck) {
        let Some(stream) = &mut self.stream else { return };
        let Some((sent_at, renewed)) = stream.heartbeat_answered(ack.heartbeat_id) else { return };
        for lost in &ack.lost {
            self.lose(&LeaseId::from(lost.lease_id.as_str()));
        }
        for lease_id in renewed {
            if let Some(held) = self.held.get_mut(&lease_id).filter(|held| !held.is_discarded()) {
                held.renew(sent_at);
                self.start_if_ready(now, &lease_id);
            }
        }
    }

    fn reconnect(&mut self, reconnect: Reconnect) {
        let delay = span(reconnect.delay.as_ref()).unwrap_or_default();
        self.end_link(LinkEnd::Reconnect { target: reconnect.target, delay });
    }

    fn acknowledge(&mut self, now: Instant, up_to: u64) {
        while let Some(sent) = self.stream.as_mut().and_then(|stream| stream.next_acknowledged(up_to)) {
            self.acknowledged(now, &sent);
        }
    }

    fn acknowledged(&mut self, now: Instant, sent: &Sent) {
        match &sent.frame {
            Outgoing::Decision(lease_id) => {
                let Some(held) = self.held.get_mut(lease_id) else { return };
                if let Phase::Rejected(_) = held.phase {
                    return self.forget(lease_id);
                }
                held.accept_acknowledged = true;
                held.renew(sent.at);
                self.start_if_ready(now, lease_id);
            }
            Outgoing::Update(lease_id, number) => {
                if let Some(held) = self.held.get_mut(lease_id) {
                    held.acknowledged_number = held.acknowledged_number.max(*number);
                }
                self.state_written(lease_id, *number);
                self.drop_update(lease_id, *number);
            }
            Outgoing::Result(lease_id) => self.forget(lease_id),
            Outgoing::Hello | Outgoing::Heartbeat | Outgoing::Capacity | Outgoing::Progress(_) | Outgoing::Drain => {}
        }
    }

    fn drop_update(&mut self, lease_id: &LeaseId, number: u64) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        if held.updates.remove(&number).is_some() {
            self.updates_unacknowledged -= 1;
            self.admit_updates();
        }
    }

    fn frame_refused(&mut self, rejection: &FrameRejection) {
        let reason = reason::reason(rejection.status.as_ref());
        if reason == reason::SEQUENCE_INVALID {
            let message = format!("the delegate misses frames before {}", rejection.sequence);
            return self.end_link(LinkEnd::Violation(message));
        }
        let Some(sent) = self.stream.as_mut().and_then(|stream| stream.refused(rejection.sequence)) else { return };
        match sent.frame {
            Outgoing::Result(lease_id)
                if matches!(&*reason, reason::RESULT_TOO_LARGE | reason::FRAME_INVALID | reason::SESSION_NONE) =>
            {
                self.replace_result(&lease_id, &reason);
            }
            Outgoing::Result(lease_id) if reason == reason::SESSION_ETAG_STALE => self.result_stale(&lease_id),
            Outgoing::Result(lease_id) if reason == reason::SESSION_CLOSED => self.result_without_state(&lease_id),
            Outgoing::Update(lease_id, number) if !names_lost_lease(&reason) => {
                let message = rejection.status.as_ref().map(|status| status.message.clone()).unwrap_or_default();
                self.state_refused(&lease_id, number, reason, message);
                self.drop_update(&lease_id, number);
            }
            Outgoing::Decision(lease_id) | Outgoing::Update(lease_id, _) | Outgoing::Result(lease_id) => {
                self.lose(&lease_id);
            }
            Outgoing::Hello | Outgoing::Heartbeat | Outgoing::Capacity | Outgoing::Progress(_) | Outgoing::Drain => {}
        }
    }

    /// The lease is still open for a result that fits. A refused replacement ends it: there is nothing smaller to say.
    fn replace_result(&mut self, lease_id: &LeaseId, reason: &str) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        if std::mem::replace(&mut held.result_replaced, true) {
            return self.forget(lease_id);
        }
        let result = if reason == reason::RESULT_TOO_LARGE {
            too_large("the delegate refused the result as too large".to_owned())
        } else {
            Failure::errored(reason, "the delegate refused the result as invalid").code(Code::Internal).into_result()
        };
        self.finish(lease_id, result);
    }
}

fn names_lost_lease(reason: &str) -> bool {
    matches!(reason, "LEASE_UNKNOWN" | "LEASE_LOST" | "ASSIGNMENT_WITHDRAWN")
}
