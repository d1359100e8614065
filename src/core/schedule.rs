//! Which runner gets which waiting task. Never decides whether a task is acquired: that is intake's.

use std::collections::BTreeMap;

use super::{
    Core,
    admission::Claim,
    effect::{Assignment, Note, Order},
    id::{LeaseId, LinkId, TaskId, UpstreamName},
    record::{Record, scope_of},
    roster::{Link, Seat, Use},
    sessions::Gate,
    task::{Finish, Kind, Outcome, State, Task},
    time::{Mono, Now},
    timer::Timer,
    waiting::Room,
};
use crate::reason::Reason;

impl Core {
    /// The task has no lease: gives it one now or as soon as somebody has room.
    pub(super) fn wait(&mut self, now: Now, id: TaskId) {
        let Some(task) = self.ledger.task(id) else { return };
        if let Some(what) = task.spec.unsupported.clone() {
            return self.refuse_unsupported(now, id, &what);
        }
        if self.drained_away(now, id) {
            return;
        }
        let Some(task) = self.ledger.task(id) else { return };
        self.waiting.queue(task, now.mono);
        self.assign(now, id);
    }

    /// Tries to find a runner for one waiting task; whether it did.
    pub(super) fn assign(&mut self, now: Now, id: TaskId) -> bool {
        let waits = self.ledger.task(id).is_some_and(|task| matches!(task.state, State::Waiting { .. }));
        if self.store_failing.is_some() || !waits {
            return false;
        }
        match self.gate(now, id) {
            Gate::Open => {}
            Gate::Shut => {
                self.note_wait(now, id);
                return false;
            }
            Gate::Never(error) => {
                self.finish(now, id, None, Finish::of(Outcome::Errored, Some(error)));
                return false;
            }
        }
        if self.timers.get(&Timer::Deadline(id)).is_some_and(|at| at <= now.mono) {
            self.deadline_passed(now, id);
            return false;
        }
        let Some(task) = self.ledger.task(id).filter(|task| matches!(task.state, State::Waiting { .. })) else {
            return false;
        };
        let cleanup = task.spec.kind == Kind::SessionCleanup;
        let served = self.is_served(task);
        let mut later: Option<Mono> = None;
        // A host that is not full before one that is, then the one with the most room.
        let mut best: Option<((bool, u32), LinkId)> = None;
        for link in self.roster.with_type(&task.spec.task_type) {
            let Some(handler) = link.handler_for(task) else { continue };
            if self.idle_for(link, task).is_some() || !self.session_allows(link, task) {
                continue;
            }
            if let Some(at) = self.waiting.earliest(id, &link.runner, now.mono) {
                later = Some(later.map_or(at, |earlier: Mono| earlier.min(at)));
                continue;
            }
            let room = link.room(handler, cleanup);
            let fitness = (link.gate.refusal(&self.config.admission, Claim::of(task.spec.kind)).is_none(), room);
            if room > 0 && best.is_none_or(|(other, _)| fitness > other) {
                best = Some((fitness, link.id));
            }
        }
        match best {
            Some((_, link)) => {
                self.cut_lease(now, id, link);
                true
            }
            None if self.drained_back(now, id) => false,
            None => {
                self.note_wait(now, id);
                if let Some(at) = later {
                    self.timers.set(Timer::Retry(id), at);
                }
                if served {
                    self.timers.clear(&Timer::RunnerExpiry(id));
                } else if self.timers.get(&Timer::RunnerExpiry(id)).is_none() {
                    self.timers.set(Timer::RunnerExpiry(id), now.mono + self.config.no_runner_timeout);
                }
                false
            }
        }
    }

    /// Whether somebody has a handler for the task, with room or without, or is awaited back.
    pub(super) fn is_served(&self, task: &Task) -> bool {
        let bound = self.session_runner(task);
        if bound.is_some_and(|runner| self.roster.of_runner(runner).is_none()) {
            // It has a lease_ttl to come back; what then happens is the session's affair.
            return true;
        }
        let mut links = self.roster.with_type(&task.spec.task_type).filter(|link| link.handler_for(task).is_some());
        links.any(|link| bound.is_none_or(|runner| *runner == link.runner))
    }

    fn cut_lease(&mut self, now: Now, id: TaskId, link: LinkId) {
        let Some(task) = self.ledger.task(id) else { return };
        let Some(handler) = self.roster.get(link).and_then(|link| link.handler_for(task)) else { return };
        let idempotent = handler.idempotent;
        let seat = Seat::at(handler, task.spec.kind);
        let class = seat.class.clone();
        self.waiting.unqueue(task);
        let lease = LeaseId(self.allot());
        let Some(held) = self.roster.get_mut(link) else { return };
        held.hold(lease, Use { task: id, seat, undecided: true });
        let runner = held.runner.clone();
        let attempt = self.ledger.task(id).map_or(1, |task| task.attempt);
        self.note(Note::Assigned { task: id, runner: runner.clone(), attempt });
        self.record(scope_of(id), Record::LeaseCut { lease, runner, class, idempotent, at: now.wall });
        self.timers.clear(&Timer::RunnerExpiry(id));
        self.timers.clear(&Timer::Retry(id));
        self.timers.set(Timer::AcceptExpiry(lease), now.mono + self.config.accept_timeout);
        self.send_assignment(now, link, id);
    }

    /// Hands a task over under its lease in force, for the first time or again.
    pub(super) fn send_assignment(&mut self, now: Now, link: LinkId, id: TaskId) {
        let Some(task) = self.ledger.task(id) else { return };
        let (Some(lease), Some(peer)) = (task.lease(), self.roster.get(link)) else { return };
        let Some(handler) = peer.handler_for(task) else { return };
        let deadline = self.timers.get(&Timer::Deadline(id)).map(|at| at.since(now.mono));
        let assignment = Assignment {
            task: id,
            lease: lease.id,
            upstream: task.upstream.clone(),
            external_id: task.external_id.clone(),
            spec: task.spec.clone(),
            trace_id: task.trace_id,
            attempt: task.attempt,
            attempts_max: if lease.idempotent { self.config.attempts_max } else { 1 },
            acquired: task.times.acquired,
            deadline: task.deadline,
            time_remaining: deadline.into_iter().chain(self.run_limit(Some(handler))).min(),
            cancel_grace: self.config.cancel_grace,
            extensions: handler.extensions.clone(),
            session: task.session.and_then(|session| self.ledger.session(session)).cloned(),
            synthesized: task.own,
        };
        self.send(link, Order::Assign(Box::new(assignment)));
        self.tell_drain_to(link);
    }

    /// Somebody has room: hands out what waits for a type of theirs, each flow its share, then takes more.
    pub(super) fn fill(&mut self, now: Now, link: LinkId) {
        let mut tried = BTreeMap::new();
        // Thousands may wait after a restart, for a few slots: looks at no more of them than there is room.
        let mut room = self.roster.get(link).map(Link::open_types).unwrap_or_default();
        while let Some((flow, place)) = self.waiting.next(&room, &tried) {
            if self.assign(now, place.1) {
                self.waiting.served(&flow, self.weight(&flow.upstream));
                room = self.roster.get(link).map(Link::open_types).unwrap_or_default();
            }
            tried.insert(flow, place);
        }
        self.take_listed(now);
    }

    /// The roster changed: looks at every waiting task, since some may have lost their only runner.
    pub(super) fn assign_waiting(&mut self, now: Now) {
        let mut tried = BTreeMap::new();
        let room: Room = self.waiting.all_types();
        while let Some((flow, place)) = self.waiting.next(&room, &tried) {
            if self.assign(now, place.1) {
                self.waiting.served(&flow, self.weight(&flow.upstream));
            }
            tried.insert(flow, place);
        }
        self.take_listed(now);
    }

    /// What an upstream's turns weigh; one that is not configured any more has the least.
    pub(super) fn weight(&self, upstream: &UpstreamName) -> u32 {
        self.upstreams.get(upstream).map_or(1, |up| up.config.weight)
    }

    /// A lease no longer uses a slot of this link.
    pub(super) fn return_credit(&mut self, now: Now, link: LinkId, lease: LeaseId) {
        let returned = self.roster.get_mut(link).is_some_and(|link| link.release(lease));
        if returned {
            self.fill(now, link);
        }
    }

    /// The assignment did not become work: the task waits again, nothing of it was started.
    pub(super) fn end_assignment(&mut self, now: Now, id: TaskId, word: &str, reason: &str) {
        let Some(task) = self.ledger.task(id) else { return };
        let Some((lease, runner)) = task.lease().map(|lease| (lease.id, lease.runner.clone())) else { return };
        self.timers.clear(&Timer::AcceptExpiry(lease));
        self.record(scope_of(id), Record::AssignmentEnded { lease, reason: word.into(), at: now.wall });
        if self.ledger.task(id).and_then(|task| task.leases.last()).is_some_and(|last| last.lease == lease) {
            self.tell_stages(id, 2);
        }
        self.note(Note::AssignmentEnded { task: id, lease, runner, reason: reason.into() });
    }

    pub(super) fn accept_expired(&mut self, now: Now, lease: LeaseId) {
        let Some(task) = self.ledger.task_of(lease) else { return };
        let (id, runner) = (task.id, task.lease().map(|lease| lease.runner.clone()));
        // Its credit stays with the runner until the runner names the lease finished.
        self.end_assignment(now, id, Reason::AcceptTimeout.word(), "not accepted within accept_timeout");
        if let Some(runner) = runner {
            self.waiting.avoid(id, runner, now.mono, None);
        }
        self.wait(now, id);
    }
}
