//! News of running tasks: progress, of which the latest wins, and updates, which are kept until acknowledged.

use std::collections::VecDeque;

use super::{Effect, Engine, send::ENVELOPE_BYTES_MAX};
use crate::{
    proto::runner::v1::{OutputSet, Progress, TaskUpdate, task_update::Update},
    sdk::{
        holdings::{Held, LeaseId, Phase, Write},
        refusal::Refusal,
        state::StateChange,
        stream::Outgoing,
    },
};

/// Updates that may be unacknowledged, over all leases; the next one waits. From the protocol.
pub(crate) const UPDATES_UNACKNOWLEDGED_MAX: usize = 1024;

/// Outputs, or a session's state, that wait for room.
#[derive(Debug)]
pub(super) struct Waiting {
    pub ticket: u64,
    pub lease_id: LeaseId,
    pub update: Update,
    /// Version of the session's state that a change was made from; of no meaning for outputs.
    pub base: u64,
}

impl Engine {
    /// News for people; the latest wins.
    pub fn progress(&mut self, lease_id: &LeaseId, progress: Progress) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.welcomed) else { return };
        if matches!(held.phase, Phase::Running(_)) && held.progress.replace(progress).is_none() {
            stream.queue.push_back(Outgoing::Progress(lease_id.clone()));
        }
    }

    /// Outputs of a running handler; answered by [`Effect::Taken`], which waits while too many are unacknowledged.
    pub fn output(&mut self, lease_id: &LeaseId, ticket: u64, outputs: OutputSet) {
        let (lease_id, update) = (lease_id.clone(), Update::Outputs(outputs));
        self.waiting.push_back(Waiting { ticket, lease_id, update, base: 0 });
        self.admit_updates();
    }

    /// A plan or a step of a running handler; answered as outputs are.
    pub fn steps(&mut self, lease_id: &LeaseId, ticket: u64, update: Update) {
        self.waiting.push_back(Waiting { ticket, lease_id: lease_id.clone(), update, base: 0 });
        self.admit_updates();
    }

    /// A session's state from a running handler; answered by [`Effect::Taken`] once it is durable, or refused.
    pub fn set_state(&mut self, lease_id: &LeaseId, ticket: u64, change: StateChange) {
        let StateChange { base, update, .. } = change;
        let (lease_id, update) = (lease_id.clone(), Update::SessionState(update));
        self.waiting.push_back(Waiting { ticket, lease_id, update, base });
        self.admit_updates();
    }

    pub(super) fn keep_update(&mut self, lease_id: &LeaseId, update: Update) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        let number = held.next_number();
        let update = TaskUpdate { lease_id: lease_id.to_string(), number, event_time: None, update: Some(update) };
        held.updates.insert(number, update);
        self.updates_unacknowledged += 1;
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.welcomed) {
            stream.queue.push_back(Outgoing::Update(lease_id.clone(), number));
        }
    }

    pub(super) fn admit_updates(&mut self) {
        while self.updates_unacknowledged < UPDATES_UNACKNOWLEDGED_MAX {
            let Some(Waiting { ticket, lease_id, update, base }) = self.waiting.pop_front() else { return };
            let bytes_max = self.terms.frame_bytes_max;
            let bytes = update.encoded_len() as u64 + ENVELOPE_BYTES_MAX;
            let outcome = match self.held.get_mut(&lease_id) {
                Some(held) if matches!(&held.phase, Phase::Running(run) if !run.killed) => {
                    if bytes > bytes_max {
                        Err(Refusal::TooLarge { bytes, bytes_max })
                    } else if let Update::SessionState(_) = update {
                        // Its outcome is the delegate's.
                        held.writes.insert(held.last_number + 1, Write { ticket, base });
                        self.keep_update(&lease_id, update);
                        continue;
                    } else {
                        self.keep_update(&lease_id, update);
                        Ok(())
                    }
                }
                Some(_) | None => Err(Refusal::TaskEnded),
            };
            self.effects.push_back(Effect::Taken { ticket, outcome });
        }
    }

    /// The handler has ended: nobody waits for its updates any more. Those that were kept still go out.
    pub(super) fn drop_waiting(&mut self, lease_id: &LeaseId) {
        let (dropped, kept): (VecDeque<_>, _) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.lease_id == *lease_id);
        self.waiting = kept;
        let waiting = dropped.into_iter().map(|waiting| waiting.ticket);
        let writes = self.held.get_mut(lease_id).map(Held::take_writes).unwrap_or_default();
        for ticket in waiting.chain(writes) {
            self.effects.push_back(Effect::Taken { ticket, outcome: Err(Refusal::TaskEnded) });
        }
    }
}
