//! Who is attached, what they can do, and the one account of their slots.
//!
//! A credit is used from the moment an assignment is decided until its lease leaves `held`; a reservation is a credit promised
//! to a task that is still being acquired. Free = slots − held − reserved, never counted anywhere else.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    id::{InstanceId, LeaseId, LinkId, Lsn, RunnerId, SlotClass, TaskId, TaskType},
    input::{Handler, Hello},
    task::Task,
    time::{Mono, Wall},
};

/// How long a replaced instance is turned away.
pub const REPLACED_FOR: Duration = Duration::from_secs(3600);
/// Replacements of one runner id within a minute, above which newcomers wait.
pub const REPLACEMENTS_A_MINUTE_MAX: usize = 3;
/// Instances remembered as replaced, over all runners.
const REPLACED_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub struct Roster {
    links: BTreeMap<LinkId, Link>,
    by_runner: BTreeMap<RunnerId, LinkId>,
    by_type: BTreeMap<TaskType, BTreeSet<LinkId>>,
    replaced: BTreeMap<(RunnerId, InstanceId), Mono>,
    replacements: BTreeMap<RunnerId, VecDeque<Mono>>,
}

/// One attached stream.
#[derive(Debug)]
pub struct Link {
    pub id: LinkId,
    pub runner: RunnerId,
    pub instance: InstanceId,
    pub peer: Arc<str>,
    pub sdk: Arc<str>,
    pub handlers: Vec<Handler>,
    pub slots: BTreeMap<SlotClass, u32>,
    /// Leases that use a credit here, in force or not.
    pub held: BTreeMap<LeaseId, Use>,
    /// Credits promised to acquisitions under way.
    pub reserved: BTreeMap<TaskId, SlotClass>,
    pub healthy: bool,
    pub draining: bool,
    pub last_seen: Wall,
    /// Highest counted frame taken in.
    pub received: u64,
    /// Highest counted frame whose acknowledgement was let out.
    pub acknowledged: u64,
    /// The welcome leaves once this is durable; nothing may overtake it.
    pub welcomed: Lsn,
}

/// One slot in use.
#[derive(Debug)]
pub struct Use {
    /// Zero: a lease that is not known any more.
    pub task: TaskId,
    pub class: SlotClass,
    /// The runner is to answer the assignment yet, so that a heartbeat that leaves the lease out says nothing about it: it may
    /// have left before the assignment came.
    pub undecided: bool,
}

// === impl Roster ===

impl Roster {
    pub fn get(&self, link: LinkId) -> Option<&Link> {
        self.links.get(&link)
    }

    pub fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&link)
    }

    pub fn of_runner(&self, runner: &RunnerId) -> Option<&Link> {
        self.links.get(self.by_runner.get(runner)?)
    }

    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    pub fn insert(&mut self, link: Link) {
        self.by_runner.insert(link.runner.clone(), link.id);
        for handler in &link.handlers {
            self.by_type.entry(handler.task_type.clone()).or_default().insert(link.id);
        }
        self.links.insert(link.id, link);
    }

    pub fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.links.remove(&id)?;
        if self.by_runner.get(&link.runner) == Some(&id) {
            self.by_runner.remove(&link.runner);
        }
        for handler in &link.handlers {
            if let Some(links) = self.by_type.get_mut(&handler.task_type) {
                links.remove(&id);
                if links.is_empty() {
                    self.by_type.remove(&handler.task_type);
                }
            }
        }
        Some(link)
    }

    pub fn task_types(&self) -> impl Iterator<Item = &TaskType> {
        self.by_type.keys()
    }

    /// Attached runners with a handler for the type, whether they have room or not.
    pub fn with_type(&self, task_type: &TaskType) -> impl Iterator<Item = &Link> {
        self.by_type.get(task_type).into_iter().flatten().filter_map(|id| self.links.get(id))
    }

    /// Gives back what was promised to an acquisition.
    pub fn release_reservation(&mut self, link: Option<LinkId>, task: TaskId) {
        if let Some(link) = link.and_then(|link| self.links.get_mut(&link)) {
            link.reserved.remove(&task);
        }
    }

    /// Notes that `by` took the place of `link`'s instance.
    pub fn replace(&mut self, runner: &RunnerId, instance: &InstanceId, now: Mono) {
        self.replaced.retain(|_, until| *until > now);
        if self.replaced.len() < REPLACED_MAX {
            self.replaced.insert((runner.clone(), instance.clone()), now + REPLACED_FOR);
        }
        self.replacements.entry(runner.clone()).or_default().push_back(now);
    }

    pub fn was_replaced(&self, hello: &Hello, now: Mono) -> bool {
        self.replaced.get(&(hello.runner.clone(), hello.instance.clone())).is_some_and(|until| *until > now)
    }

    /// Whether the runner id changed hands too often of late.
    pub fn is_contended(&mut self, runner: &RunnerId, now: Mono) -> bool {
        let Some(times) = self.replacements.get_mut(runner) else { return false };
        while times.front().is_some_and(|at| now.since(*at) >= Duration::from_secs(60)) {
            times.pop_front();
        }
        if times.is_empty() {
            self.replacements.remove(runner);
            return false;
        }
        times.len() >= REPLACEMENTS_A_MINUTE_MAX
    }
}

// === impl Link ===

impl Link {
    /// Whether new work may go here.
    pub fn takes_work(&self) -> bool {
        self.healthy && !self.draining
    }

    /// Whether there is a handler with a free slot.
    pub fn has_room(&self) -> bool {
        self.takes_work() && self.handlers.iter().any(|handler| self.free(&handler.class) > 0)
    }

    /// The handler for a task of this type and labels.
    pub fn handler_for(&self, task: &Task) -> Option<&Handler> {
        self.handlers.iter().find(|handler| handler.takes(&task.spec.task_type, Some(&task.spec.labels)))
    }

    /// Slots of the class that nothing uses or was promised.
    pub fn free(&self, class: &SlotClass) -> u32 {
        let slots = self.slots.get(class).copied().unwrap_or(0);
        let held = self.held.values().filter(|held| held.class == *class).count();
        let reserved = self.reserved.values().filter(|reserved| *reserved == class).count();
        slots.saturating_sub(u32::try_from(held + reserved).unwrap_or(u32::MAX))
    }

    pub fn slots_total(&self) -> u32 {
        self.slots.values().fold(0, |sum, slots| sum.saturating_add(*slots))
    }

    /// Counted frames that may be unacknowledged at once: the updates a runner may keep, and for each slot the frames that go
    /// out whatever is unacknowledged (a decision and a result), doubled for leases that were revoked under way.
    pub fn unacknowledged_max(&self) -> u64 {
        const UPDATES_MAX: u64 = 1_024;
        UPDATES_MAX + 4 * (u64::from(self.slots_total()) + u64::try_from(self.held.len()).unwrap_or(u64::MAX))
    }
}
