//! What a runner does with its assignments: decide, run, tell, end.

use std::sync::Arc;

use bytes::Bytes;

use super::{Runner, Stage, TTL, What};
use crate::{
    core::{
        id::{LeaseId, TaskId},
        input::{Frame, Input},
        logs::LogReceipt,
        session::StateUpdate,
        step::{Step, StepState},
        task::{Blame, CancelReason, Error, Finish, Outcome, Output, OutputValue, Payload, Retry},
    },
    hub::{Cue, Event, Hub},
    queue::{MS, SEC},
};

impl Runner {
    pub fn cued(&mut self, hub: &mut Hub, cue: Cue, process: Option<u32>) {
        match cue {
            Cue::Attach => self.attach(hub, process),
            Cue::Beat(link) => self.beat(hub, link),
            Cue::Decide(lease) => self.decide(hub, lease),
            Cue::News(lease) => self.news(hub, lease),
            Cue::End(lease) => self.end(hub, lease),
            Cue::Lapse(lease) => self.lapse(hub, lease),
            Cue::Stopped(lease) => {
                if matches!(self.work.get(&lease).map(|work| &work.stage), Some(Stage::Stopping)) {
                    self.forget(hub, lease);
                }
            }
            Cue::Recover => self.recover(),
            Cue::Broken(link) => {
                if self.link.as_ref().is_some_and(|attached| attached.id == link) {
                    self.cut(hub);
                }
            }
        }
    }

    fn decide(&mut self, hub: &mut Hub, lease: LeaseId) {
        let rejects = hub.goes_wrong(hub.plan.rejected);
        let Some(work) = self.work.get_mut(&lease).filter(|work| matches!(work.stage, Stage::Deciding)) else { return };
        work.stage = if rejects { Stage::Rejected(error(hub, "BUSY")) } else { Stage::Accepted };
        self.send_decision(hub, lease);
    }

    pub(super) fn send_decision(&mut self, hub: &mut Hub, lease: LeaseId) {
        let welcomed = self.link.as_ref().is_some_and(|link| link.welcomed);
        let Some(work) = self.work.get_mut(&lease).filter(|_| welcomed) else { return };
        let frame = match &work.stage {
            Stage::Deciding | Stage::Stopping => return,
            Stage::Rejected(error) => Frame::Rejected { lease, error: error.clone() },
            Stage::Accepted | Stage::Running | Stage::Finished(_) => Frame::Accepted { lease },
        };
        if matches!(work.stage, Stage::Accepted) {
            // The accept counts as the first renewal.
            work.valid_until = hub.now + TTL;
        }
        self.send(hub, lease, What::Decision, frame);
    }

    /// A handler starts once its accept is acknowledged, and only once.
    pub(super) fn accept_acknowledged(&mut self, hub: &mut Hub, lease: LeaseId) {
        let Some(work) = self.work.get_mut(&lease) else { return };
        work.accept_acknowledged = true;
        if !matches!(work.stage, Stage::Accepted) {
            return;
        }
        if let Some(reason) = work.cancelled {
            work.stage = Stage::Finished(Finish::of(outcome_of(reason), None));
            return self.send_result(hub, lease);
        }
        if work.idempotent && hub.now >= work.valid_until && !self.profile.sloppy {
            // Too late to be sure of the lease: the next heartbeat does not name it.
            return self.forget(hub, lease);
        }
        work.stage = Stage::Running;
        let left = work.valid_until.saturating_sub(hub.now);
        if work.idempotent {
            hub.cue(left, self.index, self.instance, Cue::Lapse(lease));
        }
        let (task, idempotent, length) = (work.task, work.idempotent, work.length);
        hub.say(|| format!("{}: starts {task} under {lease}", self.id));
        hub.checks.started(task, lease, idempotent, self.profile.sloppy);
        let class = self.work[&lease].class.clone();
        let running = self.work.values().filter(|work| work.class == class && matches!(work.stage, Stage::Running));
        // What a sloppy handler does beyond its lease is nobody's promise.
        if running.count() > self.profile.slots[&class] as usize && !self.profile.sloppy {
            hub.checks.violated("credits bound what runs", || format!("{} runs more than its {class} slots", self.id));
        }
        self.logs(hub, task, lease, length);
        self.news(hub, lease);
        if length > 2 * SEC {
            self.cue(hub, SEC, Cue::News(lease));
        }
        self.cue(hub, length, Cue::End(lease));
    }

    /// Some handlers write a log, which is closed before the result or after it.
    fn logs(&self, hub: &mut Hub, task: TaskId, lease: LeaseId, length: u64) {
        let wire = self.link.as_ref().and_then(|link| hub.wires.get(&link.id));
        let Some(process) = wire.map(|wire| wire.process).filter(|_| hub.random.chance(300)) else { return };
        hub.after(MS, Event::Inbox { process, input: Input::LogOpened { lease, log_id: "task".into() } });
        let log = Box::new(LogReceipt {
            lease,
            log_id: "task".into(),
            step_id: "".into(),
            lines: 1,
            bytes: 1,
            digest: "".into(),
            gaps: Vec::new(),
            truncated: false,
        });
        let closing = hub.random.between(length / 2, length + 8 * SEC);
        hub.after(closing + 2 * MS, Event::Inbox { process, input: Input::LogClosed { task, log } });
    }

    /// Started first, outputs or progress later.
    fn news(&mut self, hub: &mut Hub, lease: LeaseId) {
        let progresses = hub.random.chance(300);
        let stalled = hub.now < self.stalled_until;
        let Some(work) = self.work.get_mut(&lease).filter(|work| matches!(work.stage, Stage::Running)) else { return };
        let first = work.numbered == 0;
        if !first && (stalled || self.profile.sloppy) {
            // A starved heartbeat does not keep the rest of the runner from talking, so the link outlives the lease.
            self.cue(hub, 4 * SEC, Cue::News(lease));
        }
        if !first && (progresses || stalled) {
            return self.say(hub, Frame::Progress { lease, progress: "half".into() });
        }
        let Some(work) = self.work.get_mut(&lease) else { return };
        work.numbered += 1;
        let number = work.numbered;
        let frame = if number == 1 {
            Frame::Started { lease, number }
        } else if lease.0.is_multiple_of(2) && number == 2 {
            Frame::Plan { lease, number, steps: vec![step(1, StepState::Pending), step(2, StepState::Pending)] }
        } else if let Some((_, etag)) = work.session.as_ref().filter(|_| hub.random.chance(500)) {
            let content = Bytes::from(format!("{lease}, {number}: {:x}", hub.random.next()));
            let update = change(etag, Payload { content_type: "text/plain".into(), content });
            Frame::State { lease, number, update }
        } else if lease.0.is_multiple_of(2) {
            let state = if number == 3 { StepState::Running } else { StepState::Succeeded };
            Frame::Step { lease, number, step: Box::new(step(1, state)) }
        } else {
            let value = OutputValue::Text(format!("{number}").into());
            Frame::Outputs {
                lease,
                number,
                outputs: vec![Output { name: "out".into(), value, sensitive: false, exported: number % 2 == 0 }],
            }
        };
        work.updates.push_back((number, frame.clone()));
        self.send(hub, lease, What::Update(number), frame);
    }

    fn end(&mut self, hub: &mut Hub, lease: LeaseId) {
        let Some(work) = self.work.get_mut(&lease).filter(|work| matches!(work.stage, Stage::Running)) else { return };
        let finish = match work.cancelled {
            Some(reason) if !work.stubborn => Finish::of(outcome_of(reason), None),
            _ => result_of(hub, lease),
        };
        if hub.random.chance(500) {
            let content = Bytes::from(format!("{lease} ended: {:x}", hub.random.next()));
            if let Some(work) = self.work.get_mut(&lease).filter(|work| work.session.is_some()) {
                work.leaves = Some(Payload { content_type: "text/plain".into(), content });
            }
        }
        let Some(work) = self.work.get_mut(&lease) else { return };
        if let (Outcome::Errored, Some(error)) = (finish.outcome, &finish.error)
            && error.side_effects_possible == Some(false)
        {
            hub.checks.had_no_effect(work.task);
        }
        hub.checks.stopped(work.task, lease);
        work.stage = Stage::Finished(finish);
        self.send_result(hub, lease);
    }

    pub(super) fn send_result(&mut self, hub: &mut Hub, lease: LeaseId) {
        let welcomed = self.link.as_ref().is_some_and(|link| link.welcomed);
        let Some(work) = self.work.get_mut(&lease).filter(|_| welcomed) else { return };
        let Stage::Finished(finish) = &work.stage else { return };
        let finish = Box::new(finish.clone());
        (work.result_sent, work.stale) = (true, false);
        let state = work.session.as_ref().zip(work.leaves.clone()).map(|((_, etag), state)| change(etag, state));
        self.send(hub, lease, What::Result, Frame::Result { lease, finish, state });
    }

    /// Everything of this task that nobody acknowledged.
    pub(super) fn resend(&mut self, hub: &mut Hub, lease: LeaseId) {
        let Some(work) = self.work.get(&lease) else { return };
        for (number, frame) in work.updates.clone() {
            self.send(hub, lease, What::Update(number), frame);
        }
        // The acknowledgement just now may have sent it already.
        if self.work.get(&lease).is_some_and(|work| !work.result_sent) {
            self.send_result(hub, lease);
        }
    }

    /// An idempotent handler stops by itself once its lease has run out.
    fn lapse(&mut self, hub: &mut Hub, lease: LeaseId) {
        if self.profile.sloppy {
            return;
        }
        let Some(work) = self.work.get_mut(&lease) else { return };
        match work.stage {
            Stage::Running if hub.now < work.valid_until => {
                let left = work.valid_until - hub.now;
                self.cue(hub, left, Cue::Lapse(lease));
            }
            Stage::Running => self.lose(hub, lease),
            _ => {}
        }
    }

    /// The lease is gone: what runs is stopped, which takes a moment, and nothing else is started.
    pub(super) fn lose(&mut self, hub: &mut Hub, lease: LeaseId) {
        let Some(work) = self.work.get_mut(&lease) else { return };
        match work.stage {
            Stage::Stopping => {}
            Stage::Running if self.profile.sloppy && work.idempotent && hub.random.chance(500) => {}
            Stage::Running => {
                work.stage = Stage::Stopping;
                hub.checks.stopped(work.task, lease);
                let pause = hub.random.below(2 * SEC);
                self.cue(hub, pause, Cue::Stopped(lease));
            }
            _ => self.forget(hub, lease),
        }
    }

    pub(super) fn forget(&mut self, hub: &mut Hub, lease: LeaseId) {
        if let Some(work) = self.work.remove(&lease) {
            hub.checks.stopped(work.task, lease);
        }
    }
}

fn change(etag: &Arc<str>, state: Payload) -> Box<StateUpdate> {
    Box::new(StateUpdate { expected: etag.clone(), state: Some(state), sensitive_state: None, extend_ttl: None })
}

fn outcome_of(reason: CancelReason) -> Outcome {
    if reason == CancelReason::Deadline { Outcome::TimedOut } else { Outcome::Cancelled }
}

fn error(hub: &mut Hub, reason: &str) -> Error {
    let random = &mut hub.random;
    Error {
        code: 8,
        reason: reason.into(),
        message: "the model says so".into(),
        blame: Blame::Runner,
        retry: *random.pick(&[Retry::Never, Retry::SameRunner, Retry::OtherRunner, Retry::OtherDelegate]),
        retry_delay: random.chance(300).then(|| std::time::Duration::from_micros(random.between(MS, 5 * SEC))),
        side_effects_possible: *random.pick(&[None, Some(true), Some(false)]),
    }
}

/// How a handler ends of its own accord; no two results are alike.
fn result_of(hub: &mut Hub, lease: LeaseId) -> Finish {
    let outcome = if hub.goes_wrong(hub.plan.errored) {
        Outcome::Errored
    } else {
        *hub.random.pick(&[
            Outcome::Succeeded,
            Outcome::Succeeded,
            Outcome::Succeeded,
            Outcome::Failed,
            Outcome::Skipped,
        ])
    };
    let error = (outcome == Outcome::Errored).then(|| error(hub, "BROKEN"));
    let content = Bytes::from(format!("{lease}: {:x}", hub.random.next()));
    Finish {
        outcome,
        exit_code: Some(i32::from(outcome != Outcome::Succeeded)),
        error,
        payload: Some(Payload { content_type: "text/plain".into(), content }),
        outputs: Vec::new(),
        extensions: Vec::new(),
    }
}

fn step(number: u32, state: StepState) -> Step {
    Step {
        id: number.to_string().into(),
        number,
        name: "step".into(),
        state,
        exit_code: None,
        error: "".into(),
        started: None,
        ended: None,
        image: "".into(),
        detached: false,
        ignore_error: false,
        depends_on: Vec::new(),
        card: None,
        has_log: false,
    }
}
