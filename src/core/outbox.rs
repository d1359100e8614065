//! Keeps every promise back until the record behind it is durable.

use std::collections::{BTreeMap, VecDeque};

use super::{effect::Effect, id::Lsn, record::Entry};

/// Records on their way to the journal, and effects that wait for them.
#[derive(Debug)]
pub struct Outbox {
    last: Lsn,
    durable: Lsn,
    entries: VecDeque<Entry>,
    held: BTreeMap<(Lsn, u64), Effect>,
    /// Orders effects held for the same record.
    turn: u64,
    ready: VecDeque<Effect>,
}

// === impl Outbox ===

impl Outbox {
    pub fn new() -> Self {
        Self {
            last: Lsn(0),
            durable: Lsn(0),
            entries: VecDeque::new(),
            held: BTreeMap::new(),
            turn: 0,
            ready: VecDeque::new(),
        }
    }

    /// Numbers a record and queues it for the journal.
    pub fn append(&mut self, scope: u64, number: u32, body: Option<bytes::Bytes>) {
        self.last = Lsn(self.last.0 + 1);
        self.entries.push_back(Entry { lsn: self.last, scope, number, body });
    }

    /// The position of the newest record.
    pub fn last(&self) -> Lsn {
        self.last
    }

    /// Lets `effect` out once everything up to `after` is durable, and after what waits for the same.
    pub fn hold(&mut self, after: Lsn, effect: Effect) {
        if after <= self.durable {
            self.ready.push_back(effect);
        } else {
            self.turn += 1;
            self.held.insert((after, self.turn), effect);
        }
    }

    /// Lets `effect` out now: it promises nothing.
    pub fn now(&mut self, effect: Effect) {
        self.ready.push_back(effect);
    }

    /// The journal is durable up to `lsn`.
    pub fn durable(&mut self, lsn: Lsn) {
        self.durable = self.durable.max(lsn);
        while let Some(first) = self.held.first_entry() {
            if first.key().0 > self.durable {
                break;
            }
            self.ready.push_back(first.remove());
        }
    }

    pub fn next_entry(&mut self) -> Option<Entry> {
        self.entries.pop_front()
    }

    pub fn next_effect(&mut self) -> Option<Effect> {
        self.ready.pop_front()
    }
}
