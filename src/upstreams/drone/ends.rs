//! What the server gets of a step before the PUT that ends it: its whole log, then its card.
//!
//! A card is tried once each time, and nothing waits for it: a server that is away does not take the PUT either, and then it is tried
//! again; one without cards says 404, and is not asked any more.

use std::sync::atomic::Ordering;

use serde_json::value::RawValue;

use super::{
    classify::{self, Carded},
    client::Drone,
    request::Request,
    wire,
};
use crate::core::{
    input::ReportError,
    step::{Step, StepState},
};

impl Drone {
    /// `server_id` is the step's.
    ///
    /// # Errors
    /// The server did not take the log now: the same again, later.
    pub(super) async fn before_end(&self, stage: i64, server_id: i64, step: &Step) -> Result<(), ReportError> {
        // The server's own runners upload nothing for what never ran.
        if step.has_log || !matches!(step.state, StepState::Pending | StepState::Skipped) {
            self.logs.settle(stage, server_id, step).await?;
        }
        self.send_card(server_id, step).await;
        Ok(())
    }

    async fn send_card(&self, server_id: i64, step: &Step) {
        let Some(card) = step.card.as_ref().filter(|_| !self.has_no_cards.load(Ordering::Relaxed)) else { return };
        let Ok(data) = serde_json::from_slice::<&RawValue>(&card.data) else { return };
        let card = wire::Card { schema: &card.schema_uri, data };
        let request = Request::card(server_id, &card, self.client.options.request_timeout);
        match classify::card(&request, &self.client.send(&request).await) {
            Carded::Done => {}
            Carded::NoCards => self.has_no_cards.store(true, Ordering::Relaxed),
            Carded::Refused(reason) | Carded::Unclear(reason) => {
                tracing::warn!(step = %step.id, %reason, "the server does not take a step's card");
            }
        }
    }
}
