//! Whether a task may be acquired at all: how full the host is, what runs there already, and how fast stages begin.
//!
//! A task that is not acquired stays with the upstream, open to other delegates; one that is acquired is ours, whatever the host
//! looks like. So this gate stands before the acquire, and nothing behind it asks again.
//!
//! ```text
//!                 percent > high
//!        open ────────────────────► closed        between the marks nothing changes, so a reading
//!          ▲                          │           that swings there does not make the gate flap
//!          └──────────────────────────┘
//!                 percent ≤ low
//! ```
//!
//! It never refuses a cleanup: that is what frees a host. Steps of stages that are under way pass for longer than what begins one,
//! by the margin. It owns no slots: those are the roster's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use super::{
    Core,
    effect::Note,
    planted::planted,
    task::Kind,
    time::{Mono, Now},
    timer::Timer,
};
use crate::reason::Reason;

/// What can run short, in the order in which a refusal names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// Not available for new processes.
    Memory,
    /// Share of time in which something waited for memory.
    MemoryPressure,
    /// Of the file system of the workspaces.
    Disk,
    /// Of all cores, smoothed.
    Cpu,
    /// Share of time in which something waited for a core.
    CpuPressure,
    /// Share of time in which something waited for the disk.
    IoPressure,
    /// What the handlers of running tasks declared, against the configured capacity.
    DeclaredMemory,
    DeclaredCpu,
    DeclaredDisk,
}

/// A reading: whole percents of what is there. What is not in it is not known, and holds nothing up.
pub type Usage = BTreeMap<Resource, u8>;

/// Above `high` the gate closes, at `low` or below it opens again; low is below high. A high mark of 100 never closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    pub high: u8,
    pub low: u8,
}

/// An amount of what a host has. As a capacity 0 means that it is not accounted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
}

/// How many stages may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Starts {
    /// At least 1.
    pub per_second: u32,
    /// At once, after a pause. At least 1.
    pub burst: u32,
}

/// What admission is configured with. The default refuses nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// A resource without marks is not looked at.
    pub marks: BTreeMap<Resource, Marks>,
    /// Percentage points by which steps of a stage that is under way pass longer.
    pub execute_margin: u8,
    /// Absent: as many as there are slots.
    pub starts: Option<Starts>,
    pub capacity: Amount,
}

/// How much a task is worth to a host that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// Frees the host; always passes.
    Cleanup,
    /// Carries on with what was begun.
    Step,
    /// Begins something.
    Beginning,
}

/// Why a task does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    pub resource: Resource,
    pub percent: u16,
    /// The reading is above it: the high mark, or the low one while it has not come down yet.
    pub mark: u16,
}

/// A gate that closed or opened for a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pub claim: Claim,
    pub resource: Resource,
    /// Closed, and on what reading; absent: open again.
    pub closed: Option<Refusal>,
}

/// The gate of one host, by its readings.
#[derive(Debug, Default)]
pub struct Gate {
    usage: Usage,
    closed: BTreeSet<(Claim, Resource)>,
}

/// Counts out the beginnings of stages: a bucket that fills at the rate and holds a burst.
#[derive(Debug, Default)]
pub struct Ramp {
    /// In millionths of a beginning.
    spent: u64,
    since: Mono,
}

const MILLION: u64 = 1_000_000;

// === impl Resource ===

impl Resource {
    /// A stable word for metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::MemoryPressure => "memory_pressure",
            Self::Disk => "disk",
            Self::Cpu => "cpu",
            Self::CpuPressure => "cpu_pressure",
            Self::IoPressure => "io_pressure",
            Self::DeclaredMemory => "declared_memory",
            Self::DeclaredCpu => "declared_cpu",
            Self::DeclaredDisk => "declared_disk",
        }
    }

    /// Why a task is not taken while it runs short.
    pub fn reason(self) -> Reason {
        match self {
            Self::Memory => Reason::AdmissionMemory,
            Self::MemoryPressure => Reason::AdmissionMemoryPressure,
            Self::Disk => Reason::AdmissionDisk,
            Self::Cpu => Reason::AdmissionCpu,
            Self::CpuPressure => Reason::AdmissionCpuPressure,
            Self::IoPressure => Reason::AdmissionIoPressure,
            Self::DeclaredMemory => Reason::AdmissionDeclaredMemory,
            Self::DeclaredCpu => Reason::AdmissionDeclaredCpu,
            Self::DeclaredDisk => Reason::AdmissionDeclaredDisk,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word().replace('_', " "))
    }
}

// === impl Amount ===

impl Amount {
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            disk_bytes: self.disk_bytes.saturating_add(other.disk_bytes),
        }
    }
}

// === impl Claim ===

impl Claim {
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::SessionCleanup => Self::Cleanup,
            Kind::SessionExecute => Self::Step,
            Kind::Standalone | Kind::SessionSetup | Kind::Pipeline => Self::Beginning,
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cleanup => "cleanups",
            Self::Step => "steps of open stages",
            Self::Beginning => "new work",
        })
    }
}

// === impl Refusal ===

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "admission: {} {} % > {} %", self.resource, self.percent, self.mark)
    }
}

// === impl Limits ===

impl Limits {
    fn marks(&self, claim: Claim, resource: Resource) -> Option<Marks> {
        let marks = *self.marks.get(&resource)?;
        let margin = if claim == Claim::Step { self.execute_margin } else { 0 };
        Some(Marks { high: marks.high.saturating_add(margin), low: marks.low.saturating_add(margin) })
    }

    /// Why what is declared already has no room for `more`, if it has none. It is a sum, which does not swing: it needs no second mark.
    pub fn refuses(&self, claim: Claim, declared: Amount, more: Amount) -> Option<Refusal> {
        if claim == Claim::Cleanup {
            return None;
        }
        let mark = 100 + if claim == Claim::Step { u16::from(self.execute_margin) } else { 0 };
        let sum = declared.plus(more);
        let parts = [
            (Resource::DeclaredMemory, more.memory_bytes, sum.memory_bytes, self.capacity.memory_bytes),
            (Resource::DeclaredCpu, more.cpu_millis, sum.cpu_millis, self.capacity.cpu_millis),
            (Resource::DeclaredDisk, more.disk_bytes, sum.disk_bytes, self.capacity.disk_bytes),
        ];
        parts.into_iter().filter(|(_, more, _, capacity)| *more > 0 && *capacity > 0).find_map(
            |(resource, _, sum, capacity)| {
                // Rounded up, so that a percentage that is not above the mark is none.
                let percent = (u128::from(sum) * 100).div_ceil(u128::from(capacity));
                let percent = u16::try_from(percent).unwrap_or(u16::MAX);
                (percent > mark).then_some(Refusal { resource, percent, mark })
            },
        )
    }
}

// === impl Gate ===

impl Gate {
    /// Takes in a reading; which gates turned because of it.
    pub fn read(&mut self, limits: &Limits, usage: Usage) -> Vec<Turn> {
        self.usage = usage;
        let mut turns = Vec::new();
        for resource in limits.marks.keys() {
            for claim in [Claim::Step, Claim::Beginning] {
                let Some(marks) = limits.marks(claim, *resource) else { continue };
                let was = self.closed.contains(&(claim, *resource));
                let percent = self.usage.get(resource).copied();
                let mark = if was { marks.low } else { marks.high };
                let is = percent.is_some_and(|percent| percent > mark);
                if is == was {
                    continue;
                }
                if is {
                    self.closed.insert((claim, *resource));
                } else {
                    self.closed.remove(&(claim, *resource));
                }
                turns.push(Turn { claim, resource: *resource, closed: self.why(limits, claim, *resource) });
            }
        }
        turns
    }

    /// Why a task of this claim does not pass, if it does not.
    pub fn refusal(&self, limits: &Limits, claim: Claim) -> Option<Refusal> {
        // `closed` holds no cleanup.
        let (_, resource) = self.closed.iter().find(|(closed, _)| *closed == claim)?;
        self.why(limits, claim, *resource)
    }

    fn why(&self, limits: &Limits, claim: Claim, resource: Resource) -> Option<Refusal> {
        if !self.closed.contains(&(claim, resource)) {
            return None;
        }
        let (marks, percent) = (limits.marks(claim, resource)?, *self.usage.get(&resource)?);
        let mark = if percent > marks.high { marks.high } else { marks.low };
        Some(Refusal { resource, percent: percent.into(), mark: mark.into() })
    }

    /// Whether anything at all is held up for want of this.
    pub fn is_short_of(&self, resource: Resource) -> bool {
        self.closed.iter().any(|(_, closed)| *closed == resource)
    }

    pub fn usage(&self) -> &Usage {
        &self.usage
    }
}

// === impl Ramp ===

impl Ramp {
    /// When the next stage may begin; not after `now`: at once.
    pub fn next(&self, starts: Option<Starts>, now: Mono) -> Mono {
        let Some(starts) = starts else { return now };
        let spent = self.spent_at(starts, now);
        let over = (spent + MILLION).saturating_sub(u64::from(starts.burst) * MILLION);
        now + Duration::from_micros(over.div_ceil(u64::from(starts.per_second.max(1))))
    }

    /// A stage begins.
    pub fn spend(&mut self, starts: Option<Starts>, now: Mono) {
        let Some(starts) = starts else { return };
        self.spent = self.spent_at(starts, now) + MILLION;
        self.since = now;
    }

    /// What is not refilled yet. A beginning is a million parts, and `per_second` of them a second are as many parts a microsecond.
    fn spent_at(&self, starts: Starts, now: Mono) -> u64 {
        let micros = u64::try_from(now.since(self.since).as_micros()).unwrap_or(u64::MAX);
        self.spent.saturating_sub(micros.saturating_mul(starts.per_second.into()))
    }
}

/// Whether tasks of this kind begin a stage: the load of one shows late, when its machine boots or its images are there, so they
/// are counted out. Steps are bounded by the stages, other tasks by the slots.
pub fn begins_a_stage(kind: Kind) -> bool {
    matches!(kind, Kind::SessionSetup | Kind::Pipeline)
}

impl Core {
    /// The host was looked at.
    pub(super) fn pressure_read(&mut self, now: Now, usage: Usage) {
        let turns = if planted!(self, HysteresisIgnored) {
            let mut fresh = Gate::default();
            fresh.read(&self.config.admission, usage.clone());
            std::mem::swap(&mut self.gate, &mut fresh);
            Vec::new()
        } else {
            self.gate.read(&self.config.admission, usage)
        };
        for turn in turns {
            self.note(Note::Admission { runner: None, turn });
        }
        self.take_listed(now);
    }

    /// The gate of this delegate's host, to the task's claim.
    pub(super) fn gate_refusal(&self, claim: Claim) -> Option<Refusal> {
        if planted!(self, PressureIgnored) {
            return None;
        }
        let claim = if planted!(self, CleanupRefused) && claim == Claim::Cleanup { Claim::Beginning } else { claim };
        self.gate.refusal(&self.config.admission, claim)
    }

    /// Looks again as soon as the next stage may begin.
    pub(super) fn arm_ramp(&mut self, now: Now) {
        let at = self.ramp.next(self.config.admission.starts, now.mono);
        self.timers.set(Timer::Ramp, at);
    }

    /// Whether readings of the host are of use: nothing is acquired while nobody is attached.
    pub fn wants_pressure(&self) -> bool {
        self.roster.links().next().is_some()
    }
}
