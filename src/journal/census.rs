//! Compares the rows found at load with the counts committed beside them.

use super::{Damage, Error};

/// Walks the counts and the rows side by side, both by scope. Each scope must have the rows `0..count`, no more, no fewer.
pub(super) struct Census {
    counts: std::iter::Peekable<std::vec::IntoIter<(u64, u32)>>,
    /// How many rows of the scope at the head of `counts` were seen.
    seen: u32,
}

impl Census {
    /// `counts` by ascending scope.
    pub(super) fn new(counts: Vec<(u64, u32)>) -> Self {
        Census { counts: counts.into_iter().peekable(), seen: 0 }
    }

    /// The next row, by scope, then by number.
    pub(super) fn see(&mut self, scope: u64, number: u32) -> Result<(), Error> {
        while self.counts.peek().is_some_and(|&(counted, _)| counted < scope) {
            self.close()?;
        }
        let damage = match self.counts.peek() {
            Some(&(counted, count)) if counted == scope => {
                if number != self.seen {
                    Damage::Gap { expected: self.seen, found: number }
                } else if number >= count {
                    Damage::Uncounted { number }
                } else {
                    self.seen += 1;
                    return Ok(());
                }
            }
            _ => Damage::Uncounted { number },
        };
        Err(Error::Damaged { scope, damage })
    }

    /// No more rows.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        while self.counts.peek().is_some() {
            self.close()?;
        }
        Ok(())
    }

    /// The scope at the head has no further rows.
    fn close(&mut self) -> Result<(), Error> {
        let found = std::mem::take(&mut self.seen);
        match self.counts.next() {
            Some((scope, counted)) if counted != found => {
                Err(Error::Damaged { scope, damage: Damage::Tail { counted, found } })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damage(counts: &[(u64, u32)], rows: &[(u64, u32)]) -> Option<(u64, Damage)> {
        let mut census = Census::new(counts.to_vec());
        let result =
            rows.iter().try_for_each(|&(scope, number)| census.see(scope, number)).and_then(|()| census.finish());
        match result {
            Ok(()) => None,
            Err(Error::Damaged { scope, damage }) => Some((scope, damage)),
            Err(other) => panic!("not about a scope: {other}"),
        }
    }

    #[test]
    fn dense_rows_pass() {
        assert_eq!(damage(&[], &[]), None);
        assert_eq!(damage(&[(1, 2), (7, 1)], &[(1, 0), (1, 1), (7, 0)]), None);
    }

    #[test]
    fn a_missing_row_is_named() {
        assert_eq!(damage(&[(1, 2)], &[(1, 1)]), Some((1, Damage::Gap { expected: 0, found: 1 })));
        assert_eq!(damage(&[(1, 2)], &[(1, 0)]), Some((1, Damage::Tail { counted: 2, found: 1 })));
        assert_eq!(damage(&[(1, 2), (3, 1)], &[(1, 0), (3, 0)]), Some((1, Damage::Tail { counted: 2, found: 1 })));
        assert_eq!(damage(&[(1, 1), (3, 1)], &[(1, 0)]), Some((3, Damage::Tail { counted: 1, found: 0 })));
    }

    #[test]
    fn a_row_without_a_count_is_named() {
        assert_eq!(damage(&[], &[(4, 0)]), Some((4, Damage::Uncounted { number: 0 })));
        assert_eq!(damage(&[(5, 1)], &[(4, 0), (5, 0)]), Some((4, Damage::Uncounted { number: 0 })));
        assert_eq!(damage(&[(4, 1)], &[(4, 0), (4, 1)]), Some((4, Damage::Uncounted { number: 1 })));
    }
}
