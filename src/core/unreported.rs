//! Results that are not reported, in the operator's hands: those on their way, and dead letters.
//!
//! ```text
//!  owed ────── replay ──► sent at once             drop ──► gone; the upstream finds out by the task's own timeout
//!  dead letter ─ replay ──► owed again, as it was   drop ──► gone
//! ```
//!
//! One result of a task counts. So a dead letter is replayed only while no answer of the upstream's says that it has one, nor has it
//! given the task out again.

use std::sync::Arc;

use super::{
    Core,
    command::Refusal,
    effect::Note,
    id::{ExternalId, TaskId, TaskType, UpstreamName},
    record::{Record, scope_of},
    status::{NotFound, TaskName},
    task::{Finish, Report, State, Task},
    time::{Now, Wall},
    timer::Timer,
};
use crate::reason::Reason;

/// Results shown at once.
pub const REPORTS_SHOWN_MAX: usize = 10_000;

/// One result without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportStatus {
    pub task: TaskId,
    pub upstream: UpstreamName,
    pub external_id: ExternalId,
    pub task_type: TaskType,
    /// How the task ended.
    pub outcome: &'static str,
    /// "owed", "minimal" (a minimal failure is on its way in its place), "hand_back" or "dead".
    pub state: &'static str,
    /// Why it is not reported yet, or not any more; absent: it was not tried yet.
    pub reason: Option<Arc<str>>,
    pub finished: Wall,
    pub tries: u32,
    /// When it is sent again; absent: it is under way, waits for its turn, or is dead.
    pub next: Option<Wall>,
    /// Whether a replay would be followed.
    pub replayable: bool,
    /// Of the result's own payload.
    pub payload_bytes: usize,
}

/// One result, whole. Its payload may hold what the task's owner would not show to everybody.
#[derive(Clone, Debug)]
pub struct ReportDetail {
    pub status: ReportStatus,
    pub finish: Arc<Finish>,
}

impl Core {
    /// Results that are not reported, the oldest first.
    pub fn report_list(&self, now: Now) -> Vec<ReportStatus> {
        self.ledger.tasks().filter_map(|task| self.report_status(now, task)).take(REPORTS_SHOWN_MAX).collect()
    }

    /// The result of this name.
    ///
    /// # Errors
    /// If there is none, or the name fits several.
    pub fn find_report(&self, now: Now, name: &TaskName) -> Result<ReportDetail, NotFound> {
        let fits = |task: &&Task| match name {
            TaskName::Ours(id) => task.id == *id,
            TaskName::Theirs(external_id) => task.external_id == *external_id,
        };
        let details = self.ledger.tasks().filter(fits).filter_map(|task| {
            let State::Finished { finish, .. } = &task.state else { return None };
            Some(ReportDetail { status: self.report_status(now, task)?, finish: finish.clone() })
        });
        let mut found: Vec<_> = details.collect();
        match (found.pop(), found.is_empty()) {
            (Some(one), true) => Ok(one),
            (Some(last), false) => {
                found.push(last);
                Err(NotFound::Ambiguous(found.into_iter().map(|detail| detail.status.task).collect()))
            }
            (None, _) => Err(NotFound::Unknown),
        }
    }

    fn report_status(&self, now: Now, task: &Task) -> Option<ReportStatus> {
        let State::Finished { finish, report, at, .. } = &task.state else { return None };
        let clock = self.upstreams.get(&task.upstream).and_then(|up| up.reports.get(&task.id));
        let last = clock.and_then(|clock| clock.last_error.clone());
        let (state, reason) = match report {
            Report::Owed => ("owed", last),
            Report::OwedMinimal { refusal } => ("minimal", last.or_else(|| Some(refusal.clone()))),
            Report::HandBack { .. } => ("hand_back", last),
            Report::Dead { reason, .. } => ("dead", Some(reason.clone())),
            Report::Nowhere => return None,
        };
        let due = self.timers.get(&Timer::Report(task.id));
        Some(ReportStatus {
            task: task.id,
            upstream: task.upstream.clone(),
            external_id: task.external_id.clone(),
            task_type: task.spec.task_type.clone(),
            outcome: finish.outcome.word(),
            state,
            reason,
            finished: *at,
            tries: clock.map_or(0, |clock| clock.tries),
            next: due.map(|at| now.wall + at.since(now.mono)),
            replayable: self.replayable(task).is_ok(),
            payload_bytes: finish.payload.as_ref().map_or(0, |payload| payload.content.len()),
        })
    }

    fn replayable(&self, task: &Task) -> Result<(), Refusal> {
        let State::Finished { report, .. } = &task.state else { return Err(Refusal::NoResult) };
        match report {
            Report::Nowhere => Err(Refusal::TaskUnknown),
            Report::HandBack { .. } => Err(Refusal::HandedBack),
            Report::Dead { answered: true, .. } => Err(Refusal::AlreadyReported),
            _ if !self.upstreams.contains_key(&task.upstream) => Err(Refusal::ReportOrphaned),
            Report::Dead { .. } if self.ledger.open(&task.upstream, &task.external_id).is_some() => {
                Err(Refusal::ReportSuperseded)
            }
            Report::Dead { .. } | Report::Owed | Report::OwedMinimal { .. } => Ok(()),
        }
    }

    /// Sends a result once more: at once, and for another `report_age_max` if it was given up.
    pub(super) fn replay_ordered(&mut self, now: Now, id: TaskId) -> Result<(), Refusal> {
        let task = self.ledger.task(id).ok_or(Refusal::TaskUnknown)?;
        self.replayable(task)?;
        let (upstream, external_id) = (task.upstream.clone(), task.external_id.clone());
        if matches!(task.state, State::Finished { report: Report::Dead { .. }, .. }) {
            self.record(scope_of(id), Record::ReportReplayed { at: now.wall });
            self.owe(now, id);
        }
        self.note(Note::ReportReplayed { task: id, upstream, external_id });
        self.timers.clear(&Timer::Report(id));
        self.report_due(id);
        Ok(())
    }

    /// Forgets a result. What is on its way may still arrive.
    pub(super) fn drop_ordered(&mut self, now: Now, id: TaskId, reason: Arc<str>) -> Result<(), Refusal> {
        let task = self.ledger.task(id).ok_or(Refusal::TaskUnknown)?;
        let (upstream, external_id) = (task.upstream.clone(), task.external_id.clone());
        match &task.state {
            State::Finished { report: Report::Nowhere, .. } => return Err(Refusal::TaskUnknown),
            // Its trace was told when it died.
            State::Finished { report: Report::Dead { .. }, .. } => {}
            State::Finished { .. } => {
                self.tell_life(id, now.wall, None, Some(Reason::ReportDropped.word()));
                self.forget_report(now, id);
            }
            _ => return Err(Refusal::NoResult),
        }
        self.record(scope_of(id), Record::ScopeEnded);
        self.note(Note::ReportDropped { task: id, upstream, external_id, reason });
        Ok(())
    }
}
