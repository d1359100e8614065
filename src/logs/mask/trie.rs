//! The automaton of Aho and Corasick: finds every pattern in one pass, and always knows how much of one has begun.
//!
//! Written here rather than taken from the crate aho-corasick, since the masker lives on the depth of a state, which says how many
//! bytes must be held back across lines and chunks, and which that crate does not tell: its own stream search keeps as many bytes as
//! its longest pattern has, so that each line would wait for 28 KiB of others.

use std::ops::Range;

/// A place in the automaton: what the text so far ends with, as far as it is the beginning of a pattern.
pub(super) type State = u32;

/// Nothing has begun.
pub(super) const ROOT: State = 0;

/// Nodes lie level by level, so that the children of one are neighbours, and those of the next follow: 13 bytes a node.
pub(super) struct Trie {
    /// Where the children of a node begin; they end where those of the next node begin.
    first_child: Vec<u32>,
    /// Byte on the edge to a node.
    byte: Vec<u8>,
    /// Longest proper end of a node's text that leads on somewhere.
    fail: Vec<State>,
    depth: Vec<u16>,
    /// Length of the longest pattern that ends at a node; 0: none.
    found: Vec<u16>,
    /// Children of the root by byte, or the root itself.
    from_root: Box<[State; 256]>,
}

// === impl Trie ===

impl Trie {
    /// Of patterns in ascending order, none twice, none empty, none longer than `u16::MAX`.
    pub fn new(patterns: &[Vec<u8>]) -> Self {
        let mut trie = Self {
            first_child: Vec::new(),
            byte: vec![0],
            fail: vec![ROOT],
            depth: vec![0],
            found: vec![0],
            from_root: Box::new([ROOT; 256]),
        };
        // The patterns that begin with a node's text are neighbours; those of the root are all.
        let mut shares: Vec<Range<usize>> = std::iter::once(0..patterns.len()).collect();
        let mut node = 0;
        while let Some(share) = shares.get(node).cloned() {
            trie.first_child.push(id(shares.len()));
            trie.add_children(id(node), share, patterns, &mut shares);
            node += 1;
        }
        trie.first_child.push(id(shares.len()));
        trie.skip_dead_ends();
        trie
    }

    fn add_children(
        &mut self,
        parent: State,
        share: Range<usize>,
        patterns: &[Vec<u8>],
        shares: &mut Vec<Range<usize>>,
    ) {
        let depth = usize::from(self.depth[parent as usize]);
        let mut rest = share;
        // The pattern that ends here sorts before those that go on.
        if rest.start < rest.end && patterns[rest.start].len() == depth {
            rest.start += 1;
        }
        while rest.start < rest.end {
            let byte = patterns[rest.start][depth];
            let count = patterns[rest.clone()].partition_point(|pattern| pattern[depth] == byte);
            let share = rest.start..rest.start + count;
            rest.start = share.end;
            let is_end = patterns[share.start].len() == depth + 1;
            let fail = if parent == ROOT { ROOT } else { self.step(self.fail[parent as usize], byte) };
            if parent == ROOT {
                self.from_root[usize::from(byte)] = id(shares.len());
            }
            self.byte.push(byte);
            self.fail.push(fail);
            self.depth.push(bound(depth + 1));
            // What else ends here is shorter, and hidden along with it.
            self.found.push(if is_end { bound(depth + 1) } else { self.found[fail as usize] });
            shares.push(share);
        }
    }

    fn skip_dead_ends(&mut self) {
        for node in 1..self.fail.len() {
            let fail = self.fail[node];
            if self.is_dead_end(fail) {
                self.fail[node] = self.fail[fail as usize];
            }
        }
    }

    /// Takes one byte: the node it leads to, where [`found`](Self::found) tells what ends there. Go on from
    /// [`onward`](Self::onward) of it.
    pub fn step(&self, mut state: State, byte: u8) -> State {
        while state != ROOT {
            if let Some(child) = self.child(state, byte) {
                return child;
            }
            state = self.fail[state as usize];
        }
        self.from_root[usize::from(byte)]
    }

    fn child(&self, state: State, byte: u8) -> Option<State> {
        let children = self.first_child[state as usize] as usize..self.first_child[state as usize + 1] as usize;
        let at = self.byte[children.clone()].binary_search(&byte).ok()?;
        Some(id(children.start + at))
    }

    /// Length of the longest pattern that ends here.
    pub fn found(&self, node: State) -> usize {
        usize::from(self.found[node as usize])
    }

    /// The same place without what can't go on.
    pub fn onward(&self, node: State) -> State {
        if self.is_dead_end(node) { self.fail[node as usize] } else { node }
    }

    /// How many of the last bytes may be the beginning of a pattern.
    pub fn depth(&self, state: State) -> usize {
        usize::from(self.depth[state as usize])
    }

    pub fn nodes(&self) -> usize {
        self.fail.len()
    }

    fn is_dead_end(&self, node: State) -> bool {
        node != ROOT && self.first_child[node as usize] == self.first_child[node as usize + 1]
    }
}

fn id(index: usize) -> State {
    State::try_from(index).expect("the bounds on secrets leave far less than 2^32 nodes")
}

fn bound(length: usize) -> u16 {
    u16::try_from(length).expect("forms of pieces are shorter than 2^16 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Length of the longest pattern at each end in `text`, and the depths beside it.
    fn walk(patterns: &[&str], text: &str) -> Vec<(usize, usize)> {
        let mut patterns: Vec<Vec<u8>> = patterns.iter().map(|pattern| pattern.as_bytes().to_vec()).collect();
        patterns.sort();
        let trie = Trie::new(&patterns);
        let mut state = ROOT;
        let step = |byte| {
            let node = trie.step(state, byte);
            state = trie.onward(node);
            (trie.found(node), trie.depth(state))
        };
        text.bytes().map(step).collect()
    }

    #[test]
    fn nested_and_overlapping_patterns_are_found_with_the_longest_one() {
        assert_eq!(walk(&["he", "she", "hers"], "shers"), [(0, 1), (0, 2), (3, 2), (0, 3), (4, 1)]);
        assert_eq!(walk(&["aaaa", "aa"], "aaaaa"), [(0, 1), (2, 2), (2, 3), (4, 3), (4, 3)]);
    }

    #[test]
    fn without_patterns_nothing_ever_begins() {
        assert_eq!(walk(&[], "ab"), [(0, 0), (0, 0)]);
    }
}
