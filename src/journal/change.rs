//! What goes in and what comes back.

use std::fmt;

use bytes::Bytes;

/// Largest scope a store takes: 2^48 - 1, a hundred thousand tasks a second for 80 years. Scope and number share one 63-bit key,
/// so that a scope is one range of the table.
pub const SCOPE_MAX: u64 = (1 << 48) - 1;

/// Largest number of a row within its scope: 2^15 - 1.
pub const NUMBER_MAX: u32 = (1 << 15) - 1;

/// One change of what is durable. A scope is one task (or one fact of the delegate's own); its rows are numbered densely from 0.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// A further row of `scope` (at most [`SCOPE_MAX`]); `number` (at most [`NUMBER_MAX`]) is how many rows the scope had.
    Append { scope: u64, number: u32, body: Bytes },
    /// The scope is over: all its rows go. A scope without rows may end too.
    End { scope: u64 },
}

impl Change {
    /// Bytes of the body; an `End` has none.
    pub fn body_bytes(&self) -> usize {
        match self {
            Change::Append { body, .. } => body.len(),
            Change::End { .. } => 0,
        }
    }
}

/// One row as it comes back at load: by scope, then by number.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    pub scope: u64,
    pub number: u32,
    pub body: Bytes,
}

/// Bodies may hold secrets of a task, so only their size is ever printed.
struct BodySize<'a>(&'a Bytes);

impl fmt::Debug for BodySize<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Append { scope, number, body } => {
                let mut append = f.debug_struct("Append");
                append.field("scope", scope).field("number", number).field("body", &BodySize(body)).finish()
            }
            Change::End { scope } => f.debug_struct("End").field("scope", scope).finish(),
        }
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = f.debug_struct("Row");
        row.field("scope", &self.scope).field("number", &self.number).field("body", &BodySize(&self.body)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_does_not_print() {
        let body = Bytes::from_static(b"secret");
        let append = Change::Append { scope: 1, number: 2, body: body.clone() };
        assert_eq!(format!("{append:?}"), "Append { scope: 1, number: 2, body: 6 bytes }");
        assert_eq!(format!("{:?}", Row { scope: 1, number: 2, body }), "Row { scope: 1, number: 2, body: 6 bytes }");
    }
}
