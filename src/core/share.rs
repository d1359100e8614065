//! Fair shares: who is next when several want the same, by weight. Start-time fair queueing, deterministic.
//!
//! Each flow has a standing, which grows by 1/weight with every turn it takes; the lowest is next. A flow that wanted nothing for a
//! while comes in at the standing of the others, so that nobody saves up turns: a flow of weight `w` among flows of weights `W` in
//! all waits for at most `W/w` turns of theirs, rounded up, whoever else comes and goes.

use std::collections::BTreeMap;

/// Standing of one turn at weight 1; larger weights divide it.
const TURN: u64 = 1 << 20;
/// Flows that are remembered; those at the common standing need not be.
const FLOWS_MAX: usize = 1_024;

#[derive(Debug)]
pub struct Shares<K> {
    standings: BTreeMap<K, u64>,
    /// Standing of whoever had the last turn.
    common: u64,
}

impl<K> Default for Shares<K> {
    fn default() -> Self {
        Self { standings: BTreeMap::new(), common: 0 }
    }
}

impl<K: Ord + Clone> Shares<K> {
    /// The lowest standing is next.
    pub fn standing(&self, flow: &K) -> u64 {
        self.standings.get(flow).copied().unwrap_or(0).max(self.common)
    }

    /// The flow takes a turn.
    pub fn charge(&mut self, flow: &K, weight: u32) {
        let standing = self.standing(flow);
        self.common = standing;
        self.standings.insert(flow.clone(), standing + TURN / u64::from(weight.max(1)));
        if self.standings.len() > FLOWS_MAX {
            let common = self.common;
            self.standings.retain(|_, standing| *standing > common);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns of each flow if all of them always want one.
    fn turns(weights: &[(&'static str, u32)], turns: usize) -> Vec<&'static str> {
        let mut shares = Shares::default();
        let mut order = Vec::new();
        for _ in 0..turns {
            let (flow, weight) = weights.iter().min_by_key(|(flow, _)| shares.standing(flow)).copied().unwrap();
            shares.charge(&flow, weight);
            order.push(flow);
        }
        order
    }

    #[test]
    fn equal_flows_take_turns() {
        assert_eq!(turns(&[("a", 1), ("b", 1)], 6), ["a", "b", "a", "b", "a", "b"]);
    }

    #[test]
    fn a_flow_gets_turns_by_its_weight_and_none_of_them_late() {
        let order = turns(&[("a", 3), ("b", 1)], 400);
        assert_eq!(order.iter().filter(|flow| **flow == "b").count(), 100);
        let longest = order.split(|flow| *flow == "b").map(<[_]>::len).max().unwrap();
        assert!(longest <= 4, "{longest} turns of a in a row");
    }

    #[test]
    fn nobody_saves_up_turns() {
        let mut shares = Shares::default();
        for _ in 0..1_000 {
            shares.charge(&"a", 1);
        }
        // "b" wanted nothing until now: it goes first once, not a thousand times.
        assert!(shares.standing(&"b") < shares.standing(&"a"));
        shares.charge(&"b", 1);
        shares.charge(&"a", 1);
        assert!(shares.standing(&"b") <= shares.standing(&"a"));
        assert!(shares.standing(&"a") - shares.standing(&"b") <= TURN);
    }
}
