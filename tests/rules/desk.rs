//! A core on a desk: tell it something, read its effects as lines, let its records become durable when you say so.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use dlite::core::{
    Core,
    admission::{Amount, Limits, Usage},
    config::{Config, Upstream},
    effect::{Call, Effect, Order},
    id::{ExternalId, InstanceId, LeaseId, LinkId, Lsn, RunnerId, SlotClass, TaskId, TaskType, UpstreamName},
    input::{AcquireError, Answer, Frame, Handler, Held, Hello, Input, Listed, Listing, Registered, ReportError},
    rebuild,
    record::{Entry, Host},
    task::{Blame, Error, Finish, Kind, Outcome, Payload, Retry, Spec},
    time::{Mono, Now, Wall},
    trace::TraceScope,
};

pub const MANAGER: &str = "manager";

/// The first task and its lease of a new desk: the numbers before are the delegate's own (reservation, identity, registration).
pub const TASK: TaskId = TaskId(4);
pub const LEASE: LeaseId = LeaseId(5);

pub struct Desk {
    pub core: Core,
    pub now: Now,
    /// Everything that was handed to the journal.
    rows: BTreeMap<u64, Vec<Bytes>>,
    last: Lsn,
    durable: Lsn,
    links: u64,
}

impl Desk {
    /// A registered delegate with a runner `r` (one slot, type `build`) on link 1; its first poll is under way.
    pub fn new() -> Self {
        Self::with(false, 1)
    }

    pub fn with(idempotent: bool, slots: u32) -> Self {
        let mut desk = Self::bare();
        desk.attach("r", "r/1", idempotent, slots, Vec::new());
        desk.pass(0);
        let host = Host { name: "host".into(), ip: "10.0.0.1".into() };
        desk.answer(Answer::Register(Ok(Registered { delegate_id: "delegate-1".into(), host, moved_to: None })));
        desk.pass(0);
        desk.sync();
        desk
    }

    /// A delegate that nobody knows yet.
    pub fn bare() -> Self {
        let now = Now { mono: Mono(0), wall: Wall(1_767_225_600_000_000) };
        let core = Core::new(config(), Default::default(), now, 7);
        let mut desk = Self { core, now, rows: BTreeMap::new(), last: Lsn(0), durable: Lsn(0), links: 0 };
        desk.effects();
        desk
    }

    /// The process dies, with what is not durable, and another takes its place after `pause` by the wall clock.
    pub fn restart(&mut self, pause: i64) -> Vec<String> {
        self.now = Now { mono: Mono(0), wall: Wall(self.now.wall.0 + pause * 1_000_000) };
        let rows =
            self.rows.iter().flat_map(|(scope, rows)| rows.iter().zip(0..).map(|(body, nth)| (*scope, nth, &body[..])));
        let ledger = rebuild(rows).expect("what the core recorded can be read");
        self.core = Core::new(config(), ledger, self.now, 7);
        (self.last, self.durable, self.links) = (Lsn(0), Lsn(0), 10);
        self.effects()
    }

    /// Tells the core something; what leaves at once.
    pub fn tell(&mut self, input: Input) -> Vec<String> {
        self.core.handle(self.now, input);
        self.effects()
    }

    /// All records so far become durable; what leaves because of that.
    pub fn sync(&mut self) -> Vec<String> {
        self.durable = self.last;
        self.tell(Input::Durable(self.last))
    }

    /// A frame and all that leaves because of it, at once or once it is durable.
    pub fn frame_synced(&mut self, link: u64, sequence: u64, frame: Frame) -> Vec<String> {
        let mut effects = self.frame(link, sequence, frame);
        effects.extend(self.sync());
        effects
    }

    /// Time passes, and what is due happens.
    pub fn pass(&mut self, seconds: u64) -> Vec<String> {
        let mut effects = Vec::new();
        let end = self.now.mono + Duration::from_secs(seconds);
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= end) {
            self.to(due.max(self.now.mono));
            self.core.handle_timeout(self.now);
            effects.extend(self.effects());
        }
        self.to(end);
        effects
    }

    fn to(&mut self, mono: Mono) {
        self.now.wall = self.now.wall + mono.since(self.now.mono);
        self.now.mono = mono;
    }

    /// What the core wants done, as lines, without its notes. Records are taken in on the way.
    fn effects(&mut self) -> Vec<String> {
        while let Some(Entry { lsn, scope, number, body }) = self.core.next_entry() {
            self.last = lsn;
            match body {
                Some(body) => {
                    let rows = self.rows.entry(scope).or_default();
                    assert_eq!(rows.len(), number as usize, "rows are dense");
                    rows.push(body);
                }
                None => {
                    self.rows.remove(&scope);
                }
            }
        }
        let mut lines = Vec::new();
        while let Some(effect) = self.core.next_effect() {
            lines.extend(line(&effect));
        }
        lines
    }

    /// What the journal holds, made a ledger again, equals the one in memory.
    pub fn rebuilt_equals_live(&self) -> bool {
        let rows =
            self.rows.iter().flat_map(|(scope, rows)| rows.iter().zip(0..).map(|(body, nth)| (*scope, nth, &body[..])));
        rebuild(rows).as_ref() == Ok(self.core.ledger())
    }

    // === upstream ===

    pub fn answer(&mut self, answer: Answer) -> Vec<String> {
        self.tell(Input::Answered { upstream: UpstreamName::from(MANAGER), answer })
    }

    /// The poll under way is answered.
    pub fn listed(&mut self, tasks: &[&str], aborts: &[&str]) -> Vec<String> {
        let task = |id: &&str| Listed {
            external_id: ExternalId::from(*id),
            task_type: TaskType::from("build"),
            kind: Kind::Standalone,
            labels: None,
            unsupported: false,
        };
        let aborts = aborts.iter().map(|id| ExternalId::from(*id)).collect();
        self.answer(Answer::Poll(Ok(Listing { tasks: tasks.iter().map(task).collect(), aborts, quiet: false })))
    }

    pub fn acquired(&mut self, task: TaskId, result: Result<Spec, AcquireError>) -> Vec<String> {
        self.answer(Answer::Acquire { task, result: result.map(Box::new) })
    }

    pub fn reported(&mut self, task: TaskId, result: Result<(), ReportError>) -> Vec<String> {
        self.answer(Answer::Report { task, result })
    }

    // === runners ===

    /// A runner says hello; its link is the next one.
    pub fn attach(
        &mut self,
        runner: &str,
        instance: &str,
        idempotent: bool,
        slots: u32,
        held: Vec<Held>,
    ) -> Vec<String> {
        let handler = Handler {
            task_type: TaskType::from("build"),
            kind: Kind::Standalone,
            class: SlotClass::from("default"),
            amount: Amount::default(),
            idempotent,
            default_timeout: None,
            extensions: Vec::new(),
            match_labels: BTreeMap::new(),
            any_runner: false,
        };
        self.attach_with(runner, instance, handler, slots, held)
    }

    pub fn attach_with(
        &mut self,
        runner: &str,
        instance: &str,
        handler: Handler,
        slots: u32,
        held: Vec<Held>,
    ) -> Vec<String> {
        self.links += 1;
        let hello = Hello {
            runner: RunnerId::from(runner),
            instance: InstanceId::from(instance),
            sdk: "desk".into(),
            handlers: vec![handler],
            slots: BTreeMap::from([(SlotClass::from("default"), slots)]),
            refuses_sessions: false,
            held,
        };
        self.tell(Input::Attached { link: LinkId(self.links), hello, peer: "desk".into() })
    }

    pub fn frame(&mut self, link: u64, sequence: u64, frame: Frame) -> Vec<String> {
        self.tell(Input::Received { link: LinkId(link), sequence, frame })
    }

    pub fn beat(&mut self, link: u64, leases: &[LeaseId]) -> Vec<String> {
        self.frame(link, 0, Frame::Heartbeat { id: 1, leases: leases.to_vec(), healthy: true, usage: Usage::new() })
    }

    /// Time passes while the runner on the second link says that it is there.
    pub fn links_beat(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.pass(1);
            self.beat(2, &[]);
        }
    }

    /// Heartbeats that name the leases keep coming for so long.
    pub fn pass_beating(&mut self, seconds: u64, leases: &[LeaseId]) -> Vec<String> {
        let mut effects = Vec::new();
        for _ in 0..seconds / 5 {
            effects.extend(self.pass(5));
            effects.extend(self.beat(1, leases).into_iter().filter(|line| !line.contains("heartbeat")));
        }
        effects
    }

    // === whole ways ===

    /// The first task is assigned under [`LEASE`] and waits for its decision.
    pub fn assigned(mut self) -> Self {
        self.listed(&["e-1"], &[]);
        self.sync();
        self.acquired(TASK, Ok(spec()));
        assert_eq!(self.sync(), ["assign t-4 under l-5 to link-1 (attempt 1)"]);
        self
    }

    /// The first task runs under [`LEASE`].
    pub fn running(mut self) -> Self {
        self = self.assigned();
        self.frame(1, 1, Frame::Accepted { lease: LEASE });
        self.sync();
        self
    }

    /// The first task is finished and its first report is under way.
    pub fn reporting(mut self) -> Self {
        self = self.running();
        self.frame(1, 2, result(LEASE, "done"));
        self.sync();
        self
    }
}

pub fn result(lease: LeaseId, text: &'static str) -> Frame {
    let content = Bytes::from_static(text.as_bytes());
    let payload = Some(Payload { content_type: "text/plain".into(), content });
    Frame::Result { lease, finish: Box::new(Finish { payload, ..Finish::of(Outcome::Succeeded, None) }), state: None }
}

pub fn error(retry: Retry) -> Error {
    Error {
        code: 8,
        reason: "BUSY".into(),
        message: "not now".into(),
        blame: Blame::Runner,
        retry,
        retry_delay: None,
        side_effects_possible: None,
    }
}

pub fn held(lease: LeaseId, accept_acknowledged: bool, finished: bool) -> Vec<Held> {
    vec![Held { lease, accept_acknowledged, acknowledged_number: 0, finished }]
}

pub fn spec() -> Spec {
    Spec::new(TaskType::from("build"), Kind::Standalone)
}

fn config() -> Config {
    Config {
        heartbeat_interval: Duration::from_secs(10),
        lease_ttl: Duration::from_secs(60),
        accept_timeout: Duration::from_secs(10),
        reassign_margin: Duration::from_secs(5),
        cancel_grace: Duration::from_secs(10),
        revoke_margin: Duration::from_secs(5),
        no_runner_timeout: Duration::from_secs(300),
        run_time_max: None,
        drain_grace: Duration::from_secs(30),
        log_wait: Duration::from_secs(2),
        attempts_max: 3,
        session_ttl: Duration::from_secs(24 * 3600),
        tasks_max: 100,
        payload_bytes_max: 1 << 20,
        cleanup_reserve: 1,
        kinds: BTreeMap::new(),
        admission: Limits::default(),
        upstreams: vec![Upstream {
            name: UpstreamName::from(MANAGER),
            poll_interval: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(60),
            task_types: Vec::new(),
            report_age_max: Duration::from_secs(24 * 3600),
            report_retry_min: Duration::from_secs(1),
            report_retry_max: Duration::from_secs(60),
            acquire_recovery_max: Duration::from_secs(600),
            trace_scope: TraceScope { kind: "model".into(), account: "account".into() },
            unregister_on_stop: false,
            weight: 1,
            offers_one_at_a_time: false,
        }],
    }
}

/// One effect in words; notes are for the operator and say nothing here.
fn line(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Answer { request, answer } => format!("{request}: {answer:?}"),
        Effect::Note(_) => return None,
        Effect::Call { call, .. } => match call {
            Call::Register { task_types, .. } => format!("register {task_types:?}"),
            Call::Heartbeat { running, .. } => format!("heartbeat {running:?}"),
            Call::Poll { .. } => "poll".to_owned(),
            Call::Acquire { task, external_id, .. } => format!("acquire {external_id} as {task}"),
            Call::Tell { task, news } => format!("tell {task} {} steps", news.steps.len()),
            Call::Report { task, report } => {
                let finish = &report.finish;
                let text =
                    finish.payload.as_ref().map(|payload| String::from_utf8_lossy(&payload.content).into_owned());
                let reason = finish.error.as_ref().map(|error| error.reason.clone()).unwrap_or_else(|| Arc::from(""));
                let minimal = if report.refusal.is_some() { " minimal" } else { "" };
                format!("report {task} {:?} {}{reason}{minimal}", finish.outcome, text.unwrap_or_default())
                    .trim_end()
                    .to_owned()
            }
        },
        Effect::Send { link, order } => match order {
            Order::Welcome { decisions } => format!("welcome {link} {decisions:?}"),
            Order::Assign(assignment) => {
                let (task, lease, attempt) = (assignment.task, assignment.lease, assignment.attempt);
                format!("assign {task} under {lease} to {link} (attempt {attempt})")
            }
            Order::Cancel { lease, reason, .. } => format!("cancel {lease} on {link} ({reason:?})"),
            Order::Drain { grace, .. } => format!("drain {link}, grace {grace:?}"),
            Order::Acknowledge { sequence } => format!("acknowledge {sequence} on {link}"),
            Order::HeartbeatAck { lost, .. } => format!("answer heartbeat on {link}, lost {lost:?}"),
            Order::Refuse { sequence, reason, .. } => format!("refuse {sequence} on {link} ({reason})"),
            Order::Session(session) => format!("session {} etag {} on {link}", session.id, session.etag()),
            Order::Close(close) => format!("close {link} ({close:?})"),
        },
    })
}
