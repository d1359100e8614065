//! Who is attached, what they can do, and the one account of their slots.
//!
//! A credit is used from the moment an assignment is decided until its lease leaves `held`; a reservation is a credit promised
//! to a task that is still being acquired. Free = slots − held − reserved, never counted anywhere else. In a class that cleanups
//! share with others some slots are kept for cleanups, so that a stage can end however many steps wait.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    admission::{Amount, Gate},
    id::{InstanceId, LeaseId, LinkId, Lsn, RunnerId, SlotClass, TaskId, TaskType},
    input::{Handler, Hello},
    task::{Kind, Task},
    time::{Mono, Wall},
    waiting::Room,
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
    /// Slots of a shared class that only cleanups may use, if the class has more than one.
    pub cleanup_reserve: u32,
    /// How full its host is, by its own heartbeats.
    pub gate: Gate,
    /// Leases that use a credit here, in force or not.
    held: BTreeMap<LeaseId, Use>,
    /// Credits promised to acquisitions under way.
    reserved: BTreeMap<TaskId, Seat>,
    /// The sums of both, by class.
    taken: BTreeMap<SlotClass, Taken>,
    pub healthy: bool,
    pub draining: bool,
    /// No new session may begin here.
    pub refuses_sessions: bool,
    pub last_seen: Wall,
    /// Highest counted frame taken in.
    pub received: u64,
    /// Highest counted frame whose acknowledgement was let out.
    pub acknowledged: u64,
    /// The welcome leaves once this is durable; nothing may overtake it.
    pub welcomed: Lsn,
}

/// One slot, and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub class: SlotClass,
    /// It may be one of those that are kept for cleanups.
    pub cleanup: bool,
    /// What the handler declared.
    pub amount: Amount,
}

/// Slots of one class that are used or promised.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    cleanups: u32,
    others: u32,
}

/// One slot in use.
#[derive(Debug)]
pub struct Use {
    /// Zero: a lease that is not known any more.
    pub task: TaskId,
    pub seat: Seat,
    /// The runner is to answer the assignment yet, so that a heartbeat that leaves the lease out says nothing about it: it may
    /// have left before the assignment came. The same holds after a result was refused, until a heartbeat names the lease again.
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
            link.unreserve(task);
        }
    }

    /// What the handlers of all tasks declared that are under way or promised a slot.
    pub fn declared(&self) -> Amount {
        let seats = self.links.values().flat_map(Link::seats);
        seats.fold(Amount::default(), |sum, seat| sum.plus(seat.amount))
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

// === impl Seat ===

impl Seat {
    /// A slot for a task of this kind at a handler.
    pub fn at(handler: &Handler, kind: Kind) -> Self {
        let cleanup = kind == Kind::SessionCleanup || handler.kind == Kind::SessionCleanup;
        Self { class: handler.class.clone(), cleanup, amount: handler.amount }
    }
}

// === impl Link ===

impl Link {
    /// A link without work.
    pub fn new(id: LinkId, hello: Hello, peer: Arc<str>, cleanup_reserve: u32, seen: Wall, welcomed: Lsn) -> Self {
        Self {
            id,
            runner: hello.runner,
            instance: hello.instance,
            peer,
            sdk: hello.sdk,
            handlers: hello.handlers,
            slots: hello.slots,
            cleanup_reserve,
            gate: Gate::default(),
            held: BTreeMap::new(),
            reserved: BTreeMap::new(),
            taken: BTreeMap::new(),
            healthy: true,
            draining: false,
            refuses_sessions: hello.refuses_sessions,
            last_seen: seen,
            received: 0,
            acknowledged: 0,
            welcomed,
        }
    }

    /// Whether new work may go here.
    pub fn takes_work(&self) -> bool {
        self.healthy && !self.draining
    }

    /// Whether there is a handler with a free slot.
    pub fn has_room(&self) -> bool {
        self.takes_work() && self.handlers.iter().any(|handler| self.room(handler, false) > 0)
    }

    /// Types that a task can be assigned for now.
    pub fn open_types(&self) -> Room {
        let mut room = Room::default();
        if !self.takes_work() {
            return room;
        }
        for handler in &self.handlers {
            if self.room(handler, true) > 0 {
                room.cleanups.insert(handler.task_type.clone());
            }
            if self.room(handler, false) > 0 {
                room.any.insert(handler.task_type.clone());
            }
        }
        room
    }

    /// The handler for a task of this type and labels.
    pub fn handler_for(&self, task: &Task) -> Option<&Handler> {
        self.handlers.iter().find(|handler| handler.takes(&task.spec.task_type, Some(&task.spec.labels)))
    }

    /// Slots that a task of this handler may use: those that nothing uses or was promised, less what is kept for cleanups if it is
    /// none.
    pub fn room(&self, handler: &Handler, cleanup: bool) -> u32 {
        let slots = self.slots.get(&handler.class).copied().unwrap_or(0);
        let taken = self.taken.get(&handler.class).copied().unwrap_or_default();
        let free = self.free(&handler.class);
        if cleanup || handler.kind == Kind::SessionCleanup {
            return free;
        }
        free.min((slots - self.kept(&handler.class, slots)).saturating_sub(taken.others))
    }

    /// Slots of a class that only cleanups may use. A class of one slot keeps none, or it would do nothing else; a runner that wants
    /// more than that gives its cleanups a class of their own.
    fn kept(&self, class: &SlotClass, slots: u32) -> u32 {
        let mut handlers = self.handlers.iter().filter(|handler| handler.class == *class);
        if handlers.any(|handler| handler.kind == Kind::SessionCleanup) {
            self.cleanup_reserve.min(slots.saturating_sub(1))
        } else {
            0
        }
    }

    // === the account ===

    /// Leases that use a credit here, in force or not.
    pub fn held(&self) -> &BTreeMap<LeaseId, Use> {
        &self.held
    }

    pub fn hold(&mut self, lease: LeaseId, used: Use) {
        self.release(lease);
        self.take(&used.seat);
        self.held.insert(lease, used);
    }

    /// The lease uses no slot any more; whether it did.
    pub fn release(&mut self, lease: LeaseId) -> bool {
        let used = self.held.remove(&lease);
        if let Some(used) = &used {
            self.give_back(&used.seat);
        }
        used.is_some()
    }

    /// Whether the runner is still to say what becomes of what it was given under this lease.
    pub fn set_undecided(&mut self, lease: LeaseId, undecided: bool) {
        if let Some(used) = self.held.get_mut(&lease) {
            used.undecided = undecided;
        }
    }

    pub fn reserve(&mut self, task: TaskId, seat: Seat) {
        self.unreserve(task);
        self.take(&seat);
        self.reserved.insert(task, seat);
    }

    fn unreserve(&mut self, task: TaskId) {
        if let Some(seat) = self.reserved.remove(&task) {
            self.give_back(&seat);
        }
    }

    /// Acquisitions that were promised a slot here.
    pub fn promised(&self) -> impl Iterator<Item = &TaskId> {
        self.reserved.keys()
    }

    fn take(&mut self, seat: &Seat) {
        let taken = self.taken.entry(seat.class.clone()).or_default();
        *(if seat.cleanup { &mut taken.cleanups } else { &mut taken.others }) += 1;
    }

    fn give_back(&mut self, seat: &Seat) {
        let Some(taken) = self.taken.get_mut(&seat.class) else { return };
        let count = if seat.cleanup { &mut taken.cleanups } else { &mut taken.others };
        *count = count.saturating_sub(1);
    }

    fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.held.values().map(|used| &used.seat).chain(self.reserved.values())
    }

    /// Slots that nothing uses or was promised.
    pub fn slots_free(&self) -> u32 {
        self.slots.keys().map(|class| self.free(class)).sum()
    }

    fn free(&self, class: &SlotClass) -> u32 {
        let taken = self.taken.get(class).copied().unwrap_or_default();
        self.slots.get(class).copied().unwrap_or(0).saturating_sub(taken.cleanups.saturating_add(taken.others))
    }

    /// Slots of a class that are used or promised, and all of them.
    pub fn use_of(&self, class: &SlotClass) -> (u32, u32) {
        let slots = self.slots.get(class).copied().unwrap_or(0);
        (slots - self.free(class), slots)
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
