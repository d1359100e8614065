//! The note, kept with a task, of how to answer for it.
//!
//! It is written when the task is acquired and opaque to everyone else. What it does not say (ids, type) is in the task.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::options::LegacyStatusCode;

/// How to answer. Variants are journalled by position: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// To the task's own result call, with a code that tells failures.
    A,
    /// The same, always with the code of a success.
    AAlwaysOk,
    /// To the runner response call.
    B,
    /// To the runner family's result call.
    C,
}

/// A note that this version did not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the note of how to answer for this task is not of this version: only the version that acquired it can report it"
)]
pub(super) struct UnknownReply;

// === impl Reply ===

impl Reply {
    /// How a task of the legacy family is answered.
    pub(super) fn new(runner_response: bool, legacy_status_code: LegacyStatusCode) -> Self {
        match (runner_response, legacy_status_code) {
            (true, _) => Self::B,
            (false, LegacyStatusCode::Failed) => Self::A,
            (false, LegacyStatusCode::Ok) => Self::AAlwaysOk,
        }
    }

    pub(super) fn encode(self) -> Bytes {
        postcard::to_allocvec(&self).expect("an enum without fields always has an encoding").into()
    }

    pub(super) fn decode(note: &[u8]) -> Result<Self, UnknownReply> {
        postcard::from_bytes(note).map_err(|_| UnknownReply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_a_foreign_one_is_refused() {
        for reply in [Reply::A, Reply::AAlwaysOk, Reply::B, Reply::C] {
            assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
        }
        assert_eq!(Reply::decode(&[9]), Err(UnknownReply));
        assert_eq!(Reply::decode(&[]), Err(UnknownReply));
        // As journals hold it.
        assert_eq!([Reply::A, Reply::AAlwaysOk, Reply::B, Reply::C].map(|reply| reply.encode()[0]), [0, 1, 2, 3]);
    }
}
