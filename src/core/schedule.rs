//! Which runner gets which waiting task. Never decides whether a task is acquired: that is intake's.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

use super::{
    Core,
    effect::{Assignment, Note, Order},
    id::{LeaseId, LinkId, RunnerId, TaskId, TaskType},
    record::{Record, scope_of},
    roster::{Link, Use},
    task::{Priority, State},
    time::{Mono, Now},
    timer::Timer,
};

/// A runner that rejected a task is not asked again for at least this long.
const REJECTED_PAUSE_MIN: Duration = Duration::from_secs(1);

/// Tasks without a lease, by what they wait for.
#[derive(Debug, Default)]
pub struct Waiting {
    by_type: BTreeMap<TaskType, BTreeSet<(Priority, TaskId)>>,
    /// Runners that rejected a task, and until when they are left alone with it.
    avoided: BTreeMap<TaskId, BTreeMap<RunnerId, Mono>>,
    /// A task that is not to be tried anywhere before a time.
    not_before: BTreeMap<TaskId, Mono>,
    /// Tasks acquired and without a result, waiting or not.
    pub unfinished: usize,
}

// === impl Waiting ===

impl Waiting {
    pub fn forget(&mut self, task: &super::task::Task) {
        self.unqueue(task);
        self.avoided.remove(&task.id);
        self.not_before.remove(&task.id);
    }

    fn queue(&mut self, task: &super::task::Task) {
        self.by_type.entry(task.spec.task_type.clone()).or_default().insert((task.spec.priority, task.id));
    }

    fn unqueue(&mut self, task: &super::task::Task) {
        if let Some(queue) = self.by_type.get_mut(&task.spec.task_type) {
            queue.remove(&(task.spec.priority, task.id));
            if queue.is_empty() {
                self.by_type.remove(&task.spec.task_type);
            }
        }
    }

    /// The most urgent and oldest task of these types that comes after `last`.
    fn next_after(&self, types: &BTreeSet<TaskType>, last: Option<(Priority, TaskId)>) -> Option<(Priority, TaskId)> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let queues = types.iter().filter_map(|task_type| self.by_type.get(task_type));
        queues.filter_map(|queue| queue.range((from, Bound::Unbounded)).next().copied()).min()
    }

    /// Leaves `runner` alone with the task; everyone else may have it after `delay`.
    pub fn avoid(&mut self, task: TaskId, runner: RunnerId, now: Mono, delay: Option<Duration>) {
        let delay = delay.unwrap_or_default();
        self.avoided.entry(task).or_default().insert(runner, now + delay.max(REJECTED_PAUSE_MIN));
        self.delay(task, now, delay);
    }

    pub fn delay(&mut self, task: TaskId, now: Mono, delay: Duration) {
        if !delay.is_zero() {
            self.not_before.insert(task, now + delay);
        }
    }

    /// When the task may be tried on this runner, if not now.
    pub fn earliest(&self, task: TaskId, runner: &RunnerId, now: Mono) -> Option<Mono> {
        let anywhere = self.not_before.get(&task).copied();
        let here = self.avoided.get(&task).and_then(|runners| runners.get(runner)).copied();
        anywhere.max(here).filter(|at| *at > now)
    }
}

impl Core {
    /// The task has no lease: gives it one now or as soon as somebody has room.
    pub(super) fn wait(&mut self, now: Now, id: TaskId) {
        let Some(task) = self.ledger.task(id) else { return };
        if let Some(what) = task.spec.unsupported.clone() {
            return self.refuse_unsupported(now, id, &what);
        }
        self.waiting.queue(task);
        self.assign(now, id);
    }

    /// Tries to find a runner for one waiting task.
    pub(super) fn assign(&mut self, now: Now, id: TaskId) {
        let Some(task) = self.ledger.task(id) else { return };
        if self.store_failing.is_some() || !matches!(task.state, State::Waiting { .. }) {
            return;
        }
        let mut served = false;
        let mut later: Option<Mono> = None;
        let mut best: Option<(u32, LinkId)> = None;
        for link in self.roster.with_type(&task.spec.task_type) {
            let Some(handler) = link.handler_for(task) else { continue };
            served = true;
            if !link.takes_work() {
                continue;
            }
            if let Some(at) = self.waiting.earliest(id, &link.runner, now.mono) {
                later = Some(later.map_or(at, |earlier: Mono| earlier.min(at)));
                continue;
            }
            let free = link.free(&handler.class);
            if free > best.map_or(0, |(free, _)| free) {
                best = Some((free, link.id));
            }
        }
        match best {
            Some((_, link)) => self.cut_lease(now, id, link),
            None => {
                if let Some(at) = later {
                    self.timers.set(Timer::Retry(id), at);
                }
                if served {
                    self.timers.clear(&Timer::RunnerExpiry(id));
                } else if self.timers.get(&Timer::RunnerExpiry(id)).is_none() {
                    self.timers.set(Timer::RunnerExpiry(id), now.mono + self.config.no_runner_timeout);
                }
            }
        }
    }

    fn cut_lease(&mut self, now: Now, id: TaskId, link: LinkId) {
        let Some(task) = self.ledger.task(id) else { return };
        let Some(handler) = self.roster.get(link).and_then(|link| link.handler_for(task)) else { return };
        let (class, idempotent) = (handler.class.clone(), handler.idempotent);
        self.waiting.unqueue(task);
        let lease = LeaseId(self.allot());
        let Some(held) = self.roster.get_mut(link) else { return };
        held.held.insert(lease, Use { task: id, class: class.clone(), undecided: true });
        let runner = held.runner.clone();
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
            time_remaining: match (deadline, handler.default_timeout) {
                (Some(left), Some(own)) => Some(left.min(own)),
                (left, own) => left.or(own),
            },
            cancel_grace: self.config.cancel_grace,
            extensions: handler.extensions.clone(),
        };
        self.send(link, Order::Assign(Box::new(assignment)));
    }

    /// Somebody has room: hands out what waits for a type of theirs, the most urgent and oldest first, then takes more.
    pub(super) fn fill(&mut self, now: Now, link: LinkId) {
        let types: BTreeSet<TaskType> = match self.roster.get(link) {
            Some(link) if link.takes_work() => link.handlers.iter().map(|handler| handler.task_type.clone()).collect(),
            _ => return,
        };
        // Thousands may wait after a restart, for a few slots: looks at no more of them than there is room.
        let mut last = None;
        while self.roster.get(link).is_some_and(Link::has_room)
            && let Some(next) = self.waiting.next_after(&types, last)
        {
            last = Some(next);
            self.assign(now, next.1);
        }
        self.take_listed(now);
    }

    /// The roster changed: looks at every waiting task, since some may have lost their only runner.
    pub(super) fn assign_waiting(&mut self, now: Now) {
        let mut waiting: Vec<(Priority, TaskId)> = self.waiting.by_type.values().flatten().copied().collect();
        waiting.sort_unstable();
        for (_, task) in waiting {
            self.assign(now, task);
        }
        self.take_listed(now);
    }

    /// A lease no longer uses a slot of this link.
    pub(super) fn return_credit(&mut self, now: Now, link: LinkId, lease: LeaseId) {
        let returned = self.roster.get_mut(link).is_some_and(|link| link.held.remove(&lease).is_some());
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
        self.end_assignment(now, id, "ACCEPT_TIMEOUT", "not accepted within accept_timeout");
        if let Some(runner) = runner {
            self.waiting.avoid(id, runner, now.mono, None);
        }
        self.wait(now, id);
    }
}
