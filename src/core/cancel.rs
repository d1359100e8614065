//! Stopping a task: by an abort, the operator, its deadline or a drain, whatever state it is in.

use std::time::Duration;

use super::{
    Core,
    effect::{Note, Order},
    finish::outcome_of,
    id::{ExternalId, LeaseId, LinkId, TaskId, UpstreamName},
    input::Handler,
    planted::planted,
    record::{Record, scope_of},
    task::{Cancel, CancelReason, Error, Finish, State},
    time::Now,
    timer::Timer,
};
use crate::reason::Reason;

/// How long an abort of an unknown task is kept for the acquire it may belong to.
const ABORT_KEPT_FOR: Duration = Duration::from_secs(600);
/// Noted aborts at once; the oldest make room.
const ABORTS_MAX: usize = 10_000;

impl Core {
    /// Stops a task: at once if no handler can have started, else by asking its runner, which has the grace (absent: the
    /// configured one). Asked again, only what is left of the grace can change, and only to less.
    pub(super) fn cancel(
        &mut self,
        now: Now,
        id: TaskId,
        reason: CancelReason,
        message: &str,
        grace: Option<Duration>,
    ) {
        let Some(task) = self.ledger.task(id) else { return };
        let external_id = task.external_id.clone();
        let grace = grace.unwrap_or(self.config.cancel_grace);
        match &task.state {
            State::Finished { .. } => return,
            State::Accepted(lease) => {
                let lease = lease.id;
                let end = now.mono + grace + self.config.revoke_margin;
                let shorter = self.timers.get(&Timer::CancelExpiry(id)).is_none_or(|at| end < at);
                let cancel = match &task.cancel {
                    Some(_) if !shorter => return,
                    // The first reason stands; it decides the outcome.
                    Some(first) => Cancel { at: now.wall, grace, ..first.clone() },
                    None => Cancel { reason, message: message.into(), at: now.wall, grace },
                };
                self.record(scope_of(id), Record::CancelRequested { cancel });
                // The deadline stays: a long grace does not outlast it by more than the configured one.
                self.arm_cancel_expiry(now, id);
                self.note_wait(now, id);
                if let Some(link) = self.link_of(lease) {
                    self.cancel_again(link, lease);
                }
            }
            State::Waiting { .. } | State::Assigned(_) => {
                // A runner that was asked already is told by the refusal of its accept.
                let finish = Finish::of(outcome_of(reason), Some(stopped(reason, message, false)));
                self.finish(now, id, None, finish);
            }
        }
        self.note(Note::Cancelled { task: id, external_id, reason });
    }

    /// Tells the runner that holds the lease; said again after each attach.
    pub(super) fn cancel_again(&mut self, link: LinkId, lease: LeaseId) {
        let Some(cancel) = self.ledger.task_of(lease).and_then(|task| task.cancel.clone()) else { return };
        let Cancel { reason, message, grace, .. } = cancel;
        self.send(link, Order::Cancel { lease, reason, message, grace });
    }

    fn link_of(&self, lease: LeaseId) -> Option<LinkId> {
        let runner = self.ledger.task_of(lease)?.lease()?.runner.clone();
        Some(self.roster.of_runner(&runner)?.id)
    }

    pub(super) fn arm_cancel_expiry(&mut self, now: Now, id: TaskId) {
        if planted!(self, GraceIgnored) {
            return;
        }
        let Some(cancel) = self.ledger.task(id).and_then(|task| task.cancel.as_ref()) else { return };
        let patience = cancel.grace + self.config.revoke_margin;
        self.timers.set(Timer::CancelExpiry(id), now.mono + patience);
    }

    pub(super) fn deadline_passed(&mut self, now: Now, id: TaskId) {
        let waits = self.ledger.task(id).is_some_and(|task| matches!(task.state, State::Waiting { .. }));
        let text = if waits { "the task's time was over before it could start" } else { "the task's time is over" };
        self.cancel(now, id, CancelReason::Deadline, text, None);
    }

    /// The runner had its grace: the delegate revokes the lease and answers itself.
    pub(super) fn cancel_expired(&mut self, now: Now, id: TaskId) {
        let Some(cancel) = self.ledger.task(id).and_then(|task| task.cancel.clone()) else { return };
        let finish = Finish::of(outcome_of(cancel.reason), Some(stopped(cancel.reason, &cancel.message, true)));
        self.finish(now, id, None, finish);
    }

    /// The upstream says so once; it is in the journal before anything else can fail.
    pub(super) fn aborted(&mut self, now: Now, name: &UpstreamName, external_id: ExternalId) {
        if let Some(task) = self.ledger.open(name, &external_id)
            && self.ledger.task(task).is_some()
        {
            return self.cancel(now, task, CancelReason::User, "aborted by the upstream", None);
        }
        if planted!(self, AbortForgotten) || self.ledger.abort(name, &external_id).is_some() {
            return;
        }
        self.note(Note::AbortNoted { upstream: name.clone(), external_id: external_id.clone() });
        let scope = self.allot();
        self.record(scope, Record::AbortNoted { upstream: name.clone(), external_id, at: now.wall });
    }

    pub(super) fn forget_old_aborts(&mut self, now: Now) {
        let surplus = self.ledger.abort_count().saturating_sub(ABORTS_MAX);
        let old: Vec<u64> = self
            .ledger
            .aborts()
            .enumerate()
            .filter(|(nth, (_, at))| *nth < surplus || now.wall.since(*at) >= ABORT_KEPT_FOR)
            .map(|(_, (scope, _))| scope)
            .collect();
        for scope in old {
            self.record(scope, Record::ScopeEnded);
        }
    }

    /// A deadline counts from the intention; a wall clock that went back never lengthens it.
    pub(super) fn arm_deadline(&mut self, now: Now, id: TaskId) {
        self.timers.clear(&Timer::Deadline(id));
        let Some(task) = self.ledger.task(id) else { return };
        if let (Some(timeout), false) = (task.spec.timeout, task.is_finished()) {
            let left = Self::remaining(now, task.intended, timeout);
            self.timers.set(Timer::Deadline(id), now.mono + left);
        }
    }

    /// The limits of a run, the handler's own and the configured one, count from its start; the task's deadline holds beside them.
    pub(super) fn arm_run_limit(&mut self, now: Now, link: LinkId, id: TaskId) {
        let Some(task) = self.ledger.task(id) else { return };
        let (State::Accepted(lease), Some(link)) = (&task.state, self.roster.get(link)) else { return };
        let Some(limit) = self.run_limit(link.handler_for(task)) else { return };
        let began = lease.started.or(lease.accepted).unwrap_or(lease.cut);
        let at = now.mono + Self::remaining(now, began, limit);
        if self.timers.get(&Timer::Deadline(id)).is_none_or(|deadline| deadline > at) {
            self.timers.set(Timer::Deadline(id), at);
        }
    }

    /// The smaller of the two limits of one run.
    pub(super) fn run_limit(&self, handler: Option<&Handler>) -> Option<Duration> {
        let own = handler.and_then(|handler| handler.default_timeout);
        own.into_iter().chain(self.config.run_time_max).min()
    }
}

fn stopped(reason: CancelReason, message: &str, started: bool) -> Error {
    let reason = match reason {
        CancelReason::Deadline => Reason::DeadlineExceeded,
        CancelReason::User => Reason::TaskCancelled,
        CancelReason::Drain => Reason::Drain,
        CancelReason::UpstreamGone => Reason::UpstreamGone,
        CancelReason::SessionClosed => Reason::SessionClosed,
    };
    Error::of(reason, message).side_effects(started)
}
