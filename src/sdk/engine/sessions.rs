//! The sessions that held tasks belong to, as last told, and the changes of their state that are on their way.
//!
//! A change names the *version* of the state it was made from, which is counted here, and takes the delegate's etag along when it
//! leaves: etags change without the state (and on this runner's own changes before it is told), versions don't. So an update that
//! the delegate refused as stale goes out again with the newest etag if the state is still the one it was made from, and is the
//! handler's to make anew if it isn't.
//!
//! ```text
//! waiting ─► sent ──(acknowledged)──► written
//!               └──(refused as stale)──► refused ──(Session: the same state)──► sent again, under a new number
//!                                           └──────(Session: another one)─────► stale
//! ```

use std::{collections::btree_map::Entry, sync::Arc};

use tokio::sync::watch;

use super::{Effect, Engine, updates::Waiting};
use crate::{
    proto::runner::v1::{Session, SessionStateUpdate, TaskUpdate, task_update::Update},
    sdk::{
        holdings::{Held, LeaseId, Phase, Write},
        outcome::Failure,
        reason,
        refusal::Refusal,
        session::Snapshot,
        stream::Outgoing,
    },
};

impl Engine {
    /// Takes in the session that a task was assigned with.
    pub(super) fn see(&mut self, session: Session) {
        match self.sessions.entry(session.session_id.as_str().into()) {
            Entry::Vacant(entry) => {
                entry.insert(watch::Sender::new(Arc::new(Snapshot { version: 1, session })));
            }
            Entry::Occupied(view) => view.get().send_modify(|newest| {
                let is_same =
                    newest.session.state == session.state && newest.session.sensitive_state == session.sensitive_state;
                *newest = Arc::new(Snapshot { version: newest.version + u64::from(!is_same), session });
            }),
        }
    }

    /// The newest form of a session; one that no held task belongs to is passed over.
    pub(super) fn session_told(&mut self, session: Session) {
        if self.sessions.contains_key(session.session_id.as_str()) {
            let session_id: Arc<str> = session.session_id.as_str().into();
            self.see(session);
            self.settle(&session_id);
        }
    }

    /// For the handler of a task that belongs to one.
    pub(super) fn subscribe(&self, session_id: Option<&Arc<str>>) -> Option<watch::Receiver<Arc<Snapshot>>> {
        session_id.and_then(|session_id| self.sessions.get(session_id)).map(watch::Sender::subscribe)
    }

    /// The etag for a change made from version `base`: the newest one, if the state is still that one. Otherwise the change goes out
    /// all the same, with its old one: it may be one that was journalled on a stream before, which the delegate knows by its number.
    pub(super) fn set_etag(&self, session_id: Option<&Arc<str>>, base: u64, update: &mut SessionStateUpdate) {
        let newest = session_id.and_then(|session_id| self.sessions.get(session_id)).map(|view| view.borrow());
        if let Some(newest) = newest.filter(|newest| newest.version == base) {
            update.expected_etag.clone_from(&newest.session.etag);
        }
    }

    /// A change is in the delegate's journal.
    pub(super) fn state_written(&mut self, lease_id: &LeaseId, number: u64) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        let Some(write) = held.writes.remove(&number) else { return };
        let session_id = held.session_id.clone();
        if let Some(TaskUpdate { update: Some(Update::SessionState(update)), .. }) = held.updates.get(&number)
            && let Some(view) = session_id.and_then(|session_id| self.sessions.get(&session_id))
        {
            // Told already: the state in force is this one, or a later one.
            let is_news = view.borrow().version == write.base;
            if is_news {
                view.send_modify(|newest| *newest = Arc::new(newest.with(update)));
            }
        }
        self.effects.push_back(Effect::Taken { ticket: write.ticket, outcome: Ok(()) });
    }

    /// The delegate refused a change, which does not end its task.
    pub(super) fn state_refused(&mut self, lease_id: &LeaseId, number: u64, reason: String, message: String) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        let Some(write) = held.writes.remove(&number) else { return };
        let Some(TaskUpdate { update: Some(Update::SessionState(update)), .. }) = held.updates.get(&number) else {
            return;
        };
        if reason == reason::SESSION_ETAG_STALE {
            held.refused.push((write, update.clone()));
            if let Some(session_id) = held.session_id.clone() {
                self.settle_outdated(&session_id);
            }
        } else {
            let outcome = Err(Refusal::Refused { reason, message });
            self.effects.push_back(Effect::Taken { ticket: write.ticket, outcome });
        }
    }

    /// The delegate refused a result, since the state that rides with it was made from an outdated one.
    pub(super) fn result_stale(&mut self, lease_id: &LeaseId) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        // Heartbeats name the lease again until the result goes out anew.
        (held.result_stale, held.result_sent) = (true, false);
        if let Some(session_id) = held.session_id.clone() {
            self.settle_outdated(&session_id);
        }
    }

    /// The session takes no changes any more: the result goes without its own.
    pub(super) fn result_without_state(&mut self, lease_id: &LeaseId) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        let Phase::Finished(result) = &mut held.phase else { return };
        if result.session_state.take().is_none() {
            return self.lose(lease_id);
        }
        held.result_sent = false;
        self.send_result(lease_id);
    }

    /// The link is gone, and with it the word on what was refused: it goes out once more on the next one.
    pub(super) fn retry_refused(&mut self) {
        let mut again = Vec::new();
        for (lease_id, held) in &mut self.held {
            held.result_stale = false;
            again.extend(std::mem::take(&mut held.refused).into_iter().map(|refused| (lease_id.clone(), refused)));
        }
        for (lease_id, (write, update)) in again.into_iter().rev() {
            self.waiting.push_front(Waiting::of(&lease_id, &write, update));
        }
        self.admit_updates();
    }

    /// Removes a session that no held task belongs to.
    pub(super) fn forget_session(&mut self, session_id: &Arc<str>) {
        if !self.held.values().any(|held| held.session_id.as_ref() == Some(session_id)) {
            self.sessions.remove(session_id);
        }
    }

    /// Decides on the refused changes that can't count any more.
    fn settle_outdated(&mut self, session_id: &Arc<str>) {
        let Some(version) = self.sessions.get(session_id).map(|view| view.borrow().version) else { return };
        let mut conflicts = Vec::new();
        for (lease_id, held) in &mut self.held {
            if held.session_id.as_ref() != Some(session_id) {
                continue;
            }
            for (write, _) in held.refused.extract_if(.., |(write, _)| write.base != version) {
                self.effects.push_back(Effect::Taken { ticket: write.ticket, outcome: Err(Refusal::Stale) });
            }
            if held.result_stale && held.result_base != version {
                conflicts.push(lease_id.clone());
            }
        }
        for lease_id in conflicts {
            self.fail_stale_result(&lease_id);
        }
    }

    /// Decides on all refused changes, now that the state in force is known.
    fn settle(&mut self, session_id: &Arc<str>) {
        self.settle_outdated(session_id);
        let mut results = Vec::new();
        for (lease_id, held) in &mut self.held {
            if held.session_id.as_ref() != Some(session_id) {
                continue;
            }
            for (write, update) in held.refused.drain(..).rev() {
                self.waiting.push_front(Waiting::of(lease_id, &write, update));
            }
            if std::mem::take(&mut held.result_stale) {
                results.push(lease_id.clone());
            }
        }
        self.admit_updates();
        for lease_id in results {
            self.send_result(&lease_id);
        }
    }

    /// What the task left on purpose stays; the success that it could not keep is none.
    fn fail_stale_result(&mut self, lease_id: &LeaseId) {
        let Some(Held { phase: Phase::Finished(result), .. }) = self.held.get_mut(lease_id) else { return };
        let outputs = std::mem::take(&mut result.outputs);
        let message = "another task changed the session's state meanwhile, so that this task's change was not kept";
        let mut failure = Failure::errored(reason::SESSION_ETAG_STALE, message).side_effects(true).into_result();
        failure.outputs = outputs;
        self.finish(lease_id, failure);
    }

    pub(super) fn send_result(&mut self, lease_id: &LeaseId) {
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.welcomed) {
            stream.push_once(Outgoing::Result(lease_id.clone()));
        }
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// As it is once `update` counts; its etag is not known yet.
    fn with(&self, update: &SessionStateUpdate) -> Self {
        let mut session = self.session.clone();
        let before = (session.state.clone(), session.sensitive_state.clone());
        session.state = update.state.clone().or(session.state);
        session.sensitive_state = update.sensitive_state.clone().or(session.sensitive_state);
        let is_same = before == (session.state.clone(), session.sensitive_state.clone());
        Self { version: self.version + u64::from(!is_same), session }
    }
}

// === impl Waiting ===

impl Waiting {
    fn of(lease_id: &LeaseId, write: &Write, update: SessionStateUpdate) -> Self {
        let update = Update::SessionState(update);
        Self { ticket: write.ticket, lease_id: lease_id.clone(), update, base: write.base }
    }
}
