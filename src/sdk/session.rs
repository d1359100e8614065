//! The state that the setup, the executes and the cleanup of one stage share, as a handler sees it.
//!
//! The delegate owns and journals it, so a runner needs no memory: it may be restarted between a setup and its cleanup. A change is
//! compare-and-set: it counts only if nobody changed the state since this handler saw it.

use std::{fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    context::News,
    holdings::LeaseId,
    refusal::Refusal,
    state::{SENSITIVE_STATE, STATE, StateChange, StateError, parse},
};
use crate::proto::runner::v1::{self as proto, ExportedVariable, Payload, SessionPhase};

/// How often [`Session::update`] begins anew because another task was faster. A stage has a handful of tasks at once, so that more
/// than these means that the closure's work is not the problem.
pub const UPDATE_TRIES_MAX: usize = 8;

/// A session as it was when the handler looked; changes and [`changed`](Self::changed) move it on. Prints ids only.
///
/// ```no_run
/// use dlite::sdk::{Context, Failure, Payload, Success};
///
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct Stage {
///     steps: Vec<String>,
/// }
///
/// async fn execute(task: Context, _: Payload) -> Result<Success, Failure> {
///     let mut session = task.session().ok_or_else(|| Failure::invalid("the task belongs to no session"))?;
///     // Durable when it returns; another step that was faster is seen by the closure.
///     let stage: Stage = session.update(|stage: &mut Stage| stage.steps.push(task.task_id().to_owned())).await?;
///     // Durable together with the result.
///     let change = session.change().state(&stage)?;
///     Ok(Success::new().session_state(change))
/// }
/// ```
#[derive(Clone)]
pub struct Session {
    lease_id: LeaseId,
    seen: Arc<Snapshot>,
    newest: watch::Receiver<Arc<Snapshot>>,
    news: mpsc::Sender<News>,
}

/// A session as the delegate told it, or as it is after an acknowledged change.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Grows whenever the state is another one; the delegate's etag may change without that.
    pub version: u64,
    pub session: proto::Session,
}

// === impl Session ===

impl Session {
    pub(crate) fn new(lease_id: LeaseId, newest: watch::Receiver<Arc<Snapshot>>, news: mpsc::Sender<News>) -> Self {
        let seen = newest.borrow().clone();
        Self { lease_id, seen, newest, news }
    }

    /// The delegate's id of it, up to 64 bytes of visible ASCII; the same for all its tasks.
    pub fn id(&self) -> &str {
        &self.proto().session_id
    }

    /// The upstream's id of the stage.
    pub fn external_id(&self) -> &str {
        &self.proto().external_id
    }

    /// Where it is in its life.
    pub fn phase(&self) -> SessionPhase {
        match self.proto().phase() {
            SessionPhase::Unspecified => SessionPhase::Ready,
            phase => phase,
        }
    }

    /// This cleanup is the delegate's own, since the upstream never sent one; its payload is the setup's.
    pub fn is_synthesized_cleanup(&self) -> bool {
        self.proto().synthesized_cleanup
    }

    /// What earlier tasks exported, see [`Output::exported`](super::Output::exported); they print their names only.
    pub fn exported_variables(&self) -> &[ExportedVariable] {
        &self.proto().exported_variables
    }

    /// The exported variable called `name`.
    pub fn exported(&self, name: &str) -> Option<&str> {
        self.exported_variables().iter().find(|variable| variable.name == name).map(|variable| variable.value.as_str())
    }

    /// The state read as JSON. `None`: nobody has set one.
    ///
    /// # Errors
    /// [`StateError::Unexpected`] if it is no such JSON.
    pub fn state<T: DeserializeOwned>(&self) -> Result<Option<T>, StateError> {
        parse(STATE, self.state_payload())
    }

    /// As [`state`](Self::state), of what is never shown to anybody but handlers.
    ///
    /// # Errors
    /// [`StateError::Unexpected`] if it is no such JSON.
    pub fn sensitive_state<T: DeserializeOwned>(&self) -> Result<Option<T>, StateError> {
        parse(SENSITIVE_STATE, self.sensitive_state_payload())
    }

    /// The state as it stands.
    pub fn state_payload(&self) -> Option<&Payload> {
        self.proto().state.as_ref()
    }

    /// The sensitive state as it stands.
    pub fn sensitive_state_payload(&self) -> Option<&Payload> {
        self.proto().sensitive_state.as_ref()
    }

    /// The whole session, for what has no method here.
    pub fn proto(&self) -> &proto::Session {
        &self.seen.session
    }

    /// The session as it is now.
    pub fn newest(&self) -> Self {
        let mut newest = self.clone();
        newest.look();
        newest
    }

    /// Waits until another task, or an upstream, has changed the session since this handle looked, and moves on to that.
    pub async fn changed(&mut self) {
        // A runner that is gone takes this future along.
        match self.newest.changed().await {
            Ok(()) => self.look(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Begins a change of what this handle has seen.
    pub fn change(&self) -> StateChange {
        StateChange::of(self.seen.version, self.proto())
    }

    /// Replaces the state by `state` as JSON; returns when that is durable.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn set_state<T: Serialize + ?Sized>(&mut self, state: &T) -> Result<(), StateError> {
        self.set(self.change().state(state)?).await
    }

    /// As [`set_state`](Self::set_state), of what is never shown to anybody but handlers.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn set_sensitive_state<T: Serialize + ?Sized>(&mut self, state: &T) -> Result<(), StateError> {
        self.set(self.change().sensitive_state(state)?).await
    }

    /// Makes the change; returns when it is durable, link up or not. Dropped while it waits, it may still be made. Afterwards
    /// this handle shows the state in force.
    ///
    /// # Errors
    /// [`StateError::Stale`] holds the newest state if another task was faster.
    pub async fn set(&mut self, change: StateChange) -> Result<(), StateError> {
        let (written, answer) = oneshot::channel();
        let news = News::State { lease_id: self.lease_id.clone(), change, written };
        self.news.send(news).await.map_err(|_| StateError::TaskEnded)?;
        match answer.await.unwrap_or(Err(Refusal::TaskEnded)) {
            Ok(()) => {
                self.look();
                Ok(())
            }
            Err(Refusal::Stale) => Err(StateError::Stale { newest: Box::new(self.newest()) }),
            Err(Refusal::Refused { reason, message }) => Err(StateError::Refused { reason, message }),
            Err(Refusal::TooLarge { bytes, bytes_max }) => Err(StateError::TooLarge { bytes, bytes_max }),
            Err(Refusal::TaskEnded) => Err(StateError::TaskEnded),
        }
    }

    /// Changes the state in place and makes it durable; with a default one where there is none. Begins anew with the newest state,
    /// up to [`UPDATE_TRIES_MAX`] times, if another task was faster. Returns the state as set.
    ///
    /// # Errors
    /// As [`set`](Self::set); [`StateError::Stale`] only after the last try.
    pub async fn update<T, F>(&mut self, mut change: F) -> Result<T, StateError>
    where
        T: Serialize + DeserializeOwned + Default,
        F: FnMut(&mut T),
    {
        let mut tries = 1;
        loop {
            let mut state: T = self.state()?.unwrap_or_default();
            change(&mut state);
            match self.set_state(&state).await {
                Ok(()) => return Ok(state),
                Err(StateError::Stale { newest }) if tries < UPDATE_TRIES_MAX => {
                    tries += 1;
                    *self = *newest;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn look(&mut self) {
        self.seen = self.newest.borrow_and_update().clone();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id())
            .field("external_id", &self.external_id())
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(state: &[u8]) -> Session {
        let payload = Payload::new("application/json", state.to_vec());
        let session = proto::Session {
            session_id: "s-1".to_owned(),
            etag: "e-1".to_owned(),
            state: Some(payload.clone()),
            sensitive_state: Some(payload),
            ..proto::Session::default()
        };
        let (_, newest) = watch::channel(Arc::new(Snapshot { version: 1, session }));
        Session::new("lease-1".into(), newest, mpsc::channel(1).0)
    }

    #[test]
    fn a_state_that_is_not_as_expected_is_told_by_its_place_and_never_by_its_text() {
        let session = session(br#"{"a": "hush"}"#);
        type Numbers = std::collections::BTreeMap<String, u32>;
        for error in [session.state::<Numbers>().map(drop), session.sensitive_state::<Numbers>().map(drop)] {
            let error = error.expect_err("text is no number");
            assert!(error.to_string().ends_with("is not as expected at line 1, column 12"), "{error}");
            assert!(!format!("{error:?} {session:?} {:?}", session.change()).contains("hush"));
        }
    }

    #[test]
    fn both_states_together_are_bounded_also_when_one_of_them_stays() {
        let change = session(&vec![b'1'; 100 * 1024]).change();
        let small = "x".repeat(90 * 1024);
        assert!(change.clone().state(&small).is_ok());
        let large = "x".repeat(93 * 1024);
        let error = change.clone().state(&large).expect_err("too large");
        assert!(matches!(error, StateError::TooLarge { bytes_max: 196_608, .. }), "{error}");
        assert!(change.state(&small).and_then(|change| change.sensitive_state(&large)).is_ok());
    }
}
