//! What goes in and what comes back.

use bytes::Bytes;

/// Largest scope a store takes: 2^40 - 1, a thousand tasks a second for 34 years. Scope and number share one 63-bit key,
/// so that a scope is one range of the table.
pub const SCOPE_MAX: u64 = (1 << 40) - 1;

/// Largest number of a row within its scope: 2^23 - 1.
pub const NUMBER_MAX: u32 = (1 << 23) - 1;

/// One change of what is durable. A scope is one task (or one fact of the delegate's own); its rows are numbered densely from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub scope: u64,
    pub number: u32,
    pub body: Bytes,
}
