//! Fair shares: who is next when several want the same, by weight. Start-time fair queueing, deterministic.
//!
//! Each flow has a standing, which grows by 1/weight with every turn it takes; the lowest is next. A flow that wanted nothing for a
//! while comes in at the standing of the others, so that nobody saves up turns: a flow of weight `w` among flows of weights `W` in
//! all waits for at most `W/w` turns of theirs, rounded up, whoever else comes and goes.

use std::collections::BTreeMap;

/// Standing of one turn at weight 1; larger weights divide it.
const TURN: u64 = 1 << 20;
/// Turns that a flow may make up for which comes back as soon as it can, see [`Shares::late`].
const LATE_TURNS_MAX: u64 = 4;
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

    /// The standing of a flow that can show one wish at a time, and so misses turns between two of them though it wants them: it makes
    /// up for a few.
    pub fn late(&self, flow: &K, weight: u32) -> u64 {
        let allowed = LATE_TURNS_MAX * TURN / u64::from(weight.max(1));
        self.standings.get(flow).map_or(self.common, |own| (*own).max(self.common.saturating_sub(allowed)))
    }

    /// The flow takes a turn.
    pub fn charge(&mut self, flow: &K, weight: u32) {
        self.charge_at(self.standing(flow), flow, weight);
    }

    /// The flow takes a turn at this standing of its own.
    pub fn charge_at(&mut self, standing: u64, flow: &K, weight: u32) {
        self.common = self.common.max(standing);
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

    #[test]
    fn a_flow_that_shows_one_wish_at_a_time_makes_up_for_a_few_turns() {
        let mut shares = Shares::default();
        shares.charge(&"b", 1);
        for _ in 0..1_000 {
            shares.charge(&"a", 1);
        }
        let mut made_up = 0;
        while shares.late(&"b", 1) < shares.standing(&"a") {
            shares.charge_at(shares.late(&"b", 1), &"b", 1);
            made_up += 1;
        }
        assert_eq!(made_up, LATE_TURNS_MAX + 1);
    }
}
