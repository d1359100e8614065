//! What the operator sees: a reading of the state, with a name for every wait.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Core,
    admission::{Claim, Refusal, Usage},
    drain::Phase,
    id::{DelegateId, ExternalId, LeaseId, RunnerId, SessionId, TaskId, TaskType, TraceId, UpstreamName},
    logs::LogReceipt,
    session::Session,
    task::{Cancel, Finish, Kind, Report, Spec, State, Task},
    time::{Now, Wall},
    timer::Timer,
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
    pub waiting_for: String,
    pub since: Wall,
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
}

/// What a log needs of the task it belongs to.
#[derive(Clone, Debug)]
pub struct Holding {
    pub task: TaskId,
    pub upstream: UpstreamName,
    pub spec: Arc<Spec>,
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
        Some(Holding { task: task.id, upstream: task.upstream.clone(), spec: task.spec.clone(), session })
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
                    state: up.state(),
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

    /// Attached runners, and those that are away and left work behind.
    fn runner_statuses(&self) -> Vec<RunnerStatus> {
        let mut away: BTreeMap<&RunnerId, u32> = BTreeMap::new();
        for lease in self.ledger.tasks().filter_map(Task::lease) {
            if self.roster.of_runner(&lease.runner).is_none() {
                *away.entry(&lease.runner).or_default() += 1;
            }
        }
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
        });
        let away = away.into_iter().map(|(runner, leases)| RunnerStatus {
            runner: runner.clone(),
            instance: "".into(),
            sdk: "".into(),
            task_types: Vec::new(),
            slots_used: leases,
            slots_total: 0,
            attached: false,
            draining: false,
            last_seen: None,
        });
        attached.chain(away).collect()
    }

    /// Every open task with the one thing it waits for, the oldest first; those on offer and not taken come last.
    pub fn task_list(&self, now: Now) -> Vec<TaskStatus> {
        let tasks = self.ledger.tasks().map(|task| self.task_status(now, task));
        let intentions = self.ledger.intentions().map(|(task, intention)| TaskStatus {
            task: Some(task),
            upstream: intention.upstream.clone(),
            external_id: intention.external_id.clone(),
            task_type: None,
            state: "acquiring",
            waiting_for: "a clear answer to the acquire".to_owned(),
            since: intention.at,
            runner: None,
            attempt: 0,
            deadline: None,
            acquired: None,
            trace_id: None,
        });
        let listed = self.upstreams.iter().flat_map(|(name, up)| {
            let reasons = self.reasons_now(now, up);
            up.listed.iter().map(move |(external_id, listed)| TaskStatus {
                task: None,
                upstream: name.clone(),
                external_id: external_id.clone(),
                task_type: Some(listed.task_type.clone()),
                state: "listed",
                waiting_for: match reasons.get(&listed.group()).or(listed.reason.as_ref()) {
                    Some(reason) => format!("{}: {reason}", reason.reason()),
                    None => "its turn".to_owned(),
                },
                since: listed.since,
                runner: None,
                attempt: 0,
                deadline: None,
                acquired: None,
                trace_id: None,
            })
        });
        tasks.chain(intentions).chain(listed).take(TASKS_SHOWN_MAX).collect()
    }

    fn task_status(&self, now: Now, task: &Task) -> TaskStatus {
        let (state, waiting_for, since) = match &task.state {
            State::Waiting { since } => ("waiting", self.wait_of(now, task), *since),
            State::Assigned(lease) => ("assigned", format!("runner {} to accept it", lease.runner), lease.cut),
            State::Accepted(lease) => {
                let since = lease.started.or(lease.accepted).unwrap_or(lease.cut);
                let lease_left = self.timers.get(&Timer::LeaseExpiry(lease.id)).map(|at| at.since(now.mono));
                let text = match (&task.cancel, self.roster.of_runner(&lease.runner), lease_left) {
                    (Some(cancel), ..) => format!("runner {} to stop it ({})", lease.runner, cancel.message),
                    (None, None, Some(left)) => {
                        format!("runner {} to come back (lease ends in {} s)", lease.runner, left.as_secs())
                    }
                    _ => match self.progress.get(&lease.id) {
                        Some(progress) => format!("runner {}: {progress}", lease.runner),
                        None => format!("runner {} to finish it", lease.runner),
                    },
                };
                ("running", text, task.cancel.as_ref().map_or(since, |cancel| cancel.at))
            }
            State::Finished { report: Report::Dead { reason }, at, .. } => {
                ("dead", format!("the operator: {reason}"), *at)
            }
            State::Finished { at, report: Report::Nowhere, .. } => ("finished", "nothing".to_owned(), *at),
            State::Finished { at, .. } => ("reporting", self.report_wait(now, task), *at),
        };
        TaskStatus {
            task: Some(task.id),
            upstream: task.upstream.clone(),
            external_id: task.external_id.clone(),
            task_type: Some(task.spec.task_type.clone()),
            state,
            waiting_for,
            since,
            runner: task.lease().map(|lease| lease.runner.clone()),
            attempt: task.attempt,
            deadline: task.deadline,
            acquired: Some(task.times.acquired),
            trace_id: Some(task.trace_id),
        }
    }

    fn wait_of(&self, now: Now, task: &Task) -> String {
        if self.store_failing.is_some() {
            return "the journal to write again".to_owned();
        }
        if let Some(wait) = self.session_wait(now, task) {
            return wait;
        }
        let mut class = None;
        for link in self.roster.with_type(&task.spec.task_type) {
            let Some(handler) = link.handler_for(task) else { continue };
            if !self.session_allows(link, task) {
                continue;
            }
            if let Some(at) = self.waiting.earliest(task.id, &link.runner, now.mono) {
                return format!("another try in {} ms", at.since(now.mono).as_millis());
            }
            class = Some(handler.class.clone());
        }
        match class {
            Some(class) => format!("a free slot of class {class}"),
            None => format!("a runner with a handler for {}", task.spec.task_type),
        }
    }

    fn report_wait(&self, now: Now, task: &Task) -> String {
        if let Some(at) = self.timers.get(&Timer::LogWait(task.id)) {
            return format!("its logs to be closed (at most {} ms more)", at.since(now.mono).as_millis());
        }
        let clock = self.upstreams.get(&task.upstream).and_then(|up| up.reports.get(&task.id));
        match (clock, self.timers.get(&Timer::Report(task.id))) {
            (None, _) => format!("upstream {} to be configured again", task.upstream),
            (Some(clock), Some(at)) => format!(
                "upstream {} to take the result (try {} in {} ms; last: {})",
                task.upstream,
                clock.tries + 1,
                at.since(now.mono).as_millis(),
                clock.last_error.as_deref().unwrap_or("no answer"),
            ),
            (Some(_), None) if matches!(task.state, State::Finished { report: Report::HandBack { .. }, .. }) => {
                format!("upstream {} to take the task back", task.upstream)
            }
            (Some(_), None) => format!("upstream {} to answer the report", task.upstream),
        }
    }
}
