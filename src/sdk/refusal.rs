//! Why something a running handler told was not taken.

/// Becomes an [`OutputError`](super::OutputError) or a [`StateError`](super::StateError), by what was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The task has a result, was stopped, or its lease is gone.
    TaskEnded,
    /// More than the delegate takes in one frame.
    TooLarge { bytes: u64, bytes_max: u64 },
    /// Another task changed the session's state first; the newest one is there to be seen.
    Stale,
    /// The delegate refused it, by a reason of its own.
    Refused { reason: String, message: String },
}
