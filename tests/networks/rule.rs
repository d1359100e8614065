//! The core's rule for an upstream that does not answer: input in, exact effects out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use dlite::core::{
    Core,
    admission::{Amount, Limits},
    config::{Config, Upstream},
    effect::{Call, Effect, Note},
    id::{LinkId, TaskId, UpstreamName},
    input::{AcquireError, Answer, Handler, Hello, Input, Listed, Listing, Registered},
    ledger::Ledger,
    record::Host,
    task::{Kind, Spec},
    time::{Mono, Now, Wall},
};

const SLOTS: u32 = 4;

struct Scene {
    core: Core,
    now: Now,
    effects: Vec<Effect>,
}

fn config() -> Config {
    let upstream = |name: &str| Upstream {
        name: name.into(),
        poll_interval: Duration::from_secs(1),
        heartbeat_interval: Duration::from_secs(3600),
        task_types: vec!["WORK".into()],
        report_age_max: Duration::from_secs(3600),
        report_retry_min: Duration::from_secs(1),
        report_retry_max: Duration::from_secs(1),
        acquire_recovery_max: Duration::from_secs(600),
        trace_scope: dlite::core::trace::TraceScope { kind: "model".into(), account: "account".into() },
        unregister_on_stop: false,
        weight: 1,
        offers_one_at_a_time: false,
    };
    Config {
        heartbeat_interval: Duration::from_secs(3600),
        lease_ttl: Duration::from_secs(4 * 3600),
        accept_timeout: Duration::from_secs(3600),
        reassign_margin: Duration::from_secs(5),
        cancel_grace: Duration::from_secs(5),
        revoke_margin: Duration::from_secs(5),
        no_runner_timeout: Duration::from_secs(3600),
        run_time_max: None,
        drain_grace: Duration::from_secs(30),
        log_wait: Duration::from_secs(2),
        attempts_max: 3,
        session_ttl: Duration::from_secs(24 * 3600),
        tasks_max: 5,
        payload_bytes_max: 1 << 20,
        cleanup_reserve: 1,
        kinds: BTreeMap::new(),
        admission: Limits::default(),
        upstreams: vec![upstream("a"), upstream("b")],
    }
}

impl Scene {
    /// Both upstreams registered, one runner with [`SLOTS`] slots.
    fn new() -> Self {
        let now = Now { mono: Mono(1), wall: Wall(1_800_000_000_000_000) };
        let core = Core::new(config(), Ledger::default(), now, 7);
        let mut scene = Self { core, now, effects: Vec::new() };
        scene.pass(Duration::ZERO);
        for name in ["a", "b"] {
            let host = Host { name: "h".into(), ip: "192.0.2.1".into() };
            scene.answer(name, Answer::Register(Ok(Registered { delegate_id: "d".into(), host, moved_to: None })));
        }
        let handler = Handler {
            task_type: "WORK".into(),
            kind: Kind::Standalone,
            class: "default".into(),
            amount: Amount::default(),
            idempotent: false,
            default_timeout: None,
            extensions: Vec::new(),
            match_labels: BTreeMap::new(),
            any_runner: false,
        };
        let hello = Hello {
            runner: "r".into(),
            instance: "i".into(),
            sdk: "test".into(),
            handlers: vec![handler],
            slots: BTreeMap::from([("default".into(), SLOTS)]),
            refuses_sessions: false,
            held: Vec::new(),
        };
        scene.tell(Input::Attached { link: LinkId(1), hello, peer: "test".into() });
        scene
    }

    fn tell(&mut self, input: Input) {
        self.core.handle(self.now, input);
        self.drain();
    }

    fn answer(&mut self, upstream: &str, answer: Answer) {
        self.tell(Input::Answered { upstream: upstream.into(), answer });
    }

    /// Lets time pass; what is due happens.
    fn pass(&mut self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap();
        self.now.mono = Mono(self.now.mono.0 + micros);
        self.now.wall = Wall(self.now.wall.0 + i64::try_from(micros).unwrap());
        self.core.handle_timeout(self.now);
        self.drain();
    }

    /// Everything recorded is durable at once.
    fn drain(&mut self) {
        loop {
            let mut last = None;
            while let Some(entry) = self.core.next_entry() {
                last = Some(entry.lsn);
            }
            while let Some(effect) = self.core.next_effect() {
                self.effects.push(effect);
            }
            match last {
                Some(lsn) => self.core.handle(self.now, Input::Durable(lsn)),
                None => return,
            }
        }
    }

    /// Answers a poll with so many tasks; the acquires that follow.
    fn list(&mut self, upstream: &str, tasks: usize) -> Vec<TaskId> {
        self.effects.clear();
        // A poll interval, give or take a tenth.
        self.pass(Duration::from_millis(1_100));
        let tasks = (0..tasks).map(|n| Listed {
            external_id: format!("t-{n}").into(),
            task_type: "WORK".into(),
            kind: Kind::Standalone,
            labels: None,
            unsupported: false,
        });
        let listing = Listing { tasks: tasks.collect(), ..Listing::default() };
        self.answer(upstream, Answer::Poll(Ok(listing)));
        self.acquires(upstream)
    }

    /// Takes the acquires that left for this upstream.
    fn acquires(&mut self, upstream: &str) -> Vec<TaskId> {
        let name = UpstreamName::from(upstream);
        let mut found = Vec::new();
        self.effects.retain(|effect| match effect {
            Effect::Call { upstream, call: Call::Acquire { task, .. } } if *upstream == name => {
                found.push(*task);
                false
            }
            _ => true,
        });
        found
    }

    fn acquired(&mut self, upstream: &str, task: TaskId, result: Result<(), AcquireError>) {
        let result = result.map(|()| Box::new(spec()));
        self.answer(upstream, Answer::Acquire { task, result });
    }

    /// The reasons noted for leaving tasks alone.
    fn reasons(&self) -> BTreeSet<&'static str> {
        let reason = |effect: &Effect| match effect {
            Effect::Note(Note::NotAcquired { reason, .. }) => Some(reason.reason().word()),
            _ => None,
        };
        self.effects.iter().filter_map(reason).collect()
    }
}

#[test]
fn an_upstream_that_has_answered_no_acquire_gets_one_at_a_time() {
    let mut scene = Scene::new();
    let first = scene.list("a", 10);
    assert_eq!(first.len(), 1);
    assert_eq!(scene.reasons(), BTreeSet::from(["UPSTREAM_SILENT"]));
    scene.acquired("a", first[0], Ok(()));
    assert_eq!(scene.acquires("a").len(), 3, "its answer frees the rest, up to the slots");
}

#[test]
fn an_upstream_that_hangs_gives_its_slots_up_to_others_within_two_seconds() {
    let mut scene = Scene::new();
    let first = scene.list("a", 5);
    scene.acquired("a", first[0], Err(AcquireError::Refused("lost".into())));
    let hanging = scene.acquires("a");
    assert_eq!(hanging.len(), 4, "a refused one keeps no slot");
    assert_eq!(scene.list("b", 4).len(), 0, "every slot is promised");
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.acquires("b").len(), 1, "the first of an upstream that has answered none");
}

#[test]
fn an_upstream_whose_acquires_go_unanswered_is_tried_with_one_and_trusted_again_once_it_answers() {
    let mut scene = Scene::new();
    let first = scene.list("a", 1);
    scene.acquired("a", first[0], Err(AcquireError::Unanswered("timed out".into())));
    let listed = scene.list("a", 6);
    assert_eq!(listed.len(), 1, "{listed:?}");
    scene.acquired("a", listed[0], Ok(()));
    assert!(scene.acquires("a").len() >= 2, "an answer is trust");
}

#[test]
fn acquires_without_an_answer_fill_neither_slots_nor_the_limit_of_tasks() {
    let mut scene = Scene::new();
    // One answered, so that the others leave together; then silence, and no answer at all.
    let first = scene.list("a", 4);
    scene.acquired("a", first[0], Err(AcquireError::Refused("lost".into())));
    let hanging = scene.acquires("a");
    for task in hanging {
        scene.acquired("a", task, Err(AcquireError::Unanswered("cut".into())));
    }
    let mut taken = scene.list("b", 5);
    scene.acquired("b", taken[0], Ok(()));
    taken.extend(scene.acquires("b"));
    assert_eq!(taken.len(), 4, "every slot");
}

#[test]
fn a_task_of_a_late_answer_is_kept_and_waits_for_its_turn() {
    let mut scene = Scene::new();
    let late = scene.list("a", 1)[0];
    scene.pass(Duration::from_secs(3));
    let mut others = scene.list("b", 4);
    scene.acquired("b", others[0], Ok(()));
    others.extend(scene.acquires("b"));
    for task in &others[1..] {
        scene.acquired("b", *task, Ok(()));
    }
    assert_eq!(others.len(), 4, "the late one's slot was lent");
    scene.acquired("a", late, Ok(()));
    let held = scene.core.ledger().tasks().filter(|task| task.upstream == UpstreamName::from("a")).count();
    assert_eq!(held, 1, "it is ours, and in the journal");
}

fn spec() -> Spec {
    Spec::new("WORK".into(), Kind::Standalone)
}
