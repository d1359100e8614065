//! From an offer to a stage of ours: the accept, the details, and whose a stage is after an answer that was lost.
//!
//! ```text
//!  accept ─┬─ 200 ───────────► details ─┬─ read ────────────────────► ours
//!          │                            ├─ refused, four times ─────► ours, and answered at once: nobody else will close it
//!          │                            └─ no answer ───────────────► in doubt
//!          ├─ 409 ─┬─ not in doubt ─────────────────────────────────► refused, and in doubt from now on
//!          │       └─ in doubt ─┐
//!          └─ no answer ────────┴─► details ─┬─ our machine, open ──► ours
//!                                            └─ else ───────────────► refused, or in doubt
//! ```
//!
//! An ordinary lost race is one 409, and another five seconds later, when the core asks for the second time; only that second one
//! makes the server collect the details.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    classify::{self, Accepted, NoDetails},
    client::Drone,
    note::Note,
    request::Request,
    spec::spec,
    stage_id::StageId,
    wire::{self, Details, is_open},
};
use crate::core::{
    id::ExternalId,
    input::AcquireError,
    task::{Identity, Spec},
};

/// Tries at the details of a stage that is ours. The server asks its forge for them, which has bad moments.
const DETAILS_TRIES_MAX: u32 = 4;
/// First pause between two of them; doubled each time.
const DETAILS_PAUSE: Duration = Duration::from_millis(250);
/// Stages in doubt at once; of more, one is forgotten, and asked about once more than needed.
const DOUBTS_MAX: usize = 10_000;

impl Drone {
    pub(super) async fn acquire(
        &self,
        external_id: &ExternalId,
        identity: &Identity,
    ) -> Result<Box<Spec>, AcquireError> {
        // No request can leave for such an id, so nothing was assigned.
        let id = StageId::parse(external_id).map_err(|error| AcquireError::Refused(error.to_string().into()))?;
        self.accept(id, &identity.delegate_id).await.map(Box::new)
    }

    async fn accept(&self, id: StageId, machine: &Arc<str>) -> Result<Spec, AcquireError> {
        let request = Request::accept(id, machine, self.client.options.request_timeout);
        let accepted = classify::accept(&request, &self.client.send(&request).await);
        // The server offers the next one as soon as this one has a machine, however long its details take.
        self.polls.settled(id);
        match accepted {
            Accepted::Ours(stage) => self.take(id, machine, &stage, None).await,
            Accepted::Taken(text) if self.doubt(id) => Err(AcquireError::Refused(text)),
            Accepted::Taken(text) => {
                let result = self.recover(id, machine, text).await;
                if matches!(result, Err(AcquireError::Refused(_))) {
                    self.settle(id);
                }
                result
            }
            Accepted::Refused(text) => {
                self.settle(id);
                Err(AcquireError::Refused(text))
            }
            Accepted::Unclear(text) => {
                self.doubt(id);
                // Whatever this finds, the request may still be on its way.
                self.recover(id, machine, text.clone()).await.map_err(|_| AcquireError::Unanswered(text))
            }
        }
    }

    /// The stage may be ours by an accept whose answer was lost.
    async fn recover(&self, id: StageId, machine: &Arc<str>, text: Arc<str>) -> Result<Spec, AcquireError> {
        let details = match self.client.details(id).await {
            Ok(details) => details,
            Err(NoDetails::Refused(text) | NoDetails::Failed(text)) => return Err(AcquireError::Unanswered(text)),
        };
        let row: Option<Bytes> = serde_json::from_slice::<Details<'_>>(&details)
            .ok()
            .and_then(|details| details.stage.map(|stage| Bytes::copy_from_slice(stage.get().as_bytes())));
        let stage: Option<wire::Stage> = row.as_deref().and_then(|row| serde_json::from_slice(row).ok());
        match (row, stage) {
            (Some(row), Some(stage)) if stage.machine == **machine && is_open(&stage.status) => {
                self.take(id, machine, &row, Some(details)).await
            }
            (_, Some(_)) => Err(AcquireError::Refused(text)),
            _ => Err(AcquireError::Unanswered(text)),
        }
    }

    /// It is ours.
    async fn take(
        &self,
        id: StageId,
        machine: &Arc<str>,
        row: &[u8],
        details: Option<Bytes>,
    ) -> Result<Spec, AcquireError> {
        let (Some(note), Ok(stage)) = (Note::of(row), serde_json::from_slice::<wire::Stage>(row)) else {
            self.doubt(id);
            return Err(AcquireError::Unanswered("the accept was answered with no stage".into()));
        };
        let details = match details {
            Some(details) => Ok(details),
            None => self.details(id).await?,
        };
        self.settle(id);
        self.watches.begin(machine, id);
        if details.as_ref().is_ok_and(|details| is_closed(details)) {
            // An accept brings a stage back to life that was cancelled since it was offered. Its build stays closed.
            self.watches.cancel(id);
        }
        Ok(spec(&stage, note, details.as_ref().map_err(|text| text.to_string())))
    }

    /// The details of a stage that is ours, or why the server has none.
    async fn details(&self, id: StageId) -> Result<Result<Bytes, Arc<str>>, AcquireError> {
        let mut pause = DETAILS_PAUSE;
        let mut tries = 1;
        loop {
            let failed = match self.client.details(id).await {
                Ok(details) => return Ok(Ok(details)),
                Err(failed) => failed,
            };
            if tries == DETAILS_TRIES_MAX {
                return match failed {
                    NoDetails::Refused(text) => Ok(Err(text)),
                    NoDetails::Failed(text) => {
                        // The next accept is answered by 409, and then this is known to be ours.
                        self.doubt(id);
                        Err(AcquireError::Unanswered(text))
                    }
                };
            }
            tokio::time::sleep(pause).await;
            (tries, pause) = (tries + 1, pause * 2);
        }
    }

    /// Puts the stage in doubt; false if it was before.
    fn doubt(&self, id: StageId) -> bool {
        let mut doubts = self.doubts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if doubts.len() >= DOUBTS_MAX && !doubts.contains(&id) {
            doubts.pop_first();
        }
        doubts.insert(id)
    }

    fn settle(&self, id: StageId) {
        self.doubts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&id);
    }
}

/// Whether the build of these details is over.
fn is_closed(details: &[u8]) -> bool {
    let details: Option<Details<'_>> = serde_json::from_slice(details).ok();
    details.and_then(|details| details.build).is_some_and(|build| !build.status.is_empty() && !is_open(&build.status))
}
