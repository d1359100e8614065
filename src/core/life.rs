//! A task's life in stages, as its trace tells it. Made from the ledger alone, so that a process can tell what an earlier one saw.
//!
//! ```text
//!  poll ─ admit ─ acquire ─┬─ queue ─ assign ─┬─ run ─┬─ report
//!                          └────── again ◄────┴───────┘
//! ```
//!
//! A stage is told once, when it is over and that is durable; the ones that ended before this process started are told once more at the
//! end of the task, since nobody knows whether the earlier process got them out. It holds ids, times and stable words, never content.

use std::sync::Arc;

use super::{
    Core,
    effect::{Effect, Note},
    explain::Waited,
    id::{ExternalId, LeaseId, RunnerId, SessionId, TaskId, TaskType, TraceId, UpstreamName},
    logs::LogReceipt,
    task::{Kind, Outcome, Spec, State, Task},
    time::Wall,
    trace::{TraceParent, TraceScope},
};

/// A part of a task's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The poll whose answer listed it first.
    Poll,
    /// Listed, and left with the upstream until it was admitted.
    Admit,
    /// From the intention to the answer that gave it.
    Acquire,
    /// Waiting for a runner.
    Queue,
    /// From the cut of a lease to its accept, or to its end before that.
    Assign,
    /// From the accept to the result.
    Run,
    /// From the result to the upstream's 2xx, or to giving that up.
    Report,
}

/// One phase that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    pub phase: Phase,
    pub from: Wall,
    pub to: Wall,
    /// The lease that it led to or was about.
    pub lease: Option<LeaseId>,
    /// 0: before the first.
    pub attempt: u32,
    pub runner: Option<RunnerId>,
    /// Of a run: the lease of the attempt before.
    pub after: Option<LeaseId>,
    /// A stable word, if it went wrong.
    pub error: Option<Arc<str>>,
    /// An earlier note of this process has told it.
    pub told: bool,
    /// What the task waited for within it, as far as this process saw.
    pub waits: Vec<Waited>,
}

/// How a task's life ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub at: Wall,
    pub outcome: Outcome,
    /// A stable word; empty: none was given.
    pub reason: Arc<str>,
    /// Reports sent by this process.
    pub report_tries: u32,
    /// The upstream did not take the result: why, as a stable word.
    pub unreported: Option<Arc<str>>,
}

/// A task as its trace shows it, with stages that are over; all of them once it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    pub task: TaskId,
    pub upstream: UpstreamName,
    pub external_id: ExternalId,
    pub task_type: TaskType,
    pub kind: Kind,
    /// Who owns it upstream; empty: nobody is named.
    pub tenant: Arc<str>,
    pub trace_id: TraceId,
    /// The span it came with.
    pub parent: Option<TraceParent>,
    /// The stage it has joined.
    pub session: Option<SessionId>,
    /// When the poll was sent that listed it; of a task of the delegate's own, when it was made.
    pub began: Wall,
    /// In order.
    pub stages: Vec<Stage>,
    /// What its closed logs came to; told with its end.
    pub logs: Vec<LogReceipt>,
    pub end: Option<End>,
}

// === impl Phase ===

impl Phase {
    /// The name of its spans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Admit => "admit",
            Self::Acquire => "acquire",
            Self::Queue => "queue",
            Self::Assign => "assign",
            Self::Run => "run",
            Self::Report => "report",
        }
    }
}

// === impl Life ===

impl Life {
    fn of(task: &Task, stages: Vec<Stage>, end: Option<End>) -> Self {
        Self {
            task: task.id,
            upstream: task.upstream.clone(),
            external_id: task.external_id.clone(),
            task_type: task.spec.task_type.clone(),
            kind: task.spec.kind,
            tenant: task.spec.tenant.clone(),
            trace_id: task.trace_id,
            parent: task.spec.trace_parent.clone(),
            session: task.session,
            began: task.offer.polled,
            stages,
            logs: if end.is_some() { task.logs.clone() } else { Vec::new() },
            end,
        }
    }

    /// Whether the task ended, and not as it should have: worth keeping, whatever is left out otherwise. Somebody's wish to stop it is
    /// no fault.
    pub fn went_wrong(&self) -> bool {
        self.end.as_ref().is_some_and(|end| !is_well(end.outcome) || end.unreported.is_some())
    }
}

/// Whether an outcome is none of an error.
pub fn is_well(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Succeeded | Outcome::Skipped | Outcome::Cancelled)
}

/// All stages of `task` that are over; those that ended before `started` are marked as not told.
fn stages(task: &Task, waits: &[Waited], started: Wall) -> Vec<Stage> {
    let mut stages = Vec::with_capacity(3 + 3 * task.leases.len());
    let mut earlier = None;
    let mut push = |phase, from, to, attempt, lease: Option<(LeaseId, &RunnerId)>, error: Option<Arc<str>>| {
        let lease_id = lease.map(|(lease, _)| lease);
        stages.push(Stage {
            phase,
            from,
            to,
            lease: lease_id,
            attempt,
            runner: lease.map(|(_, runner)| runner.clone()),
            after: if phase == Phase::Run { std::mem::replace(&mut earlier, lease_id) } else { None },
            error,
            told: to >= started,
            waits: within(waits, from, to),
        });
    };
    // No upstream was asked for one of the delegate's own.
    if !task.own {
        push(Phase::Poll, task.offer.polled, task.offer.listed, 0, None, None);
        push(Phase::Admit, task.offer.listed, task.intended, 0, None, None);
        push(Phase::Acquire, task.intended, task.times.acquired, 0, None, None);
    }
    let finish = match &task.state {
        State::Finished { finish, at, .. } => Some((*at, (!is_well(finish.outcome)).then(|| word_of(finish)))),
        _ => None,
    };
    for held in &task.leases {
        let lease = Some((held.lease, &held.runner));
        let ended = held.ended.clone().or_else(|| finish.clone());
        let Some(decided) = held.accepted.or(ended.as_ref().map(|(at, _)| *at)) else { continue };
        push(Phase::Queue, held.queued, held.cut, held.attempt, lease, None);
        let error = ended.clone().and_then(|(_, error)| error).filter(|_| held.accepted.is_none());
        push(Phase::Assign, held.cut, decided, held.attempt, lease, error);
        if let (Some(accepted), Some((at, error))) = (held.accepted, ended) {
            push(Phase::Run, accepted, at, held.attempt, lease, error);
        }
    }
    // It ended as it waited: no lease was in force any more.
    if let (Some((at, error)), true) = (finish, task.leases.last().is_none_or(|held| held.ended.is_some())) {
        push(Phase::Queue, task.times.queued, at, task.attempt, None, error);
    }
    stages
}

/// Those of the waits that began in a span.
fn within(waits: &[Waited], from: Wall, to: Wall) -> Vec<Waited> {
    waits.iter().filter(|waited| (from..to).contains(&waited.at)).copied().collect()
}

/// The stable word for an end: its reason, or its outcome if nobody gave one.
fn word_of(finish: &super::task::Finish) -> Arc<str> {
    match &finish.error {
        Some(error) if !error.reason.is_empty() => error.reason.clone(),
        _ => finish.outcome.word().to_uppercase().into(),
    }
}

impl Core {
    /// The trace of a task: the one it comes with, else the one that its names lead to.
    pub(super) fn trace_of(&self, upstream: &UpstreamName, spec: &Spec, external_id: &ExternalId) -> TraceId {
        match (&spec.trace_parent, self.upstreams.get(upstream)) {
            (Some(parent), _) => parent.trace_id,
            (None, Some(up)) => up.config.trace_scope.trace_id(external_id),
            // A session of an upstream that the configuration names no more; its name is all that is left of it.
            (None, None) => {
                let scope = TraceScope { kind: upstream.as_str().into(), account: spec.tenant.clone() };
                scope.trace_id(external_id)
            }
        }
    }

    /// The last `count` stages of the task are over.
    pub(super) fn tell_stages(&mut self, id: TaskId, count: usize) {
        let Some(task) = self.ledger.task(id) else { return };
        let mut stages = stages(task, self.waits(id), self.started);
        let mut stages = stages.split_off(stages.len().saturating_sub(count));
        stages.iter_mut().for_each(|stage| stage.told = false);
        let life = Life::of(task, stages, None);
        self.promise(Effect::Note(Note::StagesEnded(Box::new(life))));
    }

    /// The whole life of a task that is about to be forgotten, at `at`. `refusal`: what the upstream was told in place of the result;
    /// `unreported`: why it was told nothing.
    pub(super) fn tell_life(&mut self, id: TaskId, at: Wall, refusal: Option<&str>, unreported: Option<&str>) {
        let Some(task) = self.ledger.task(id) else { return };
        let State::Finished { finish, at: finished, .. } = &task.state else { return };
        let mut stages = stages(task, self.waits(id), self.started);
        if !task.own {
            stages.push(Stage {
                phase: Phase::Report,
                from: *finished,
                to: at,
                lease: None,
                attempt: task.attempt,
                runner: None,
                after: None,
                error: unreported.or(refusal).map(Arc::from),
                told: false,
                waits: within(self.waits(id), *finished, at),
            });
        }
        let clock = self.upstreams.get(&task.upstream).and_then(|up| up.reports.get(&id));
        let end = End {
            at,
            outcome: if refusal.is_some() { Outcome::Errored } else { finish.outcome },
            reason: match refusal {
                Some(refusal) => refusal.into(),
                None if is_well(finish.outcome) => "".into(),
                None => word_of(finish),
            },
            report_tries: clock.map_or(0, |clock| clock.tries) + u32::from(unreported.is_none() && !task.own),
            unreported: unreported.map(Arc::from),
        };
        let life = Life::of(task, stages, Some(end));
        self.promise(Effect::Note(Note::StagesEnded(Box::new(life))));
    }
}
