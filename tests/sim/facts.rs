//! What the disk holds for certain, read from the records as they become durable. It outlives every process, so a promise can be
//! held against it at the moment it leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dlite::journal::Change;

use super::core::{
    id::{ExternalId, LeaseId, RunnerId, SessionId, TaskId, UpstreamName},
    record::Record,
    session::Phase,
    task::{Finish, Kind, Payload},
};

#[derive(Debug, Default)]
pub struct Facts {
    pub intentions: BTreeSet<TaskId>,
    pub cut: BTreeMap<LeaseId, TaskId>,
    pub accepted: BTreeSet<LeaseId>,
    /// Ended before an accept was durable: its handler must never start.
    pub withdrawn: BTreeSet<LeaseId>,
    pub attempts_ended: BTreeSet<LeaseId>,
    pub updates: BTreeMap<LeaseId, u64>,
    pub finished: BTreeMap<TaskId, (Option<LeaseId>, Arc<Finish>)>,
    pub minimized: BTreeSet<TaskId>,
    pub ended: BTreeSet<TaskId>,
    /// Intent to hand back, and not refused.
    pub handed_back: BTreeSet<TaskId>,
    /// Closed ones, by the lease and the id within it.
    logs: BTreeSet<(LeaseId, Arc<str>)>,
    /// The newest acquisition of each upstream task.
    newest: BTreeMap<ExternalId, TaskId>,
    /// The lease in force of each task.
    current: BTreeMap<TaskId, LeaseId>,
    pub sessions: BTreeMap<SessionId, Stage>,
    /// The session each task has joined.
    pub joined: BTreeMap<TaskId, SessionId>,
    kinds: BTreeMap<TaskId, Kind>,
    /// What the operator has taken out, by the scope that says so.
    paused: BTreeMap<u64, UpstreamName>,
    drained: BTreeMap<u64, RunnerId>,
    /// Intended while its upstream was paused.
    intended_in_pause: BTreeSet<TaskId>,
    /// The process died over this batch, perhaps before it could say what it left behind.
    pub dying: bool,
}

/// What is durable of one session.
#[derive(Debug, Default)]
pub struct Stage {
    /// Each state it ever had, the first one empty.
    pub states: Vec<Option<Payload>>,
    bound: Option<RunnerId>,
    started: bool,
    closing: bool,
    cleaned_up: bool,
    /// The operator was told that something may be left.
    pub left_behind: bool,
    pub ended: bool,
}

// === impl Facts ===

impl Facts {
    /// Takes in one durable change.
    ///
    /// # Errors
    /// If the change breaks what an earlier one said.
    pub fn learn(&mut self, change: &Change) -> Result<(), &'static str> {
        let (scope, body) = match change {
            Change::Append { scope, body, .. } => (*scope, body),
            Change::End { scope } => {
                self.ended.insert(TaskId(*scope));
                self.paused.remove(scope);
                self.drained.remove(scope);
                if let Some(stage) = self.sessions.get_mut(&SessionId(*scope)) {
                    stage.ended = true;
                    if stage.started && !stage.cleaned_up && !stage.left_behind && !self.dying {
                        return Err("a session that was set up is cleaned up or named as left behind");
                    }
                }
                return Ok(());
            }
        };
        let task = TaskId(scope);
        match Record::decode(body).map_err(|_| "a record that can't be decoded")? {
            Record::IntentionOpened { upstream, external_id, .. } => {
                if self.paused.values().any(|paused| *paused == upstream) {
                    self.intended_in_pause.insert(task);
                }
                self.newest.insert(external_id, task);
                if !self.intentions.insert(task) {
                    return Err("a task number is used twice");
                }
            }
            Record::LeaseCut { lease, runner, .. } => {
                let kind = self.kinds.get(&task).copied().unwrap_or_default();
                let stage = self.joined.get(&task).and_then(|session| self.sessions.get(session));
                let is_its_own =
                    kind != Kind::SessionSetup && stage.is_some_and(|stage| stage.bound.as_ref() == Some(&runner));
                if self.drained.values().any(|drained| *drained == runner) && !is_its_own {
                    return Err("a drained runner gets nothing but the rest of its own stages");
                }
                if let Some(stage) = self.joined.get(&task).and_then(|session| self.sessions.get(session)) {
                    if kind != Kind::SessionSetup && stage.bound.as_ref().is_some_and(|bound| *bound != runner) {
                        return Err("a stage stays with the runner that set it up");
                    }
                    if kind != Kind::SessionCleanup && (stage.closing || stage.ended) {
                        return Err("no task of a closed session starts");
                    }
                }
                if self.cut.insert(lease, task).is_some() {
                    return Err("a lease number is used twice");
                }
                self.current.insert(task, lease);
            }
            Record::AssignmentEnded { lease, .. } => {
                self.withdrawn.insert(lease);
                self.current.remove(&task);
            }
            Record::LeaseAccepted { lease, .. } => {
                self.accepted.insert(lease);
            }
            Record::HandlerStarted { lease, number, .. }
            | Record::OutputsAdded { lease, number, .. }
            | Record::StepsPlanned { lease, number, .. }
            | Record::StepChanged { lease, number, .. } => {
                self.updates.insert(lease, number);
            }
            Record::LogClosed { log } => {
                if !self.logs.insert((log.lease, log.log_id.clone())) {
                    return Err("a log is closed twice");
                }
            }
            Record::AttemptEnded { lease, .. } => {
                self.attempts_ended.insert(lease);
                self.current.remove(&task);
            }
            Record::TaskFinished { lease, finish, .. } => {
                let current = self.current.remove(&task);
                if let Some(current) = current.filter(|lease| !self.accepted.contains(lease)) {
                    self.withdrawn.insert(current);
                }
                if lease.is_some_and(|lease| current != Some(lease) || !self.accepted.contains(&lease)) {
                    return Err("a stale lease finished a task");
                }
                if self.kinds.get(&task) == Some(&Kind::SessionCleanup)
                    && let Some(stage) = self.joined.get(&task).and_then(|session| self.sessions.get_mut(session))
                {
                    stage.cleaned_up |= lease.is_some();
                }
                if self.finished.insert(task, (lease, finish)).is_some() {
                    return Err("a task finished twice");
                }
            }
            Record::ReportMinimized { .. } => {
                self.minimized.insert(task);
            }
            Record::HandBackSent => {
                if !self.handed_back.insert(task) {
                    return Err("a task is handed back twice");
                }
            }
            Record::HandBackRefused => {
                self.handed_back.remove(&task);
            }
            Record::TaskTaken { spec, .. } => {
                let goes_on = matches!(spec.kind, Kind::SessionExecute | Kind::SessionCleanup);
                if self.intended_in_pause.contains(&task) && !goes_on {
                    return Err("nothing is begun for a paused upstream");
                }
                self.kinds.insert(task, spec.kind);
            }
            Record::CleanupSynthesized { session, spec, .. } => {
                self.kinds.insert(task, spec.kind);
                self.joined.insert(task, session);
            }
            Record::SessionJoined { session } => {
                self.joined.insert(task, session);
            }
            Record::StateUpdated { lease, number } => {
                let newest = self.updates.entry(lease).or_default();
                *newest = number.max(*newest);
            }
            Record::SessionOpened { phase, .. } => {
                let closing = phase == Phase::Closing;
                let stage = Stage { states: vec![None], closing, ..Stage::default() };
                if self.sessions.insert(SessionId(scope), stage).is_some() {
                    return Err("a session number is used twice");
                }
            }
            Record::SessionStarted { .. }
            | Record::SessionReady
            | Record::SessionExtended { .. }
            | Record::SessionClosing
            | Record::SessionOrphaned
            | Record::SessionStateSet { .. }
            | Record::VariablesExported { .. } => {
                let stage = self.sessions.get_mut(&SessionId(scope)).ok_or("news of an unknown session")?;
                match Record::decode(body).map_err(|_| "a record that can't be decoded")? {
                    Record::SessionStarted { runner } => (stage.started, stage.bound) = (true, runner),
                    Record::SessionClosing => stage.closing = true,
                    Record::SessionOrphaned => stage.bound = None,
                    Record::SessionStateSet { state, .. } => stage.states.push(state),
                    _ => {}
                }
            }
            Record::UpstreamPaused { upstream, .. } => {
                self.paused.insert(scope, upstream);
            }
            Record::RunnerDrained { runner, .. } => {
                self.drained.insert(scope, runner);
            }
            Record::DelegateCreated { .. }
            | Record::NumbersReserved { .. }
            | Record::DelegateRegistered { .. }
            | Record::AbortNoted { .. }
            | Record::UpstreamTold { .. }
            | Record::CancelRequested { .. }
            | Record::ReportAbandoned { .. }
            | Record::MinimalReported { .. }
            | Record::ReportReplayed { .. }
            | Record::DeedDone { .. }
            | Record::ScopeEnded => {}
        }
        Ok(())
    }

    /// Whether the delegate gave the upstream's task back, as far as it can know, and has nothing to do with it any more.
    pub fn gave_back(&self, id: &ExternalId) -> bool {
        self.newest.get(id).is_some_and(|task| self.handed_back.contains(task) && self.ended.contains(task))
    }

    /// Whether the lease is over for certain, however it ended.
    pub fn is_over(&self, lease: LeaseId) -> bool {
        self.withdrawn.contains(&lease)
            || self.attempts_ended.contains(&lease)
            || self.cut.get(&lease).is_some_and(|task| self.finished.contains_key(task))
    }
}
