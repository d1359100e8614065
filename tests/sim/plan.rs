//! One history's character, drawn from its seed: how much work, who is there for it, and how much goes wrong.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    core::{
        admission::{Amount, Limits, Marks, Resource, Starts},
        config::{Config, Upstream},
        id::{SlotClass, TaskType, UpstreamName},
        input::Handler,
        planted::Bug,
        task::Kind,
        trace::TraceScope,
    },
    queue::{At, MS, SEC},
    random::Random,
};

/// The manager's names: it may be two upstreams at once.
pub const MANAGER: &str = "manager";
pub const RIVAL: &str = "rival";
/// Longest time between two processing steps of a call; below what the core waits before it believes a listing.
pub const LATE_MAX: u64 = 3 * SEC;
/// A call without an answer is given up after this long, as an adapter does.
pub const CALL_TIMEOUT: u64 = 4 * SEC;

pub const HEARTBEAT: Duration = Duration::from_secs(5);
pub const LEASE_TTL: Duration = Duration::from_secs(20);
pub const DRAIN_GRACE: Duration = Duration::from_secs(20);

/// Marks of the host's memory, and the points by which steps pass longer.
pub const MEMORY: Marks = Marks { high: 85, low: 75 };
pub const MARGIN: u8 = 5;
/// Slots kept for cleanups.
pub const RESERVE: u32 = 1;
/// Stages at once. Few, so that most have a setup, steps and a cleanup, in whatever order.
const STAGES: u64 = 4;

/// A type that tasks have here.
struct Sort {
    name: &'static str,
    kind: Kind,
    /// Of twenty tasks, so many are of it.
    share: u64,
    /// Somebody serves it in every history; the others may stay with the manager.
    served: bool,
}

const CLEANUP: &str = "cleanup";

/// Every type there is: the three of a stage, and those of tasks that stand alone.
const SORTS: [Sort; 6] = [
    Sort { name: "setup", kind: Kind::SessionSetup, share: 4, served: true },
    Sort { name: "step", kind: Kind::SessionExecute, share: 4, served: true },
    Sort { name: CLEANUP, kind: Kind::SessionCleanup, share: 2, served: true },
    Sort { name: "build", kind: Kind::Standalone, share: 5, served: true },
    Sort { name: "test", kind: Kind::Standalone, share: 3, served: true },
    Sort { name: "scan", kind: Kind::Standalone, share: 2, served: false },
];

/// What goes wrong in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    CutLink,
    HalfOpenLink,
    CrashRunner,
    RetireRunner,
    StallHeartbeats,
    Unhealthy,
    Drain,
    Capacity,
    CrashDelegate,
    PauseDelegate,
    JumpWall,
    FullDisk,
    SlowDisk,
    Outage,
    Forget,
    Rival,
    Found,
    Abort,
    /// The operator stops a task.
    CancelTask,
    DrainDelegate,
    ResumeDelegate,
    /// A signal to the delegate's process; more often than not it is not the only one.
    SignalDelegate,
    Pressure,
    Strain,
    /// The operator takes an upstream or a runner out, or back in.
    PauseUpstream,
    UnpauseUpstream,
    DrainRunner,
    ResumeRunner,
}

/// What the operator does to one upstream or one runner. Histories by the seed, so that the others stay as they were.
pub const ASIDE_FAULTS: [Fault; 4] =
    [Fault::PauseUpstream, Fault::UnpauseUpstream, Fault::DrainRunner, Fault::ResumeRunner];
/// One history in so many has them.
pub const ASIDE_EVERY: u64 = 5;

const FAULTS: [Fault; 24] = [
    Fault::CutLink,
    Fault::HalfOpenLink,
    Fault::CrashRunner,
    Fault::RetireRunner,
    Fault::StallHeartbeats,
    Fault::Unhealthy,
    Fault::Drain,
    Fault::Capacity,
    Fault::CrashDelegate,
    Fault::PauseDelegate,
    Fault::JumpWall,
    Fault::FullDisk,
    Fault::SlowDisk,
    Fault::Outage,
    Fault::Forget,
    Fault::Rival,
    Fault::Found,
    Fault::Abort,
    Fault::CancelTask,
    Fault::DrainDelegate,
    Fault::ResumeDelegate,
    Fault::SignalDelegate,
    Fault::Pressure,
    Fault::Strain,
];

#[derive(Clone, Debug)]
pub struct Plan {
    pub tasks: usize,
    /// The last task is submitted and the last fault happens before this.
    pub faults_end: At,
    pub runners: Vec<Profile>,
    /// Weights of the upstreams, by name.
    pub upstreams: BTreeMap<UpstreamName, u32>,
    /// Absent: stages begin as they come.
    pub starts: Option<Starts>,
    /// Nothing goes wrong, so that everything must be prompt and exact.
    pub calm: bool,
    /// The faults of this history; empty: none happen.
    pub faults: Vec<Fault>,
    /// Mean time between two faults.
    pub fault_every: u64,
    /// Chance, in 100,000, that the delegate dies before an effect is performed.
    pub crash_at_effect: u64,
    pub latency_max: u64,
    pub sync_max: u64,
    // In a thousand calls:
    pub lost_requests: u64,
    pub lost_answers: u64,
    pub late: u64,
    pub doubled: u64,
    pub failed: u64,
    // In a thousand tasks:
    pub rejected: u64,
    pub slow_accepts: u64,
    pub errored: u64,
    pub odd_answers: u64,
    pub timeouts: u64,
    pub run_time_max: Option<Duration>,
}

/// One runner's place: what it is every time it starts.
#[derive(Clone, Debug)]
pub struct Profile {
    pub handlers: Vec<Handler>,
    pub slots: BTreeMap<SlotClass, u32>,
    /// Its idempotent handlers do not stop by themselves when their lease ends, and it sends their results all the same.
    pub sloppy: bool,
}

// === impl Plan ===

impl Plan {
    pub fn draw(random: &mut Random) -> Self {
        // One history in eight is calm: everything must be prompt and exact there, too.
        let calm = random.chance(125);
        let mut rare = |most: u64| if calm || random.chance(400) { 0 } else { random.below(most + 1) };
        let (lost_requests, lost_answers, late) = (rare(150), rare(150), rare(150));
        let (doubled, failed) = (rare(100), rare(100));
        let (rejected, slow_accepts, errored) = (rare(250), rare(100), rare(250));
        let odd_answers = rare(100);
        let crash_at_effect = rare(1_500);
        let faults = if calm {
            Vec::new()
        } else {
            let share = random.between(100, 900);
            FAULTS.into_iter().filter(|_| random.chance(share)).collect()
        };
        let idempotent: Vec<bool> = SORTS.iter().map(|_| random.chance(500)).collect();
        let runners = random.between(1, 4);
        let names = if random.chance(500) { vec![MANAGER] } else { vec![MANAGER, RIVAL] };
        Self {
            tasks: random.between(5, 30) as usize,
            faults_end: random.between(20, 120) * SEC,
            runners: (0..runners).map(|nth| Profile::draw(random, nth == 0, &idempotent)).collect(),
            upstreams: names.into_iter().map(|name| (UpstreamName::from(name), random.between(1, 3) as u32)).collect(),
            starts: random.chance(300).then(|| Starts { per_second: random.between(1, 3) as u32, burst: 2 }),
            calm,
            faults,
            fault_every: random.between(500 * MS, 15 * SEC),
            crash_at_effect,
            latency_max: random.between(MS, 300 * MS),
            sync_max: random.between(MS, 100 * MS),
            lost_requests,
            lost_answers,
            late,
            doubled,
            failed,
            rejected,
            slow_accepts,
            errored,
            odd_answers,
            timeouts: random.below(300),
            run_time_max: random.chance(200).then(|| Duration::from_secs(45)),
        }
    }

    pub fn config(&self, planted: Option<Bug>) -> Config {
        Config {
            heartbeat_interval: HEARTBEAT,
            lease_ttl: LEASE_TTL,
            accept_timeout: Duration::from_secs(5),
            reassign_margin: Duration::from_secs(5),
            cancel_grace: Duration::from_secs(5),
            revoke_margin: Duration::from_secs(5),
            no_runner_timeout: Duration::from_secs(40),
            run_time_max: self.run_time_max,
            drain_grace: DRAIN_GRACE,
            log_wait: Duration::from_secs(2),
            attempts_max: 5,
            session_ttl: Duration::from_secs(90),
            tasks_max: 20,
            payload_bytes_max: 1 << 20,
            cleanup_reserve: RESERVE,
            kinds: SORTS.iter().map(|sort| (sort.task_type(), sort.kind)).collect(),
            admission: Limits {
                marks: BTreeMap::from([(Resource::Memory, MEMORY)]),
                execute_margin: MARGIN,
                starts: self.starts,
                ..Limits::default()
            },
            upstreams: self
                .upstreams
                .iter()
                .map(|(name, weight)| Upstream {
                    name: name.clone(),
                    weight: *weight,
                    offers_one_at_a_time: false,
                    poll_interval: Duration::from_secs(4),
                    heartbeat_interval: Duration::from_secs(30),
                    task_types: Vec::new(),
                    report_age_max: Duration::from_secs(24 * 3600),
                    report_retry_min: Duration::from_millis(500),
                    report_retry_max: Duration::from_secs(20),
                    acquire_recovery_max: Duration::from_secs(600),
                    trace_scope: TraceScope { kind: "model".into(), account: "account".into() },
                    unregister_on_stop: false,
                })
                .collect(),
            planted,
        }
    }
}

// === impl Profile ===

impl Profile {
    fn draw(random: &mut Random, first: bool, idempotent: &[bool]) -> Self {
        let classes = ["default", "heavy"].map(SlotClass::from);
        let mut handlers = Vec::new();
        // Some keep what a stage needs on their host, others in its state alone; none do stages by halves.
        let any_runner = random.chance(300);
        let does_stages = first || random.chance(600);
        for (sort, idempotent) in SORTS.iter().zip(idempotent) {
            let serves = if sort.is_of_stage() { does_stages } else { (first && sort.served) || random.chance(450) };
            if !serves {
                continue;
            }
            let mut match_labels = BTreeMap::new();
            if !first && !sort.is_of_stage() && random.chance(200) {
                match_labels.insert("os".to_owned(), (*random.pick(&["linux", "darwin"])).to_owned());
            }
            handlers.push(Handler {
                task_type: sort.task_type(),
                // The configuration knows.
                kind: Kind::Standalone,
                amount: Amount::default(),
                class: random.pick(&classes).clone(),
                // A runner may know better than the rest how its handler behaves.
                idempotent: *idempotent ^ random.chance(50),
                default_timeout: random.chance(100).then(|| Duration::from_secs(60)),
                extensions: Vec::new(),
                match_labels,
                any_runner: sort.is_of_stage() && any_runner,
            });
        }
        let slots = classes.into_iter().map(|class| (class, random.between(1, 4) as u32)).collect();
        Self { handlers, slots, sloppy: random.chance(250) }
    }

    /// Slots of a class that only cleanups may use.
    pub fn kept_for_cleanups(&self, class: &SlotClass) -> u32 {
        let mut handlers = self.handlers.iter().filter(|handler| handler.class == *class);
        let shared = handlers.any(|handler| kind_of(&handler.task_type) == Kind::SessionCleanup);
        let most = self.slots.get(class).copied().unwrap_or(0);
        if shared { RESERVE.min(most.saturating_sub(1)) } else { 0 }
    }

    pub fn handler(&self, task_type: &TaskType, labels: &BTreeMap<String, String>) -> Option<&Handler> {
        self.handlers.iter().find(|handler| {
            handler.task_type == *task_type
                && handler.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        })
    }
}

// === impl Sort ===

impl Sort {
    fn task_type(&self) -> TaskType {
        TaskType::from(self.name)
    }

    fn is_of_stage(&self) -> bool {
        self.kind != Kind::Standalone
    }
}

/// What a task is: its type, served or not, and its part in a stage.
#[derive(Debug)]
pub struct Part {
    pub task_type: TaskType,
    pub kind: Kind,
    /// The stage it belongs to.
    pub session: Option<Arc<str>>,
    /// What undoes it.
    pub cleanup: Option<TaskType>,
}

/// The tasks of a stage come in whatever order: the delegate has to make sense of it.
pub fn any_part(random: &mut Random) -> Part {
    let mut nth = random.below(SORTS.iter().map(|sort| sort.share).sum());
    let sort = SORTS.iter().find(|sort| {
        let found = nth < sort.share;
        nth = nth.saturating_sub(sort.share);
        found
    });
    let sort = sort.expect("it is drawn from the sum of the shares");
    let stage = random.below(STAGES);
    let undone = sort.kind == Kind::SessionSetup && random.chance(900);
    Part {
        task_type: sort.task_type(),
        kind: sort.kind,
        session: sort.is_of_stage().then(|| format!("stage-{stage}").into()),
        cleanup: undone.then(|| TaskType::from(CLEANUP)),
    }
}

fn kind_of(task_type: &TaskType) -> Kind {
    SORTS.iter().find(|sort| sort.name == task_type.as_str()).map(|sort| sort.kind).unwrap_or_default()
}
