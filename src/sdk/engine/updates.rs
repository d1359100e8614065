//! News of running tasks: progress, of which the latest wins, and updates, which are kept until acknowledged.

use std::collections::VecDeque;

use prost::Message as _;

use super::{Effect, Engine, send::ENVELOPE_BYTES_MAX};
use crate::{
    proto::runner::v1::{OutputSet, Progress, TaskUpdate, task_update::Update},
    sdk::{
        holdings::{Held, LeaseId, Phase},
        output::OutputError,
        stream::Outgoing,
    },
};

/// Updates that may be unacknowledged, over all leases; the next one waits. From the protocol.
pub(crate) const UPDATES_UNACKNOWLEDGED_MAX: usize = 1024;

/// Outputs that wait for room.
#[derive(Debug)]
pub(super) struct WaitingOutput {
    pub ticket: u64,
    pub lease_id: LeaseId,
    pub outputs: OutputSet,
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
        self.waiting.push_back(WaitingOutput { ticket, lease_id: lease_id.clone(), outputs });
        self.admit_outputs();
    }

    pub(super) fn keep_update(&mut self, lease_id: &LeaseId, update: Update) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        held.last_number += 1;
        let number = held.last_number;
        let update = TaskUpdate { lease_id: lease_id.to_string(), number, event_time: None, update: Some(update) };
        held.updates.insert(number, update);
        self.updates_unacknowledged += 1;
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.welcomed) {
            stream.queue.push_back(Outgoing::Update(lease_id.clone(), number));
        }
    }

    pub(super) fn admit_outputs(&mut self) {
        while self.updates_unacknowledged < UPDATES_UNACKNOWLEDGED_MAX {
            let Some(WaitingOutput { ticket, lease_id, outputs }) = self.waiting.pop_front() else { return };
            let running =
                matches!(self.held.get(&lease_id), Some(Held { phase: Phase::Running(run), .. }) if !run.killed);
            let bytes = outputs.encoded_len() as u64 + ENVELOPE_BYTES_MAX;
            let outcome = if !running {
                Err(OutputError::TaskEnded)
            } else if bytes > self.terms.frame_bytes_max {
                Err(OutputError::TooLarge { bytes, bytes_max: self.terms.frame_bytes_max })
            } else {
                self.keep_update(&lease_id, Update::Outputs(outputs));
                Ok(())
            };
            self.effects.push_back(Effect::Taken { ticket, outcome });
        }
    }

    pub(super) fn drop_waiting(&mut self, lease_id: &LeaseId) {
        let (dropped, kept) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.lease_id == *lease_id);
        self.waiting = kept;
        for waiting in VecDeque::<WaitingOutput>::into_iter(dropped) {
            self.effects.push_back(Effect::Taken { ticket: waiting.ticket, outcome: Err(OutputError::TaskEnded) });
        }
    }
}
