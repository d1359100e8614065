//! A task's life at the manager: queued, assigned, answered. Every change of a task's state is made here, under the one lock.
//!
//! ```text
//!               acquire               first answer
//!   Queued ──────────────────► Assigned ──────────────► Reported
//!     │  ▲                      │ │ │                       ▲
//!     │  └── hand-back ─────────┘ │ └─ abort ─► Aborted ────┘
//!     │                           │
//!     │ abort, not assigned       │ timed out, delegate gone
//!     └───────────► Failed ◄──────┘
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    delegates::Delegates,
    options::HandBack,
    record::{Abort, Acquire, Acquired, Answer, At, Dialect, Failure, Poll, Record, Spec, TaskRecord, TaskState},
};

/// The state behind the lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) record: Record,
    pub(super) delegates: Delegates,
    hand_back: HandBack,
    finished_tasks_max: usize,
    /// Queued tasks by number, sync ones first.
    queued: [BTreeMap<u64, Arc<Spec>>; 2],
    /// Aborts not told yet, by delegate, in order.
    owed_aborts: HashMap<Arc<str>, Vec<Arc<str>>>,
    deadlines: BTreeSet<(Instant, Arc<str>)>,
    /// Tasks that are over, oldest first: the order of forgetting.
    finished: VecDeque<Arc<str>>,
    /// Acquires to hand out without assigning, by task.
    unassigned: HashMap<Arc<str>, u32>,
    /// Types that were ever submitted; with the built-in ones, the manager's enum.
    task_types: HashSet<String>,
}

/// Whose poll it is; each family is offered its own tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Legacy,
    Runner,
}

/// What a poll lists.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) tasks: Vec<Arc<Spec>>,
    pub(super) aborts: Vec<Arc<str>>,
}

impl State {
    pub(super) fn new(delegates: Delegates, hand_back: HandBack, finished_tasks_max: usize) -> Self {
        Self {
            record: Record::default(),
            delegates,
            hand_back,
            finished_tasks_max,
            queued: Default::default(),
            owed_aborts: HashMap::new(),
            deadlines: BTreeSet::new(),
            finished: VecDeque::new(),
            unassigned: HashMap::new(),
            task_types: HashSet::new(),
        }
    }

    pub(super) fn knows_type(&self, task_type: &str) -> bool {
        self.task_types.contains(task_type)
    }

    pub(super) fn knows_task(&self, id: &str) -> bool {
        self.record.tasks.contains_key(id)
    }

    pub(super) fn submit(&mut self, spec: Spec, queue_timeout: Option<Duration>, now: At) {
        let spec = Arc::new(spec);
        if !self.task_types.contains(&spec.task_type) {
            self.task_types.insert(spec.task_type.clone());
        }
        let expires = queue_timeout.map(|timeout| now.mono + timeout);
        self.deadlines.extend(expires.map(|expires| (expires, Arc::clone(&spec.id))));
        self.queued[usize::from(!spec.sync)].insert(spec.number, Arc::clone(&spec));
        self.record.totals.submitted += 1;
        let task = TaskRecord {
            state: TaskState::Queued { expires },
            submitted_at: now,
            listed: 0,
            first_listed_at: None,
            last_listed_at: None,
            acquires: Default::default(),
            first_assigned_at: None,
            abort: None,
            effective: None,
            repeats: Default::default(),
            conflicts: 0,
            late: Default::default(),
            hand_backs: Default::default(),
            tried: Vec::new(),
            spec,
        };
        self.record.tasks.insert(Arc::clone(&task.spec.id), task);
    }

    /// What the delegate's poll lists: sync tasks, async tasks, aborts (wire reference, 7). Listing a task changes nothing; listing an
    /// abort is the only time it is told.
    pub(super) fn list(
        &mut self,
        delegate: &str,
        family: Family,
        sync_only: bool,
        tasks_max: usize,
        now: At,
    ) -> Listing {
        let mut listing = Listing::default();
        let id = self.delegates.id(delegate);
        if let Some(delegate) = self.delegates.get(delegate).filter(|delegate| delegate.has_room()) {
            let queues = if sync_only { &self.queued[..1] } else { &self.queued[..] };
            for spec in queues.iter().flat_map(BTreeMap::values) {
                if listing.tasks.len() == tasks_max {
                    break;
                }
                if spec.runner.is_some() != (family == Family::Runner) {
                    continue;
                }
                if !(spec.listed_to_all || delegate.supports(&spec.task_type)) {
                    continue;
                }
                let Some(task) = self.record.tasks.get_mut(&spec.id) else { continue };
                if task.tried.contains(&id) {
                    continue;
                }
                task.listed += 1;
                task.first_listed_at.get_or_insert(now);
                task.last_listed_at = Some(now);
                listing.tasks.push(Arc::clone(spec));
            }
        }
        if !sync_only {
            listing.aborts = self.owed_aborts.remove(&id).unwrap_or_default();
            for aborted in &listing.aborts {
                if let Some(abort) = self.record.tasks.get_mut(aborted).and_then(|task| task.abort.as_mut()) {
                    abort.listed_at = Some(now);
                }
            }
        }
        let poll = Poll { at: now, delegate: id, tasks: listing.tasks.len(), aborts: listing.aborts.len() };
        self.record.polls.push(poll);
        listing
    }

    /// One acquire (wire reference, 8): the task if it is handed out, and whether it is assigned now.
    pub(super) fn acquire(
        &mut self,
        id: &str,
        delegate: &str,
        instance: Option<&str>,
        now: At,
    ) -> Option<(Arc<Spec>, Acquired)> {
        let known = self.delegates.get(delegate).is_some();
        let delegate = self.delegates.id(delegate);
        // The Go client names its delegate as instance, too: then both share one allocation.
        let instance: Option<Arc<str>> = instance.map(|instance| match instance == &*delegate {
            true => Arc::clone(&delegate),
            false => instance.into(),
        });
        let task = self.record.tasks.get_mut(id)?;
        let outcome = match &task.state {
            _ if !known => Acquired::Refused,
            TaskState::Queued { .. } if take_one(&mut self.unassigned, id) => Acquired::Unassigned,
            TaskState::Queued { .. } => Acquired::Assigned,
            TaskState::Assigned { delegate: holder, instance: held_by, .. }
                if *holder == delegate && instance.as_ref() == Some(held_by) =>
            {
                Acquired::Again
            }
            _ => Acquired::Refused,
        };
        task.acquires.push(Acquire { at: now, delegate: Arc::clone(&delegate), instance: instance.clone(), outcome });
        let spec = Arc::clone(&task.spec);
        match outcome {
            Acquired::Refused => return None,
            Acquired::Again | Acquired::Unassigned => {}
            Acquired::Assigned => {
                task.first_assigned_at.get_or_insert(now);
                let expires = now.mono + spec.timeout;
                // Without an instance id the task is assigned, but can't be handed out again.
                let instance = instance.unwrap_or_default();
                self.delegates.assigned(&delegate);
                self.enter(&spec.id, TaskState::Assigned { delegate, instance, expires });
            }
        }
        Some((spec, outcome))
    }

    /// Takes an answer in. The first one for a live task counts, whoever sends it (wire reference, 9.1; 17.2, 8).
    pub(super) fn answer(&mut self, id: &str, answer: Answer) {
        let totals = &mut self.record.totals;
        let Some(task) = self.record.tasks.get_mut(id) else {
            self.record.strays.push(answer);
            return;
        };
        if let Some(effective) = &task.effective {
            totals.repeats += 1;
            if !effective.same_as(&answer) {
                totals.conflicts += 1;
                task.conflicts += 1;
            }
            task.repeats.push(answer);
            return;
        }
        let holder = match &task.state {
            TaskState::Reported | TaskState::Failed(_) => {
                totals.late += 1;
                task.late.push(answer);
                return;
            }
            TaskState::Assigned { delegate, .. } => Some(Arc::clone(delegate)),
            TaskState::Queued { .. } | TaskState::Aborted => None,
        };
        let spec = Arc::clone(&task.spec);
        if let Some(holder) = holder
            && answer.dialect == Dialect::A
            && answer.code == "RETRY_ON_OTHER_DELEGATE"
            && self.takes_back(&spec, &holder)
        {
            self.hand_back(&spec, holder, answer);
            return;
        }
        if let Some(task) = self.record.tasks.get_mut(id) {
            task.effective = Some(answer);
        }
        self.record.totals.effective += 1;
        self.enter(id, TaskState::Reported);
    }

    /// Aborts a task: whether its delegate will be told. Sync and queued tasks just end; so does nothing that is over already.
    pub(super) fn abort(&mut self, id: &str, now: At) -> bool {
        let Some(task) = self.record.tasks.get_mut(id) else { return false };
        let next = match &task.state {
            TaskState::Queued { .. } => TaskState::Failed(Failure::AbortedInQueue),
            TaskState::Assigned { .. } => TaskState::Aborted,
            TaskState::Aborted | TaskState::Reported | TaskState::Failed(_) => return false,
        };
        task.abort = Some(Abort { asked_at: now, listed_at: None });
        let told = match &task.state {
            TaskState::Assigned { delegate, .. } if !task.spec.sync => Some(Arc::clone(delegate)),
            _ => None,
        };
        let id = Arc::clone(&task.spec.id);
        self.enter(&id, next);
        let is_told = told.is_some();
        if let Some(delegate) = told {
            self.owed_aborts.entry(delegate).or_default().push(id);
        }
        is_told
    }

    /// When [`State::expire`] has something to do next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Fails what is past its time: whether there was any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some((at, _)) = self.deadlines.first()
            && *at <= now
            && let Some((_, id)) = self.deadlines.pop_first()
        {
            let why = match self.record.tasks.get(&id).map(|task| &task.state) {
                Some(TaskState::Queued { .. }) => Failure::NotAssigned,
                _ => Failure::TimedOut,
            };
            self.enter(&id, TaskState::Failed(why));
            any = true;
        }
        any
    }

    /// Lets a task that this delegate has run for its whole timeout again, from now.
    pub(super) fn extend(&mut self, id: &str, by: &str, now: Instant) {
        let Some(task) = self.record.tasks.get_mut(id) else { return };
        let timeout = task.spec.timeout;
        if let TaskState::Assigned { delegate, expires, .. } = &mut task.state
            && &**delegate == by
        {
            self.deadlines.remove(&(*expires, Arc::clone(&task.spec.id)));
            *expires = now + timeout;
            self.deadlines.insert((*expires, Arc::clone(&task.spec.id)));
        }
    }

    /// Fails all that this delegate has.
    pub(super) fn fail_tasks_of(&mut self, gone: &str) {
        let has =
            |task: &&TaskRecord| matches!(&task.state, TaskState::Assigned { delegate, .. } if &**delegate == gone);
        let ids: Vec<_> = self.record.tasks.values().filter(has).map(|task| Arc::clone(&task.spec.id)).collect();
        for id in ids {
            self.enter(&id, TaskState::Failed(Failure::DelegateGone));
        }
    }

    pub(super) fn hand_out_unassigned(&mut self, id: &str) {
        if let Some((id, _)) = self.record.tasks.get_key_value(id) {
            *self.unassigned.entry(Arc::clone(id)).or_default() += 1;
        }
    }

    fn takes_back(&self, spec: &Spec, holder: &Arc<str>) -> bool {
        let Some(task) = self.record.tasks.get(&spec.id) else { return false };
        match self.hand_back {
            HandBack::ToAnyone => true,
            HandBack::ToOthers => self.delegates.ids().any(|(id, delegate)| {
                id != holder && !task.tried.contains(id) && (spec.listed_to_all || delegate.supports(&spec.task_type))
            }),
        }
    }

    fn hand_back(&mut self, spec: &Arc<Spec>, holder: Arc<str>, answer: Answer) {
        self.enter(&spec.id, TaskState::Queued { expires: None });
        self.queued[usize::from(!spec.sync)].insert(spec.number, Arc::clone(spec));
        self.record.totals.hand_backs += 1;
        if let Some(task) = self.record.tasks.get_mut(&spec.id) {
            task.hand_backs.push(answer);
            if self.hand_back == HandBack::ToOthers {
                task.tried.push(holder);
            }
        }
    }

    /// Leaves the present state, with all that hangs on it, and enters the next.
    fn enter(&mut self, id: &str, next: TaskState) {
        let Some(task) = self.record.tasks.get_mut(id) else { return };
        let id = Arc::clone(&task.spec.id);
        if let TaskState::Assigned { expires, .. } = &next {
            self.deadlines.insert((*expires, Arc::clone(&id)));
        }
        let (queue, number) = (usize::from(!task.spec.sync), task.spec.number);
        let is_over = matches!(next, TaskState::Reported | TaskState::Failed(_));
        let has_failed = matches!(next, TaskState::Failed(_));
        match std::mem::replace(&mut task.state, next) {
            TaskState::Queued { expires } => {
                self.queued[queue].remove(&number);
                if let Some(expires) = expires {
                    self.deadlines.remove(&(expires, Arc::clone(&id)));
                }
            }
            TaskState::Assigned { delegate, expires, .. } => {
                self.deadlines.remove(&(expires, Arc::clone(&id)));
                self.delegates.unassigned(&delegate);
            }
            TaskState::Aborted => self.owed_aborts.values_mut().for_each(|owed| owed.retain(|aborted| *aborted != id)),
            TaskState::Reported | TaskState::Failed(_) => {}
        }
        if is_over {
            self.record.totals.failed += u64::from(has_failed);
            self.unassigned.remove(&id);
            self.finished.push_back(id);
            if self.finished.len() > self.finished_tasks_max
                && let Some(oldest) = self.finished.pop_front()
            {
                self.record.tasks.remove(&oldest);
            }
        }
    }
}

fn take_one(counts: &mut HashMap<Arc<str>, u32>, id: &str) -> bool {
    let Some(left) = counts.get_mut(id) else { return false };
    *left -= 1;
    if *left == 0 {
        counts.remove(id);
    }
    true
}

#[cfg(test)]
mod tests;
