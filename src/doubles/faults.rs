//! What can be made to go wrong, route by route.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use tokio::sync::watch;

/// One way for a call to go wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Not processed; answered with this status and body.
    Status(u16, String),
    /// Not processed; answered 200 with a page of HTML, as a captive proxy does.
    Html,
    /// Processed; answered 200 with JSON that breaks off.
    Malformed,
    /// Not processed; the connection drops without an answer.
    CutBefore,
    /// Processed; the connection drops without an answer.
    CutBeforeAnswer,
    /// Processed; answered this much later.
    Delay(Duration),
    /// Processed; answered once the gate opens.
    Hold(Gate),
}

/// How many calls a fault, or a scripted answer, is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// The next so many.
    Next(u32),
    /// All from now on, until cleared.
    All,
}

/// Holds answers back until it opens. Clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    sides: Arc<(watch::Sender<bool>, watch::Sender<usize>)>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self { sides: Arc::new((watch::Sender::new(false), watch::Sender::new(0))) }
    }

    /// Lets all answers go, held ones and later ones.
    pub fn open(&self) {
        self.sides.0.send_replace(true);
    }

    /// Waits until `count` calls in all have been processed and come to the gate; false if `timeout` passes first.
    pub async fn arrived(&self, count: usize, timeout: Duration) -> bool {
        let mut arrivals = self.sides.1.subscribe();
        tokio::time::timeout(timeout, arrivals.wait_for(|arrived| *arrived >= count)).await.is_ok()
    }

    pub(super) async fn pass(&self) {
        self.sides.1.send_modify(|arrived| *arrived += 1);
        // The sender lives in self, so the channel cannot close meanwhile.
        let _ = self.sides.0.subscribe().wait_for(|open| *open).await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("open", &*self.sides.0.borrow()).field("arrived", &*self.sides.1.borrow()).finish()
    }
}

/// Things to use up, in the order they were set. One set for all calls never gives way to a later one.
#[derive(Debug)]
pub(super) struct Script<T>(VecDeque<(T, Calls)>);

impl<T: Clone> Script<T> {
    pub(super) fn push(&mut self, item: T, calls: Calls) {
        if calls != Calls::Next(0) {
            self.0.push_back((item, calls));
        }
    }

    pub(super) fn take(&mut self) -> Option<T> {
        let (item, calls) = self.0.front_mut()?;
        let item = item.clone();
        if let Calls::Next(left) = calls {
            *left -= 1;
            if *left == 0 {
                self.0.pop_front();
            }
        }
        Some(item)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl<T> Default for Script<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

/// The faults of a double with so many routes, each known by its number.
#[derive(Debug)]
pub(super) struct Faults<const ROUTES: usize> {
    by_route: [Script<Fault>; ROUTES],
}

impl<const ROUTES: usize> Faults<ROUTES> {
    pub(super) fn set(&mut self, route: usize, fault: Fault, calls: Calls) {
        self.by_route[route].push(fault, calls);
    }

    pub(super) fn take(&mut self, route: usize) -> Option<Fault> {
        self.by_route[route].take()
    }

    pub(super) fn clear(&mut self) {
        self.by_route.iter_mut().for_each(Script::clear);
    }
}

impl<const ROUTES: usize> Default for Faults<ROUTES> {
    fn default() -> Self {
        Self { by_route: std::array::from_fn(|_| Script::default()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_used_up_in_order() {
        let mut script = Script::default();
        script.push('a', Calls::Next(2));
        script.push('-', Calls::Next(0));
        script.push('b', Calls::All);
        let taken: String = (0..5).filter_map(|_| script.take()).collect();
        assert_eq!(taken, "aabbb");
        script.clear();
        assert_eq!(script.take(), None);
    }
}
