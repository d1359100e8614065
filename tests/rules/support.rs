//! A core alone with its clock: what it is told goes in by hand, what it wants comes out as values, and every record is durable at
//! once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use dlite::core::{
    self, Core,
    admission::{Amount, Limits},
    command::Refusal,
    config::{Config, Upstream},
    effect::{Answerable, Call, Effect, Note, Order},
    id::{ExternalId, InstanceId, LeaseId, LinkId, RunnerId, SlotClass, TaskId, UpstreamName},
    input::{Answer, Frame, Handler, Hello, Input, Listed, Listing, Registered, ReportError},
    record::{Host, Record},
    task::{Blame, Error, Finish, Kind, Outcome, Retry, Spec},
    time::{Mono, Now, Wall},
    trace::TraceScope,
};

pub const MANAGER: &str = "m";
pub const TYPE: &str = "DLITE_CI_VM_EXECUTE_TASK";
const LINK: LinkId = LinkId(1);

pub struct Rig {
    pub core: Core,
    mono: u64,
    wall: i64,
    rows: BTreeMap<(u64, u32), Bytes>,
    sequence: u64,
    /// What came out and was not taken yet, each in its order.
    pub calls: Vec<Call>,
    pub orders: Vec<Order>,
    pub notes: Vec<Note>,
    pub answers: Vec<Result<(), Refusal>>,
    pub records: Vec<Record>,
}

impl Rig {
    /// A delegate that registers at once.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same with a configuration of its own.
    pub fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        adjust(&mut config);
        Self::on(config, core::rebuild([]).unwrap(), BTreeMap::new(), 1_000_000)
    }

    fn on(config: Config, ledger: core::ledger::Ledger, rows: BTreeMap<(u64, u32), Bytes>, wall: i64) -> Self {
        let now = Now { mono: Mono(1), wall: Wall(wall) };
        let mut rig = Self {
            core: Core::new(config, ledger, now, 7),
            mono: 1,
            wall,
            rows,
            sequence: 0,
            calls: Vec::new(),
            orders: Vec::new(),
            notes: Vec::new(),
            answers: Vec::new(),
            records: Vec::new(),
        };
        rig.settle();
        rig
    }

    /// Registered, with a runner that has one handler and room for ten.
    pub fn ready(idempotent: bool) -> Self {
        let mut rig = Self::new();
        rig.register();
        rig.attach(idempotent);
        rig
    }

    /// The next process on what this one made durable.
    pub fn restarted(self) -> Self {
        let rows = self.rows.iter().map(|((scope, number), body)| (*scope, *number, &body[..]));
        Self::on(config(), core::rebuild(rows).unwrap(), self.rows.clone(), self.wall)
    }

    /// The same after a pause.
    pub fn restarted_after(mut self, pause: Duration) -> Self {
        self.wall += i64::try_from(pause.as_micros()).unwrap();
        self.restarted()
    }

    /// The same, but that the last process could not write how its tasks ended.
    pub fn restarted_without_ends(mut self) -> Self {
        let ends: Vec<_> = self
            .rows
            .iter()
            .filter(|(_, body)| matches!(Record::decode(body), Ok(Record::TaskFinished { .. })))
            .map(|(key, _)| *key)
            .collect();
        for (scope, number) in ends {
            self.rows.retain(|(of, nth), _| *of != scope || *nth < number);
        }
        self.restarted()
    }

    pub fn now(&self) -> Now {
        Now { mono: Mono(self.mono), wall: Wall(self.wall) }
    }

    pub fn tell(&mut self, input: Input) {
        self.core.handle(self.now(), input);
        self.settle();
    }

    pub fn answer(&mut self, answer: Answer) {
        self.tell(Input::Answered { upstream: UpstreamName::from(MANAGER), answer });
    }

    /// Lets time pass, timer by timer.
    pub fn pass(&mut self, time: Duration) {
        let end = self.mono + u64::try_from(time.as_micros()).unwrap();
        while let Some(due) = self.core.poll_timeout().filter(|due| due.0 <= end) {
            self.jump(due.0.max(self.mono));
            self.core.handle_timeout(self.now());
            self.settle();
        }
        self.jump(end);
    }

    fn jump(&mut self, mono: u64) {
        self.wall += i64::try_from(mono - self.mono).unwrap();
        self.mono = mono;
    }

    fn settle(&mut self) {
        loop {
            let mut last = None;
            while let Some(entry) = self.core.next_entry() {
                match &entry.body {
                    Some(body) => {
                        self.records.push(Record::decode(body).unwrap());
                        self.rows.insert((entry.scope, entry.number), body.clone());
                    }
                    None => {
                        self.records.push(Record::ScopeEnded);
                        self.rows.retain(|(scope, _), _| *scope != entry.scope);
                    }
                }
                last = Some(entry.lsn);
            }
            while let Some(effect) = self.core.next_effect() {
                match effect {
                    Effect::Call { call, .. } => self.calls.push(call),
                    Effect::Send { order, .. } => self.orders.push(order),
                    Effect::Note(note) => self.notes.push(note),
                    Effect::Answer { answer, .. } => self.answers.push(answer),
                }
            }
            match last {
                Some(last) => self.core.handle(self.now(), Input::Durable(last)),
                None => return,
            }
        }
    }

    // === what most stories begin with ===

    pub fn register(&mut self) {
        self.pass(Duration::ZERO);
        let host = Host { name: "host".into(), ip: "192.0.2.1".into() };
        self.answer(Answer::Register(Ok(Registered { delegate_id: "delegate-1".into(), host, moved_to: None })));
    }

    pub fn attach(&mut self, idempotent: bool) {
        let handler = Handler {
            task_type: TYPE.into(),
            kind: Kind::Standalone,
            class: SlotClass::from("default"),
            amount: Amount::default(),
            idempotent,
            default_timeout: None,
            extensions: Vec::new(),
            match_labels: BTreeMap::new(),
            any_runner: false,
        };
        let hello = Hello {
            runner: RunnerId::from("r-1"),
            instance: InstanceId("i-1".into()),
            sdk: "test".into(),
            handlers: vec![handler],
            slots: BTreeMap::from([(SlotClass::from("default"), 10)]),
            refuses_sessions: false,
            held: Vec::new(),
        };
        self.attach_as(hello);
    }

    pub fn attach_as(&mut self, hello: Hello) {
        self.tell(Input::Attached { link: LINK, hello, peer: "test".into() });
    }

    pub fn detach(&mut self) {
        self.tell(Input::Detached { link: LINK });
    }

    /// A poll of now lists these.
    pub fn list(&mut self, tasks: &[&str]) {
        self.pass(Duration::from_secs(4));
        let listed = |id: &&str| Listed {
            external_id: ExternalId::from(*id),
            task_type: TYPE.into(),
            kind: Kind::Standalone,
            labels: None,
            unsupported: false,
        };
        self.answer(Answer::Poll(Ok(Listing { tasks: tasks.iter().map(listed).collect(), ..Listing::default() })));
    }

    /// The acquires that left since the last look.
    pub fn acquires(&mut self) -> Vec<(TaskId, ExternalId)> {
        let calls = std::mem::take(&mut self.calls);
        let acquires = calls.into_iter().filter_map(|call| match call {
            Call::Acquire { task, external_id, .. } => Some((task, external_id)),
            _ => None,
        });
        acquires.collect()
    }

    /// The reports that left since the last look.
    pub fn reports(&mut self) -> Vec<(TaskId, Arc<Answerable>)> {
        let calls = std::mem::take(&mut self.calls);
        let reports = calls.into_iter().filter_map(|call| match call {
            Call::Report { task, report } => Some((task, report)),
            _ => None,
        });
        reports.collect()
    }

    /// Lists and acquires one task.
    pub fn take(&mut self, id: &str, spec: Spec) -> TaskId {
        self.list(&[id]);
        let acquires = self.acquires();
        let [(task, _)] = acquires[..] else { panic!("one acquire, not {acquires:?}") };
        self.answer(Answer::Acquire { task, result: Ok(Box::new(spec)) });
        task
    }

    /// The lease of the newest assignment, accepted.
    pub fn accept(&mut self) -> LeaseId {
        let lease = self
            .orders
            .iter()
            .rev()
            .find_map(|order| match order {
                Order::Assign(assignment) => Some(assignment.lease),
                _ => None,
            })
            .expect("an assignment");
        self.frame(Frame::Accepted { lease });
        lease
    }

    pub fn frame(&mut self, frame: Frame) {
        self.sequence += u64::from(frame.is_counted());
        let sequence = if frame.is_counted() { self.sequence } else { 0 };
        self.tell(Input::Received { link: LINK, sequence, frame });
    }

    pub fn result(&mut self, lease: LeaseId, finish: Finish) {
        self.frame(Frame::Result { lease, finish: Box::new(finish), state: None });
    }

    pub fn report_answered(&mut self, task: TaskId, result: Result<(), ReportError>) {
        self.answer(Answer::Report { task, result });
    }

    /// Whether the journal still knows the task.
    pub fn knows(&self, task: TaskId) -> bool {
        self.core.ledger().task(task).is_some()
    }
}

pub fn spec() -> Spec {
    Spec::new(TYPE.into(), Kind::Standalone)
}

/// An upstream's that takes tasks back.
pub fn returnable() -> Spec {
    Spec { hand_back: true, ..spec() }
}

/// What a handler says that another delegate should try.
pub fn elsewhere(side_effects_possible: Option<bool>) -> Finish {
    Finish::of(Outcome::Errored, Some(other_delegate(side_effects_possible)))
}

pub fn other_delegate(side_effects_possible: Option<bool>) -> Error {
    Error {
        code: 8,
        reason: "NO_QUOTA".into(),
        message: "no machine left here".into(),
        blame: Blame::Infrastructure,
        retry: Retry::OtherDelegate,
        retry_delay: None,
        side_effects_possible,
    }
}

fn config() -> Config {
    let seconds = Duration::from_secs;
    Config {
        heartbeat_interval: seconds(3_600),
        lease_ttl: seconds(36_000),
        accept_timeout: seconds(10),
        reassign_margin: seconds(5),
        cancel_grace: seconds(30),
        revoke_margin: seconds(5),
        no_runner_timeout: seconds(60),
        run_time_max: None,
        drain_grace: seconds(30),
        log_wait: Duration::from_secs(2),
        attempts_max: 3,
        session_ttl: Duration::from_secs(24 * 3600),
        tasks_max: 100,
        payload_bytes_max: 1 << 20,
        cleanup_reserve: 1,
        kinds: BTreeMap::new(),
        admission: Limits::default(),
        upstreams: vec![Upstream {
            name: MANAGER.into(),
            poll_interval: seconds(3),
            heartbeat_interval: seconds(10),
            task_types: vec![TYPE.into()],
            report_age_max: seconds(86_400),
            report_retry_min: Duration::from_millis(500),
            report_retry_max: seconds(60),
            acquire_recovery_max: seconds(600),
            trace_scope: TraceScope { kind: "model".into(), account: "account".into() },
            unregister_on_stop: false,
            weight: 1,
            offers_one_at_a_time: false,
        }],
    }
}
