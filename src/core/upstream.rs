//! What is known of one upstream in this process: registration, poll, acquisitions under way, reports under way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    config,
    id::{ExternalId, LinkId, Lsn, TaskId, TaskType},
    input::Denial,
    offers::Offers,
    tell::TellClock,
    time::{Mono, Now, Wall},
};

/// Reports to one upstream that may be under way at once.
pub const REPORTS_IN_FLIGHT_MAX: usize = 64;
/// Tasks whose steps one upstream may be told at once.
pub const TELLS_IN_FLIGHT_MAX: usize = 64;
/// Between two refusals that together end an intention.
pub const REFUSALS_APART: Duration = Duration::from_secs(5);
/// An acquire that nobody waits for any more, or whose process died, may still reach the upstream for so long: a listing that
/// was asked for earlier does not prove that it assigned nothing.
pub const ACQUIRE_LATE_MAX: Duration = Duration::from_secs(5);
/// How long an acquire may go without an answer before its slot is lent to others, and its upstream gets one acquire at a time.
/// Managers answer within some 100 ms; a new connection through a proxy takes about a second.
pub const ACQUIRE_SILENCE: Duration = Duration::from_secs(2);
/// How long a task that was handed out without being assigned is left alone.
pub const SET_ASIDE_FOR: Duration = Duration::from_secs(30);
/// Task types grow in bursts when runners attach; one registration serves a burst.
pub const REGISTER_DEBOUNCE: Duration = Duration::from_secs(1);
/// Pauses between registrations that failed.
pub const REGISTER_RETRY_MIN: Duration = Duration::from_millis(500);
pub const REGISTER_RETRY_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Upstream {
    pub config: config::Upstream,
    pub standing: Standing,
    /// Where the registration in force is on record; durable before anything is done under it.
    pub registered: Lsn,
    /// Task types it was told; they never shrink within a process.
    pub told: BTreeSet<TaskType>,
    /// Task types it is to be told.
    pub wanted: BTreeSet<TaskType>,
    pub registering: bool,
    pub register_tries: u32,
    /// It forgot the delegate; a refusal of the next registration is final.
    pub forgotten: bool,
    /// When the poll under way was sent.
    pub polling: Option<Now>,
    pub heartbeating: bool,
    /// On offer and not acquired, from the last listing.
    pub listed: Offers,
    pub acquires: BTreeMap<TaskId, Acquire>,
    /// Acquires of the last listing that have no answer yet, and whether one succeeded.
    pub batch_open: usize,
    pub batch_won: bool,
    /// The last acquire that concluded brought no answer, or none has concluded yet.
    pub mute: bool,
    /// When an acquisition ended: a listing asked for before that is old news.
    pub closed: BTreeMap<ExternalId, Mono>,
    pub set_aside: BTreeMap<ExternalId, Mono>,
    /// Tasks whose steps it may not know as they are, those it is to be told now, and those under way.
    pub untold: BTreeMap<TaskId, TellClock>,
    pub tell_due: BTreeSet<TaskId>,
    pub telling: BTreeSet<TaskId>,
    pub reporting: BTreeSet<TaskId>,
    pub due: BTreeSet<TaskId>,
    pub reports: BTreeMap<TaskId, ReportClock>,
    pub last_success: Option<Wall>,
    pub successes: u64,
    pub last_error: Option<Arc<str>>,
    /// Since when its calls fail.
    pub failing_since: Option<Wall>,
    /// A call that is about no task failed, and none succeeded since: it is away, and not just slow with one report.
    pub is_away: bool,
    /// Polls that failed in a row.
    pub poll_failures: u32,
    /// It refuses this delegate.
    pub denied: Option<Denial>,
    /// Where the account lives now, if not where the configuration says.
    pub moved_to: Option<Arc<str>>,
    /// Tasks that went back to it, and when: one that returns is answered here.
    pub handed_back: BTreeMap<ExternalId, Mono>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Unregistered,
    Registered,
    /// It wants this delegate gone: nothing more is taken, what is owed is reported.
    Deleted,
}

/// One intention as seen by this process.
#[derive(Clone, Copy, Debug)]
pub struct Acquire {
    pub in_flight: bool,
    /// When its last answer, or silence, came in.
    pub concluded: Mono,
    /// The first of two refusals.
    pub refused: Option<Mono>,
    /// Who has a slot for it.
    pub reserved: Option<LinkId>,
    /// It has no answer, and had time enough for one: it holds no slot and no place in `tasks_max`. A task that it brings all the same
    /// waits for its turn.
    pub silent: bool,
    /// Counts in the batch that decides on polling again at once.
    pub in_batch: bool,
    /// It is for a cleanup, which others do not hold back.
    pub cleanup: bool,
}

/// One unreported result as seen by this process.
#[derive(Clone, Debug)]
pub struct ReportClock {
    /// When it is too old to be sent again.
    pub until: Mono,
    pub tries: u32,
    /// The same fault so many times in a row, other calls having succeeded in between; the last one after so many successes.
    pub fault: Option<(Arc<str>, u32, u64)>,
    pub last_error: Option<Arc<str>>,
}

// === impl ReportClock ===

impl ReportClock {
    pub fn new(until: Mono) -> Self {
        Self { until, tries: 0, fault: None, last_error: None }
    }
}

// === impl Upstream ===

impl Upstream {
    pub fn new(config: config::Upstream) -> Self {
        Self {
            wanted: config.task_types.iter().cloned().collect(),
            config,
            standing: Standing::Unregistered,
            registered: Lsn(0),
            told: BTreeSet::new(),
            registering: false,
            register_tries: 0,
            forgotten: false,
            polling: None,
            heartbeating: false,
            listed: Offers::default(),
            acquires: BTreeMap::new(),
            batch_open: 0,
            batch_won: false,
            mute: true,
            closed: BTreeMap::new(),
            set_aside: BTreeMap::new(),
            untold: BTreeMap::new(),
            tell_due: BTreeSet::new(),
            telling: BTreeSet::new(),
            reporting: BTreeSet::new(),
            due: BTreeSet::new(),
            reports: BTreeMap::new(),
            last_success: None,
            successes: 0,
            last_error: None,
            failing_since: None,
            is_away: false,
            poll_failures: 0,
            denied: None,
            moved_to: None,
            handed_back: BTreeMap::new(),
        }
    }

    /// Whether it gets no further acquire for now: one that does not answer may hold one slot, not all that others need. A cleanup
    /// waits for no other acquires than those of cleanups.
    pub fn is_held_back(&self, cleanup: bool) -> bool {
        let mut in_flight = self.acquires.values().filter(|acquire| acquire.in_flight && (acquire.cleanup || !cleanup));
        if self.mute { in_flight.next().is_some() } else { in_flight.any(|acquire| acquire.silent) }
    }

    /// Acquires that may bring a task any moment.
    pub fn acquiring(&self) -> usize {
        self.acquires.values().filter(|acquire| !acquire.silent).count()
    }

    /// One word for the operator.
    pub fn state(&self) -> &'static str {
        match self.standing {
            Standing::Deleted => "deleted",
            _ if self.denied.is_some() => self.denied.map_or("", Denial::state),
            _ if self.last_error.is_some() => "unreachable",
            Standing::Registered if self.moved_to.is_some() => "moved",
            Standing::Registered => "registered",
            Standing::Unregistered => "unregistered",
        }
    }
}
