//! How tasks end: by a runner's result, by a lost lease, or because nobody could do them.

use std::sync::Arc;

use super::{
    Core,
    effect::Note,
    id::{LeaseId, TaskId},
    planted::planted,
    record::{Record, scope_of},
    task::{CancelReason, Error, Finish, Outcome, Retry, State},
    time::Now,
    timer::Timer,
};
use crate::reason::Reason;

/// Leases that are remembered as answered; the oldest make room. Only a runner that was away for so many tasks would miss one.
const ANSWERED_MAX: usize = 100_000;

impl Core {
    /// The lease lives a full ttl from here; an idempotent runner stops by itself at the ttl and is given the margin to do so.
    pub(super) fn renew(&mut self, now: Now, lease: LeaseId, idempotent: bool) {
        if planted!(self, LeaseImmortal) {
            return;
        }
        let margin = if idempotent { self.config.reassign_margin } else { std::time::Duration::ZERO };
        self.timers.set(Timer::LeaseExpiry(lease), now.mono + self.config.lease_ttl + margin);
    }

    pub(super) fn lease_expired(&mut self, now: Now, lease: LeaseId) {
        if let Some(task) = self.ledger.task_of(lease).map(|task| task.id) {
            self.lose_lease(now, task, "not renewed within lease_ttl");
        }
    }

    /// A runner had accepted the task and nobody knows what it did with it.
    pub(super) fn lose_lease(&mut self, now: Now, id: TaskId, why: &'static str) {
        let Some(task) = self.ledger.task(id) else { return };
        let Some(lease) = task.lease().cloned() else { return };
        let idempotent = lease.idempotent || planted!(self, RepeatedStart);
        let repeats = idempotent && task.cancel.is_none() && task.attempt < self.config.attempts_max;
        let cancel = task.cancel.clone();
        self.note(Note::LeaseLost { task: id, lease: lease.id, runner: lease.runner.clone(), reason: why, repeats });
        if repeats {
            self.end_attempt(now, id, lease.id, Reason::LeaseLost.word().into());
            return self.wait(now, id);
        }
        let outcome = cancel.map_or(Outcome::Errored, |cancel| outcome_of(cancel.reason));
        let text = format!("runner {} lost the task: {why}", lease.runner);
        let error = Error::of(Reason::LeaseLost, text).side_effects(true);
        self.finish(now, id, None, Finish::of(outcome, Some(error)));
    }

    /// A runner's result under the lease in force: final, or the end of one try of several.
    pub(super) fn take_result(&mut self, now: Now, id: TaskId, lease: LeaseId, finish: Finish) {
        let Some(task) = self.ledger.task(id) else { return };
        self.answered.insert(lease);
        if self.answered.len() > ANSWERED_MAX {
            self.answered.pop_first();
        }
        let idempotent = task.lease().is_some_and(|lease| lease.idempotent);
        let retry = match (&finish.outcome, &finish.error) {
            (Outcome::Errored, Some(error)) if idempotent || error.side_effects_possible == Some(false) => {
                Some((error.retry, error.retry_delay, error.reason.clone()))
            }
            _ => None,
        };
        let again = task.cancel.is_none() && task.attempt < self.config.attempts_max;
        match retry {
            Some((retry @ (Retry::SameRunner | Retry::OtherRunner), delay, word)) if again => {
                let runner = task.lease().map(|lease| lease.runner.clone());
                let elsewhere = self
                    .roster
                    .with_type(&task.spec.task_type)
                    .any(|link| Some(&link.runner) != runner.as_ref() && link.takes_work());
                self.end_attempt(now, id, lease, word);
                match runner {
                    Some(runner) if retry == Retry::OtherRunner && elsewhere => {
                        self.waiting.avoid(id, runner, now.mono, delay);
                    }
                    _ => self.waiting.delay(id, now.mono, delay.unwrap_or(std::time::Duration::from_secs(1))),
                }
                self.wait(now, id);
            }
            _ => self.finish(now, id, Some(lease), finish),
        }
    }

    /// One try of several is over.
    fn end_attempt(&mut self, now: Now, id: TaskId, lease: LeaseId, reason: Arc<str>) {
        self.timers.clear(&Timer::LeaseExpiry(lease));
        self.progress.remove(&lease);
        self.record(scope_of(id), Record::AttemptEnded { lease, reason, at: now.wall });
        self.tell_stages(id, 1);
        // The limit of the run that ended is not the next one's.
        self.arm_deadline(now, id);
    }

    /// The one end of every task: the result becomes a record, and is owed to the upstream.
    pub(super) fn finish(&mut self, now: Now, id: TaskId, lease: Option<LeaseId>, mut finish: Finish) {
        self.count_drained(id, &finish);
        let Some(task) = self.ledger.task(id).filter(|task| !task.is_finished()) else { return };
        if finish.payload.as_ref().is_some_and(|payload| payload.content.len() > self.config.payload_bytes_max) {
            // The edge refuses larger ones; this bounds what the delegate itself could make.
            finish.payload = None;
        }
        for timer in [Timer::Deadline(id), Timer::CancelExpiry(id), Timer::RunnerExpiry(id), Timer::Retry(id)] {
            self.timers.clear(&timer);
        }
        if let Some(held) = task.lease().map(|lease| lease.id) {
            self.timers.clear(&Timer::AcceptExpiry(held));
            self.timers.clear(&Timer::LeaseExpiry(held));
            self.progress.remove(&held);
        }
        self.waiting.forget(task);
        self.waiting.unfinished -= 1;
        let outcome = finish.outcome;
        let reason = finish.error.as_ref().map_or_else(|| "".into(), |error| error.reason.clone());
        let (upstream, own) = (task.upstream.clone(), task.own);
        // An assignment that was not accepted ends together with the wait before it.
        let ending = if matches!(task.state, State::Assigned(_)) { 2 } else { 1 };
        self.export(id, &finish);
        self.record(scope_of(id), Record::TaskFinished { lease, finish: Arc::new(finish), at: now.wall });
        self.tell_stages(id, ending);
        self.note(Note::Finished { task: id, outcome, reason: reason.clone() });
        self.session_task_finished(now, id, outcome, &reason);
        if own {
            // Nobody waits for its result: it is over.
            self.tell_life(id, now.wall, None, None);
            self.forget_logs(id);
            self.record(scope_of(id), Record::ScopeEnded);
        } else {
            self.owe(now, id);
            self.send_reports(&upstream);
        }
        self.take_listed(now);
    }

    /// The task asks for something that no runner of this delegate can be given.
    pub(super) fn refuse_unsupported(&mut self, now: Now, id: TaskId, what: &str) {
        let text = format!("this delegate does not support {what}");
        let error = Error::of(Reason::UnsupportedRequest, text).side_effects(false);
        self.finish(now, id, None, Finish::of(Outcome::Errored, Some(error)));
    }

    /// An acquired task waited for a runner of its type, and none came.
    pub(super) fn runner_expired(&mut self, now: Now, id: TaskId) {
        let Some(task) = self.ledger.task(id) else { return };
        if self.is_served(task) || !matches!(task.state, State::Waiting { .. }) {
            return;
        }
        let (task_type, waited) = (&task.spec.task_type, self.config.no_runner_timeout);
        let text = format!("no attached runner has a handler for {task_type} within {waited:?}");
        let error = Error::of(Reason::NoRunner, text).side_effects(task.attempt > 1);
        self.finish(now, id, None, Finish::of(Outcome::Errored, Some(error)));
    }
}

/// What a cancelled task ended as.
pub(super) fn outcome_of(reason: CancelReason) -> Outcome {
    match reason {
        CancelReason::Deadline => Outcome::TimedOut,
        CancelReason::User | CancelReason::Drain | CancelReason::UpstreamGone | CancelReason::SessionClosed => {
            Outcome::Cancelled
        }
    }
}
