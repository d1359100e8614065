//! A change of a session's state on its way to the delegate, and why it may not arrive.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use super::session::Session;
use crate::proto::runner::v1::{self as proto, Payload, SessionStateUpdate};

/// State and sensitive state together, in bytes. From the protocol.
pub const STATE_BYTES_MAX: usize = 192 * 1024;

/// A change of a session's state, made from what a [`Session`] had seen. What it does not name stays as it is. Prints sizes only.
#[derive(Debug, Clone)]
pub struct StateChange {
    /// Version of the state that it was made from.
    pub(crate) base: u64,
    pub(crate) update: SessionStateUpdate,
    state_bytes: usize,
    sensitive_bytes: usize,
}

/// Why a session's state was not read or not changed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another task changed the state since this handler saw it.
    #[error("another task changed the state of session {} first", newest.id())]
    Stale {
        /// The state in force, to make the change from.
        newest: Box<Session>,
    },
    /// The delegate refused the change, as `SESSION_CLOSED` for instance.
    #[error("the delegate refused the change of the session's state: {reason}: {message}")]
    Refused { reason: String, message: String },
    /// More than the delegate takes.
    #[error("the session's state has {bytes} bytes; {bytes_max} are taken")]
    TooLarge { bytes: u64, bytes_max: u64 },
    /// The task has a result, was stopped, or its lease is gone.
    #[error("the task has ended")]
    TaskEnded,
    /// The state is no such JSON; told by its place alone, since its text may be a secret.
    #[error("the session's {what} is not as expected at line {line}, column {column}")]
    Unexpected { what: &'static str, line: usize, column: usize },
    /// The value makes no JSON, as a map with keys that are no strings.
    #[error("the session's {what} makes no JSON")]
    Unwritable { what: &'static str },
}

pub(crate) const STATE: &str = "state";
pub(crate) const SENSITIVE_STATE: &str = "sensitive state";

// === impl StateChange ===

impl StateChange {
    /// Of nothing yet, from `session` whose state is the one of that version.
    pub(crate) fn of(base: u64, session: &proto::Session) -> Self {
        let bytes = |payload: Option<&Payload>| payload.map_or(0, |payload| payload.inline.len());
        Self {
            base,
            update: SessionStateUpdate { expected_etag: session.etag.clone(), ..SessionStateUpdate::default() },
            state_bytes: bytes(session.state.as_ref()),
            sensitive_bytes: bytes(session.sensitive_state.as_ref()),
        }
    }

    /// Replaces the state by `state` as JSON.
    ///
    /// # Errors
    /// [`StateError::Unwritable`], and [`StateError::TooLarge`] above [`STATE_BYTES_MAX`].
    pub fn state<T: Serialize + ?Sized>(self, state: &T) -> Result<Self, StateError> {
        self.state_payload(json(STATE, state)?)
    }

    /// Replaces the sensitive state by `state` as JSON.
    ///
    /// # Errors
    /// As [`state`](Self::state).
    pub fn sensitive_state<T: Serialize + ?Sized>(self, state: &T) -> Result<Self, StateError> {
        self.sensitive_state_payload(json(SENSITIVE_STATE, state)?)
    }

    /// Replaces the state by bytes of any kind.
    ///
    /// # Errors
    /// [`StateError::TooLarge`] if both states together are above [`STATE_BYTES_MAX`].
    pub fn state_payload(mut self, payload: Payload) -> Result<Self, StateError> {
        self.state_bytes = payload.inline.len();
        self.update.state = Some(payload);
        self.fitting()
    }

    /// Replaces the sensitive state by bytes of any kind.
    ///
    /// # Errors
    /// As [`state_payload`](Self::state_payload).
    pub fn sensitive_state_payload(mut self, payload: Payload) -> Result<Self, StateError> {
        self.sensitive_bytes = payload.inline.len();
        self.update.sensitive_state = Some(payload);
        self.fitting()
    }

    /// The session lives at least so long from now.
    pub fn extend(mut self, ttl: Duration) -> Self {
        self.update.extend_ttl = prost_types::Duration::try_from(ttl).ok();
        self
    }

    fn fitting(self) -> Result<Self, StateError> {
        let bytes = self.state_bytes + self.sensitive_bytes;
        if bytes > STATE_BYTES_MAX {
            return Err(StateError::TooLarge { bytes: bytes as u64, bytes_max: STATE_BYTES_MAX as u64 });
        }
        Ok(self)
    }
}

pub(crate) fn parse<T: DeserializeOwned>(
    what: &'static str,
    payload: Option<&Payload>,
) -> Result<Option<T>, StateError> {
    let parsed = payload.map(|payload| serde_json::from_slice(&payload.inline)).transpose();
    parsed.map_err(|error| StateError::Unexpected { what, line: error.line(), column: error.column() })
}

fn json<T: Serialize + ?Sized>(what: &'static str, state: &T) -> Result<Payload, StateError> {
    Payload::json(state).map_err(|_| StateError::Unwritable { what })
}
