//! One history: the delegate's processes, the manager and the runners, event by event, until all is done.

use std::collections::{BTreeSet, VecDeque};

use dlite::journal::Store;

use super::{
    checks::Violation,
    core::{
        self, Core,
        admission::{Resource, Usage},
        drain::Phase,
        effect::{Effect, Note, Order},
        id::UpstreamName,
        input::{Answer, Frame, Input},
        planted::Bug,
        record::Record,
        time::{Mono, Now, Wall},
    },
    disk::Disk,
    drains::Drain,
    hub::{Event, Hub},
    manager::Manager,
    plan::{ASIDE_EVERY, ASIDE_FAULTS, Plan},
    queue::{At, MS, Queue, SEC},
    random::Random,
    runner::Runner,
    trace::Trace,
    writer::Writer,
};

/// 2026-01-01.
pub const WALL: i64 = 1_767_225_600_000_000;

#[derive(Debug)]
pub struct World {
    pub hub: Hub,
    pub manager: Manager,
    pub runners: Vec<Runner>,
    pub disk: Disk,
    pub process: Option<Process>,
    pub processes: u32,
    /// Of the host, in percent.
    pub memory: u8,
    /// The wall clock against virtual time.
    pub wall: i64,
    pub planted: Option<Bug>,
    pub submitted: usize,
    pub inputs: u64,
    /// Since when all has been done.
    pub settled: Option<At>,
    pub done: bool,
}

/// One process of the delegate.
#[derive(Debug)]
pub struct Process {
    pub number: u32,
    pub core: Core,
    pub writer: Writer,
    pub started: At,
    /// It stands still until then.
    pub paused_until: At,
    /// What arrived while it stood still, in order.
    pub backlog: VecDeque<Event>,
    pub drain: Option<Drain>,
    /// Upstreams that had a session here after the last turn.
    pub stages: BTreeSet<UpstreamName>,
}

/// What came of a history.
#[derive(Debug)]
pub struct Story {
    pub violation: Option<Violation>,
    pub inputs: u64,
    pub digest: u64,
    pub lines: Vec<String>,
}

/// Names the seed should the core panic, which no invariant catches.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was seed {}", self.0);
        }
    }
}

/// Lives one history.
pub fn live(seed: u64, planted: Option<Bug>, traced: bool) -> Story {
    let _named = Named(seed);
    let mut world = World::new(seed, planted, traced);
    world.run();
    Story {
        inputs: world.inputs,
        digest: world.hub.trace.digest(),
        lines: world.hub.trace.lines().to_vec(),
        violation: world.hub.checks.violation,
    }
}

// === impl World ===

impl World {
    fn new(seed: u64, planted: Option<Bug>, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let mut plan = Plan::draw(&mut random);
        if seed.is_multiple_of(ASIDE_EVERY) && !plan.faults.is_empty() {
            plan.faults.extend(ASIDE_FAULTS);
        }
        let runners = plan.runners.iter().cloned().enumerate().map(|(index, profile)| Runner::new(index, profile));
        let mut world = Self {
            runners: runners.collect(),
            hub: Hub {
                now: 0,
                random,
                queue: Queue::new(),
                trace: Trace::new(traced),
                checks: Default::default(),
                plan,
                faults_over: false,
                wires: Default::default(),
                links: 0,
            },
            manager: Manager::default(),
            disk: Disk::default(),
            process: None,
            processes: 0,
            memory: 40,
            wall: WALL,
            planted,
            submitted: 0,
            inputs: 0,
            settled: None,
            done: false,
        };
        let plan = world.hub.plan.clone();
        world.hub.say(|| format!("{plan:?}"));
        world.hub.after(0, Event::Start);
        for index in 0..world.runners.len() {
            let pause = world.hub.random.below(5 * SEC);
            world.hub.cue(pause, index, 0, super::hub::Cue::Attach);
        }
        for _ in 0..plan.tasks {
            let at = world.hub.random.below(plan.faults_end);
            world.hub.after(at, Event::Submit);
        }
        if !plan.faults.is_empty() {
            world.hub.after(plan.fault_every, Event::Fault);
        }
        world.hub.after(plan.faults_end, Event::FaultsEnd);
        world
    }

    fn run(&mut self) {
        while !self.done && self.hub.checks.violation.is_none() {
            let due = self.process.as_ref().and_then(|process| {
                let due = process.started + process.core.poll_timeout()?.0;
                Some(due.max(process.paused_until).max(self.hub.now))
            });
            let next = self.hub.queue.next_at();
            match (due, next) {
                // What has arrived is handled before what is due.
                (Some(due), next) if next.is_none_or(|next| due < next) => {
                    self.hub.now = due;
                    self.turn(None);
                }
                _ => {
                    let Some((at, event)) = self.hub.queue.pop() else { return };
                    self.hub.now = self.hub.now.max(at);
                    self.happens(event);
                }
            }
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Start => self.start(),
            Event::Inbox { process, .. } | Event::Written { process } => self.arrives(process, event),
            Event::Resume { process } => self.resume(process),
            Event::Signal { process } => self.signalled(process),
            Event::FromRunner { link, ref input } => {
                let last = matches!(input, Input::Detached { .. });
                let Some(wire) = self.hub.wires.get(&link).filter(|wire| wire.inward || last) else { return };
                self.arrives(wire.process, event);
            }
            Event::ToRunner { link, order } => {
                let Some(wire) = self.hub.wires.get(&link).filter(|wire| wire.outward) else { return };
                let runner = &mut self.runners[wire.runner];
                self.hub.say(|| format!("  {link} > {order:?}"));
                runner.ordered(&mut self.hub, link, order);
            }
            Event::Call { process, upstream, call, fate } => self.called(process, upstream, &call, fate),
            Event::Cue { runner, instance, cue } => {
                let process = self.process.as_ref().map(|process| process.number);
                let runner = &mut self.runners[runner];
                if runner.instance == instance {
                    runner.cued(&mut self.hub, cue, process);
                }
            }
            Event::Submit => {
                self.submitted += 1;
                self.manager.submit(&mut self.hub);
            }
            Event::Fault => self.fault(),
            Event::FaultsEnd => self.faults_end(),
            Event::Look => self.look(),
        }
    }

    // === the delegate ===

    fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        let rows = self.disk.load().expect("a model disk always loads");
        let ledger = core::rebuild(rows.iter().map(|row| (row.scope, row.number, &row.body[..])));
        let ledger = match ledger {
            Ok(ledger) => ledger,
            Err(error) => return self.hub.checks.violated("the journal can be read", || format!("{error:?}")),
        };
        self.processes += 1;
        let number = self.processes;
        self.hub.say(|| format!("process {number} starts with {} rows", rows.len()));
        let entropy = u128::from(self.hub.random.next());
        let now = Now { mono: Mono(0), wall: Wall(self.wall + self.hub.now as i64) };
        let core = Core::new(self.hub.plan.config(self.planted), ledger, now, entropy);
        self.process = Some(Process {
            number,
            core,
            writer: Writer::default(),
            started: self.hub.now,
            paused_until: self.hub.now,
            backlog: VecDeque::new(),
            drain: None,
            stages: BTreeSet::new(),
        });
        self.turn(Some(Input::Pressure(self.usage())));
    }

    pub fn usage(&self) -> Usage {
        Usage::from([(Resource::Memory, self.memory)])
    }

    /// Hands an event to the process it is for, or keeps it until that goes on.
    fn arrives(&mut self, number: u32, event: Event) {
        let Some(process) = self.process.as_mut().filter(|process| process.number == number) else { return };
        if process.paused_until > self.hub.now || !process.backlog.is_empty() {
            return process.backlog.push_back(event);
        }
        self.taken_in(event);
    }

    fn taken_in(&mut self, event: Event) {
        match event {
            Event::Inbox { input, .. } => self.turn(Some(input)),
            Event::FromRunner { link, input } => {
                if let (Input::Detached { .. }, Some(wire)) = (&input, self.hub.wires.get_mut(&link)) {
                    wire.inward = false;
                }
                self.turn(Some(input));
            }
            Event::Written { process } => self.written(process),
            _ => {}
        }
    }

    fn resume(&mut self, number: u32) {
        let Some(process) = self.process.as_mut().filter(|process| process.number == number) else { return };
        for event in std::mem::take(&mut process.backlog) {
            // It may die over any of them.
            if self.process.as_ref().is_some_and(|process| process.number == number) {
                self.taken_in(event);
            }
        }
    }

    /// One turn of the core: an input, or what is due.
    fn turn(&mut self, input: Option<Input>) {
        let Some(process) = &mut self.process else { return };
        let hub = &mut self.hub;
        let now = Now { mono: Mono(hub.now - process.started), wall: Wall(self.wall + hub.now as i64) };
        self.inputs += 1;
        hub.trace.mix(hub.now);
        let drained = process.core.phase() != Phase::Serving;
        let Some(input) = input else {
            hub.say(|| "due".to_owned());
            process.core.handle_timeout(now);
            self.check_drain(now, drained);
            return self.perform();
        };
        hub.say(|| format!("< {input:?}"));
        hub.checks.hears(process.number, &input);
        let aborts: Vec<_> = match &input {
            Input::Answered { upstream, answer: Answer::Poll(Ok(listing)) } => {
                listing.aborts.iter().map(|id| (upstream.clone(), id.clone())).collect()
            }
            _ => Vec::new(),
        };
        let beat = match &input {
            Input::Received { link, frame: Frame::Heartbeat { leases, .. }, .. } => Some((*link, leases.clone())),
            _ => None,
        };
        if let Input::Durable(last) = input {
            hub.checks.durable(process.number, last.0);
        }
        if let Input::Commanded { command, .. } = &input {
            process.expect(now, command);
        }
        process.core.handle(now, input);
        if let Some((link, named)) = beat {
            hub.checks.beat_taken(&process.core, link, &named);
        }
        self.check_drain(now, drained);
        for (upstream, id) in aborts {
            let Some(process) = &self.process else { return };
            self.hub.checks.abort_taken(&process.core, process.number, process.writer.last, &upstream, &id);
        }
        self.perform();
    }

    /// What the core recorded goes to the writer; what it decided is judged at the moment of the decision. `drained`: nothing was to
    /// be taken but what the drain's sessions wait for.
    pub fn take_entries(&mut self, drained: bool) {
        let Some(process) = &mut self.process else { return };
        while let Some(entry) = process.core.next_entry() {
            if let Some(body) = &entry.body {
                self.hub.checks.decided(self.hub.now, &self.hub.plan, body);
                if drained && let Ok(Record::IntentionOpened { upstream, external_id, .. }) = Record::decode(body) {
                    let now = Mono(self.hub.now - process.started);
                    let kind = self.hub.checks.kind(&external_id);
                    if !process.drain_takes(now, &upstream, kind) {
                        let text = || format!("{external_id}, {kind:?}");
                        self.hub.checks.violated("nothing is acquired while the delegate drains", text);
                    }
                }
            }
            process.writer.queue(entry);
        }
    }

    /// Performs what the core wants, and may die before any of it.
    fn perform(&mut self) {
        self.take_entries(false);
        let Some(process) = &mut self.process else { return };
        process.writer.write(&mut self.hub, process.number);
        loop {
            let Some(process) = &mut self.process else { return };
            let Some(effect) = process.core.next_effect() else { break };
            let number = process.number;
            if self.hub.plan.crash_at_effect > 0
                && self.hub.random.below(100_000) < self.hub.plan.crash_at_effect
                && !self.hub.faults_over
            {
                return self.crash_delegate();
            }
            self.hub.say(|| format!("> {effect:?}"));
            let profile = match &effect {
                Effect::Send { link, .. } => self.hub.wires.get(link).map(|wire| self.runners[wire.runner].profile()),
                _ => None,
            };
            self.hub.checks.leaves(number, &effect, profile);
            match effect {
                Effect::Call { upstream, call } => self.call(number, upstream, call),
                Effect::Send { link, order } => {
                    let closes = matches!(order, Order::Close(_));
                    self.hub.send_down(link, order);
                    if closes {
                        self.hub.send_up(link, Input::Detached { link });
                    }
                }
                Effect::Note(Note::DeadLetter { external_id, reason, .. }) => {
                    let meant = self.manager.offer(&external_id).may_be_buried();
                    if !meant && !reason.starts_with("RESULT_REFUSED") {
                        self.hub.checks.violated("no result is given up", || format!("{external_id}: {reason}"));
                    }
                }
                Effect::Answer { .. } | Effect::Note(_) => {}
            }
        }
        self.compare(127);
        if self.process.as_ref().is_some_and(|process| process.core.departure().is_some()) {
            self.depart();
        }
    }

    /// What the disk holds makes the same ledger as the one in memory, if nothing is under way to the disk; and both accounts of
    /// credits agree.
    pub fn compare(&mut self, mask: u64) {
        if let Some(process) = self.process.as_ref().filter(|_| self.inputs & mask == 0) {
            let credits = process.core.gauges(Now::default()).credits;
            if credits.mismatch != 0 {
                self.hub.checks.violated("both accounts of credits agree", || format!("{credits:?}"));
            }
        }
        let Some(process) = self.process.as_ref().filter(|process| process.writer.is_idle()) else { return };
        if self.inputs & mask != 0 {
            return;
        }
        match core::rebuild(self.disk.rows().map(|(scope, number, body)| (scope, number, &body[..]))) {
            Ok(ledger) if ledger == *process.core.ledger() => {}
            other => self
                .hub
                .checks
                .violated("rebuilt equals live", || format!("{:?}\nagainst {:?}", other, process.core.ledger())),
        }
    }

    fn written(&mut self, number: u32) {
        let Some(process) = self.process.as_mut().filter(|process| process.number == number) else { return };
        for input in process.writer.written(&mut self.hub, number, &mut self.disk) {
            if self.process.as_ref().is_some_and(|process| process.number == number) {
                self.turn(Some(input));
            }
        }
    }

    pub fn crash_delegate(&mut self) {
        let Some(process) = self.process.take() else { return };
        self.hub.say(|| format!("process {} dies", process.number));
        process.writer.die(&mut self.hub, &mut self.disk);
        for runner in &mut self.runners {
            let Some(link) = runner.link.as_ref().map(|link| link.id) else { continue };
            if let Some(wire) = self.hub.wires.get_mut(&link) {
                wire.outward &= self.hub.random.chance(500);
            }
            let pause = self.hub.random.between(MS, 5 * SEC);
            self.hub.cue(pause, runner.index(), runner.instance, super::hub::Cue::Broken(link));
        }
        let pause = if self.hub.random.chance(800) { 2 * SEC } else { 40 * SEC };
        let pause = self.hub.random.between(10 * MS, pause);
        self.hub.after(pause, Event::Start);
    }
}
