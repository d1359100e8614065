//! The work under a lease: when it starts, how it is stopped, what becomes of its end.

use std::time::{Duration, Instant};

use tonic::Code;

use super::{Effect, Engine, terms::span, updates::UPDATES_UNACKNOWLEDGED_MAX};
use crate::{
    proto::runner::v1::{CancelReason, Started, TaskOutcome, TaskResult, task_update::Update},
    sdk::{
        context::Cancellation,
        holdings::{Ending, Held, LeaseId, Phase, Run},
        outcome::{self, End, Failure},
        reason,
    },
};

/// Grace of a cancellation when neither it nor the task says one. From the protocol.
const CANCEL_GRACE_DEFAULT: Duration = Duration::from_secs(30);

impl Engine {
    /// The handler ended with `result`, whose lease id is set here.
    pub fn finished(&mut self, now: Instant, lease_id: &LeaseId, end: impl Into<End>) {
        let mut end = end.into();
        let Some(held) = self.held.get_mut(lease_id) else { return };
        let Phase::Running(run) = &held.phase else { return };
        match &run.ending {
            Ending::Discarded => return self.discarded(now, lease_id),
            Ending::Cancelled { reason: CancelReason::Deadline, .. }
                if end.result.outcome() == TaskOutcome::Cancelled =>
            {
                end.result.set_outcome(TaskOutcome::TimedOut);
            }
            Ending::Own | Ending::Cancelled { .. } => {}
        }
        self.finish(lease_id, end);
    }

    /// The handler was dropped before it ended.
    pub fn stopped(&mut self, now: Instant, lease_id: &LeaseId) {
        let Some(held) = self.held.get(lease_id) else { return };
        let Phase::Running(run) = &held.phase else { return };
        match run.ending.clone() {
            Ending::Discarded => self.discarded(now, lease_id),
            Ending::Cancelled { reason, message } => self.finish(lease_id, outcome::stopped(reason, &message)),
            Ending::Own => {
                let failure = Failure::errored("HANDLER_STOPPED", "the handler was dropped by its own runtime");
                self.finish(lease_id, failure.into_result());
            }
        }
    }

    /// Asks every running handler to stop, since the runner can't wait any longer.
    pub fn cancel_all(&mut self, now: Instant, message: &str) {
        for lease_id in self.held.keys().cloned().collect::<Vec<_>>() {
            self.cancel(now, &lease_id, CancelReason::Drain, message.to_owned(), None);
        }
    }

    /// Starts a handler whose accept is durable, unless its task still runs under a lost lease, its time is over, or its lease
    /// has to be renewed first.
    pub(super) fn start_if_ready(&mut self, now: Instant, lease_id: &LeaseId) {
        let Some(held) = self.held.get(lease_id) else { return };
        let fresh = held.expires_at(self.terms.lease_ttl).is_none_or(|at| now < at);
        let runs_elsewhere = || self.held.values().any(|other| other.is_discarded() && other.task_id == held.task_id);
        if !held.accept_acknowledged || !fresh || !matches!(held.phase, Phase::Accepted(_)) || runs_elsewhere() {
            return;
        }
        if held.deadline.is_some_and(|at| at <= now) {
            let message = "the task's time was over before it started";
            return self.finish(lease_id, outcome::stopped(CancelReason::Deadline, message));
        }
        self.start(now, lease_id);
    }

    pub(super) fn start(&mut self, now: Instant, lease_id: &LeaseId) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        let Phase::Accepted(assignment) = &mut held.phase else { return };
        let assignment = std::mem::take(assignment);
        let task = assignment.task.as_ref();
        let grace = task.and_then(|task| span(task.cancel_grace_period.as_ref())).unwrap_or(CANCEL_GRACE_DEFAULT);
        let own_timeout = task.and_then(|task| span(task.execution_timeout.as_ref()));
        let timeouts = own_timeout.into_iter().chain(held.rule.default_timeout).map(|timeout| now + timeout);
        held.deadline = held.deadline.into_iter().chain(timeouts).min();
        held.phase = Phase::Running(Run { grace, ending: Ending::Own, kill_at: None, killed: false });
        let (deadline, session_id) = (held.deadline, held.session_id.clone());
        let session = self.subscribe(session_id.as_ref());
        self.effects.push_back(Effect::Start { lease_id: lease_id.clone(), assignment, deadline, session });
        // A result without it is fine, so that it never takes the last place from an output.
        if self.updates_unacknowledged < UPDATES_UNACKNOWLEDGED_MAX {
            self.keep_update(lease_id, Update::Started(Started::default()));
        }
    }

    /// Stops the work under a lease on request; the first reason counts, a later request can only shorten the grace.
    pub(super) fn cancel(
        &mut self,
        now: Instant,
        lease_id: &LeaseId,
        reason: CancelReason,
        message: String,
        grace: Option<Duration>,
    ) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        let lease_lost = reason == CancelReason::LeaseLost;
        match &mut held.phase {
            Phase::Accepted(_) if lease_lost => self.forget(lease_id),
            Phase::Accepted(_) => self.finish(lease_id, outcome::stopped(reason, &message)),
            Phase::Finished(_) if lease_lost => self.forget(lease_id),
            Phase::Running(run) if !run.killed => {
                let grace = grace.unwrap_or(run.grace);
                let kill_at = run.kill_at.map_or(now + grace, |at| at.min(now + grace));
                run.kill_at = Some(kill_at);
                if run.ending == Ending::Own {
                    let (lease_id, grace) = (lease_id.clone(), kill_at - now);
                    run.ending = Ending::Cancelled { reason, message: message.clone() };
                    self.effects
                        .push_back(Effect::Ask { lease_id, cancellation: Cancellation { reason, message, grace } });
                }
                if lease_lost {
                    run.ending = Ending::Discarded;
                }
                if kill_at <= now {
                    run.kill();
                    self.effects.push_back(Effect::Kill { lease_id: lease_id.clone() });
                }
            }
            Phase::Running(_) | Phase::Rejected(_) | Phase::Finished(_) => {}
        }
    }

    /// The lease is gone: never start it, or stop without grace; no result.
    pub(super) fn lose(&mut self, lease_id: &LeaseId) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        let Phase::Running(run) = &mut held.phase else { return self.forget(lease_id) };
        if !run.killed {
            self.effects.push_back(Effect::Kill { lease_id: lease_id.clone() });
        }
        run.kill();
        run.ending = Ending::Discarded;
        self.updates_unacknowledged -= std::mem::take(&mut held.updates).len();
        self.drop_waiting(lease_id);
        self.admit_updates();
    }

    pub(super) fn finish(&mut self, lease_id: &LeaseId, end: impl Into<End>) {
        let End { mut result, base } = end.into();
        self.drop_waiting(lease_id);
        let Some(held) = self.held.get_mut(lease_id) else { return };
        result.lease_id = lease_id.to_string();
        held.phase = Phase::Finished(Box::new(result));
        (held.result_base, held.result_stale, held.result_sent) = (base, false, false);
        self.send_result(lease_id);
    }

    /// Removes the lease; frames of it that still wait to go out are skipped then.
    pub(super) fn forget(&mut self, lease_id: &LeaseId) {
        self.drop_waiting(lease_id);
        let Some(held) = self.held.remove(lease_id) else { return };
        self.updates_unacknowledged -= held.updates.len();
        if let Some(session_id) = &held.session_id {
            self.forget_session(session_id);
        }
        self.admit_updates();
    }

    /// The lost work has stopped; what waited for that, a new attempt of the same task, starts.
    pub(super) fn discarded(&mut self, now: Instant, lease_id: &LeaseId) {
        self.forget(lease_id);
        let waits = |held: &Held| held.accept_acknowledged && matches!(held.phase, Phase::Accepted(_));
        let waiting: Vec<LeaseId> =
            self.held.iter().filter(|(_, held)| waits(held)).map(|(lease_id, _)| lease_id.clone()).collect();
        for lease_id in waiting {
            self.start_if_ready(now, &lease_id);
        }
    }
}

// === impl Run ===

impl Run {
    pub(super) fn kill(&mut self) {
        self.killed = true;
        self.kill_at = None;
    }
}

/// A failure in place of a result the delegate can't take.
pub(super) fn too_large(message: String) -> TaskResult {
    let failure = Failure::errored(reason::RESULT_TOO_LARGE, message).code(Code::OutOfRange);
    failure.into_result()
}
