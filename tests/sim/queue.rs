//! What is to happen, and when: virtual time moves from one event to the next.

use std::{cmp::Ordering, collections::BinaryHeap};

/// Virtual time in microseconds since the beginning of the history.
pub type At = u64;

pub const MS: u64 = 1_000;
pub const SEC: u64 = 1_000_000;

#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Scheduled<E>>,
    pushed: u64,
}

#[derive(Debug)]
struct Scheduled<E> {
    at: At,
    /// Events of the same moment happen in the order in which they were scheduled.
    nth: u64,
    event: E,
}

// === impl Queue ===

impl<E> Queue<E> {
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), pushed: 0 }
    }

    pub fn push(&mut self, at: At, event: E) {
        self.pushed += 1;
        self.heap.push(Scheduled { at, nth: self.pushed, event });
    }

    pub fn next_at(&self) -> Option<At> {
        self.heap.peek().map(|scheduled| scheduled.at)
    }

    pub fn pop(&mut self) -> Option<(At, E)> {
        self.heap.pop().map(|scheduled| (scheduled.at, scheduled.event))
    }
}

// === impl Scheduled ===

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.nth) == (other.at, other.nth)
    }
}

impl<E> Eq for Scheduled<E> {}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Scheduled<E> {
    /// The earliest is the greatest, since the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.nth).cmp(&(self.at, self.nth))
    }
}
