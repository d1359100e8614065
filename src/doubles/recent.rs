//! A count of everything and the newest of it.

use std::collections::VecDeque;

/// Counts all that was pushed and keeps the newest `MAX`, so that a double under load for hours stays small.
#[derive(Clone, Debug)]
pub struct Recent<T, const MAX: usize> {
    total: u64,
    kept: VecDeque<T>,
}

impl<T, const MAX: usize> Recent<T, MAX> {
    /// How many there ever were.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Those kept, oldest first: all of them as long as there were at most `MAX`.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.kept.iter()
    }

    /// The newest.
    pub fn last(&self) -> Option<&T> {
        self.kept.back()
    }

    pub(super) fn push(&mut self, item: T) {
        if self.kept.len() == MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(item);
        self.total += 1;
    }
}

impl<T, const MAX: usize> Default for Recent<T, MAX> {
    fn default() -> Self {
        Self { total: 0, kept: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_and_all_are_counted() {
        let mut recent = Recent::<u32, 2>::default();
        for item in 1..=3 {
            recent.push(item);
        }
        assert_eq!((recent.total(), recent.last()), (3, Some(&3)));
        assert_eq!(recent.iter().copied().collect::<Vec<_>>(), [2, 3]);
    }
}
