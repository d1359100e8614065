//! What the disk holds for certain, read from the records as they become durable. It outlives every process, so a promise can be
//! held against it at the moment it leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dlite::journal::Change;

use super::core::{
    id::{ExternalId, LeaseId, TaskId},
    record::Record,
    task::Finish,
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
    /// The newest acquisition of each upstream task.
    newest: BTreeMap<ExternalId, TaskId>,
    /// The lease in force of each task.
    current: BTreeMap<TaskId, LeaseId>,
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
                return Ok(());
            }
        };
        let task = TaskId(scope);
        match Record::decode(body).map_err(|_| "a record that can't be decoded")? {
            Record::IntentionOpened { external_id, .. } => {
                self.newest.insert(external_id, task);
                if !self.intentions.insert(task) {
                    return Err("a task number is used twice");
                }
            }
            Record::LeaseCut { lease, .. } => {
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
            Record::DelegateCreated { .. }
            | Record::NumbersReserved { .. }
            | Record::DelegateRegistered { .. }
            | Record::AbortNoted { .. }
            | Record::TaskTaken { .. }
            | Record::UpstreamTold { .. }
            | Record::CancelRequested { .. }
            | Record::ReportAbandoned { .. }
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
