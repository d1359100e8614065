//! What all models share: time, chance, the event queue, and the wires between delegate and runners.

use std::collections::BTreeMap;

use super::{
    checks::Checks,
    core::{
        effect::{Call, Order},
        id::{LeaseId, LinkId, UpstreamName},
        input::Input,
    },
    plan::Plan,
    queue::{At, MS, Queue, SEC},
    random::Random,
    trace::Trace,
};

/// Something that happens.
#[derive(Debug)]
pub enum Event {
    /// The delegate's process starts.
    Start,
    /// For one process of the delegate; a later one never sees it.
    Inbox {
        process: u32,
        input: Input,
    },
    /// Something arrives at the delegate over a wire.
    FromRunner {
        link: LinkId,
        input: Input,
    },
    ToRunner {
        link: LinkId,
        order: Order,
    },
    /// A call arrives at the manager.
    Call {
        process: u32,
        upstream: UpstreamName,
        call: Call,
        fate: Fate,
    },
    /// A process that stood still goes on.
    Resume {
        process: u32,
    },
    /// The disk finished what it was writing.
    Written {
        process: u32,
    },
    /// A runner's own clock.
    Cue {
        runner: usize,
        instance: u32,
        cue: Cue,
    },
    /// The process is told to end, unless it has.
    Signal {
        process: u32,
    },
    Submit,
    Fault,
    FaultsEnd,
    /// Time to see whether everything is done.
    Look,
}

/// What a runner wants to do later.
#[derive(Clone, Copy, Debug)]
pub enum Cue {
    Attach,
    Beat(LinkId),
    Decide(LeaseId),
    News(LeaseId),
    End(LeaseId),
    /// An idempotent handler's lease may be over.
    Lapse(LeaseId),
    /// A handler that was told to stop has stopped.
    Stopped(LeaseId),
    Recover,
    /// The runner notices that its stream is gone.
    Broken(LinkId),
}

/// What the network does to one call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fate {
    /// The manager never sees it.
    pub request_lost: bool,
    pub answer_lost: bool,
    /// A repetition by the network, whose answer nobody reads.
    pub echo: bool,
}

/// One attached stream. Frames of one direction never overtake each other.
#[derive(Debug)]
pub struct Wire {
    pub runner: usize,
    pub process: u32,
    /// What is under way to the delegate still arrives.
    pub inward: bool,
    /// What is under way to the runner still arrives.
    pub outward: bool,
    in_next: At,
    out_next: At,
}

#[derive(Debug)]
pub struct Hub {
    pub now: At,
    pub random: Random,
    pub queue: Queue<Event>,
    pub trace: Trace,
    pub checks: Checks,
    pub plan: Plan,
    pub faults_over: bool,
    pub wires: BTreeMap<LinkId, Wire>,
    pub links: u64,
}

// === impl Hub ===

impl Hub {
    pub fn say(&mut self, line: impl FnOnce() -> String) {
        self.trace.say(self.now, line);
    }

    pub fn after(&mut self, delay: u64, event: Event) {
        self.queue.push(self.now + delay, event);
    }

    pub fn cue(&mut self, delay: u64, runner: usize, instance: u32, cue: Cue) {
        self.after(delay, Event::Cue { runner, instance, cue });
    }

    /// Whether something that goes wrong `permille` times in a thousand does so now.
    pub fn goes_wrong(&mut self, permille: u64) -> bool {
        let hit = self.random.chance(permille);
        hit && !self.faults_over
    }

    pub fn latency(&mut self) -> u64 {
        let most = self.plan.latency_max;
        self.random.between(most / 10, most)
    }

    /// Opens a wire for a runner to a process of the delegate.
    pub fn open_wire(&mut self, runner: usize, process: u32) -> LinkId {
        self.links += 1;
        let link = LinkId(self.links);
        let wire = Wire { runner, process, inward: true, outward: true, in_next: self.now, out_next: self.now };
        self.wires.insert(link, wire);
        link
    }

    pub fn send_up(&mut self, link: LinkId, input: Input) {
        let mut delay = self.latency();
        // A stall: all that follows comes later, too.
        if self.goes_wrong(3) {
            delay += self.random.between(SEC, 8 * SEC);
        }
        let Some(wire) = self.wires.get_mut(&link) else { return };
        wire.in_next = wire.in_next.max(self.now + delay);
        self.queue.push(wire.in_next, Event::FromRunner { link, input });
    }

    pub fn send_down(&mut self, link: LinkId, order: Order) {
        let mut delay = self.latency();
        if self.goes_wrong(3) {
            delay += self.random.between(SEC, 8 * SEC);
        }
        let Some(wire) = self.wires.get_mut(&link) else { return };
        wire.out_next = wire.out_next.max(self.now + delay);
        self.queue.push(wire.out_next, Event::ToRunner { link, order });
    }

    /// The stream ends and the delegate learns of it, with or without what was under way.
    pub fn hang_up(&mut self, link: LinkId) {
        let lossy = self.random.chance(500);
        let Some(wire) = self.wires.get_mut(&link) else { return };
        wire.inward &= !lossy;
        wire.outward = false;
        let at = if lossy { self.now + 50 * MS } else { wire.in_next.max(self.now + MS) };
        self.queue.push(at, Event::FromRunner { link, input: Input::Detached { link } });
    }
}
