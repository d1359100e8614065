//! The counting of one stream: what waits to go out, what went out and is not acknowledged, what came in.
//!
//! It knows numbers only; what a number means for a lease is the engine's business.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::holdings::LeaseId;

/// Heartbeats whose send time is remembered. The link is given up after three unanswered intervals, so that more are never
/// needed; an older one that is answered all the same renews nothing.
const HEARTBEATS_REMEMBERED_MAX: usize = 8;

/// A frame to send. Its content is made when it leaves, so that it always tells the newest state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outgoing {
    Hello,
    Heartbeat,
    Capacity,
    Decision(LeaseId),
    Update(LeaseId, u64),
    Progress(LeaseId),
    Result(LeaseId),
    Drain,
}

impl Outgoing {
    /// It gets a sequence and is kept until acknowledged.
    pub fn is_counted(&self) -> bool {
        matches!(self, Self::Decision(_) | Self::Update(..) | Self::Result(_))
    }
}

/// A counted frame that left.
#[derive(Debug)]
pub(crate) struct Sent {
    pub sequence: u64,
    pub frame: Outgoing,
    pub at: Instant,
}

/// What the number of a received frame says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Fresh,
    Repeated,
    /// Something before it is missing: the two sides no longer speak of the same stream.
    Gap,
}

/// One attached stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The delegate answered Hello.
    pub welcomed: bool,
    /// Hello may tell an outdated capacity.
    pub capacity_changed: bool,
    pub last_heard: Instant,
    pub next_heartbeat: Option<Instant>,
    pub queue: VecDeque<Outgoing>,
    sent: VecDeque<Sent>,
    last_sequence: u64,
    received: u64,
    received_told: u64,
    last_heartbeat_id: u64,
    heartbeats: VecDeque<(u64, Instant, Vec<LeaseId>)>,
}

impl Stream {
    /// A stream just opened, with Hello waiting to leave.
    pub fn new(now: Instant) -> Self {
        Self {
            welcomed: false,
            capacity_changed: false,
            last_heard: now,
            next_heartbeat: None,
            queue: VecDeque::from([Outgoing::Hello]),
            sent: VecDeque::new(),
            last_sequence: 0,
            received: 0,
            received_told: 0,
            last_heartbeat_id: 0,
            heartbeats: VecDeque::new(),
        }
    }

    /// Takes in the number of a received frame; 0 is not counted.
    pub fn arrive(&mut self, sequence: u64) -> Arrival {
        if sequence == self.received + 1 {
            self.received = sequence;
            Arrival::Fresh
        } else if sequence == 0 {
            Arrival::Fresh
        } else if sequence <= self.received {
            Arrival::Repeated
        } else {
            Arrival::Gap
        }
    }

    /// Something was taken in that no frame has told the delegate yet.
    pub fn owes_acknowledgement(&self) -> bool {
        self.welcomed && self.received > self.received_told
    }

    /// The acknowledgement that rides on the frame that leaves now.
    pub fn tell_received(&mut self) -> u64 {
        self.received_told = self.received;
        self.received
    }

    /// Numbers a frame that leaves now.
    pub fn number(&mut self, frame: Outgoing, now: Instant) -> u64 {
        if !frame.is_counted() {
            return 0;
        }
        self.last_sequence += 1;
        self.sent.push_back(Sent { sequence: self.last_sequence, frame, at: now });
        self.last_sequence
    }

    /// The oldest frame covered by an acknowledgement up to `sequence`; call until `None`.
    pub fn next_acknowledged(&mut self, sequence: u64) -> Option<Sent> {
        self.sent.pop_front_if(|sent| sent.sequence <= sequence)
    }

    /// The frame that was refused by its number; it is no longer waited for.
    pub fn refused(&mut self, sequence: u64) -> Option<Sent> {
        let at = self.sent.iter().position(|sent| sent.sequence == sequence)?;
        self.sent.remove(at)
    }

    /// Queues a frame that says the newest state, unless one waits already.
    pub fn push_once(&mut self, frame: Outgoing) {
        if !self.queue.contains(&frame) {
            self.queue.push_back(frame);
        }
    }

    /// Notes that a heartbeat naming `leases` leaves now; its id.
    pub fn heartbeat(&mut self, now: Instant, leases: Vec<LeaseId>) -> u64 {
        self.last_heartbeat_id += 1;
        if self.heartbeats.len() == HEARTBEATS_REMEMBERED_MAX {
            self.heartbeats.pop_front();
        }
        self.heartbeats.push_back((self.last_heartbeat_id, now, leases));
        self.last_heartbeat_id
    }

    /// Send time and leases of an answered heartbeat.
    pub fn heartbeat_answered(&mut self, id: u64) -> Option<(Instant, Vec<LeaseId>)> {
        let at = self.heartbeats.iter().position(|(sent, ..)| *sent == id)?;
        let (_, sent_at, leases) = self.heartbeats.drain(..=at).next_back()?;
        Some((sent_at, leases))
    }

    /// When the link counts as dead unless something arrives.
    pub fn silent_at(&self, heartbeat_interval: Duration) -> Instant {
        self.last_heard + 3 * heartbeat_interval
    }
}
