//! What the operator takes out without stopping the delegate: an upstream that nothing new is taken from, a runner that gets nothing
//! new. Both are on record, so a restart does not bring back what is under repair.
//!
//! A stage that is open here goes on: nobody else holds what it left on its host. So the executes and cleanups of a paused upstream's
//! open sessions are still taken, and a drained runner still gets those of its own. Polls go on as well, since aborts come by them;
//! what they list is left to others.
//!
//! A runner is not told: it has nothing to do about it, and may leave or come back meanwhile as it likes.

use std::{sync::Arc, time::Duration};

use super::{
    Core,
    command::Refusal,
    effect::{Idle, Note},
    id::{RunnerId, TaskId, UpstreamName},
    planted::planted,
    record::Record,
    roster::Link,
    task::{CancelReason, Kind, Task},
    time::Now,
    timer::Timer,
};

/// Drained runners remembered, attached or not. An installation has some dozens of runners; the rest is room for those that never come back.
const RUNNERS_DRAINED_MAX: usize = 1_000;

impl Core {
    // === upstreams ===

    pub(super) fn pause_ordered(&mut self, now: Now, upstream: UpstreamName, reason: Arc<str>) -> Result<(), Refusal> {
        if !self.upstreams.contains_key(&upstream) {
            return Err(Refusal::UpstreamUnknown);
        }
        if self.is_paused(&upstream) {
            return Err(Refusal::UpstreamPaused);
        }
        self.note(Note::UpstreamPaused { upstream: upstream.clone(), reason: reason.clone() });
        let scope = self.allot();
        self.record(scope, Record::UpstreamPaused { upstream: upstream.clone(), reason, at: now.wall });
        self.judge_listed(now, &upstream);
        Ok(())
    }

    /// One that is not configured any more can be resumed, too.
    pub(super) fn unpause_ordered(&mut self, now: Now, upstream: &UpstreamName) -> Result<(), Refusal> {
        let Some((scope, _)) = self.ledger.pause(upstream) else {
            let known = self.upstreams.contains_key(upstream);
            return Err(if known { Refusal::UpstreamNotPaused } else { Refusal::UpstreamUnknown });
        };
        self.record(scope, Record::ScopeEnded);
        self.note(Note::UpstreamResumed { upstream: upstream.clone() });
        self.take_listed(now);
        Ok(())
    }

    pub(super) fn is_paused(&self, upstream: &UpstreamName) -> bool {
        self.ledger.pause(upstream).is_some()
    }

    /// Whether a pause leaves a task of this kind on offer to others.
    pub(super) fn pause_leaves(&self, upstream: &UpstreamName, kind: Kind) -> bool {
        self.is_paused(upstream)
            && !planted!(self, PauseIgnored)
            && !(goes_on(kind) && self.ledger.sessions().any(|session| session.upstream == *upstream))
    }

    // === runners ===

    pub(super) fn runner_drain_ordered(
        &mut self,
        now: Now,
        runner: RunnerId,
        grace: Option<Duration>,
        reason: Arc<str>,
    ) -> Result<(), Refusal> {
        if self.ledger.runner_drain(&runner).is_some() {
            return Err(Refusal::RunnerDrained);
        }
        let has_work = self.ledger.tasks().filter_map(Task::lease).any(|lease| lease.runner == runner);
        if !has_work && self.roster.of_runner(&runner).is_none() && !self.holds_session(&runner) {
            return Err(Refusal::RunnerUnknown);
        }
        if self.ledger.drained_runners().count() >= RUNNERS_DRAINED_MAX {
            return Err(Refusal::RunnersDrainedMax);
        }
        self.note(Note::RunnerDrained { runner: runner.clone(), grace, reason: reason.clone() });
        let scope = self.allot();
        let ends = grace.map(|grace| now.wall + grace);
        self.record(scope, Record::RunnerDrained { runner: runner.clone(), reason, at: now.wall, ends });
        if let Some(grace) = grace {
            self.timers.set(Timer::RunnerDrain(runner), now.mono + grace);
        }
        Ok(())
    }

    pub(super) fn runner_resume_ordered(&mut self, now: Now, runner: &RunnerId) -> Result<(), Refusal> {
        let Some((scope, _)) = self.ledger.runner_drain(runner) else {
            let known = self.roster.of_runner(runner).is_some();
            return Err(if known { Refusal::RunnerNotDrained } else { Refusal::RunnerUnknown });
        };
        self.timers.clear(&Timer::RunnerDrain(runner.clone()));
        self.record(scope, Record::ScopeEnded);
        self.note(Note::RunnerResumed { runner: runner.clone() });
        self.assign_waiting(now);
        Ok(())
    }

    /// After a start: graces go on by the wall clock.
    pub(super) fn resume_runner_drains(&mut self, now: Now) {
        let ends = self.ledger.drained_runners().filter_map(|runner| {
            let (_, aside) = self.ledger.runner_drain(runner)?;
            let ends = aside.ends?;
            Some((runner.clone(), Self::remaining(now, aside.since, ends.since(aside.since))))
        });
        for (runner, left) in ends.collect::<Vec<_>>() {
            self.timers.set(Timer::RunnerDrain(runner), now.mono + left);
        }
    }

    /// The grace of a drained runner is over: what it still does is told to stop, but for cleanups, and its sessions are closed.
    pub(super) fn runner_drain_due(&mut self, now: Now, runner: &RunnerId) {
        let Some((_, aside)) = self.ledger.runner_drain(runner) else { return };
        let reason = aside.reason.clone();
        let held = self.ledger.tasks().filter(|task| {
            let here = task.lease().is_some_and(|lease| lease.runner == *runner);
            here && task.spec.kind != Kind::SessionCleanup
        });
        let held: Vec<TaskId> = held.map(|task| task.id).collect();
        self.note(Note::RunnerGraceOver { runner: runner.clone(), open: held.len() });
        for task in held {
            self.cancel(now, task, CancelReason::Drain, &reason, None);
        }
        let bound = self.ledger.sessions().filter(|session| session.runner.as_ref() == Some(runner));
        for session in bound.map(|session| session.id).collect::<Vec<_>>() {
            // One that closes already has its cleanup.
            let _ = self.close_session(now, session, &reason, false);
        }
    }

    /// Why `link` gets no new task of this kind, if it gets none. Which session an offer is of it does not say: whoever holds sessions
    /// may be who goes on with them.
    pub(super) fn idle(&self, link: &Link, kind: Kind) -> Option<Idle> {
        if !link.healthy {
            Some(Idle::Unhealthy)
        } else if link.draining {
            Some(Idle::Leaving)
        } else {
            let drained = self.is_drained(&link.runner) && !(goes_on(kind) && self.holds_session(&link.runner));
            drained.then_some(Idle::Drained)
        }
    }

    /// Why `link` does not get this task, if it may not have it.
    pub(super) fn idle_for(&self, link: &Link, task: &Task) -> Option<Idle> {
        match self.idle(link, task.spec.kind) {
            None if self.is_drained(&link.runner) && self.session_runner(task) != Some(&link.runner) => {
                Some(Idle::Drained)
            }
            idle => idle,
        }
    }

    fn is_drained(&self, runner: &RunnerId) -> bool {
        self.ledger.runner_drain(runner).is_some() && !planted!(self, RunnerDrainIgnored)
    }

    fn holds_session(&self, runner: &RunnerId) -> bool {
        self.ledger.sessions().any(|session| session.runner.as_ref() == Some(runner))
    }
}

/// Whether tasks of this kind go on with a stage that was begun.
fn goes_on(kind: Kind) -> bool {
    matches!(kind, Kind::SessionExecute | Kind::SessionCleanup)
}
