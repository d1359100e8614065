//! The journal: facts go in, and come back after any crash.

use bytes::Bytes;

/// One change of what is durable. A scope is one task (or one fact of the delegate's own); its rows are numbered densely from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A further row of `scope`; `number` is how many rows the scope had.
    Append { scope: u64, number: u32, body: Bytes },
    /// The scope is over: all its rows go.
    End { scope: u64 },
}

/// One row as it comes back at load: by scope, then by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub scope: u64,
    pub number: u32,
    pub body: Bytes,
}
