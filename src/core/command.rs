//! What the operator orders, and why an order can't be followed. Whatever an order changes is durable before its answer leaves.

use std::{sync::Arc, time::Duration};

use super::{
    Core,
    audit::{self, Deed},
    config::Config,
    drain::Mode,
    effect::Effect,
    id::{RequestId, RunnerId, SessionId, TaskId, UpstreamName},
    task::CancelReason,
    time::Now,
    timer::Timer,
};
use crate::reason::Reason;

/// One order.
#[derive(Clone, Debug)]
pub enum Command {
    /// Stops a task. `grace` absent: the configured one. `force`: answers the upstream at once, without waiting for the runner.
    CancelTask {
        task: TaskId,
        message: Arc<str>,
        grace: Option<Duration>,
        force: bool,
    },
    /// Puts another configuration in force, with the same upstreams.
    Reconfigure(Box<Config>),
    /// Takes nothing new and finishes. `grace` absent: the configured one.
    Drain {
        mode: Mode,
        grace: Option<Duration>,
        reason: Arc<str>,
    },
    /// Takes back a drain.
    Resume,
    /// The process is to end after a drain with the configured grace; see [`Core::departure`].
    Stop {
        mode: Mode,
        reason: Arc<str>,
    },
    /// The process is to end and to wait for nobody.
    Hurry {
        reason: Arc<str>,
    },
    /// Ends a session. `force`: forgets it, without a cleanup.
    CloseSession {
        session: SessionId,
        reason: Arc<str>,
        force: bool,
    },
    /// Sends a result now, one that was given up too.
    ReplayReport {
        task: TaskId,
    },
    /// Forgets a result that is not reported.
    DropReport {
        task: TaskId,
        reason: Arc<str>,
    },
    /// An order, and who gave it: put on record with what came of it, in the same turn.
    Audited {
        deed: Deed,
        command: Box<Command>,
    },
    /// A deed that happened outside of the core; `outcome` as in [`Audit`](super::audit::Audit).
    PutOnRecord {
        deed: Deed,
        outcome: Arc<str>,
    },
    /// Takes nothing new from one upstream, until it is resumed.
    PauseUpstream {
        upstream: UpstreamName,
        reason: Arc<str>,
    },
    ResumeUpstream {
        upstream: UpstreamName,
    },
    /// Gives one runner nothing new, until it is resumed; its sessions go on. `grace`: after it, what the runner still does is stopped;
    /// absent: never.
    DrainRunner {
        runner: RunnerId,
        grace: Option<Duration>,
        reason: Arc<str>,
    },
    ResumeRunner {
        runner: RunnerId,
    },
}

/// Why an order is not followed; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    TaskUnknown,
    TaskFinished,
    AlreadyDraining,
    NotDraining,
    /// The process is about to end.
    Stopping,
    SessionUnknown,
    SessionClosing,
    /// The task runs or waits.
    NoResult,
    /// It is on its way back, which is done once.
    HandedBack,
    /// The upstream has an answer for this task.
    AlreadyReported,
    /// The upstream has given the same task out again.
    ReportSuperseded,
    /// Its upstream is not configured any more.
    ReportOrphaned,
    UpstreamUnknown,
    UpstreamPaused,
    UpstreamNotPaused,
    RunnerUnknown,
    RunnerDrained,
    RunnerNotDrained,
    /// So many runners are drained already that no more is remembered.
    RunnersDrainedMax,
}

impl Core {
    pub(super) fn commanded(&mut self, now: Now, request: RequestId, command: Command) {
        let answer = self.follow(now, command);
        self.promise(Effect::Answer { request, answer });
    }

    fn follow(&mut self, now: Now, command: Command) -> Result<(), Refusal> {
        match command {
            Command::CancelTask { task, message, grace, force } => {
                self.cancel_ordered(now, task, &message, grace, force)
            }
            Command::Reconfigure(config) => {
                self.reconfigure(now, *config);
                Ok(())
            }
            Command::Drain { mode, grace, reason } => self.drain_ordered(now, mode, grace, reason),
            Command::Resume => self.resume_ordered(now),
            Command::Stop { mode, reason } => self.stop_ordered(now, mode, reason),
            Command::Hurry { reason } => self.hurry_ordered(now, reason),
            Command::CloseSession { session, reason, force } => self.close_session(now, session, &reason, force),
            Command::PauseUpstream { upstream, reason } => self.pause_ordered(now, upstream, reason),
            Command::ResumeUpstream { upstream } => self.unpause_ordered(now, &upstream),
            Command::DrainRunner { runner, grace, reason } => self.runner_drain_ordered(now, runner, grace, reason),
            Command::ResumeRunner { runner } => self.runner_resume_ordered(now, &runner),
            Command::ReplayReport { task } => self.replay_ordered(now, task),
            Command::DropReport { task, reason } => self.drop_ordered(now, task, reason),
            Command::Audited { deed, command } => {
                let answer = self.follow(now, *command);
                self.audit(now, deed, audit::outcome(&answer));
                answer
            }
            Command::PutOnRecord { deed, outcome } => {
                self.audit(now, deed, &outcome);
                Ok(())
            }
        }
    }

    /// Waits that have begun keep their length; what begins from here on follows the new values.
    fn reconfigure(&mut self, now: Now, config: Config) {
        for new in &config.upstreams {
            let Some(up) = self.upstreams.get_mut(&new.name) else { continue };
            up.config = new.clone();
            for (timer, interval) in [
                (Timer::Poll(new.name.clone()), new.poll_interval),
                (Timer::Heartbeat(new.name.clone()), new.heartbeat_interval),
            ] {
                // Nobody waits an old hour for a new second to begin.
                if self.timers.get(&timer).is_some_and(|at| at > now.mono + interval) {
                    self.timers.set(timer, now.mono + interval);
                }
            }
        }
        self.config = config;
        self.take_listed(now);
    }

    fn cancel_ordered(
        &mut self,
        now: Now,
        id: TaskId,
        message: &str,
        grace: Option<Duration>,
        force: bool,
    ) -> Result<(), Refusal> {
        let task = self.ledger.task(id).ok_or(Refusal::TaskUnknown)?;
        if task.is_finished() {
            return Err(Refusal::TaskFinished);
        }
        let grace = if force { Some(Duration::ZERO) } else { grace };
        self.cancel(now, id, CancelReason::User, message, grace);
        if force {
            self.cancel_expired(now, id);
        }
        Ok(())
    }
}

// === impl Refusal ===

impl Refusal {
    pub fn reason(self) -> Reason {
        match self {
            Self::TaskUnknown => Reason::TaskUnknown,
            Self::TaskFinished => Reason::TaskFinished,
            Self::AlreadyDraining => Reason::AlreadyDraining,
            Self::NotDraining => Reason::NotDraining,
            Self::Stopping => Reason::Stopping,
            Self::SessionUnknown => Reason::SessionUnknown,
            Self::SessionClosing => Reason::SessionClosing,
            Self::NoResult => Reason::NoResult,
            Self::HandedBack => Reason::HandedBack,
            Self::AlreadyReported => Reason::AlreadyReported,
            Self::ReportSuperseded => Reason::ReportSuperseded,
            Self::ReportOrphaned => Reason::ReportOrphaned,
            Self::UpstreamUnknown => Reason::UpstreamUnknown,
            Self::UpstreamPaused => Reason::UpstreamPaused,
            Self::UpstreamNotPaused => Reason::UpstreamNotPaused,
            Self::RunnerUnknown => Reason::RunnerUnknown,
            Self::RunnerDrained => Reason::RunnerDrained,
            Self::RunnerNotDrained => Reason::RunnerNotDrained,
            Self::RunnersDrainedMax => Reason::RunnersDrainedMax,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TaskUnknown => "there is no open task of this id here",
            Self::SessionUnknown => "there is no open session of this id here",
            Self::SessionClosing => "the session's cleanup waits or runs already",
            Self::TaskFinished => "the task's result is decided already; what is left is its way to the upstream",
            Self::AlreadyDraining => {
                "a drain is under way; `dlite resume` takes it back, and the next one may be shorter"
            }
            Self::NotDraining => "there is no drain to take back",
            Self::NoResult => "the task has no result yet; `dlite tasks cancel` stops it",
            Self::HandedBack => "the task is on its way back to its upstream, which is done once",
            Self::AlreadyReported => "the upstream has an answer for this task; two results of one task are never sent",
            Self::ReportSuperseded => "the upstream has given the task out again, and the result of that try counts",
            Self::ReportOrphaned => "its upstream is not configured any more; configure it again, or drop the result",
            Self::UpstreamUnknown => "no upstream of this name is configured; `dlite upstreams list` has them",
            Self::UpstreamPaused => "the upstream is paused already",
            Self::UpstreamNotPaused => "the upstream is not paused",
            Self::RunnerUnknown => "no runner of this id is attached or has work here; `dlite runners list` has them",
            Self::RunnerDrained => "the runner is drained already; `dlite runners resume` takes that back",
            Self::RunnerNotDrained => "the runner is not drained",
            Self::RunnersDrainedMax => "too many runners are drained already; resume those that are gone for good",
            Self::Stopping => "the delegate was told to end, which can't be taken back",
        })
    }
}
