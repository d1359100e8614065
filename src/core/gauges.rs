//! Numbers about the state, for metrics and health: counts and ages, read in one pass over the open tasks.
//!
//! Credits are counted twice, once by the roster and once by the tasks and acquisitions they were given for. The two accounts must
//! agree; [`Credits::mismatch`] says on how many credits they do not.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Core,
    admission::Resource,
    drain::Phase,
    id::{LeaseId, LinkId, TaskId, UpstreamName},
    offers::Group,
    session,
    task::{Report, State},
    time::Now,
    upstream::{self, Standing},
    wait::Name,
};

/// A reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    pub upstreams: Vec<UpstreamGauges>,
    /// Attached ones.
    pub runners: usize,
    pub tasks: Tasks,
    /// Tasks by what they wait for, those on offer included; names that nobody waits for are left out.
    pub waits: BTreeMap<Name, usize>,
    /// Of the task that has waited longest for a runner; zero if none does.
    pub queue_age: Duration,
    pub credits: Credits,
    pub store_failing: bool,
    pub phase: Phase,
    pub sessions: Sessions,
    /// Of the host, by what is looked at.
    pub admission: Vec<Room>,
}

/// How full the host is in one respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub resource: Resource,
    /// In whole percents, of the last reading.
    pub used: u8,
    /// Something is not taken because of it.
    pub is_short: bool,
}

/// Open sessions by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    pub setting_up: usize,
    pub ready: usize,
    pub closing: usize,
    /// Their runner is gone, and with it what the stage left on its host.
    pub orphaned: usize,
}

/// One upstream of the configuration, or one that is not in it any more and still has results here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamGauges {
    pub name: UpstreamName,
    /// One of [`UPSTREAM_STATES`].
    pub state: &'static str,
    /// It knows this delegate and does not refuse it, whether it can be reached just now or not.
    pub registered: bool,
    /// Results it has not confirmed; dead letters do not count.
    pub unreported: usize,
    /// Of the oldest of them; zero if there is none.
    pub unreported_age: Duration,
    pub dead_letters: usize,
}

/// Tasks by where they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// On offer and not acquired, from the last listings.
    pub listed: usize,
    /// Acquires without a clear answer.
    pub acquiring: usize,
    pub waiting: usize,
    pub assigned: usize,
    pub running: usize,
    pub reporting: usize,
    pub dead: usize,
}

/// Slots of all attached runners, and who has the credits for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credits {
    /// Slots as announced.
    pub slots: usize,
    pub free: usize,
    /// Used by an assignment.
    pub held: usize,
    /// Promised to an acquisition under way.
    pub reserved: usize,
    /// Credits on which the two accounts disagree; anything but zero is a bug.
    pub mismatch: usize,
}

/// Every state that an upstream can be in, in one word each.
pub const UPSTREAM_STATES: [&str; 11] = [
    "unregistered",
    "registered",
    "paused",
    "moved",
    "unreachable",
    "unauthorized",
    "token_expired",
    "token_revoked",
    "address_refused",
    "deleted",
    UNCONFIGURED,
];

/// The state of an upstream that is not in the configuration any more.
const UNCONFIGURED: &str = "unconfigured";

impl Core {
    /// Costs one pass over the open tasks and links: not for every turn.
    pub fn gauges(&self, now: Now) -> Gauges {
        let mut gauges = Gauges {
            upstreams: self.upstreams.iter().map(|(name, up)| self.upstream_gauges(name, up)).collect(),
            runners: self.roster.links().count(),
            credits: self.credits(),
            store_failing: self.store_failing.is_some(),
            phase: self.phase(),
            sessions: self.session_gauges(),
            admission: self.room_gauges(),
            ..Gauges::default()
        };
        gauges.waits = self.wait_gauges(now);
        gauges.tasks.listed = self.upstreams.values().map(|up| up.listed.len()).sum();
        gauges.tasks.acquiring = self.ledger.intentions().count();
        let mut places: BTreeMap<&UpstreamName, usize> =
            self.upstreams.keys().enumerate().map(|(place, name)| (name, place)).collect();
        for task in self.ledger.tasks() {
            let (at, is_dead) = match &task.state {
                State::Waiting { since } => {
                    gauges.tasks.waiting += 1;
                    gauges.queue_age = gauges.queue_age.max(now.wall.since(*since));
                    continue;
                }
                State::Assigned(_) => {
                    gauges.tasks.assigned += 1;
                    continue;
                }
                State::Accepted(_) => {
                    gauges.tasks.running += 1;
                    continue;
                }
                State::Finished { at, report, .. } => (*at, matches!(report, Report::Dead { .. })),
            };
            let place = *places.entry(&task.upstream).or_insert_with(|| {
                gauges.upstreams.push(UpstreamGauges::unconfigured(&task.upstream));
                gauges.upstreams.len() - 1
            });
            let upstream = &mut gauges.upstreams[place];
            if is_dead {
                gauges.tasks.dead += 1;
                upstream.dead_letters += 1;
            } else {
                gauges.tasks.reporting += 1;
                upstream.unreported += 1;
                upstream.unreported_age = upstream.unreported_age.max(now.wall.since(at));
            }
        }
        gauges
    }

    fn upstream_gauges(&self, name: &UpstreamName, up: &upstream::Upstream) -> UpstreamGauges {
        UpstreamGauges {
            name: name.clone(),
            state: self.upstream_state(name, up),
            registered: up.standing == Standing::Registered && up.denied.is_none(),
            unreported: 0,
            unreported_age: Duration::ZERO,
            dead_letters: 0,
        }
    }

    fn wait_gauges(&self, now: Now) -> BTreeMap<Name, usize> {
        let mut waits = BTreeMap::new();
        let mut count = |name, more| *waits.entry(name).or_default() += more;
        for up in self.upstreams.values() {
            let reasons = self.reasons_now(now, up);
            for (group, size) in up.listed.sizes().filter(|(group, _)| **group != Group::Apart) {
                count(self.left_name(up, reasons.get(group)), size);
            }
            for (_, listed) in up.listed.iter().filter(|(_, listed)| listed.apart) {
                count(self.left_name(up, listed.reason.as_ref()), 1);
            }
        }
        for (task, intention) in self.ledger.intentions() {
            count(self.intention_wait(now, task, intention).name(), 1);
        }
        for task in self.ledger.tasks() {
            count(self.wait_of(now, task).name(), 1);
        }
        waits
    }

    fn session_gauges(&self) -> Sessions {
        let mut sessions = Sessions::default();
        for session in self.ledger.sessions() {
            *match session.phase {
                session::Phase::SettingUp => &mut sessions.setting_up,
                session::Phase::Ready => &mut sessions.ready,
                session::Phase::Closing => &mut sessions.closing,
                session::Phase::Orphaned => &mut sessions.orphaned,
            } += 1;
        }
        sessions
    }

    fn room_gauges(&self) -> Vec<Room> {
        let used = self.gate.usage().iter();
        used.map(|(&resource, &used)| Room { resource, used, is_short: self.gate.is_short_of(resource) }).collect()
    }

    fn credits(&self) -> Credits {
        let mut credits = Credits::default();
        for link in self.roster.links() {
            credits.slots += usize::try_from(link.slots_total()).unwrap_or(usize::MAX);
            credits.free += usize::try_from(link.slots_free()).unwrap_or(usize::MAX);
            credits.held += link.held().len();
            credits.reserved += link.promised().count();
            credits.mismatch += link.promised().filter(|task| !self.is_acquired_for(link.id, **task)).count();
        }
        credits.mismatch += self.ledger.leases().filter(|(lease, task)| self.lacks_credit(*lease, *task)).count();
        credits
    }

    /// Whether the acquisition that a credit is promised to knows of it.
    fn is_acquired_for(&self, link: LinkId, task: TaskId) -> bool {
        self.upstreams.values().any(|up| up.acquires.get(&task).is_some_and(|acquire| acquire.reserved == Some(link)))
    }

    /// Whether an attached runner works on a task under a lease that uses none of its credits. One that did not accept yet may lack
    /// it: a runner that came back without the handler gets no second assignment.
    fn lacks_credit(&self, lease: LeaseId, task: TaskId) -> bool {
        let Some(State::Accepted(held)) = self.ledger.task(task).map(|task| &task.state) else { return false };
        self.roster.of_runner(&held.runner).is_some_and(|link| !link.held().contains_key(&lease))
    }
}

// === impl UpstreamGauges ===

impl UpstreamGauges {
    fn unconfigured(name: &UpstreamName) -> Self {
        Self {
            name: name.clone(),
            state: UNCONFIGURED,
            registered: false,
            unreported: 0,
            unreported_age: Duration::ZERO,
            dead_letters: 0,
        }
    }
}
