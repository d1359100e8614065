//! Which steps come before which.

use std::collections::{BTreeMap, BTreeSet};

use super::yaml::shown;

/// Names of a cycle that a message lists.
const TOLD_MAX: usize = 8;

/// A cycle among named nodes and the names before each, in the order in which they wait for one another; unknown names are no part of
/// one. `None`: all of it can be put in an order.
pub(crate) fn cycle<'n>(nodes: impl Iterator<Item = (&'n str, &'n [String])>) -> Option<Vec<&'n str>> {
    let before: BTreeMap<&str, &[String]> = nodes.collect();
    let mut done = BTreeSet::new();
    for start in before.keys() {
        // Deep chains are no deep recursion: the way from the start is a value.
        let mut way: Vec<(&str, usize)> = vec![(start, 0)];
        let mut on_the_way = BTreeSet::from([*start]);
        while let Some((name, tried)) = way.last_mut() {
            let name = *name;
            if done.contains(name) {
                way.pop();
                on_the_way.remove(name);
                continue;
            }
            let Some(next) = before[name].get(*tried) else {
                done.insert(name);
                continue;
            };
            *tried += 1;
            let next = next.as_str();
            if on_the_way.contains(next) {
                let from = way.iter().position(|(name, _)| *name == next).unwrap_or_default();
                return Some(way[from..].iter().map(|(name, _)| *name).collect());
            }
            if before.contains_key(next) && !done.contains(next) {
                way.push((next, 0));
                on_the_way.insert(next);
            }
        }
    }
    None
}

/// A cycle as a sentence.
pub(crate) fn told(cycle: &[&str]) -> String {
    let mut names: Vec<String> = cycle.iter().take(TOLD_MAX).map(|name| shown(name)).collect();
    if cycle.len() > TOLD_MAX {
        names.push(format!("{} more", cycle.len() - TOLD_MAX));
    }
    match cycle {
        [alone] => format!("{} waits for itself", shown(alone)),
        [first, ..] => format!("{}, which waits for {}", names.join(" waits for "), shown(first)),
        [] => String::new(),
    }
}
