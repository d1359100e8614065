//! The core's timers: one deadline a key, the earliest first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{
    id::{LeaseId, LinkId, RunnerId, SessionId, TaskId, UpstreamName},
    time::Mono,
};

/// What a deadline is for. The order of the variants is the order in which timers due at the same moment fire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// An assignment was neither accepted nor rejected.
    AcceptExpiry(LeaseId),
    /// A lease was not renewed.
    LeaseExpiry(LeaseId),
    /// A task's time is over.
    Deadline(TaskId),
    /// A cancelled handler had its grace.
    CancelExpiry(TaskId),
    /// A waiting task had no runner for its type.
    RunnerExpiry(TaskId),
    /// A session's runner stayed away.
    SessionOrphan(SessionId),
    /// A session heard of no task.
    SessionExpiry(SessionId),
    /// A waiting task may be assigned again.
    Retry(TaskId),
    /// The steps may be told again.
    Tell(TaskId),
    /// A result has waited long enough for the task's logs.
    LogWait(TaskId),
    /// A result may be sent again.
    Report(TaskId),
    /// An acquire under way has no answer yet.
    AcquireSilence(TaskId),
    /// An acquire stayed unresolved.
    IntentionExpiry(TaskId),
    /// A stage of the drain has had its time.
    Drain,
    /// What a drained runner still does has had its time.
    RunnerDrain(RunnerId),
    /// A runner said nothing.
    Silence(LinkId),
    /// The next registration, heartbeat or poll is due.
    Register(UpstreamName),
    Heartbeat(UpstreamName),
    Poll(UpstreamName),
    /// The next stage may begin.
    Ramp,
    /// Keeps turns coming while leases are open, so that a gap between two turns is a gap of the process.
    Tick,
}

/// All armed timers.
#[derive(Debug, Default)]
pub struct Timers {
    by_key: BTreeMap<Timer, Mono>,
    by_time: BTreeSet<(Mono, Timer)>,
}

// === impl Timers ===

impl Timers {
    /// Arms `timer`, replacing an earlier deadline of the same key.
    pub fn set(&mut self, timer: Timer, at: Mono) {
        self.clear(&timer);
        self.by_key.insert(timer.clone(), at);
        self.by_time.insert((at, timer));
    }

    pub fn clear(&mut self, timer: &Timer) {
        if let Some(at) = self.by_key.remove(timer) {
            self.by_time.remove(&(at, timer.clone()));
        }
    }

    pub fn get(&self, timer: &Timer) -> Option<Mono> {
        self.by_key.get(timer).copied()
    }

    /// The earliest deadline of all.
    pub fn next(&self) -> Option<Mono> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the earliest timer that is due at `now`.
    pub fn expired(&mut self, now: Mono) -> Option<Timer> {
        if self.by_time.first()?.0 > now {
            return None;
        }
        let (_, timer) = self.by_time.pop_first()?;
        self.by_key.remove(&timer);
        Some(timer)
    }

    /// Moves every deadline of a lease or a link by `gap`: the process slept, the runners may not have.
    pub fn extend_leases(&mut self, gap: Duration) {
        let moved: Vec<_> = self
            .by_key
            .iter()
            .filter(|(timer, _)| matches!(timer, Timer::LeaseExpiry(_) | Timer::SessionOrphan(_) | Timer::Silence(_)))
            .map(|(timer, at)| (timer.clone(), *at + gap))
            .collect();
        for (timer, at) in moved {
            self.set(timer, at);
        }
    }
}
