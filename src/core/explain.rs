//! Why a task is where it is: finds the one thing that it waits for, whatever its state. A reading; nothing changes by it but the memory
//! of waits that traces tell.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Core,
    effect::NotAcquired,
    id::{SlotClass, TaskId, TaskType, UpstreamName},
    ledger::Intention,
    offers::{Group, Listed},
    past::Past,
    roster::Link,
    status::{TaskName, TaskStatus},
    task::{Lease, Report, State, Task},
    time::{Mono, Now, Wall},
    timer::Timer,
    upstream::Upstream,
    wait::{Cause, Hint, Name, Wait},
};

/// From 0 to 1: types that are spelled less alike than this are no hint.
const NEAREST_MIN: f64 = 0.7;
/// A lease of which only this part is left is about to end. Renewed with each heartbeat, a third of it at most is ever used up.
const LEASE_ENDING_PART: u32 = 4;
/// A runner that was not heard for so many of its intervals is silent: one heartbeat may be late.
const SILENT_AFTER: u32 = 2;
/// Waits remembered of one task; the rest of a long life repeats them.
const WAITS_KEPT_MAX: usize = 32;

/// A wait that began, for the task's trace and its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    pub name: Name,
    pub at: Wall,
}

/// What an operator is told of a task.
#[derive(Clone, Debug)]
pub enum Explained {
    Open(Box<TaskStatus>),
    Past(Past),
}

/// Why nothing of each group is taken right now, with what helps to mend it.
pub(super) type Reasons = BTreeMap<Group, (NotAcquired, Hint)>;

impl Core {
    /// Every task of this name that is here or was of late: the upstreams choose the names, so there may be several.
    pub fn explain(&self, now: Now, name: &TaskName) -> Vec<Explained> {
        let is_it = |status: &TaskStatus| match name {
            TaskName::Ours(task) => status.task == Some(*task),
            TaskName::Theirs(external_id) => status.external_id == *external_id,
        };
        let mut found: Vec<Explained> = self
            .ledger
            .tasks()
            .filter(|task| match name {
                TaskName::Ours(id) => task.id == *id,
                TaskName::Theirs(external_id) => task.external_id == *external_id,
            })
            .map(|task| Explained::Open(Box::new(self.task_status(now, task))))
            .collect();
        let others = self.intention_statuses(now).chain(self.listed_statuses(now));
        found.extend(others.filter(is_it).map(|status| Explained::Open(Box::new(status))));
        if found.is_empty() {
            found.extend(self.pasts.find(name).into_iter().cloned().map(Explained::Past));
        }
        found
    }

    // === on offer ===

    pub(super) fn hinted_reasons(&self, now: Now, up: &Upstream) -> Reasons {
        let hinted = |(group, reason): (Group, NotAcquired)| {
            let hint = match (&reason, &group) {
                (NotAcquired::NoRunner, Group::Usual(task_type, ..)) => self.nearest(task_type),
                (NotAcquired::NoSlot { class }, Group::Usual(task_type, ..)) => self.slots_of(task_type, class),
                _ => Hint::default(),
            };
            (group, (reason, hint))
        };
        self.reasons_now(now, up).into_iter().map(hinted).collect()
    }

    pub(super) fn listed_wait(&self, now: Now, up: &Upstream, listed: &Listed, reasons: &Reasons) -> Wait {
        let left = reasons.get(&listed.group()).cloned();
        // What is kept apart has no other reason than the one of its listing.
        let left = left.or_else(|| Some((listed.reason.clone().filter(|_| listed.apart)?, Hint::default())));
        let reason = left.as_ref().map(|(reason, _)| reason);
        let since = if reason.map(NotAcquired::reason) == listed.reason.as_ref().map(NotAcquired::reason) {
            listed.since
        } else {
            self.since_of(now, up, reason)
        };
        match left {
            Some((reason, hint)) if !self.is_cut_off(up, Some(&reason)) => {
                Wait { cause: Cause::Left { reason, hint }, since, deadline: None }
            }
            None if !self.is_cut_off(up, None) => Wait { cause: Cause::Turn, since: listed.since, deadline: None },
            _ => {
                let name = &up.config.name;
                let cause = Cause::UpstreamUnreachable {
                    upstream: name.clone(),
                    failures: up.poll_failures,
                    error: up.last_error.clone().unwrap_or_default(),
                };
                let deadline = self.wall_of(now, &Timer::Poll(name.clone()));
                Wait { cause, since: up.failing_since.unwrap_or(listed.since), deadline }
            }
        }
    }

    /// The name of the wait of an offer, without what a sentence would need.
    pub(super) fn left_name(&self, up: &Upstream, reason: Option<&NotAcquired>) -> Name {
        match reason {
            reason if self.is_cut_off(up, reason) => Name::UpstreamUnreachable,
            Some(reason) => Cause::Left { reason: reason.clone(), hint: Hint::default() }.name(),
            None => Name::Turn,
        }
    }

    /// Whether what keeps an offer from being taken is that its upstream can't be reached. What lasts is said before that.
    fn is_cut_off(&self, up: &Upstream, reason: Option<&NotAcquired>) -> bool {
        let passes = match reason {
            None | Some(NotAcquired::UpstreamSilent | NotAcquired::NoSlot { .. } | NotAcquired::StartRate { .. }) => {
                true
            }
            Some(_) => false,
        };
        passes && up.denied.is_none() && up.last_error.is_some()
    }

    /// Since when an offer that was not judged since is left for this reason.
    fn since_of(&self, now: Now, up: &Upstream, reason: Option<&NotAcquired>) -> Wall {
        match (reason, &self.drain) {
            (Some(NotAcquired::Draining), Some(drain)) => drain.began,
            _ => self.ledger.pause(&up.config.name).map_or(now.wall, |(_, aside)| aside.since),
        }
    }

    // === being acquired ===

    pub(super) fn intention_wait(&self, now: Now, id: TaskId, intention: &Intention) -> Wait {
        let upstream = intention.upstream.clone();
        let acquire = self.upstreams.get(&upstream).and_then(|up| up.acquires.get(&id));
        if acquire.is_some_and(|acquire| acquire.in_flight && !acquire.silent) {
            return Wait { cause: Cause::Acquire { upstream }, since: intention.at, deadline: None };
        }
        let deadline = self.wall_of(now, &Timer::IntentionExpiry(id));
        Wait { cause: Cause::AcquireRecovery { upstream }, since: intention.at, deadline }
    }

    // === ours ===

    pub(super) fn wait_of(&self, now: Now, task: &Task) -> Wait {
        let (cause, since, deadline) = match &task.state {
            State::Waiting { since } => {
                let (cause, deadline) = self.waiting_cause(now, task);
                (cause, *since, deadline)
            }
            State::Assigned(lease) => {
                let deadline = self.wall_of(now, &Timer::AcceptExpiry(lease.id));
                (Cause::Accept { runner: lease.runner.clone() }, lease.cut, deadline)
            }
            State::Accepted(lease) => self.running_cause(now, task, lease),
            State::Finished { at, .. } => {
                let (cause, deadline) = self.report_cause(now, task);
                (cause, *at, deadline)
            }
        };
        Wait { cause, since, deadline }
    }

    fn waiting_cause(&self, now: Now, task: &Task) -> (Cause, Option<Wall>) {
        if let Some(reason) = self.store_failing.clone() {
            return (Cause::Journal { reason }, None);
        }
        if let Some(cause) = self.session_wait(now, task) {
            return cause;
        }
        let task_type = &task.spec.task_type;
        let (mut class, mut idle, mut later) = (None, None, None::<Mono>);
        for link in self.roster.with_type(task_type) {
            let Some(handler) = link.handler_for(task) else { continue };
            if !self.session_allows(link, task) {
                continue;
            }
            if let Some(why) = self.idle_for(link, task) {
                idle.get_or_insert_with(|| Cause::RunnerIdle { runner: link.runner.clone(), why });
            } else if let Some(at) = self.waiting.earliest(task.id, &link.runner, now.mono) {
                later = Some(later.map_or(at, |earlier| earlier.min(at)));
            } else {
                class.get_or_insert_with(|| handler.class.clone());
            }
        }
        match (later, class) {
            (Some(at), _) => (Cause::Retry, Some(now.wall + at.since(now.mono))),
            (None, Some(class)) => {
                let hint = self.slots_of(task_type, &class);
                (Cause::Slot { class, hint }, None)
            }
            (None, None) => idle.map_or_else(
                || {
                    let cause = Cause::NoRunner { task_type: task_type.clone(), hint: self.nearest(task_type) };
                    (cause, self.wall_of(now, &Timer::RunnerExpiry(task.id)))
                },
                |idle| (idle, None),
            ),
        }
    }

    fn running_cause(&self, now: Now, task: &Task, lease: &Lease) -> (Cause, Wall, Option<Wall>) {
        let runner = lease.runner.clone();
        if let Some(cancel) = &task.cancel {
            let deadline = self.wall_of(now, &Timer::CancelExpiry(task.id));
            return (Cause::CancelGrace { runner, message: cancel.message.clone() }, cancel.at, deadline);
        }
        let began = lease.started.or(lease.accepted).unwrap_or(lease.cut);
        let link = self.roster.of_runner(&runner);
        if let Some(at) = self.timers.get(&Timer::LeaseExpiry(lease.id)) {
            let left = at.since(now.mono);
            let end = Some(now.wall + left);
            let margin = if lease.idempotent { self.config.reassign_margin } else { std::time::Duration::ZERO };
            let unheard = (self.config.lease_ttl + margin).saturating_sub(left);
            let renewed = Wall(now.wall.0.saturating_sub(i64::try_from(unheard.as_micros()).unwrap_or(0)));
            if left <= self.config.lease_ttl / LEASE_ENDING_PART {
                let repeats = lease.idempotent && task.attempt < self.config.attempts_max;
                return (Cause::LeaseEnding { runner, repeats }, renewed, end);
            }
            let attached = link.is_some();
            let heard = |link: &Link| now.wall.since(link.last_seen) <= self.config.heartbeat_interval * SILENT_AFTER;
            if !link.is_some_and(heard) {
                let since = link.map_or(renewed, |link| link.last_seen);
                return (Cause::RunnerSilent { runner, attached }, since, end);
            }
        }
        let progress = self.progress.get(&lease.id).cloned();
        (Cause::Runner { runner, progress }, began, self.wall_of(now, &Timer::Deadline(task.id)))
    }

    fn report_cause(&self, now: Now, task: &Task) -> (Cause, Option<Wall>) {
        let upstream = task.upstream.clone();
        let report = match &task.state {
            State::Finished { report: Report::Dead { reason, .. }, .. } => {
                return (Cause::DeadLetter { reason: reason.clone() }, None);
            }
            State::Finished { report: Report::Nowhere, .. } => return (Cause::Nothing, None),
            State::Finished { report, .. } => report,
            _ => return (Cause::Nothing, None),
        };
        if let Some(at) = self.wall_of(now, &Timer::LogWait(task.id)) {
            return (Cause::Logs, Some(at));
        }
        let up = self.upstreams.get(&task.upstream);
        let Some(clock) = up.and_then(|up| up.reports.get(&task.id)) else {
            return (Cause::UpstreamUnconfigured { upstream }, None);
        };
        let no_answer = || Arc::from("no answer");
        // What its steps came to is told before the result.
        let tell = up.and_then(|up| up.untold.get(&task.id)).filter(|tell| !tell.over);
        let retry = match (self.wall_of(now, &Timer::Report(task.id)), tell) {
            (Some(at), _) => Some((at, clock.tries, clock.last_error.clone())),
            (None, Some(tell)) => {
                self.wall_of(now, &Timer::Tell(task.id)).map(|at| (at, tell.tries, tell.last_error.clone()))
            }
            (None, None) => None,
        };
        match (retry, report) {
            (Some((at, tries, error)), _) => {
                let error = error.unwrap_or_else(no_answer);
                (Cause::ReportRetry { upstream, tries, error }, Some(at))
            }
            (None, Report::HandBack { .. }) => (Cause::HandBack { upstream }, None),
            (None, _) => (Cause::Report { upstream }, None),
        }
    }

    // === hints ===

    /// The attached type that is spelled most like this one.
    fn nearest(&self, task_type: &TaskType) -> Hint {
        let likeness = |other: &TaskType| strsim::jaro_winkler(task_type.as_str(), other.as_str());
        let types = self.roster.task_types().map(|other| (likeness(other), other));
        let nearest = types.filter(|(likeness, _)| *likeness >= NEAREST_MIN).max_by(|a, b| a.0.total_cmp(&b.0));
        let nearest = nearest.and_then(|(_, other)| {
            let runner = self.roster.with_type(other).next()?.runner.clone();
            Some((other.clone(), runner))
        });
        Hint { nearest, slots: None }
    }

    fn slots_of(&self, task_type: &TaskType, class: &SlotClass) -> Hint {
        let links = self.roster.with_type(task_type).map(|link| link.use_of(class));
        let sum = links.fold((0u32, 0u32), |(used, slots), (more_used, more)| {
            (used.saturating_add(more_used), slots.saturating_add(more))
        });
        Hint { nearest: None, slots: Some(sum) }
    }

    fn wall_of(&self, now: Now, timer: &Timer) -> Option<Wall> {
        self.timers.get(timer).map(|at| now.wall + at.since(now.mono))
    }

    // === the memory of waits ===

    /// Remembers what a task waits for from here on, unless it did before.
    pub(super) fn note_wait(&mut self, now: Now, id: TaskId) {
        let wait = match (self.ledger.task(id), self.ledger.intention(id)) {
            (Some(task), _) => self.wait_of(now, task),
            (None, Some(intention)) => self.intention_wait(now, id, intention),
            (None, None) => return,
        };
        remember(self.waits.entry(id).or_default(), wait.name(), now.wall);
    }

    /// The waits of a task that this process saw, in order.
    pub(super) fn waits(&self, id: TaskId) -> &[Waited] {
        self.waits.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The upstream can't be asked what it lists: why not, for a task that nobody here knows.
    pub fn cut_off_upstreams(&self) -> Vec<(UpstreamName, &'static str, Option<Arc<str>>)> {
        let cut_off = |(name, up): (&UpstreamName, &Upstream)| {
            let state = self.upstream_state(name, up);
            (state != "registered").then(|| (name.clone(), state, up.last_error.clone()))
        };
        self.upstreams.iter().filter_map(cut_off).collect()
    }
}

/// Adds a wait to the waits of one task.
pub(super) fn remember(waits: &mut Vec<Waited>, name: Name, at: Wall) {
    if waits.last().is_none_or(|last| last.name != name) && waits.len() < WAITS_KEPT_MAX {
        waits.push(Waited { name, at });
    }
}
