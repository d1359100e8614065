//! The runner's side of the protocol as one synchronous value: what is held, what is unacknowledged, what each frame means.
//!
//! It is told frames, handlers' ends and the time; it answers with frames ([`Engine::poll_frame`]) and with [`Effect`]s for
//! the driver. It never waits, reads no clock and touches no socket. After every call: perform all effects, send the frames,
//! and call [`Engine::handle_timeout`] at [`Engine::poll_timeout`].

mod receive;
mod send;
mod sessions;
mod terms;
#[cfg(test)]
mod tests;
mod updates;
mod work;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use self::{
    terms::{Terms, span},
    updates::Waiting,
};
use super::{
    context::Cancellation,
    holdings::{Ending, Held, LeaseId, Phase, Rule},
    refusal::Refusal,
    session::Snapshot,
    stream::{Outgoing, Stream},
};
use crate::proto::runner::v1::{
    CancelReason, Capacity, Handler, HostUsage, RunnerHealth, RunnerInfo, TaskAssignment, Welcome,
};

/// What the runner says of itself on every stream.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub runner_id: String,
    pub instance_id: String,
    pub info: RunnerInfo,
    pub handlers: Vec<Handler>,
    pub capacity: Capacity,
}

/// What the driver has to do.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Start the handler; `deadline` is the end of its time.
    Start {
        lease_id: LeaseId,
        assignment: Box<TaskAssignment>,
        deadline: Option<Instant>,
        session: Option<watch::Receiver<Arc<Snapshot>>>,
    },
    /// Ask the handler to stop.
    Ask { lease_id: LeaseId, cancellation: Cancellation },
    /// Drop the handler, then say [`Engine::stopped`], or [`Engine::finished`] if it was faster.
    Kill { lease_id: LeaseId },
    /// The outputs of this ticket are kept until acknowledged, the session's state of this ticket is acknowledged; or neither will be.
    Taken { ticket: u64, outcome: Result<(), Refusal> },
    /// The stream is of no use any more (the engine has forgotten it): attach again.
    EndLink(LinkEnd),
}

/// Why a stream was given up from this side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkEnd {
    /// Three heartbeat intervals without any frame.
    Silence,
    /// The delegate broke the protocol; says how.
    Violation(String),
    /// The delegate asked for it.
    Reconnect { target: String, delay: Duration },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Engine {
    profile: Profile,
    rules: HashMap<String, Arc<Rule>>,
    terms: Terms,
    stream: Option<Stream>,
    held: BTreeMap<LeaseId, Held>,
    /// Those that held tasks belong to.
    sessions: BTreeMap<Arc<str>, watch::Sender<Arc<Snapshot>>>,
    /// Updates beyond the bound, oldest first.
    waiting: VecDeque<Waiting>,
    updates_unacknowledged: usize,
    health: RunnerHealth,
    /// Of the host, for the next heartbeat.
    usage: Option<HostUsage>,
    /// The runner wants to go.
    leaving: bool,
    /// The delegate hands out nothing.
    draining: bool,
    effects: VecDeque<Effect>,
}

// === impl Engine ===

impl Engine {
    pub fn new(profile: Profile) -> Self {
        let rules =
            profile.handlers.iter().map(|handler| (handler.task_type.clone(), Arc::new(Rule::of(handler)))).collect();
        Self {
            profile,
            rules,
            terms: Terms::of(&Welcome::default()),
            stream: None,
            held: BTreeMap::new(),
            sessions: BTreeMap::new(),
            waiting: VecDeque::new(),
            updates_unacknowledged: 0,
            health: RunnerHealth::Ok,
            usage: None,
            leaving: false,
            draining: false,
            effects: VecDeque::new(),
        }
    }

    /// A stream is open: Hello goes out.
    pub fn connected(&mut self, now: Instant) {
        self.disconnected();
        self.stream = Some(Stream::new(now));
    }

    /// The stream is gone. What it did not acknowledge goes out again on the next one.
    pub fn disconnected(&mut self) {
        self.stream = None;
        self.draining = false;
        self.usage = None;
        for held in self.held.values_mut() {
            held.result_sent = false;
            held.progress = None;
        }
        self.retry_refused();
    }

    /// The runner wants to go: no more work, and [`Engine::is_done`] once all it holds is acknowledged.
    pub fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true)
            && let Some(stream) = self.stream.as_mut().filter(|stream| stream.welcomed)
        {
            stream.queue.push_back(Outgoing::Drain);
        }
    }

    /// What the runner says of itself from now on; told at once if it is news.
    pub fn set(&mut self, capacity: Capacity, health: RunnerHealth) {
        let (new_capacity, new_health) = (capacity != self.profile.capacity, health != self.health);
        (self.profile.capacity, self.health) = (capacity, health);
        let Some(stream) = &mut self.stream else { return };
        if !stream.welcomed {
            stream.capacity_changed |= new_capacity;
            return;
        }
        if new_capacity {
            stream.push_once(Outgoing::Capacity);
        }
        if new_health {
            stream.push_once(Outgoing::Heartbeat);
        }
    }

    /// A heartbeat is about to leave, and does not know yet how the host fares.
    pub fn wants_usage(&self) -> bool {
        self.usage.is_none() && self.stream.as_ref().is_some_and(|stream| stream.queue.contains(&Outgoing::Heartbeat))
    }

    /// What the next heartbeat says of the host.
    pub fn set_usage(&mut self, usage: Option<HostUsage>) {
        self.usage = usage;
    }

    /// The runner leaves, and nothing it holds or owes is left.
    pub fn is_done(&self) -> bool {
        self.leaving && self.held.is_empty() && !self.has_frame()
    }

    /// Assignments whose end is not acknowledged.
    pub fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Hello was answered on the present stream.
    pub fn is_welcomed(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.welcomed)
    }

    /// The next thing for the driver to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`Engine::handle_timeout`]; ask again after every other call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let link = self.stream.iter().flat_map(|stream| {
            let silent_at = stream.silent_at(self.terms.heartbeat_interval);
            stream.next_heartbeat.into_iter().chain([silent_at])
        });
        link.chain(self.held.values().filter_map(|held| held.next_timeout(self.terms.lease_ttl))).min()
    }

    /// Does what is due: heartbeats, silence, deadlines, the end of grace, leases that nobody renewed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.watch_link(now);
        let lease_ttl = self.terms.lease_ttl;
        let due = |held: &Held| held.next_timeout(lease_ttl).is_some_and(|at| at <= now);
        let due: Vec<LeaseId> =
            self.held.iter().filter(|(_, held)| due(held)).map(|(lease_id, _)| lease_id.clone()).collect();
        for lease_id in due {
            self.handle_held_timeout(now, &lease_id);
        }
    }

    fn watch_link(&mut self, now: Instant) {
        let Some(stream) = &mut self.stream else { return };
        if stream.silent_at(self.terms.heartbeat_interval) <= now {
            return self.end_link(LinkEnd::Silence);
        }
        if stream.next_heartbeat.is_some_and(|at| at <= now) {
            stream.push_once(Outgoing::Heartbeat);
            stream.next_heartbeat = Some(now + self.terms.heartbeat_interval);
        }
    }

    fn handle_held_timeout(&mut self, now: Instant, lease_id: &LeaseId) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        if held.expires_at(self.terms.lease_ttl).is_some_and(|at| at <= now) {
            return self.lose(lease_id);
        }
        let Phase::Running(run) = &mut held.phase else { return };
        match run.ending {
            Ending::Own => {
                self.cancel(now, lease_id, CancelReason::Deadline, "the task's time is over".to_owned(), None)
            }
            Ending::Cancelled { .. } | Ending::Discarded => {
                run.kill();
                self.effects.push_back(Effect::Kill { lease_id: lease_id.clone() });
            }
        }
    }

    fn end_link(&mut self, end: LinkEnd) {
        self.disconnected();
        self.effects.push_back(Effect::EndLink(end));
    }
}

// === impl Rule ===

impl Rule {
    fn of(handler: &Handler) -> Self {
        let slot_class = if handler.slot_class.is_empty() { "default" } else { &handler.slot_class };
        Self {
            slot_class: slot_class.to_owned(),
            idempotent: handler.idempotent,
            default_timeout: span(handler.default_timeout.as_ref()),
        }
    }
}
