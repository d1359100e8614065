//! The model runner: speaks the runner protocol honestly, on a bad day.
//!
//! ```text
//!  assigned ─► Deciding ─┬─► Rejected ──────────────────────────────► gone once acknowledged
//!                        └─► Accepted ── acknowledged ─► Running ─► Finished ─► gone once acknowledged
//!                               │ refused, ABANDON, lost  │
//!                               ▼                         ▼
//!                              gone                   Stopping ─► gone
//! ```

mod work;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{
    core::{
        admission::{Resource, Usage},
        effect::{Assignment, Close, Decision, Order},
        id::{InstanceId, LeaseId, LinkId, RunnerId, SessionId, SlotClass, TaskId},
        input::{Frame, Held, Hello, Input},
        session::Session,
        task::{CancelReason, Error, Finish, Payload},
    },
    hub::{Cue, Hub},
    plan::{HEARTBEAT, LEASE_TTL, Profile},
    queue::{At, MS, SEC},
    reason::Reason,
};

const BEAT: u64 = HEARTBEAT.as_micros() as u64;
const TTL: u64 = LEASE_TTL.as_micros() as u64;
/// A task that ends only when it is stopped.
const ENDLESS: u64 = 100 * 3_600 * SEC;

#[derive(Debug)]
pub struct Runner {
    index: usize,
    pub id: RunnerId,
    profile: Profile,
    /// One number a process.
    pub instance: u32,
    pub retired: bool,
    pub draining: bool,
    healthy: bool,
    /// Of its host's memory, in percent.
    memory: u8,
    slots: BTreeMap<SlotClass, u32>,
    /// Until when its heartbeats are starved while all else goes on.
    stalled_until: At,
    pub link: Option<Attached>,
    pub work: BTreeMap<LeaseId, Work>,
}

/// One stream as the runner sees it.
#[derive(Debug)]
pub struct Attached {
    pub id: LinkId,
    welcomed: bool,
    sequence: u64,
    /// Counted frames without an acknowledgement.
    sent: VecDeque<(u64, LeaseId, What)>,
    beats: BTreeMap<u64, At>,
    beat: u64,
    heard: At,
}

/// What a counted frame was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Decision,
    Update(u64),
    Result,
}

/// One assignment in hand.
#[derive(Debug)]
pub struct Work {
    task: TaskId,
    class: SlotClass,
    idempotent: bool,
    stage: Stage,
    accept_acknowledged: bool,
    cancelled: Option<CancelReason>,
    /// Its handler does not heed a cancellation.
    stubborn: bool,
    length: u64,
    /// When an idempotent handler stops by itself.
    valid_until: At,
    /// Updates without an acknowledgement.
    updates: VecDeque<(u64, Frame)>,
    numbered: u64,
    acknowledged: u64,
    /// On this stream.
    result_sent: bool,
    /// Its stage, and the newest etag it has heard of.
    session: Option<(SessionId, Arc<str>)>,
    /// Its result leaves this in the session.
    leaves: Option<Payload>,
    /// Its result was refused for its etag.
    stale: bool,
}

#[derive(Debug)]
enum Stage {
    Deciding,
    Accepted,
    Rejected(Error),
    Running,
    Finished(Finish),
    Stopping,
}

// === impl Runner ===

impl Runner {
    pub fn new(index: usize, profile: Profile) -> Self {
        Self {
            index,
            id: RunnerId::from(format!("runner-{index}")),
            slots: profile.slots.clone(),
            profile,
            instance: 0,
            retired: false,
            draining: false,
            healthy: true,
            memory: 40,
            stalled_until: 0,
            link: None,
            work: BTreeMap::new(),
        }
    }

    pub fn index(&self) -> usize {
        self.index
    }

    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    fn cue(&self, hub: &mut Hub, delay: u64, cue: Cue) {
        hub.cue(delay, self.index, self.instance, cue);
    }

    // === the stream ===

    /// Says hello on a new stream to the delegate's process, if there is one.
    pub fn attach(&mut self, hub: &mut Hub, process: Option<u32>) {
        if self.link.is_some() || self.retired {
            return;
        }
        let Some(process) = process else {
            let pause = hub.random.between(SEC, 3 * SEC);
            return self.cue(hub, pause, Cue::Attach);
        };
        let id = hub.open_wire(self.index, process);
        let held = self.work.iter().map(|(lease, work)| Held {
            lease: *lease,
            accept_acknowledged: work.accept_acknowledged,
            acknowledged_number: work.acknowledged,
            finished: matches!(work.stage, Stage::Finished(_)),
        });
        let hello = Hello {
            runner: self.id.clone(),
            instance: InstanceId::from(format!("{}/{}", self.id, self.instance)),
            sdk: "model".into(),
            handlers: self.profile.handlers.clone(),
            slots: self.slots.clone(),
            refuses_sessions: false,
            held: held.collect(),
        };
        for work in self.work.values_mut() {
            work.result_sent = false;
        }
        self.link = Some(Attached {
            id,
            welcomed: false,
            sequence: 0,
            sent: VecDeque::new(),
            beats: BTreeMap::new(),
            beat: 0,
            heard: hub.now,
        });
        hub.send_up(id, Input::Attached { link: id, hello, peer: self.id.0.clone() });
        self.cue(hub, BEAT, Cue::Beat(id));
    }

    /// The stream is gone; attaches again.
    pub fn cut(&mut self, hub: &mut Hub) {
        if let Some(link) = self.link.take() {
            hub.hang_up(link.id);
        }
        let pause = hub.random.between(50 * MS, 3 * SEC);
        self.cue(hub, pause, Cue::Attach);
    }

    /// The process dies, and another takes its place.
    pub fn crash(&mut self, hub: &mut Hub) {
        for (lease, work) in std::mem::take(&mut self.work) {
            hub.checks.stopped(work.task, lease);
        }
        if let Some(link) = self.link.take() {
            if hub.random.chance(700) {
                hub.hang_up(link.id);
            } else if let Some(wire) = hub.wires.get_mut(&link.id) {
                // Its host died: nobody tells the delegate.
                (wire.inward, wire.outward) = (false, false);
            }
        }
        self.instance += 1;
        (self.draining, self.healthy, self.stalled_until) = (false, true, 0);
        self.slots = self.profile.slots.clone();
        let pause = hub.random.between(100 * MS, 30 * SEC);
        self.cue(hub, pause, Cue::Attach);
    }

    /// Heartbeats go astray while all else goes on.
    pub fn stall(&mut self, hub: &mut Hub) {
        self.stalled_until = hub.now + hub.random.between(5 * SEC, 90 * SEC);
    }

    pub fn fall_ill(&mut self, hub: &mut Hub) {
        self.healthy = false;
        let pause = hub.random.between(SEC, 30 * SEC);
        self.cue(hub, pause, Cue::Recover);
    }

    /// Its host fills up, or empties.
    pub fn strain(&mut self, hub: &mut Hub) {
        self.memory = *hub.random.pick(&[40, 76, 86, 99]);
    }

    pub fn recover(&mut self) {
        self.healthy = true;
        self.memory = 40;
    }

    /// Wants to go: finishes what it has and starts anew.
    pub fn drain(&mut self, hub: &mut Hub) {
        self.draining = true;
        let grace = hub.random.chance(500).then(|| std::time::Duration::from_secs(5));
        self.say(hub, Frame::DrainNotice { grace });
    }

    pub fn resize(&mut self, hub: &mut Hub, whole: bool) {
        for (class, most) in &self.profile.slots {
            let slots = if whole { *most } else { hub.random.below(u64::from(*most) + 1) as u32 };
            self.slots.insert(class.clone(), slots);
        }
        self.say(hub, Frame::Capacity { slots: self.slots.clone(), refuses_sessions: false });
    }

    /// Sends a frame that is not counted.
    fn say(&mut self, hub: &mut Hub, frame: Frame) {
        if let Some(link) = self.link.as_ref().filter(|link| link.welcomed) {
            hub.send_up(link.id, Input::Received { link: link.id, sequence: 0, frame });
        }
    }

    fn send(&mut self, hub: &mut Hub, lease: LeaseId, what: What, frame: Frame) {
        if let Some(link) = self.link.as_mut().filter(|link| link.welcomed) {
            link.sequence += 1;
            link.sent.push_back((link.sequence, lease, what));
            hub.send_up(link.id, Input::Received { link: link.id, sequence: link.sequence, frame });
        }
    }

    fn beat(&mut self, hub: &mut Hub, id: LinkId) {
        let Some(link) = self.link.as_mut().filter(|link| link.id == id) else { return };
        if hub.now - link.heard > 3 * BEAT {
            hub.say(|| format!("{}: hears nothing on {id}", self.id));
            return self.cut(hub);
        }
        if link.welcomed && hub.now >= self.stalled_until {
            link.beat += 1;
            link.beats.insert(link.beat, hub.now);
            // From the accept until the result is sent, and what was told to stop until it has.
            let named = self.work.iter().filter(|(_, work)| match work.stage {
                Stage::Deciding | Stage::Rejected(_) => false,
                Stage::Accepted | Stage::Running | Stage::Stopping => true,
                Stage::Finished(_) => !work.result_sent,
            });
            let leases = named.map(|(lease, _)| *lease).collect();
            let usage = Usage::from([(Resource::Memory, self.memory)]);
            let frame = Frame::Heartbeat { id: link.beat, leases, healthy: self.healthy, usage };
            self.say(hub, frame);
        }
        self.cue(hub, BEAT, Cue::Beat(id));
        if self.draining && self.work.is_empty() {
            self.crash(hub);
        }
    }

    // === orders ===

    pub fn ordered(&mut self, hub: &mut Hub, id: LinkId, order: Order) {
        let Some(link) = self.link.as_mut().filter(|link| link.id == id) else { return };
        link.heard = hub.now;
        if !link.welcomed && !matches!(order, Order::Welcome { .. } | Order::Close(_)) {
            return hub.checks.violated("welcome comes first", || format!("{id} got {order:?}"));
        }
        match order {
            Order::Welcome { decisions } => self.welcomed(hub, decisions),
            Order::Assign(assignment) => self.assigned(hub, *assignment),
            Order::Cancel { lease, reason, grace, .. } => self.cancel(hub, lease, reason, grace.as_micros() as u64),
            // It works on, and whatever comes takes it back.
            Order::Drain { .. } => {}
            Order::Acknowledge { sequence } => self.acknowledged(hub, sequence),
            Order::HeartbeatAck { id: beat, lost } => self.beat_answered(hub, beat, &lost),
            Order::Session(session) => self.session_told(hub, &session),
            Order::Refuse { sequence, frame, reason, .. } => self.refused(hub, sequence, frame, reason),
            Order::Close(close) => match close {
                Close::Replaced => self.crash(hub),
                Close::RunnerIdInUse { retry_after, .. } => {
                    self.link = None;
                    self.cue(hub, retry_after.as_micros() as u64, Cue::Attach);
                }
                Close::Superseded | Close::Silent => self.cut(hub),
                Close::Overrun => hub.checks.violated("an honest runner overruns nothing", || id.to_string()),
            },
        }
    }

    fn welcomed(&mut self, hub: &mut Hub, decisions: Vec<(LeaseId, Decision)>) {
        if let Some(link) = &mut self.link {
            link.welcomed = true;
        }
        if self.draining {
            self.say(hub, Frame::DrainNotice { grace: None });
        }
        self.say(hub, Frame::Capacity { slots: self.slots.clone(), refuses_sessions: false });
        let decisions: BTreeMap<LeaseId, Decision> = decisions.into_iter().collect();
        for lease in self.work.keys().copied().collect::<Vec<_>>() {
            match decisions.get(&lease).copied().unwrap_or(Decision::ResendDecision) {
                Decision::Keep => {
                    self.resend(hub, lease);
                    self.accept_acknowledged(hub, lease);
                }
                Decision::ResendDecision => {
                    self.send_decision(hub, lease);
                    self.resend(hub, lease);
                }
                Decision::ResendResult => self.resend(hub, lease),
                Decision::Acknowledged => self.forget(hub, lease),
                Decision::Abandon => self.lose(hub, lease),
            }
        }
    }

    fn assigned(&mut self, hub: &mut Hub, assignment: Assignment) {
        let lease = assignment.lease;
        if self.work.contains_key(&lease) {
            // The decision was lost.
            return self.send_decision(hub, lease);
        }
        let spec = &assignment.spec;
        let Some(handler) = self.profile.handler(&spec.task_type, &spec.labels) else {
            return hub.checks.violated("work goes to who can do it", || format!("{lease} to {}", self.id));
        };
        let random = &mut hub.random;
        let length = match random.below(10) {
            // The delegate's own cleanups have more time than a history.
            0 if assignment.time_remaining.is_some() && !assignment.synthesized => ENDLESS,
            0 | 1 => random.between(10 * SEC, 40 * SEC),
            // What outlives its lease is mostly long.
            3..=6 if self.profile.sloppy => random.between(10 * SEC, 60 * SEC),
            2 => 0,
            _ => random.between(MS, 5 * SEC),
        };
        let work = Work {
            task: assignment.task,
            class: handler.class.clone(),
            idempotent: handler.idempotent,
            stage: Stage::Deciding,
            accept_acknowledged: false,
            cancelled: None,
            stubborn: random.chance(200),
            length,
            valid_until: 0,
            updates: VecDeque::new(),
            numbered: 0,
            acknowledged: 0,
            result_sent: false,
            session: assignment.session.as_ref().map(|session| (session.id, session.etag())),
            leaves: None,
            stale: false,
        };
        self.work.insert(lease, work);
        let slow = hub.goes_wrong(hub.plan.slow_accepts);
        let delay = if slow { hub.random.between(3 * SEC, 8 * SEC) } else { hub.random.below(20 * MS) };
        self.cue(hub, delay, Cue::Decide(lease));
    }

    fn cancel(&mut self, hub: &mut Hub, lease: LeaseId, reason: CancelReason, grace: u64) {
        let Some(work) = self.work.get_mut(&lease) else { return };
        work.cancelled.get_or_insert(reason);
        if matches!(work.stage, Stage::Running) && !work.stubborn {
            let pause = hub.random.below(grace);
            self.cue(hub, pause, Cue::End(lease));
        }
    }

    fn acknowledged(&mut self, hub: &mut Hub, sequence: u64) {
        while let Some(link) = self.link.as_mut()
            && link.sent.front().is_some_and(|(sent, ..)| *sent <= sequence)
            && let Some((_, lease, what)) = link.sent.pop_front()
        {
            match what {
                What::Decision => match self.work.get(&lease).map(|work| &work.stage) {
                    Some(Stage::Rejected(_)) => self.forget(hub, lease),
                    _ => self.accept_acknowledged(hub, lease),
                },
                What::Update(number) => {
                    if let Some(work) = self.work.get_mut(&lease) {
                        work.acknowledged = work.acknowledged.max(number);
                        work.updates.retain(|(kept, _)| *kept > number);
                    }
                }
                What::Result => self.forget(hub, lease),
            }
        }
    }

    fn refused(&mut self, hub: &mut Hub, sequence: u64, frame: &'static str, reason: Reason) {
        let Some(link) = self.link.as_mut() else { return };
        let Some(at) = link.sent.iter().position(|(sent, ..)| *sent == sequence) else {
            return hub.checks.violated("only what was sent is refused", || format!("{frame} {sequence}"));
        };
        let Some((_, lease, what)) = link.sent.remove(at) else { return };
        match what {
            What::Update(number) if reason.word().starts_with("SESSION_") => {
                if let Some(work) = self.work.get_mut(&lease) {
                    work.updates.retain(|(kept, _)| *kept != number);
                }
            }
            // The newest form of the session is on its way.
            What::Result if reason == Reason::SessionEtagStale => {
                if let Some(work) = self.work.get_mut(&lease) {
                    (work.result_sent, work.stale) = (false, true);
                }
            }
            What::Decision | What::Update(_) => self.lose(hub, lease),
            What::Result => self.forget(hub, lease),
        }
    }

    /// Somebody changed a session, or this runner lost a race for it.
    fn session_told(&mut self, hub: &mut Hub, session: &Session) {
        let mut again = Vec::new();
        for (lease, work) in &mut self.work {
            let Some((_, etag)) = work.session.as_mut().filter(|(id, _)| *id == session.id) else { continue };
            *etag = session.etag();
            if std::mem::take(&mut work.stale) {
                again.push(*lease);
            }
        }
        for lease in again {
            self.send_result(hub, lease);
        }
    }

    fn beat_answered(&mut self, hub: &mut Hub, beat: u64, lost: &[LeaseId]) {
        let sent = self.link.as_mut().and_then(|link| link.beats.remove(&beat));
        if let Some(sent) = sent {
            for work in self.work.values_mut().filter(|work| work.valid_until > 0) {
                work.valid_until = work.valid_until.max(sent + TTL);
            }
        }
        for lease in lost {
            self.lose(hub, *lease);
        }
    }
}
