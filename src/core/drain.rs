//! Emptying the delegate: nothing new is taken, what is here comes to its end, and every result is reported.
//!
//! ```text
//!            order                     all ended                    all reported
//!  SERVING ────────► Finishing ─────────────────────► Reporting ──────────────────► DRAINED
//!     ▲                  │ grace over                   ▲    ▲                         │ the process ends here,
//!     │                  ▼ or told not to wait          │    │                         │ if it was told to
//!     │               Ending ── all ended, or bound ────┘    │                         │
//!     │                  │ cleanups are left                 │                         │
//!     │                  └──► Cleaning ── bound ──► Ending ──┘                         │
//!     └────────────────────────── resume, unless the process is to end ────────────────┘
//! ```
//!
//! Acquires under way are never cut off: an upstream that has assigned a task waits for its answer. What they bring is run while
//! tasks are finished, and goes back or ends as cancelled after that. Polls go on, since aborts come by them; heartbeats go on to
//! the last report, since an upstream fails the tasks of a delegate it does not hear.
//!
//! Sessions that left something on a host end with the drain: when their upstreams end them, if sessions are waited for, else once
//! the tasks are over; the delegate then cleans up by itself. Only a drain that cancels leaves them to the next process.
//!
//! A drain is not journalled, since the next process begins with serving; what it decided about a task is.

use std::{sync::Arc, time::Duration};

use super::{
    Core,
    command::Refusal,
    effect::{Note, Order},
    id::{LinkId, TaskId, UpstreamName},
    planted::planted,
    task::{CancelReason, Error, Finish, Kind, Outcome, Retry, State, Task},
    time::{Mono, Now, Wall},
    timer::Timer,
};
use crate::reason::{Code, Reason};

/// Longest grace that a drain leaves a cancelled handler, however long the configured one is: a stop has to end in a known time.
pub const CANCEL_GRACE_MAX: Duration = Duration::from_secs(10);
/// Longest further wait for its result.
pub const REVOKE_MARGIN_MAX: Duration = Duration::from_secs(5);
/// How long cleanups may take beyond the grace: what they would leave on a host costs more than the wait.
pub const CLEANUPS_MAX: Duration = Duration::from_secs(30);
/// How long a process that is to end goes on reporting once nothing runs; what is left goes out after the next start.
pub const REPORTS_MAX: Duration = Duration::from_secs(10);
/// The same bounds for a process that was told not to wait: for runners to stop, and for reports.
pub const HURRIED_CANCEL_MAX: Duration = Duration::from_secs(1);
pub const HURRIED_REPORTS_MAX: Duration = Duration::from_secs(3);

/// Longest time between the end of a drain's grace and the end of the last task: two rounds of cancelling, the cleanups between.
pub const ENDING_MAX: Duration =
    CANCEL_GRACE_MAX.saturating_add(REVOKE_MARGIN_MAX).saturating_mul(2).saturating_add(CLEANUPS_MAX);

/// What a drain waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Open sessions, whose executes and cleanups are still taken.
    FinishSessions,
    /// The tasks that were taken.
    FinishTasks,
    /// Nothing: what runs is cancelled.
    Cancel,
}

/// Whether the delegate takes work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Serving,
    /// Takes nothing new; something is open or unreported.
    Draining,
    /// Takes nothing new, and nothing is left.
    Drained,
}

/// A drain that was ordered and not taken back.
#[derive(Debug)]
pub struct Drain {
    pub mode: Mode,
    pub reason: Arc<str>,
    pub began: Wall,
    /// When what still runs is cancelled, for people.
    pub grace_end: Wall,
    grace_ends: Mono,
    stage: Stage,
    /// The process ends with the drain.
    leaving: bool,
    /// It was told not to wait.
    hurried: bool,
    /// It has waited for its reports long enough.
    gave_up: bool,
    /// That nothing is left was said.
    told: bool,
    /// Tasks that ended as cancelled because of it.
    pub cancelled: usize,
    /// Tasks that it gave back to their upstream, nothing of them begun.
    pub handed_back: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Finishing,
    /// All but cleanups, if those are spared, were told to stop.
    Ending {
        spares_cleanups: bool,
    },
    /// Nothing but cleanups is left.
    Cleaning,
    Reporting,
}

/// What a process leaves that ends after a drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Departure {
    /// Tasks that the drain cancelled.
    pub cancelled: usize,
    /// Tasks that it gave back.
    pub handed_back: usize,
    /// Tasks in the journal without a result.
    pub open: usize,
    /// Acquires whose answer is not clear.
    pub acquiring: usize,
    /// Results in the journal that no upstream has confirmed.
    pub unreported: usize,
    /// Sessions in the journal that are not cleaned up.
    pub sessions: usize,
}

impl Core {
    /// Whether the delegate takes work, for health and metrics.
    pub fn phase(&self) -> Phase {
        match &self.drain {
            None => Phase::Serving,
            Some(_) if self.is_empty() => Phase::Drained,
            Some(_) => Phase::Draining,
        }
    }

    /// What is left, once the process is to end; ask after every turn.
    pub fn departure(&self) -> Option<Departure> {
        let drain = self.drain.as_ref().filter(|drain| drain.leaving)?;
        (drain.gave_up || self.is_empty()).then(|| self.leavings())
    }

    /// What the process would leave if it ended now.
    pub fn leavings(&self) -> Departure {
        let drain = self.drain.as_ref();
        let finished = self.ledger.tasks().filter(|task| task.is_finished()).count();
        Departure {
            cancelled: drain.map_or(0, |drain| drain.cancelled),
            handed_back: drain.map_or(0, |drain| drain.handed_back),
            open: self.waiting.unfinished,
            acquiring: self.ledger.intentions().count(),
            unreported: finished - self.ledger.dead_letters().len(),
            sessions: self.ledger.session_count(),
        }
    }

    /// Nothing is being acquired, open or to be reported.
    fn is_empty(&self) -> bool {
        !self.has_open() && !self.awaits_sessions() && self.upstreams.values().all(|up| up.reports.is_empty())
    }

    fn has_open(&self) -> bool {
        let acquiring = self.upstreams.values().any(|up| !up.acquires.is_empty());
        self.waiting.unfinished > 0 || (acquiring && !planted!(self, DrainForgetsAcquire))
    }

    /// Whether stages that left something on a host are yet to end, by their upstream's will or by the drain's.
    fn awaits_sessions(&self) -> bool {
        let Some(drain) = &self.drain else { return false };
        drain.stage == Stage::Finishing
            && drain.mode != Mode::Cancel
            && !planted!(self, DrainForgetsSessions)
            && self.ledger.sessions().any(|session| session.started)
    }

    // === orders ===

    pub(super) fn drain_ordered(
        &mut self,
        now: Now,
        mode: Mode,
        grace: Option<Duration>,
        reason: Arc<str>,
    ) -> Result<(), Refusal> {
        if self.drain.is_some() {
            return Err(Refusal::AlreadyDraining);
        }
        self.begin_drain(now, mode, grace.unwrap_or(self.config.drain_grace), reason, false);
        Ok(())
    }

    /// The process is to end. A drain under way goes on in its mode, and waits no longer than this one would.
    pub(super) fn stop_ordered(&mut self, now: Now, mode: Mode, reason: Arc<str>) -> Result<(), Refusal> {
        let grace = self.config.drain_grace;
        let Some(drain) = &mut self.drain else {
            self.begin_drain(now, mode, grace, reason, true);
            return Ok(());
        };
        if std::mem::replace(&mut drain.leaving, true) {
            return Err(Refusal::Stopping);
        }
        match drain.stage {
            Stage::Finishing if mode == Mode::Cancel => self.end_tasks(now),
            Stage::Finishing if now.mono + grace < drain.grace_ends => {
                drain.grace_ends = now.mono + grace;
                drain.grace_end = now.wall + grace;
                self.timers.set(Timer::Drain, now.mono + grace);
                self.tell_drain();
            }
            Stage::Reporting => self.begin_reporting(now),
            Stage::Finishing | Stage::Ending { .. } | Stage::Cleaning => {}
        }
        Ok(())
    }

    /// Told to end once more: nothing is waited for beyond the short bounds.
    pub(super) fn hurry_ordered(&mut self, now: Now, reason: Arc<str>) -> Result<(), Refusal> {
        if self.drain.is_none() {
            self.begin_drain(now, Mode::Cancel, Duration::ZERO, reason, true);
        }
        let Some(drain) = &mut self.drain else { return Ok(()) };
        drain.leaving = true;
        if std::mem::replace(&mut drain.hurried, true) {
            return Ok(());
        }
        if drain.stage == Stage::Reporting {
            self.begin_reporting(now)
        } else {
            self.end_tasks(now)
        }
        Ok(())
    }

    /// Takes a drain back. Runners learn of it by their next assignment.
    pub(super) fn resume_ordered(&mut self, now: Now) -> Result<(), Refusal> {
        match &self.drain {
            None => return Err(Refusal::NotDraining),
            Some(drain) if drain.leaving => return Err(Refusal::Stopping),
            Some(_) => self.drain = None,
        }
        self.timers.clear(&Timer::Drain);
        self.note(Note::Resumed);
        // Takes what the last listing offers, too.
        self.assign_waiting(now);
        Ok(())
    }

    // === the stages ===

    fn begin_drain(&mut self, now: Now, mode: Mode, grace: Duration, reason: Arc<str>, leaving: bool) {
        let grace = if mode == Mode::Cancel { Duration::ZERO } else { grace };
        self.drain = Some(Drain {
            mode,
            reason: reason.clone(),
            began: now.wall,
            grace_end: now.wall + grace,
            grace_ends: now.mono + grace,
            stage: Stage::Finishing,
            leaving,
            hurried: false,
            gave_up: false,
            told: false,
            cancelled: 0,
            handed_back: 0,
        });
        self.note(Note::Draining { mode, grace, reason, open: self.waiting.unfinished });
        self.set_drain_timer(now.mono + grace);
        self.tell_drain();
        // Those without a slot go back where they can.
        self.assign_waiting(now);
        if mode == Mode::Cancel {
            self.end_tasks(now);
        }
    }

    fn set_drain_timer(&mut self, at: Mono) {
        if !planted!(self, DrainWithoutEnd) {
            self.timers.set(Timer::Drain, at);
        }
    }

    /// The stage's time is over.
    pub(super) fn drain_due(&mut self, now: Now) {
        let Some(drain) = &mut self.drain else { return };
        match drain.stage {
            Stage::Finishing => self.end_tasks(now),
            Stage::Ending { spares_cleanups } => {
                self.revoke_rest(now, spares_cleanups);
                if self.waiting.unfinished > 0 {
                    self.advance(Stage::Cleaning);
                    self.set_drain_timer(now.mono + CLEANUPS_MAX);
                } else {
                    self.begin_reporting(now);
                }
            }
            Stage::Cleaning => self.cancel_rest(now, false),
            Stage::Reporting => drain.gave_up = true,
        }
    }

    fn advance(&mut self, stage: Stage) {
        if let Some(drain) = &mut self.drain {
            drain.stage = stage;
        }
    }

    /// Nothing more is waited for: what still runs is told to stop, but for cleanups, and sessions are closed.
    fn end_tasks(&mut self, now: Now) {
        let Some(drain) = &self.drain else { return };
        let spares_cleanups = drain.mode != Mode::Cancel && !drain.hurried;
        if self.has_open() {
            self.note(Note::DrainGraceOver { open: self.waiting.unfinished });
        }
        self.cancel_rest(now, spares_cleanups);
        if spares_cleanups {
            self.close_sessions(now);
        }
    }

    fn cancel_rest(&mut self, now: Now, spares_cleanups: bool) {
        let hurried = self.drain.as_ref().is_some_and(|drain| drain.hurried);
        let (grace, margin) = if hurried {
            (Duration::ZERO, HURRIED_CANCEL_MAX)
        } else {
            (self.config.cancel_grace.min(CANCEL_GRACE_MAX), self.config.revoke_margin.min(REVOKE_MARGIN_MAX))
        };
        self.advance(Stage::Ending { spares_cleanups });
        self.set_drain_timer(now.mono + grace + margin);
        for id in self.unspared(spares_cleanups) {
            self.end_for_drain(now, id, Some(grace));
        }
    }

    /// Runners had their time: the delegate answers for them.
    fn revoke_rest(&mut self, now: Now, spares_cleanups: bool) {
        for id in self.unspared(spares_cleanups) {
            self.end_for_drain(now, id, Some(Duration::ZERO));
            self.cancel_expired(now, id);
        }
    }

    fn unspared(&self, spares_cleanups: bool) -> Vec<TaskId> {
        let unfinished = self.ledger.tasks().filter(|task| !task.is_finished());
        unfinished.filter(|task| !spares_cleanups || !is_cleanup(task)).map(|task| task.id).collect()
    }

    /// Nothing runs any more. Reports that wait out a back-off go at once.
    fn begin_reporting(&mut self, now: Now) {
        let Some(drain) = &mut self.drain else { return };
        let before = std::mem::replace(&mut drain.stage, Stage::Reporting);
        let (leaving, hurried) = (drain.leaving, drain.hurried);
        let set = self.timers.get(&Timer::Drain).filter(|_| before == Stage::Reporting);
        self.timers.clear(&Timer::Drain);
        if !leaving {
            return;
        }
        let end = now.mono + if hurried { HURRIED_REPORTS_MAX } else { REPORTS_MAX };
        self.set_drain_timer(set.map_or(end, |set| set.min(end)));
        let owed: Vec<TaskId> = self.upstreams.values().flat_map(|up| up.reports.keys().copied()).collect();
        for id in owed {
            self.timers.clear(&Timer::Report(id));
            self.report_due(id);
        }
    }

    /// After each turn: a stage whose end was not a matter of time.
    pub(super) fn follow_drain(&mut self, now: Now) {
        let Some(drain) = &self.drain else { return };
        if drain.stage != Stage::Reporting && !self.has_open() {
            let of_sessions = drain.mode == Mode::FinishSessions;
            match self.awaits_sessions() {
                // Their upstreams end them, or the grace does.
                true if of_sessions => {}
                true => self.end_tasks(now),
                false => self.begin_reporting(now),
            }
        }
        let empty = self.is_empty();
        let Some(drain) = &mut self.drain else { return };
        if !empty {
            // A late answer to an acquire may bring something yet.
            drain.told = false;
        } else if !std::mem::replace(&mut drain.told, true) {
            let (cancelled, handed_back) = (drain.cancelled, drain.handed_back);
            self.note(Note::Drained { cancelled, handed_back });
        }
    }

    // === what the rest of the core asks ===

    /// Whether a task of this kind on offer is left to others.
    pub(super) fn leaves_offers(&self, upstream: &UpstreamName, kind: Kind) -> bool {
        let Some(drain) = &self.drain else { return false };
        // An offer does not say which session it is of, and nobody else can do what is left of those here.
        let goes_on = drain.mode == Mode::FinishSessions
            && drain.stage == Stage::Finishing
            && matches!(kind, Kind::SessionExecute | Kind::SessionCleanup)
            && self.ledger.sessions().any(|session| session.upstream == *upstream);
        !goes_on
    }

    /// Ends a task that has no runner, if it is not to have one any more: true.
    pub(super) fn drained_away(&mut self, now: Now, id: TaskId) -> bool {
        let Some(drain) = &self.drain else { return false };
        let Some(task) = self.ledger.task(id) else { return false };
        let runs = match drain.stage {
            Stage::Finishing => true,
            // Its acquire outlasted the grace.
            Stage::Reporting => false,
            Stage::Ending { spares_cleanups } => spares_cleanups && is_cleanup(task),
            Stage::Cleaning => is_cleanup(task),
        };
        if !runs {
            self.end_for_drain(now, id, None);
        }
        !runs
    }

    /// A task that found no slot while the delegate drains: another delegate has one sooner, if the upstream can be told: true.
    pub(super) fn drained_back(&mut self, now: Now, id: TaskId) -> bool {
        let returns = self.drain.is_some() && self.ledger.task(id).is_some_and(is_returnable);
        if returns {
            self.end_for_drain(now, id, None);
        }
        returns
    }

    /// Hands the task back if nothing of it can have begun, else stops it.
    fn end_for_drain(&mut self, now: Now, id: TaskId, grace: Option<Duration>) {
        let (Some(drain), Some(task)) = (&self.drain, self.ledger.task(id)) else { return };
        let message = drain.reason.clone();
        if !is_returnable(task) {
            return self.cancel(now, id, CancelReason::Drain, &message, grace);
        }
        let code = Code::Unavailable as i32;
        let error =
            Error { code, retry: Retry::OtherDelegate, ..Error::of(Reason::Drain, message) }.side_effects(false);
        self.finish(now, id, None, Finish::of(Outcome::Errored, Some(error)));
    }

    /// Counts a task that ends while the delegate drains.
    pub(super) fn count_drained(&mut self, id: TaskId, finish: &Finish) {
        let (Some(drain), Some(task)) = (&mut self.drain, self.ledger.task(id)) else { return };
        if task.is_finished() {
            return;
        }
        let by_drain = finish.error.as_ref().is_some_and(|error| &*error.reason == Reason::Drain.word())
            || task.cancel.as_ref().is_some_and(|cancel| cancel.reason == CancelReason::Drain);
        match finish.outcome {
            Outcome::Cancelled if by_drain => drain.cancelled += 1,
            Outcome::Errored if by_drain && task.cancel.is_none() => drain.handed_back += 1,
            _ => {}
        }
    }

    // === runners ===

    fn tell_drain(&mut self) {
        for link in self.roster.links().map(|link| link.id).collect::<Vec<_>>() {
            self.tell_drain_to(link);
        }
    }

    /// Says to one runner that nothing new comes; again after whatever it is given all the same, which it reads as the end of
    /// the drain.
    pub(super) fn tell_drain_to(&mut self, link: LinkId) {
        let Some(drain) = &self.drain else { return };
        let grace = drain.grace_ends.since(self.last_turn);
        let order = Order::Drain { reason: drain.reason.clone(), grace };
        self.send(link, order);
    }

    /// The stages of open sessions end with the drain: their cleanups are made.
    fn close_sessions(&mut self, now: Now) {
        let Some(reason) = self.drain.as_ref().map(|drain| drain.reason.clone()) else { return };
        for session in self.ledger.sessions().map(|session| session.id).collect::<Vec<_>>() {
            // One that closes already has its cleanup.
            let _ = self.close_session(now, session, &reason, false);
        }
    }
}

fn is_cleanup(task: &Task) -> bool {
    task.spec.kind == Kind::SessionCleanup
}

/// Whether the upstream takes the task back and no handler can have begun it.
fn is_returnable(task: &Task) -> bool {
    // Another delegate has nothing of a session that was set up here.
    let is_of_session = matches!(task.spec.kind, Kind::SessionExecute | Kind::SessionCleanup);
    task.spec.hand_back
        && !is_of_session
        && task.attempt == 1
        && task.cancel.is_none()
        && matches!(task.state, State::Waiting { .. } | State::Assigned(_))
}

// === impl Mode, Phase, Departure ===

impl Mode {
    /// One word for the operator.
    pub fn word(self) -> &'static str {
        match self {
            Self::FinishSessions => "finish_sessions",
            Self::FinishTasks => "finish_tasks",
            Self::Cancel => "cancel",
        }
    }
}

impl Departure {
    /// Whether every task came to its own end and every result is reported.
    pub fn is_clean(&self) -> bool {
        let Self { cancelled, handed_back: _, open, acquiring, unreported, sessions } = *self;
        cancelled == 0 && open == 0 && acquiring == 0 && unreported == 0 && sessions == 0
    }
}

impl Drain {
    /// When the last task has ended at the latest.
    pub fn end(&self) -> Wall {
        self.grace_end + ENDING_MAX
    }

    pub fn is_leaving(&self) -> bool {
        self.leaving
    }
}
