//! The durable state. It changes in one function, live and in replay, so "rebuilt equals live" is one assertion.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    audit::Audit,
    id::{DelegateId, ExternalId, LeaseId, RunnerId, SessionId, TaskId, TraceId, UpstreamName},
    record::{Host, Record},
    session::Session,
    step::Plan,
    task::{
        Finish, Identity, Lease, Offer, Outcome, Output, PastLease, Report, Retry, Spec, State, Task, Times,
        UNACCEPTED_KEPT_MAX,
    },
    time::Wall,
};

/// Everything that survives a crash.
#[derive(Debug, Default, PartialEq)]
pub struct Ledger {
    /// None until the first record.
    delegate: Option<DelegateId>,
    scopes: BTreeMap<u64, Scope>,
    /// Scope of the newest reservation of numbers, and the first number it leaves out.
    reserved: Option<(u64, u64)>,
    registrations: BTreeMap<UpstreamName, u64>,
    /// The open acquisition of each upstream task: an intention, or a task that is not reported.
    open: BTreeMap<(UpstreamName, ExternalId), TaskId>,
    aborts: BTreeMap<(UpstreamName, ExternalId), u64>,
    leases: BTreeMap<LeaseId, TaskId>,
    intentions: BTreeSet<TaskId>,
    dead: BTreeSet<TaskId>,
    sessions: BTreeMap<SessionKey, SessionId>,
    /// By scope, and so by age. Apart from the rest, which is gone through often.
    audits: BTreeMap<u64, Arc<Audit>>,
    /// Tasks without a result, by the session they have joined.
    members: BTreeMap<SessionId, BTreeSet<TaskId>>,
    /// Upstreams and runners that the operator has taken out, by the scope that says so.
    paused: BTreeMap<UpstreamName, u64>,
    drained: BTreeMap<RunnerId, u64>,
}

/// Upstream, tenant and the upstream's name for the stage: the same name of another tenant is another session.
type SessionKey = (UpstreamName, Arc<str>, Arc<str>);

/// What one scope holds, and how many rows say so.
#[derive(Debug, PartialEq)]
struct Scope {
    rows: u32,
    content: Content,
}

#[derive(Debug, PartialEq)]
enum Content {
    Delegate,
    Reservation,
    Registration { upstream: UpstreamName, delegate_id: Arc<str>, host: Host },
    Abort { upstream: UpstreamName, external_id: ExternalId, at: Wall },
    Intention(Intention),
    Task(Box<Task>),
    Session(Arc<Session>),
    Pause { upstream: UpstreamName, aside: Aside },
    RunnerDrain { runner: RunnerId, aside: Aside },
}

/// An upstream or a runner that the operator has taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    pub reason: Arc<str>,
    pub since: Wall,
    /// When what a runner still does is stopped; absent: never.
    pub ends: Option<Wall>,
}

/// An acquire that has left or is about to, and has no answer in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Intention {
    pub upstream: UpstreamName,
    pub external_id: ExternalId,
    pub identity: Arc<Identity>,
    pub offer: Offer,
    pub at: Wall,
}

/// A record that does not fit the state it is applied to: a bug when live, a damaged journal in replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    pub scope: u64,
    pub what: &'static str,
}

// === impl Ledger ===

impl Ledger {
    /// Makes `record` part of the state.
    ///
    /// # Errors
    /// If the record can't follow what the scope holds; the ledger is unchanged then.
    pub fn apply(&mut self, scope: u64, record: &Record) -> Result<(), Misfit> {
        let misfit = |what| Misfit { scope, what };
        if record.opens_scope() && (self.scopes.contains_key(&scope) || self.audits.contains_key(&scope)) {
            return Err(misfit("a scope that is open already"));
        }
        match record {
            Record::DelegateCreated { delegate } => {
                self.delegate = Some(*delegate);
                self.open_scope(scope, Content::Delegate);
            }
            Record::NumbersReserved { below } => {
                self.reserved = self.reserved.max(Some((scope, *below)));
                self.open_scope(scope, Content::Reservation);
            }
            Record::DelegateRegistered { upstream, delegate_id, host } => {
                self.registrations.insert(upstream.clone(), scope);
                let (upstream, delegate_id, host) = (upstream.clone(), delegate_id.clone(), host.clone());
                self.open_scope(scope, Content::Registration { upstream, delegate_id, host });
            }
            Record::AbortNoted { upstream, external_id, at } => {
                self.aborts.insert((upstream.clone(), external_id.clone()), scope);
                let (upstream, external_id) = (upstream.clone(), external_id.clone());
                self.open_scope(scope, Content::Abort { upstream, external_id, at: *at });
            }
            Record::IntentionOpened { upstream, external_id, identity, offer, at } => {
                self.open.insert((upstream.clone(), external_id.clone()), TaskId(scope));
                self.intentions.insert(TaskId(scope));
                let intention = Intention {
                    upstream: upstream.clone(),
                    external_id: external_id.clone(),
                    identity: identity.clone(),
                    offer: *offer,
                    at: *at,
                };
                self.open_scope(scope, Content::Intention(intention));
            }
            Record::TaskTaken { spec, trace_id, at } => {
                let held = self.scopes.get_mut(&scope).ok_or(misfit("a task without an intention"))?;
                let Content::Intention(intention) = &held.content else {
                    return Err(misfit("a task without an intention"));
                };
                let task = taken(TaskId(scope), intention, spec.clone(), *trace_id, *at);
                held.content = Content::Task(Box::new(task));
                held.rows += 1;
                self.intentions.remove(&TaskId(scope));
            }
            Record::SessionOpened { upstream, tenant, external_id, phase, setup, at, expires } => {
                let id = SessionId(scope);
                let session = Session {
                    id,
                    upstream: upstream.clone(),
                    tenant: tenant.clone(),
                    external_id: external_id.clone(),
                    phase: *phase,
                    version: 1,
                    state: None,
                    sensitive_state: None,
                    variables: BTreeMap::new(),
                    runner: None,
                    started: false,
                    setup: setup.clone(),
                    created: *at,
                    expires: *expires,
                };
                self.sessions.insert((upstream.clone(), tenant.clone(), external_id.clone()), id);
                self.open_scope(scope, Content::Session(Arc::new(session)));
            }
            Record::CleanupSynthesized { session, upstream, external_id, spec, trace_id, at } => {
                let (delegate_id, instance_id) = (Arc::from(""), Arc::from(""));
                let intention = Intention {
                    upstream: upstream.clone(),
                    external_id: external_id.clone(),
                    identity: Arc::new(Identity { delegate_id, instance_id }),
                    offer: Offer { polled: *at, listed: *at },
                    at: *at,
                };
                let id = TaskId(scope);
                let mut task = taken(id, &intention, spec.clone(), *trace_id, *at);
                (task.session, task.own) = (Some(*session), true);
                self.members.entry(*session).or_default().insert(id);
                self.open_scope(scope, Content::Task(Box::new(task)));
            }
            Record::UpstreamPaused { upstream, reason, at } => {
                self.paused.insert(upstream.clone(), scope);
                let aside = Aside { reason: reason.clone(), since: *at, ends: None };
                self.open_scope(scope, Content::Pause { upstream: upstream.clone(), aside });
            }
            Record::RunnerDrained { runner, reason, at, ends } => {
                self.drained.insert(runner.clone(), scope);
                let aside = Aside { reason: reason.clone(), since: *at, ends: *ends };
                self.open_scope(scope, Content::RunnerDrain { runner: runner.clone(), aside });
            }
            Record::SessionStarted { .. }
            | Record::SessionReady
            | Record::SessionExtended { .. }
            | Record::SessionClosing
            | Record::SessionOrphaned
            | Record::SessionStateSet { .. }
            | Record::VariablesExported { .. } => {
                let held = self.scopes.get_mut(&scope).ok_or(misfit("news of an unknown session"))?;
                let Content::Session(session) = &mut held.content else {
                    return Err(misfit("news of a session in another scope"));
                };
                Arc::make_mut(session).apply(record).map_err(misfit)?;
                held.rows += 1;
            }
            Record::DeedDone { audit } => {
                self.audits.insert(scope, audit.clone());
            }
            Record::ScopeEnded => self.close_scope(scope).ok_or(misfit("the end of nothing"))?,
            Record::LeaseCut { .. }
            | Record::AssignmentEnded { .. }
            | Record::LeaseAccepted { .. }
            | Record::HandlerStarted { .. }
            | Record::OutputsAdded { .. }
            | Record::AttemptEnded { .. }
            | Record::CancelRequested { .. }
            | Record::TaskFinished { .. }
            | Record::ReportMinimized { .. }
            | Record::ReportAbandoned { .. }
            | Record::HandBackSent
            | Record::HandBackRefused
            | Record::SessionJoined { .. }
            | Record::StateUpdated { .. }
            | Record::StepsPlanned { .. }
            | Record::StepChanged { .. }
            | Record::UpstreamTold { .. }
            | Record::LogClosed { .. }
            | Record::MinimalReported { .. }
            | Record::ReportReplayed { .. } => {
                let held = self.scopes.get_mut(&scope).ok_or(misfit("news of an unknown task"))?;
                let Content::Task(task) = &mut held.content else {
                    return Err(misfit("news of a task that was not taken"));
                };
                let before = task.lease().map(|lease| lease.id);
                apply_to_task(task, record).map_err(misfit)?;
                let after = task.lease().map(|lease| lease.id);
                held.rows += 1;
                if before != after {
                    before.map(|lease| self.leases.remove(&lease));
                    after.map(|lease| self.leases.insert(lease, TaskId(scope)));
                }
                match (record, task.session) {
                    (Record::SessionJoined { session }, _) => {
                        self.members.entry(*session).or_default().insert(TaskId(scope));
                    }
                    (Record::TaskFinished { .. }, Some(session)) => leave(&mut self.members, session, TaskId(scope)),
                    _ => {}
                }
                let key = || (task.upstream.clone(), task.external_id.clone());
                match record {
                    Record::ReportAbandoned { .. } | Record::MinimalReported { .. } => {
                        self.dead.insert(TaskId(scope));
                        // A dead letter does not stand in the way of the same upstream task, live or in replay.
                        if self.open.get(&key()) == Some(&TaskId(scope)) {
                            self.open.remove(&key());
                        }
                    }
                    Record::ReportReplayed { .. } => {
                        self.dead.remove(&TaskId(scope));
                        self.open.insert(key(), TaskId(scope));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn open_scope(&mut self, scope: u64, content: Content) {
        self.scopes.insert(scope, Scope { rows: 1, content });
    }

    fn close_scope(&mut self, scope: u64) -> Option<()> {
        if self.audits.remove(&scope).is_some() {
            return Some(());
        }
        match self.scopes.remove(&scope)?.content {
            // A newer reservation took the place before this scope ended.
            Content::Delegate | Content::Reservation => {}
            Content::Registration { upstream, .. } => {
                // A newer registration took the place before this scope ended.
                if self.registrations.get(&upstream) == Some(&scope) {
                    self.registrations.remove(&upstream);
                }
            }
            Content::Abort { upstream, external_id, .. } => {
                self.aborts.remove(&(upstream, external_id));
            }
            Content::Intention(intention) => {
                self.open.remove(&(intention.upstream, intention.external_id));
                self.intentions.remove(&TaskId(scope));
            }
            Content::Pause { upstream, .. } => drop(self.paused.remove(&upstream)),
            Content::RunnerDrain { runner, .. } => drop(self.drained.remove(&runner)),
            Content::Session(session) => {
                let key = (session.upstream.clone(), session.tenant.clone(), session.external_id.clone());
                self.sessions.remove(&key);
            }
            Content::Task(task) => {
                if let Some(lease) = task.lease() {
                    self.leases.remove(&lease.id);
                }
                if let Some(session) = task.session {
                    leave(&mut self.members, session, task.id);
                }
                self.dead.remove(&task.id);
                // The place of a dead letter may be another's.
                let key = (task.upstream, task.external_id);
                if self.open.get(&key) == Some(&TaskId(scope)) {
                    self.open.remove(&key);
                }
            }
        }
        Some(())
    }

    /// How many rows `scope` has: the number of its next one.
    pub fn rows(&self, scope: u64) -> u32 {
        let audits = u32::from(self.audits.contains_key(&scope));
        self.scopes.get(&scope).map_or(audits, |scope| scope.rows)
    }

    /// The first number that no process has reserved.
    pub fn unreserved(&self) -> u64 {
        self.reserved.map_or(1, |(_, below)| below)
    }

    /// Scope of the reservation in force.
    pub fn reservation(&self) -> Option<u64> {
        self.reserved.map(|(scope, _)| scope)
    }

    pub fn delegate(&self) -> Option<DelegateId> {
        self.delegate
    }

    /// Scope, id and host of the registration in force.
    pub fn registration(&self, upstream: &UpstreamName) -> Option<(u64, &Arc<str>, &Host)> {
        let scope = *self.registrations.get(upstream)?;
        match &self.scopes.get(&scope)?.content {
            Content::Registration { delegate_id, host, .. } => Some((scope, delegate_id, host)),
            _ => None,
        }
    }

    pub fn task(&self, id: TaskId) -> Option<&Task> {
        match &self.scopes.get(&id.0)?.content {
            Content::Task(task) => Some(task),
            _ => None,
        }
    }

    pub fn intention(&self, id: TaskId) -> Option<&Intention> {
        match &self.scopes.get(&id.0)?.content {
            Content::Intention(intention) => Some(intention),
            _ => None,
        }
    }

    /// The task whose lease in force this is.
    pub fn task_of(&self, lease: LeaseId) -> Option<&Task> {
        self.task(*self.leases.get(&lease)?)
    }

    /// The open acquisition of an upstream task.
    pub fn open(&self, upstream: &UpstreamName, external_id: &ExternalId) -> Option<TaskId> {
        self.open.get(&(upstream.clone(), external_id.clone())).copied()
    }

    pub fn abort(&self, upstream: &UpstreamName, external_id: &ExternalId) -> Option<u64> {
        self.aborts.get(&(upstream.clone(), external_id.clone())).copied()
    }

    /// Scopes of the noted aborts, the oldest first, with the time of each.
    pub fn aborts(&self) -> impl Iterator<Item = (u64, Wall)> {
        let mut scopes: Vec<u64> = self.aborts.values().copied().collect();
        scopes.sort_unstable();
        scopes.into_iter().filter_map(|scope| match &self.scopes.get(&scope)?.content {
            Content::Abort { at, .. } => Some((scope, *at)),
            _ => None,
        })
    }

    pub fn abort_count(&self) -> usize {
        self.aborts.len()
    }

    pub fn intentions(&self) -> impl Iterator<Item = (TaskId, &Intention)> {
        self.intentions.iter().filter_map(|id| Some((*id, self.intention(*id)?)))
    }

    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.scopes.values().filter_map(|scope| match &scope.content {
            Content::Task(task) => Some(&**task),
            _ => None,
        })
    }

    pub fn session(&self, id: SessionId) -> Option<&Arc<Session>> {
        match &self.scopes.get(&id.0)?.content {
            Content::Session(session) => Some(session),
            _ => None,
        }
    }

    /// The open session of this name.
    pub fn session_of(
        &self,
        upstream: &UpstreamName,
        tenant: &Arc<str>,
        external_id: &Arc<str>,
    ) -> Option<&Arc<Session>> {
        self.session(*self.sessions.get(&(upstream.clone(), tenant.clone(), external_id.clone()))?)
    }

    /// Open sessions, the oldest first.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        let mut ids: Vec<SessionId> = self.sessions.values().copied().collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.session(id))
    }

    /// What the operator said when this upstream was paused, and the scope that says so; absent: it is not.
    pub fn pause(&self, upstream: &UpstreamName) -> Option<(u64, &Aside)> {
        let scope = *self.paused.get(upstream)?;
        match &self.scopes.get(&scope)?.content {
            Content::Pause { aside, .. } => Some((scope, aside)),
            _ => None,
        }
    }

    /// What the operator said when this runner was drained, and the scope that says so; absent: it is not.
    pub fn runner_drain(&self, runner: &RunnerId) -> Option<(u64, &Aside)> {
        let scope = *self.drained.get(runner)?;
        match &self.scopes.get(&scope)?.content {
            Content::RunnerDrain { aside, .. } => Some((scope, aside)),
            _ => None,
        }
    }

    /// Runners that the operator has drained, by name.
    pub fn drained_runners(&self) -> impl Iterator<Item = &RunnerId> {
        self.drained.keys()
    }

    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Tasks of the session that have no result.
    pub fn members(&self, session: SessionId) -> impl Iterator<Item = TaskId> {
        self.members.get(&session).into_iter().flatten().copied()
    }

    /// Leases in force, by number.
    pub fn leases(&self) -> impl Iterator<Item = (LeaseId, TaskId)> {
        self.leases.iter().map(|(lease, task)| (*lease, *task))
    }

    pub fn has_leases(&self) -> bool {
        !self.leases.is_empty()
    }

    /// The operator's deeds, the oldest first.
    pub fn audits(&self) -> impl DoubleEndedIterator<Item = &Arc<Audit>> {
        self.audits.values()
    }

    pub fn audit_count(&self) -> usize {
        self.audits.len()
    }

    /// Scope of the oldest deed.
    pub fn oldest_audit(&self) -> Option<u64> {
        self.audits.keys().next().copied()
    }

    /// Results that are not sent any more, the oldest first.
    pub fn dead_letters(&self) -> &BTreeSet<TaskId> {
        &self.dead
    }
}

fn taken(id: TaskId, intention: &Intention, spec: Arc<Spec>, trace_id: TraceId, at: Wall) -> Task {
    Task {
        id,
        upstream: intention.upstream.clone(),
        external_id: intention.external_id.clone(),
        acquired_as: intention.identity.clone(),
        trace_id,
        intended: intention.at,
        offer: intention.offer,
        deadline: spec.timeout.map(|timeout| intention.at + timeout),
        spec,
        attempt: 1,
        cancel: None,
        outputs: Vec::new(),
        plan: None,
        told: None,
        logs: Vec::new(),
        state: State::Waiting { since: at },
        times: Times { acquired: at, assigned: None, started: None, queued: at },
        leases: Vec::new(),
        runner: None,
        session: None,
        own: false,
        replayed: None,
    }
}

fn leave(members: &mut BTreeMap<SessionId, BTreeSet<TaskId>>, session: SessionId, task: TaskId) {
    if let Some(tasks) = members.get_mut(&session) {
        tasks.remove(&task);
        if tasks.is_empty() {
            members.remove(&session);
        }
    }
}

fn apply_to_task(task: &mut Task, record: &Record) -> Result<(), &'static str> {
    match (record, &mut task.state) {
        (Record::LeaseCut { lease, runner, class, idempotent, at }, State::Waiting { .. }) => {
            task.times.assigned = Some(*at);
            task.runner = Some(runner.clone());
            task.leases.push(PastLease {
                lease: *lease,
                attempt: task.attempt,
                runner: runner.clone(),
                queued: task.times.queued,
                cut: *at,
                accepted: None,
                ended: None,
            });
            task.state = State::Assigned(Lease {
                id: *lease,
                runner: runner.clone(),
                class: class.clone(),
                idempotent: *idempotent,
                updates: 0,
                states: BTreeSet::new(),
                cut: *at,
                accepted: None,
                started: None,
            });
        }
        (Record::AssignmentEnded { lease, reason, at }, State::Assigned(held)) if held.id == *lease => {
            task.state = State::Waiting { since: *at };
            end_lease(task, *at, reason);
        }
        (Record::LeaseAccepted { lease, at }, State::Assigned(held)) if held.id == *lease => {
            held.accepted = Some(*at);
            task.times.started = Some(*at);
            if let Some(last) = task.leases.last_mut() {
                last.accepted = Some(*at);
            }
            task.state = State::Accepted(held.clone());
        }
        (Record::HandlerStarted { lease, number, at }, State::Accepted(held)) if held.id == *lease => {
            held.updates = *number;
            held.started = Some(*at);
            task.times.started = Some(*at);
        }
        (Record::OutputsAdded { lease, number, outputs }, State::Accepted(held)) if held.id == *lease => {
            held.updates = *number;
            merge(&mut task.outputs, outputs);
        }
        (Record::StepsPlanned { lease, number, steps }, State::Accepted(held)) if held.id == *lease => {
            held.updates = *number;
            task.plan = Some(Plan { lease: *lease, steps: Arc::new(steps.clone()) });
        }
        (Record::StepChanged { lease, number, step }, State::Accepted(held)) if held.id == *lease => {
            held.updates = *number;
            if let Some(plan) = &mut task.plan {
                plan.change(step);
            }
        }
        (Record::LogClosed { log }, _) => task.logs.push((**log).clone()),
        (Record::UpstreamTold { note }, _) => task.told = Some(note.clone()),
        (Record::SessionJoined { session }, State::Waiting { .. }) if task.session.is_none() => {
            task.session = Some(*session);
        }
        (Record::StateUpdated { lease, number }, State::Accepted(held)) if held.id == *lease => {
            held.updates = held.updates.max(*number);
            held.states.insert(*number);
        }
        (Record::AttemptEnded { lease, reason, at }, State::Accepted(held)) if held.id == *lease => {
            task.attempt += 1;
            task.outputs.clear();
            task.state = State::Waiting { since: *at };
            end_lease(task, *at, reason);
        }
        (Record::CancelRequested { cancel }, State::Accepted(_)) => task.cancel = Some(cancel.clone()),
        (Record::TaskFinished { lease, finish, at }, state) if !matches!(state, State::Finished { .. }) => {
            let report = match () {
                () if task.own => Report::Nowhere,
                () if hands_back(task, finish) => Report::HandBack { sent: false },
                () => Report::Owed,
            };
            merge(&mut task.outputs, &finish.outputs);
            task.spec = Arc::new(task.spec.without_content());
            task.state = State::Finished { finish: finish.clone(), lease: *lease, at: *at, report };
        }
        (Record::ReportMinimized { refusal }, State::Finished { report, .. }) => {
            *report = Report::OwedMinimal { refusal: refusal.clone() };
        }
        (Record::HandBackSent, State::Finished { report: Report::HandBack { sent }, .. }) => *sent = true,
        (Record::HandBackRefused, State::Finished { report: report @ Report::HandBack { .. }, .. }) => {
            *report = Report::Owed;
        }
        (Record::ReportAbandoned { reason }, State::Finished { report, .. }) => {
            *report = Report::Dead { reason: reason.clone(), answered: false };
        }
        (Record::MinimalReported { reason }, State::Finished { report, .. }) => {
            *report = Report::Dead { reason: reason.clone(), answered: true };
        }
        (
            Record::ReportReplayed { at },
            State::Finished { report: report @ Report::Dead { answered: false, .. }, .. },
        ) => {
            *report = Report::Owed;
            task.replayed = Some(*at);
        }
        _ => return Err("news that does not fit the task's state"),
    }
    Ok(())
}

/// The newest lease is over and the task waits again.
fn end_lease(task: &mut Task, at: Wall, reason: &Arc<str>) {
    task.times.queued = at;
    if let Some(last) = task.leases.last_mut() {
        last.ended = Some((at, Some(reason.clone())));
    }
    // A runner that rejects for hours must not fill memory, nor a trace.
    let unaccepted = task.leases.iter().filter(|past| past.accepted.is_none()).count();
    if unaccepted > UNACCEPTED_KEPT_MAX && task.leases.last().is_some_and(|last| last.accepted.is_none()) {
        task.leases.pop();
    }
}

/// Whether a task that ends so goes back to the upstream for another delegate: the error says that another may do it, and it
/// counts, since nothing was started that could have left something behind, or starting it again is harmless.
fn hands_back(task: &Task, finish: &Finish) -> bool {
    let Some(error) = finish.error.as_ref().filter(|error| error.retry == Retry::OtherDelegate) else { return false };
    let counts = match &task.state {
        State::Accepted(lease) => lease.idempotent || error.side_effects_possible == Some(false),
        _ => error.side_effects_possible != Some(true),
    };
    task.spec.hand_back && task.cancel.is_none() && finish.outcome == Outcome::Errored && counts
}

/// A later output of the same name replaces an earlier one.
fn merge(outputs: &mut Vec<Output>, more: &[Output]) {
    for output in more {
        outputs.retain(|earlier| earlier.name != output.name);
        outputs.push(output.clone());
    }
}
