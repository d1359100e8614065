//! One history: the delegate's processes, the manager and the runners, event by event, until all is done.

use std::collections::VecDeque;

use dlite::journal::Store;

use super::{
    checks::Violation,
    core::{
        self, Core,
        effect::{Call, Effect, Note, Order},
        id::UpstreamName,
        input::{Answer, Frame, Input},
        planted::Bug,
        time::{Mono, Now, Wall},
    },
    disk::Disk,
    hub::{Event, Fate, Hub},
    manager::{self, Manager, Place},
    plan::{self, Fault, MANAGER, Plan},
    queue::{At, MS, Queue, SEC},
    random::Random,
    runner::Runner,
    trace::Trace,
    writer::Writer,
};

/// 2026-01-01.
const WALL: i64 = 1_767_225_600_000_000;
/// How long after the last fault everything must be done.
const PATIENCE: u64 = 1_200 * SEC;

#[derive(Debug)]
pub struct World {
    hub: Hub,
    manager: Manager,
    runners: Vec<Runner>,
    disk: Disk,
    process: Option<Process>,
    processes: u32,
    /// The wall clock against virtual time.
    wall: i64,
    planted: Option<Bug>,
    submitted: usize,
    inputs: u64,
    /// Since when all has been done.
    settled: Option<At>,
    done: bool,
}

/// One process of the delegate.
#[derive(Debug)]
struct Process {
    number: u32,
    core: Core,
    writer: Writer,
    started: At,
    /// It stands still until then.
    paused_until: At,
    /// What arrived while it stood still, in order.
    backlog: VecDeque<Event>,
}

/// What came of a history.
#[derive(Debug)]
pub struct Story {
    pub violation: Option<Violation>,
    pub inputs: u64,
    pub digest: u64,
    pub lines: Vec<String>,
}

/// Lives one history.
pub fn live(seed: u64, planted: Option<Bug>, traced: bool) -> Story {
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
        let plan = Plan::draw(&mut random);
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
            Event::Call { process, call, fate } => self.called(process, &call, fate),
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
        });
        self.perform();
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
        let Some(input) = input else {
            hub.say(|| "due".to_owned());
            process.core.handle_timeout(now);
            return self.perform();
        };
        hub.say(|| format!("< {input:?}"));
        hub.checks.hears(process.number, &input);
        let aborts = match &input {
            Input::Answered { answer: Answer::Poll(Ok(listing)), .. } => listing.aborts.clone(),
            _ => Vec::new(),
        };
        let beat = match &input {
            Input::Received { link, frame: Frame::Heartbeat { leases, .. }, .. } => Some((*link, leases.clone())),
            _ => None,
        };
        if let Input::Durable(last) = input {
            hub.checks.durable(process.number, last.0);
        }
        process.core.handle(now, input);
        if let Some((link, named)) = beat {
            hub.checks.beat_taken(&process.core, link, &named);
        }
        while let Some(entry) = process.core.next_entry() {
            process.writer.queue(entry);
        }
        for id in aborts {
            hub.checks.abort_taken(&process.core, process.number, process.writer.last, &id);
        }
        self.perform();
    }

    /// Performs what the core wants, and may die before any of it.
    fn perform(&mut self) {
        let Some(process) = &mut self.process else { return };
        while let Some(entry) = process.core.next_entry() {
            process.writer.queue(entry);
        }
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
                Effect::Call { call, .. } => self.call(number, call),
                Effect::Send { link, order } => {
                    let closes = matches!(order, Order::Close(_));
                    self.hub.to_runner(link, order);
                    if closes {
                        self.hub.to_delegate(link, Input::Detached { link });
                    }
                }
                Effect::Note(Note::DeadLetter { external_id, reason, .. }) => {
                    let meant = self.manager.offer(&external_id).may_be_buried();
                    if !meant && !reason.starts_with("RESULT_REFUSED") {
                        self.hub.checks.violated("no result is given up", || format!("{external_id}: {reason}"));
                    }
                }
                Effect::Note(_) => {}
            }
        }
        self.compare(127);
    }

    /// What the disk holds makes the same ledger as the one in memory, if nothing is under way to the disk.
    fn compare(&mut self, mask: u64) {
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

    fn crash_delegate(&mut self) {
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

    // === calls ===

    /// Sends a call over a network that may lose, delay or double it. Every call is answered, by silence at the latest.
    fn call(&mut self, process: u32, call: Call) {
        let hub = &mut self.hub;
        let mut fate = Fate {
            request_lost: hub.goes_wrong(hub.plan.lost_requests),
            answer_lost: hub.goes_wrong(hub.plan.lost_answers),
            echo: false,
        };
        let delay = Self::call_delay(hub);
        // A proxy that repeats a hand-back by itself can't be told from a delegate that does.
        let repeatable = !matches!(&call, Call::Report { report, .. } if report.hand_back);
        if hub.goes_wrong(hub.plan.doubled) && repeatable {
            let later = delay + hub.random.below(500 * MS);
            hub.after(later, Event::Call { process, call: call.clone(), fate: Fate { echo: true, ..fate } });
        }
        if fate.request_lost || fate.answer_lost {
            let answer = manager::unanswered(&call);
            let input = Input::Answered { upstream: UpstreamName::from(MANAGER), answer };
            hub.after(plan::CALL_TIMEOUT, Event::Inbox { process, input });
            fate.answer_lost = true;
        }
        if !fate.request_lost {
            hub.after(delay, Event::Call { process, call, fate });
        }
    }

    fn call_delay(hub: &mut Hub) -> u64 {
        let late = hub.goes_wrong(hub.plan.late);
        hub.latency() + if late { hub.random.below(plan::LATE_MAX / 2) } else { 0 }
    }

    fn called(&mut self, process: u32, call: &Call, fate: Fate) {
        let answer = self.manager.serve(&mut self.hub, call);
        self.hub.say(|| format!("  manager: {call:?} -> {answer:?} {fate:?}"));
        if fate.echo || fate.answer_lost {
            return;
        }
        let delay = Self::call_delay(&mut self.hub);
        let input = Input::Answered { upstream: UpstreamName::from(MANAGER), answer };
        self.hub.after(delay, Event::Inbox { process, input });
    }

    // === faults and their end ===

    fn fault(&mut self) {
        if self.hub.faults_over {
            return;
        }
        let pause = self.hub.random.below(2 * self.hub.plan.fault_every) + 1;
        self.hub.after(pause, Event::Fault);
        let fault = *self.hub.random.pick(&self.hub.plan.faults.clone());
        let nth = self.hub.random.below(self.runners.len() as u64) as usize;
        self.hub.say(|| format!("fault: {fault:?} (runner {nth})"));
        let hub = &mut self.hub;
        let runner = &mut self.runners[nth];
        match fault {
            Fault::CutLink if runner.link.is_some() => runner.cut(hub),
            Fault::HalfOpenLink => {
                if let Some(link) = &runner.link
                    && let Some(wire) = hub.wires.get_mut(&link.id)
                {
                    (wire.inward, wire.outward) = (false, false);
                }
            }
            Fault::CrashRunner => runner.crash(hub),
            // Somebody is left for what was promised to be done: the first runner stays.
            Fault::RetireRunner if nth > 0 && hub.random.chance(200) => {
                runner.crash(hub);
                runner.retired = true;
            }
            Fault::StallHeartbeats => runner.stall(hub),
            Fault::Unhealthy => runner.fall_ill(hub),
            Fault::Drain if runner.link.is_some() => runner.drain(hub),
            Fault::Capacity => runner.resize(hub, false),
            Fault::CrashDelegate => self.crash_delegate(),
            Fault::PauseDelegate => {
                let pause = hub.random.between(SEC, 30 * SEC);
                if let Some(process) = self.process.as_mut().filter(|process| process.paused_until <= hub.now) {
                    process.paused_until = hub.now + pause;
                    hub.after(pause, Event::Resume { process: process.number });
                }
            }
            Fault::JumpWall => {
                // Less than what a restart may mistake for a long time: an acquire is given up after ten minutes.
                let jump = hub.random.below(360 * SEC) as i64 - 180 * SEC as i64;
                self.wall = WALL + jump;
            }
            Fault::FullDisk => self.disk.full = !self.disk.full,
            Fault::SlowDisk => hub.plan.sync_max = hub.random.between(MS, 3 * SEC),
            Fault::Outage => self.manager.outage_until = hub.now + hub.random.below(40 * SEC),
            Fault::Forget => self.manager.forgot = true,
            Fault::Rival => self.manager.lose_one(hub),
            Fault::Found => self.manager.find_one(hub),
            Fault::Abort => self.manager.abort_one(hub),
            Fault::CutLink | Fault::RetireRunner | Fault::Drain => {}
        }
    }

    /// From here on nothing goes wrong any more, and everything that was begun must come to its end.
    fn faults_end(&mut self) {
        self.hub.say(|| "faults end".to_owned());
        self.hub.faults_over = true;
        self.disk.full = false;
        self.hub.plan.sync_max = self.hub.plan.sync_max.min(100 * MS);
        for runner in &mut self.runners {
            runner.recover();
            runner.resize(&mut self.hub, true);
        }
        self.hub.after(SEC, Event::Look);
    }

    fn look(&mut self) {
        let waiting_for = self.waiting_for();
        match (&waiting_for, self.settled) {
            (None, None) => self.settled = Some(self.hub.now),
            // A while after, so that late answers and the last heartbeats are in.
            (None, Some(since)) if self.hub.now - since >= 30 * SEC => return self.conclude(),
            (None, Some(_)) => {}
            (Some(_), _) => self.settled = None,
        }
        if let Some(waiting_for) = waiting_for
            && self.hub.now > self.hub.plan.faults_end + PATIENCE
        {
            return self.hub.checks.violated("nothing is stuck once faults end", || waiting_for);
        }
        self.hub.after(5 * SEC, Event::Look);
    }

    /// What is not done yet.
    fn waiting_for(&self) -> Option<String> {
        let Some(process) = &self.process else { return Some("the delegate to start".to_owned()) };
        let served = |task_type: &core::id::TaskType| {
            let mut runners = self.runners.iter().filter(|runner| !runner.retired);
            runners.any(|runner| runner.profile().handlers.iter().any(|handler| handler.task_type == *task_type))
        };
        if let Some(task_type) = self.manager.listed_types().find(|task_type| served(task_type)) {
            return Some(format!("a task of type {task_type} to be acquired"));
        }
        // A hand-back that was lost leaves the task to the manager's own timeout.
        let given_back = |id| self.hub.checks.facts.gave_back(id);
        if let Some(offer) = self.manager.offers.iter().find(|offer| !offer.is_settled() && !given_back(&offer.id)) {
            return Some(format!("the result of {}", offer.id));
        }
        let ledger = process.core.ledger();
        if let Some((task, _)) = ledger.intentions().next() {
            return Some(format!("the acquire of {task}"));
        }
        if let Some(task) = ledger.tasks().find(|task| !ledger.dead_letters().contains(&task.id)) {
            return Some(format!("{} in {:?}", task.id, task.state));
        }
        let busy = self.runners.iter().find(|runner| !runner.work.is_empty())?;
        Some(format!("runner {} to be rid of {:?}", busy.index(), busy.work.keys().collect::<Vec<_>>()))
    }

    /// All is done: the accounts are checked.
    fn conclude(&mut self) {
        self.done = true;
        self.compare(0);
        let Some(process) = &self.process else { return };
        let checks = &mut self.hub.checks;
        for runner in process.core.status().runners {
            if runner.slots_used != 0 {
                checks.violated("all credits come back", || format!("{}: {} used", runner.runner, runner.slots_used));
            }
        }
        for offer in &self.manager.offers {
            match (&offer.place, &offer.effective) {
                (Place::Answered, None) | (Place::Ours, Some(_)) => {
                    checks.violated("one effective result a task", || offer.id.to_string());
                }
                (_, Some(body)) => {
                    let journalled = checks.facts.finished.values().any(|(_, finish)| *finish == body.finish);
                    if !journalled {
                        checks.violated("the effective result is a durable one", || offer.id.to_string());
                    }
                }
                _ => {}
            }
        }
        // At the interval minus a tenth, once for each acquired task, and once for each start.
        let polls = self.hub.now / (3_600 * MS) + checks.acquired + u64::from(self.processes) * 2 + 2;
        let doubled = if self.hub.plan.doubled > 0 { self.manager.polls / 4 + 10 } else { 0 };
        if self.manager.polls > polls + doubled {
            checks.violated("polls keep their cadence", || format!("{} polls, {polls} expected", self.manager.polls));
        }
    }
}
