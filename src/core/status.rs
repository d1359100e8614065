//! What the operator sees: a reading of the state, with a name for every wait.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Core,
    admission::{Claim, Refusal, Usage},
    drain::Phase,
    explain::Waited,
    id::{DelegateId, ExternalId, LeaseId, RunnerId, SessionId, SlotClass, TaskId, TaskType, TraceId, UpstreamName},
    ledger::Aside,
    logs::LogReceipt,
    session::Session,
    task::{Cancel, Finish, Kind, Report, Spec, State, Task},
    time::{Now, Wall},
    upstream::Upstream,
    wait::Wait,
};

/// Tasks shown at once; the rest is counted.
pub const TASKS_SHOWN_MAX: usize = 10_000;

/// The delegate at a glance.
#[derive(Clone, Debug)]
pub struct Status {
    pub delegate: DelegateId,
    pub started: Wall,
    /// Why nothing is taken; absent: serving.
    pub store_failing: Option<Arc<str>>,
    pub phase: Phase,
    /// Absent: serving.
    pub drain: Option<DrainStatus>,
    pub admission: Admission,
    pub upstreams: Vec<UpstreamStatus>,
    pub runners: Vec<RunnerStatus>,
    /// Tasks without a result.
    pub open: usize,
    /// Results the upstream has not confirmed.
    pub unreported: usize,
    pub dead_letters: usize,
    /// Sessions that are not over.
    pub sessions: usize,
}

/// A drain under way, or done and not taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainStatus {
    /// As the operator names it.
    pub mode: &'static str,
    pub reason: Arc<str>,
    pub began: Wall,
    /// When what still runs is cancelled.
    pub grace_end: Wall,
    /// When the last task has ended at the latest; reports may take longer.
    pub end: Wall,
    pub cancelled: usize,
    pub handed_back: usize,
    /// Acquires under way.
    pub acquiring: usize,
}

/// How full this host is, and what that holds up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// The last reading.
    pub usage: Usage,
    /// Why nothing is begun, if nothing is.
    pub beginnings: Option<Refusal>,
    /// Why no steps of open stages are taken, if none are.
    pub steps: Option<Refusal>,
}

#[derive(Clone, Debug)]
pub struct UpstreamStatus {
    pub name: UpstreamName,
    pub state: &'static str,
    pub registered_id: Option<Arc<str>>,
    pub last_success: Option<Wall>,
    pub last_error: Option<Arc<str>>,
    /// The operator has paused it: why, and since when.
    pub paused: Option<Aside>,
}

#[derive(Clone, Debug)]
pub struct RunnerStatus {
    pub runner: RunnerId,
    pub instance: Arc<str>,
    pub sdk: Arc<str>,
    pub task_types: Vec<TaskType>,
    pub slots_used: u32,
    pub slots_total: u32,
    pub attached: bool,
    /// It wants to go and gets no more work.
    pub draining: bool,
    /// Any frame; absent: not since this process started.
    pub last_seen: Option<Wall>,
    /// By its own word. One that is away is not asked.
    pub healthy: bool,
    /// Where it comes from; empty: it is away.
    pub peer: Arc<str>,
    /// The operator has drained it.
    pub drained: Option<Aside>,
    /// Each handler's type, kind and slot class.
    pub handlers: Vec<(TaskType, Kind, SlotClass)>,
    /// Slots used and in all, by class.
    pub classes: Vec<(SlotClass, u32, u32)>,
    /// Tasks it has under a lease in force.
    pub tasks: Vec<TaskId>,
    /// Sessions that only it can go on with.
    pub sessions: Vec<SessionId>,
}

/// One open task and what it waits for.
#[derive(Clone, Debug)]
pub struct TaskStatus {
    /// Absent: listed by the upstream and not taken.
    pub task: Option<TaskId>,
    pub upstream: UpstreamName,
    pub external_id: ExternalId,
    pub task_type: Option<TaskType>,
    pub state: &'static str,
    pub wait: Wait,
    /// The wait in words, as it is now.
    pub waiting_for: String,
    pub runner: Option<RunnerId>,
    pub attempt: u32,
    pub deadline: Option<Wall>,
    pub acquired: Option<Wall>,
    pub trace_id: Option<TraceId>,
}

/// How an operator names a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskName {
    Ours(TaskId),
    /// By the upstream's id, whichever upstream it is.
    Theirs(ExternalId),
}

/// Sessions shown at once.
pub const SESSIONS_SHOWN_MAX: usize = 10_000;

/// One open session. Never its state.
#[derive(Clone, Debug)]
pub struct SessionStatus {
    pub session: SessionId,
    pub upstream: UpstreamName,
    pub tenant: Arc<str>,
    pub external_id: Arc<str>,
    pub phase: &'static str,
    pub runner: Option<RunnerId>,
    pub created: Wall,
    pub expires: Wall,
    /// Those without a result.
    pub tasks: Vec<TaskId>,
    pub state_bytes: usize,
}

/// Why a name leads to no task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFound {
    Unknown,
    /// Several upstreams have an open task of this id.
    Ambiguous(Vec<TaskId>),
}

/// One task, whole. Names and sizes, never content.
#[derive(Clone, Debug)]
pub struct TaskDetail {
    pub status: TaskStatus,
    pub tenant: Arc<str>,
    pub kind: Kind,
    pub session: Option<SessionId>,
    pub labels: BTreeMap<String, String>,
    /// Phases that were reached, in order.
    pub moments: Vec<(&'static str, Wall)>,
    pub outputs: Vec<Arc<str>>,
    pub cancel: Option<Cancel>,
    pub finish: Option<Arc<Finish>>,
    pub report_tries: u32,
    pub report_error: Option<Arc<str>>,
    /// What its closed logs came to, as far as it is in the journal.
    pub logs: Vec<LogReceipt>,
    /// In order.
    pub events: Vec<TaskEvent>,
}

/// Something that happened to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskEvent {
    pub at: Wall,
    /// A stable word.
    pub what: &'static str,
    /// 0: before the first.
    pub attempt: u32,
    pub lease: Option<LeaseId>,
    pub runner: Option<RunnerId>,
    /// Empty: the word says it all.
    pub text: String,
}

/// What a log needs of the task it belongs to.
#[derive(Clone, Debug)]
pub struct Holding {
    pub task: TaskId,
    pub upstream: UpstreamName,
    pub spec: Arc<Spec>,
    pub trace_id: TraceId,
    /// The stage it belongs to.
    pub session: Option<Arc<Session>>,
}

impl Holding {
    /// What the task's logs must not show: its own secrets, those of its stage's setup, and what earlier tasks left as sensitive.
    pub fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        let session = self.session.as_deref();
        let setup = session.and_then(|session| session.setup.as_deref());
        let specs = std::iter::once(&*self.spec).chain(setup);
        let secrets = specs.flat_map(|spec| &spec.secrets).map(|secret| &secret.value[..]);
        let variables = session.into_iter().flat_map(|session| session.variables.values());
        secrets.chain(variables.filter(|variable| variable.sensitive).map(|variable| variable.value.as_bytes()))
    }
}

impl Core {
    /// The task whose lease in force this is.
    pub fn holding(&self, lease: LeaseId) -> Option<Holding> {
        let task = self.ledger.task_of(lease)?;
        let session = task.session.and_then(|session| self.ledger.session(session)).cloned();
        let (upstream, spec, trace_id) = (task.upstream.clone(), task.spec.clone(), task.trace_id);
        Some(Holding { task: task.id, upstream, spec, trace_id, session })
    }

    /// The open task of this name.
    ///
    /// # Errors
    /// If there is none, or the name fits several.
    pub fn find_task(&self, now: Now, name: &TaskName) -> Result<TaskDetail, NotFound> {
        let id = match name {
            TaskName::Ours(id) => *id,
            TaskName::Theirs(external_id) => {
                let mut found: Vec<_> =
                    self.ledger.tasks().filter(|task| task.external_id == *external_id).map(|task| task.id).collect();
                match (found.pop(), found.is_empty()) {
                    (Some(id), true) => id,
                    (Some(id), false) => {
                        found.push(id);
                        return Err(NotFound::Ambiguous(found));
                    }
                    (None, _) => return Err(NotFound::Unknown),
                }
            }
        };
        self.ledger.task(id).map(|task| self.task_detail(now, task)).ok_or(NotFound::Unknown)
    }

    fn task_detail(&self, now: Now, task: &Task) -> TaskDetail {
        let finished = match &task.state {
            State::Finished { finish, at, .. } => Some((finish.clone(), *at)),
            _ => None,
        };
        let lease = task.lease();
        let moments = [
            ("intended", Some(task.intended)),
            ("acquired", Some(task.times.acquired)),
            ("assigned", lease.map(|lease| lease.cut).or(task.times.assigned)),
            ("accepted", lease.and_then(|lease| lease.accepted)),
            ("started", lease.and_then(|lease| lease.started).or(task.times.started)),
            ("finished", finished.as_ref().map(|(_, at)| *at)),
        ];
        let clock = self.upstreams.get(&task.upstream).and_then(|up| up.reports.get(&task.id));
        TaskDetail {
            status: self.task_status(now, task),
            tenant: task.spec.tenant.clone(),
            kind: task.spec.kind,
            session: task.session,
            labels: task.spec.labels.clone(),
            moments: moments.into_iter().filter_map(|(phase, at)| Some((phase, at?))).collect(),
            outputs: task.outputs.iter().map(|output| output.name.clone()).collect(),
            cancel: task.cancel.clone(),
            finish: finished.map(|(finish, _)| finish),
            report_tries: clock.map_or(0, |clock| clock.tries),
            report_error: clock.and_then(|clock| clock.last_error.clone()),
            events: events(task, self.waits(task.id)),
            logs: task.logs.clone(),
        }
    }

    /// Open sessions, the oldest first.
    pub fn session_list(&self) -> Vec<SessionStatus> {
        let sessions = self.ledger.sessions().take(SESSIONS_SHOWN_MAX).map(|session| SessionStatus {
            session: session.id,
            upstream: session.upstream.clone(),
            tenant: session.tenant.clone(),
            external_id: session.external_id.clone(),
            phase: session.phase.word(),
            runner: session.runner.clone(),
            created: session.created,
            expires: session.expires,
            tasks: self.ledger.members(session.id).collect(),
            state_bytes: session.state_bytes(),
        });
        sessions.collect()
    }

    pub fn status(&self) -> Status {
        let finished = self.ledger.tasks().filter(|task| task.is_finished()).count();
        let dead_letters = self.ledger.dead_letters().len();
        Status {
            delegate: self.delegate(),
            started: self.started,
            store_failing: self.store_failing.clone(),
            phase: self.phase(),
            drain: self.drain.as_ref().map(|drain| DrainStatus {
                mode: drain.mode.word(),
                reason: drain.reason.clone(),
                began: drain.began,
                grace_end: drain.grace_end,
                end: drain.end(),
                cancelled: drain.cancelled,
                handed_back: drain.handed_back,
                acquiring: self.upstreams.values().map(|up| up.acquires.len()).sum(),
            }),
            admission: Admission {
                usage: self.gate.usage().clone(),
                beginnings: self.gate_refusal(Claim::Beginning),
                steps: self.gate_refusal(Claim::Step),
            },
            upstreams: self
                .upstreams
                .iter()
                .map(|(name, up)| UpstreamStatus {
                    name: name.clone(),
                    state: self.upstream_state(name, up),
                    paused: self.ledger.pause(name).map(|(_, aside)| aside.clone()),
                    registered_id: self.ledger.registration(name).map(|(_, id, _)| id.clone()),
                    last_success: up.last_success,
                    last_error: up.last_error.clone().or_else(|| {
                        let moved = up.moved_to.as_ref()?;
                        Some(format!("the account moved: set the endpoint to {moved}").into())
                    }),
                })
                .collect(),
            runners: self.runner_statuses(),
            open: self.waiting.unfinished,
            unreported: finished - dead_letters,
            dead_letters,
            sessions: self.ledger.session_count(),
        }
    }

    /// Attached runners, and those that are away and left work behind or are drained.
    fn runner_statuses(&self) -> Vec<RunnerStatus> {
        let mut tasks: BTreeMap<&RunnerId, Vec<TaskId>> = BTreeMap::new();
        for task in self.ledger.tasks() {
            if let Some(lease) = task.lease() {
                tasks.entry(&lease.runner).or_default().push(task.id);
            }
        }
        let mut sessions: BTreeMap<&RunnerId, Vec<SessionId>> = BTreeMap::new();
        for session in self.ledger.sessions() {
            if let Some(runner) = &session.runner {
                sessions.entry(runner).or_default().push(session.id);
            }
        }
        let drained = |runner| self.ledger.runner_drain(runner).map(|(_, aside)| aside.clone());
        let attached = self.roster.links().map(|link| RunnerStatus {
            runner: link.runner.clone(),
            instance: link.instance.0.clone(),
            sdk: link.sdk.clone(),
            task_types: link.handlers.iter().map(|handler| handler.task_type.clone()).collect(),
            slots_used: u32::try_from(link.held().len()).unwrap_or(u32::MAX),
            slots_total: link.slots_total(),
            attached: true,
            draining: link.draining,
            last_seen: Some(link.last_seen),
            healthy: link.healthy,
            peer: link.peer.clone(),
            drained: drained(&link.runner),
            handlers: link
                .handlers
                .iter()
                .map(|handler| (handler.task_type.clone(), handler.kind, handler.class.clone()))
                .collect(),
            classes: link
                .slots
                .keys()
                .map(|class| {
                    let (used, slots) = link.use_of(class);
                    (class.clone(), used, slots)
                })
                .collect(),
            tasks: tasks.get(&link.runner).cloned().unwrap_or_default(),
            sessions: sessions.get(&link.runner).cloned().unwrap_or_default(),
        });
        let known = tasks.keys().chain(sessions.keys()).copied().chain(self.ledger.drained_runners());
        let away: BTreeSet<&RunnerId> = known.filter(|runner| self.roster.of_runner(runner).is_none()).collect();
        let away = away.into_iter().map(|runner| {
            let tasks = tasks.get(runner).cloned().unwrap_or_default();
            RunnerStatus {
                runner: runner.clone(),
                instance: "".into(),
                sdk: "".into(),
                task_types: Vec::new(),
                slots_used: u32::try_from(tasks.len()).unwrap_or(u32::MAX),
                slots_total: 0,
                attached: false,
                draining: false,
                last_seen: None,
                healthy: true,
                peer: "".into(),
                drained: drained(runner),
                handlers: Vec::new(),
                classes: Vec::new(),
                tasks,
                sessions: sessions.get(runner).cloned().unwrap_or_default(),
            }
        });
        attached.chain(away).collect()
    }

    /// Every open task with the one thing it waits for, the oldest first; those on offer and not taken come last.
    pub fn task_list(&self, now: Now) -> Vec<TaskStatus> {
        let tasks = self.ledger.tasks().map(|task| self.task_status(now, task));
        let others = self.intention_statuses(now).chain(self.listed_statuses(now));
        tasks.chain(others).take(TASKS_SHOWN_MAX).collect()
    }

    pub(super) fn intention_statuses(&self, now: Now) -> impl Iterator<Item = TaskStatus> {
        self.ledger.intentions().map(move |(task, intention)| {
            let wait = self.intention_wait(now, task, intention);
            TaskStatus {
                task: Some(task),
                upstream: intention.upstream.clone(),
                external_id: intention.external_id.clone(),
                task_type: None,
                state: "acquiring",
                waiting_for: wait.text(now.wall),
                wait,
                runner: None,
                attempt: 0,
                deadline: None,
                acquired: None,
                trace_id: None,
            }
        })
    }

    pub(super) fn listed_statuses(&self, now: Now) -> impl Iterator<Item = TaskStatus> {
        self.upstreams.iter().flat_map(move |(name, up)| {
            let reasons = self.hinted_reasons(now, up);
            up.listed.iter().map(move |(external_id, listed)| {
                let wait = self.listed_wait(now, up, listed, &reasons);
                TaskStatus {
                    task: None,
                    upstream: name.clone(),
                    external_id: external_id.clone(),
                    task_type: Some(listed.task_type.clone()),
                    state: "listed",
                    waiting_for: wait.text(now.wall),
                    wait,
                    runner: None,
                    attempt: 0,
                    deadline: None,
                    acquired: None,
                    trace_id: None,
                }
            })
        })
    }

    pub(super) fn task_status(&self, now: Now, task: &Task) -> TaskStatus {
        let state = match &task.state {
            State::Waiting { .. } => "waiting",
            State::Assigned(_) => "assigned",
            State::Accepted(_) => "running",
            State::Finished { report: Report::Dead { .. }, .. } => "dead",
            State::Finished { report: Report::Nowhere, .. } => "finished",
            State::Finished { .. } => "reporting",
        };
        let wait = self.wait_of(now, task);
        TaskStatus {
            task: Some(task.id),
            upstream: task.upstream.clone(),
            external_id: task.external_id.clone(),
            task_type: Some(task.spec.task_type.clone()),
            state,
            waiting_for: wait.text(now.wall),
            wait,
            runner: task.lease().map(|lease| lease.runner.clone()),
            attempt: task.attempt,
            deadline: task.deadline,
            acquired: Some(task.times.acquired),
            trace_id: Some(task.trace_id),
        }
    }

    /// One word for the operator. A pause is said of an upstream that is well otherwise.
    pub(super) fn upstream_state(&self, name: &UpstreamName, up: &Upstream) -> &'static str {
        match up.state() {
            "registered" if self.is_paused(name) => "paused",
            state => state,
        }
    }
}

/// The task's story in its own words, as far as the journal has it, and its waits as far as this process saw them; in order.
fn events(task: &Task, waits: &[Waited]) -> Vec<TaskEvent> {
    let mut events = Vec::new();
    let mut push = |at, what, attempt, lease: Option<(LeaseId, &RunnerId)>, text: String| {
        let (lease, runner) = (lease.map(|(lease, _)| lease), lease.map(|(_, runner)| runner.clone()));
        events.push(TaskEvent { at, what, attempt, lease, runner, text });
    };
    if !task.own {
        push(task.offer.listed, "listed", 0, None, String::new());
        push(task.intended, "acquire_intended", 0, None, String::new());
    }
    push(task.times.acquired, "acquired", 0, None, String::new());
    for past in &task.leases {
        let lease = Some((past.lease, &past.runner));
        push(past.cut, "assigned", past.attempt, lease, String::new());
        if let Some(accepted) = past.accepted {
            push(accepted, "accepted", past.attempt, lease, String::new());
        }
        if let Some((at, reason)) = &past.ended {
            push(*at, "lease_ended", past.attempt, lease, reason.as_deref().unwrap_or_default().to_owned());
        }
    }
    if let Some(lease) = task.lease()
        && let Some(started) = lease.started
    {
        push(started, "started", task.attempt, Some((lease.id, &lease.runner)), String::new());
    }
    for waited in waits {
        push(waited.at, "waits", task.attempt, None, waited.name.to_string());
    }
    if let Some(cancel) = &task.cancel {
        push(cancel.at, "stop_asked", task.attempt, None, format!("{}: {}", cancel.reason.word(), cancel.message));
    }
    if let State::Finished { finish, lease, at, report } = &task.state {
        let lease = lease.and_then(|lease| task.leases.iter().find(|past| past.lease == lease));
        let lease = lease.map(|past| (past.lease, &past.runner));
        let reason = finish.error.as_ref().map(|error| format!(" ({})", error.reason)).unwrap_or_default();
        push(*at, "finished", task.attempt, lease, format!("{}{reason}", finish.outcome.word()));
        if let Report::Dead { reason, .. } = report {
            push(*at, "dead_letter", task.attempt, None, reason.to_string());
        }
    }
    events.sort_by_key(|event| event.at);
    events
}
