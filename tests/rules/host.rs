//! A delegate for several upstreams and runners, on a host whose readings the test makes up. Tasks are only named: which acquire
//! leaves when is what the rules here are about.

use std::{collections::BTreeMap, time::Duration};

use dlite::core::{
    Core,
    admission::{Amount, Limits, Marks, Resource, Usage},
    config::{Config, Upstream},
    effect::{Call, Effect, Note, Order},
    id::{ExternalId, InstanceId, LeaseId, LinkId, RunnerId, SlotClass, TaskId, TaskType, UpstreamName},
    input::{Answer, Frame, Handler, Hello, Input, Listed, Listing, Registered},
    record::Host as Place,
    task::{Finish, Kind, Outcome, Spec},
    time::{Mono, Now, Wall},
    trace::TraceScope,
};

pub struct Host {
    pub core: Core,
    now: Now,
    /// Sequence of the next frame, by link.
    sequences: BTreeMap<LinkId, u64>,
    calls: Vec<(UpstreamName, Call)>,
    /// Acquires that were looked at and not answered.
    open: Vec<(UpstreamName, TaskId, ExternalId)>,
    assigned: Vec<(LinkId, LeaseId, TaskId, ExternalId)>,
    pub notes: Vec<Note>,
}

/// The type that tasks of a kind have here.
pub fn type_of(kind: Kind) -> TaskType {
    TaskType::from(match kind {
        Kind::Standalone => "other",
        Kind::SessionSetup => "setup",
        Kind::SessionExecute => "step",
        Kind::SessionCleanup => "cleanup",
        Kind::Pipeline => "pipeline",
    })
}

fn kind_of(name: &str) -> Kind {
    let all = [Kind::Standalone, Kind::SessionSetup, Kind::SessionExecute, Kind::SessionCleanup, Kind::Pipeline];
    let kind = all.into_iter().find(|kind| name.starts_with(type_of(*kind).as_str()));
    kind.expect("a task is named after its kind: setup-1")
}

/// Memory: closed above 85 %, open again at 75 %; steps pass for five points longer.
pub fn limits() -> Limits {
    Limits {
        marks: BTreeMap::from([(Resource::Memory, Marks { high: 85, low: 75 })]),
        execute_margin: 5,
        ..Limits::default()
    }
}

pub fn handler(kind: Kind, class: &str) -> Handler {
    Handler {
        task_type: type_of(kind),
        kind,
        class: SlotClass::from(class),
        amount: Amount::default(),
        idempotent: false,
        default_timeout: None,
        extensions: Vec::new(),
        match_labels: BTreeMap::new(),
        any_runner: false,
    }
}

/// Handlers of every kind in the class "default".
pub fn all_in_one() -> Vec<Handler> {
    [Kind::Standalone, Kind::SessionSetup, Kind::SessionExecute, Kind::SessionCleanup]
        .map(|kind| handler(kind, "default"))
        .into()
}

impl Host {
    /// Registered with each of these upstreams, by name and weight; nobody is attached.
    pub fn new(admission: Limits, upstreams: &[(&str, u32)]) -> Self {
        Self::with(admission, upstreams, |_| {})
    }

    pub fn with(admission: Limits, upstreams: &[(&str, u32)], adjust: impl FnOnce(&mut Config)) -> Self {
        let now = Now { mono: Mono(1), wall: Wall(1_767_225_600_000_000) };
        let mut config = config(admission, upstreams);
        adjust(&mut config);
        let mut host = Self {
            core: Core::new(config, Default::default(), now, 7),
            now,
            sequences: BTreeMap::new(),
            calls: Vec::new(),
            open: Vec::new(),
            assigned: Vec::new(),
            notes: Vec::new(),
        };
        host.pass(Duration::ZERO);
        for (name, _) in upstreams {
            let place = Place { name: "host".into(), ip: "192.0.2.1".into() };
            let granted = Registered { delegate_id: "delegate-1".into(), host: place, moved_to: None };
            host.answer(name, Answer::Register(Ok(granted)));
        }
        host
    }

    pub fn tell(&mut self, input: Input) {
        self.core.handle(self.now, input);
        self.settle();
    }

    pub fn answer(&mut self, upstream: &str, answer: Answer) {
        self.tell(Input::Answered { upstream: UpstreamName::from(upstream), answer });
    }

    /// Lets time pass, timer by timer.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= end) {
            self.jump(due.max(self.now.mono));
            self.core.handle_timeout(self.now);
            self.settle();
        }
        self.jump(end);
    }

    fn jump(&mut self, mono: Mono) {
        self.now.wall = self.now.wall + mono.since(self.now.mono);
        self.now.mono = mono;
    }

    /// Every record is durable at once.
    fn settle(&mut self) {
        loop {
            let mut last = None;
            while let Some(entry) = self.core.next_entry() {
                last = Some(entry.lsn);
            }
            while let Some(effect) = self.core.next_effect() {
                match effect {
                    Effect::Call { upstream, call } => self.calls.push((upstream, call)),
                    Effect::Send { link, order: Order::Assign(assignment) } => {
                        self.assigned.push((link, assignment.lease, assignment.task, assignment.external_id));
                    }
                    Effect::Send { .. } | Effect::Answer { .. } => {}
                    Effect::Note(note) => self.notes.push(note),
                }
            }
            match last {
                Some(last) => self.core.handle(self.now, Input::Durable(last)),
                None => return,
            }
        }
    }

    // === the host ===

    pub fn memory(&mut self, percent: u8) {
        self.tell(Input::Pressure(Usage::from([(Resource::Memory, percent)])));
    }

    /// What the operator is told about an offer.
    pub fn wait_of(&self, external_id: &str) -> Option<String> {
        let tasks = self.core.task_list(self.now);
        tasks.into_iter().find(|task| task.external_id.as_str() == external_id).map(|task| task.waiting_for)
    }

    // === runners ===

    /// A runner with these handlers, and slots by class.
    pub fn attach(&mut self, link: u64, handlers: Vec<Handler>, slots: &[(&str, u32)]) {
        let hello = Hello {
            runner: RunnerId::from(format!("r-{link}")),
            instance: InstanceId::from(format!("r-{link}/1")),
            sdk: "test".into(),
            handlers,
            slots: slots.iter().map(|(class, slots)| (SlotClass::from(*class), *slots)).collect(),
            refuses_sessions: false,
            held: Vec::new(),
        };
        self.tell(Input::Attached { link: LinkId(link), hello, peer: "test".into() });
    }

    pub fn beat(&mut self, link: u64, usage: Usage) {
        let leases = self.assigned.iter().filter(|(to, ..)| *to == LinkId(link)).map(|(_, lease, ..)| *lease).collect();
        self.frame(link, Frame::Heartbeat { id: 1, leases, healthy: true, usage });
    }

    pub fn frame(&mut self, link: u64, frame: Frame) {
        let sequence = self.sequences.entry(LinkId(link)).or_default();
        *sequence += u64::from(frame.is_counted());
        let sequence = if frame.is_counted() { *sequence } else { 0 };
        self.tell(Input::Received { link: LinkId(link), sequence, frame });
    }

    /// What is assigned now, in the order of assignment.
    pub fn running(&self) -> Vec<&str> {
        self.assigned.iter().map(|(.., id)| id.as_str()).collect()
    }

    /// What was assigned so far is of no interest any more.
    pub fn forget_assignments(&mut self) {
        self.assigned.clear();
    }

    /// A task that runs succeeds, and its slot comes free.
    pub fn finish(&mut self, external_id: &str) {
        let nth = self.assigned.iter().position(|(.., id)| id.as_str() == external_id);
        let (link, lease, ..) = self.assigned.remove(nth.expect("it runs"));
        self.frame(link.0, Frame::Accepted { lease });
        self.frame(
            link.0,
            Frame::Result { lease, finish: Box::new(Finish::of(Outcome::Succeeded, None)), state: None },
        );
    }

    // === upstreams ===

    /// The next poll lists these, and only these.
    pub fn list<T: AsRef<str>>(&mut self, upstream: &str, tasks: &[T]) {
        self.list_as(upstream, tasks, kind_of);
    }

    /// The same for an upstream that can't tell kinds before the acquire.
    pub fn list_untold(&mut self, upstream: &str, tasks: &[&str]) {
        self.list_as(upstream, tasks, |_| Kind::Standalone);
    }

    fn list_as<T: AsRef<str>>(&mut self, upstream: &str, tasks: &[T], told: impl Fn(&str) -> Kind) {
        // Polls go out every 3 s, give or take a tenth.
        self.pass(Duration::from_millis(3_300));
        let tasks = tasks.iter().map(|id| Listed {
            external_id: ExternalId::from(id.as_ref()),
            task_type: type_of(kind_of(id.as_ref())),
            kind: told(id.as_ref()),
            labels: None,
            unsupported: false,
        });
        let tasks = tasks.collect();
        self.answer(upstream, Answer::Poll(Ok(Listing { tasks, ..Listing::default() })));
    }

    /// The acquires that left since the last look, in order.
    pub fn acquires(&mut self) -> Vec<String> {
        self.take_acquires().into_iter().map(|(_, _, id)| id.to_string()).collect()
    }

    fn take_acquires(&mut self) -> Vec<(UpstreamName, TaskId, ExternalId)> {
        let calls = std::mem::take(&mut self.calls);
        let acquires = calls.into_iter().filter_map(|(upstream, call)| match call {
            Call::Acquire { task, external_id, .. } => Some((upstream, task, external_id)),
            _ => None,
        });
        std::mem::take(&mut self.open).into_iter().chain(acquires).collect()
    }

    /// Every acquire is answered with its task, until none is left; what was acquired, in order.
    pub fn give(&mut self) -> Vec<String> {
        self.give_as(|id| spec(kind_of(id)))
    }

    /// Only the acquires of these are answered; they left, and the others stay open.
    pub fn give_only(&mut self, ids: &[&str], spec: impl Fn(&str) -> Spec) {
        for (upstream, task, id) in self.take_acquires() {
            if ids.contains(&id.as_str()) {
                let result = Ok(Box::new(alone(&id, spec(id.as_str()))));
                self.answer(upstream.as_str(), Answer::Acquire { task, result });
            } else {
                self.open.push((upstream, task, id));
            }
        }
    }

    pub fn give_as(&mut self, spec: impl Fn(&str) -> Spec) -> Vec<String> {
        let mut given = Vec::new();
        loop {
            let acquires = self.take_acquires();
            if acquires.is_empty() {
                return given;
            }
            for (upstream, task, id) in acquires {
                let result = Ok(Box::new(alone(&id, spec(id.as_str()))));
                self.answer(upstream.as_str(), Answer::Acquire { task, result });
                given.push(id.to_string());
            }
        }
    }
}

/// Each part of a stage is the only one of its stage here.
fn alone(id: &ExternalId, spec: Spec) -> Spec {
    Spec { session: spec.is_of_stage().then(|| id.as_str().into()), ..spec }
}

pub fn spec(kind: Kind) -> Spec {
    Spec::new(type_of(kind), kind)
}

fn config(admission: Limits, upstreams: &[(&str, u32)]) -> Config {
    let seconds = Duration::from_secs;
    let upstream = |(name, weight): &(&str, u32)| Upstream {
        name: UpstreamName::from(*name),
        poll_interval: seconds(3),
        heartbeat_interval: seconds(3_600),
        task_types: vec![type_of(Kind::Standalone)],
        report_age_max: seconds(86_400),
        report_retry_min: seconds(1),
        report_retry_max: seconds(60),
        acquire_recovery_max: seconds(600),
        trace_scope: TraceScope { kind: "model".into(), account: "account".into() },
        unregister_on_stop: false,
        weight: *weight,
        offers_one_at_a_time: false,
    };
    Config {
        heartbeat_interval: seconds(3_600),
        lease_ttl: seconds(36_000),
        accept_timeout: seconds(3_600),
        reassign_margin: seconds(5),
        cancel_grace: seconds(30),
        revoke_margin: seconds(5),
        no_runner_timeout: seconds(3_600),
        run_time_max: None,
        drain_grace: seconds(30),
        log_wait: Duration::from_secs(2),
        attempts_max: 3,
        session_ttl: seconds(24 * 3_600),
        tasks_max: 10_000,
        payload_bytes_max: 1 << 20,
        cleanup_reserve: 1,
        kinds: BTreeMap::new(),
        admission,
        upstreams: upstreams.iter().map(upstream).collect(),
    }
}
