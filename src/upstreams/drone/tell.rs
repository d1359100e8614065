//! A stage's steps on their way to the server, one PUT a call.
//!
//! ```text
//!  no steps registered ─► PUT stage, running, all steps ─┬─ 200 ──────────────► ids and versions noted
//!                                                        └─ 409, no answer ───► details ─┬─ running ─► ids are lost: no steps
//!                                                                                        ├─ pending ─► once more, fresh version
//!                                                                                        └─ closed ──► gone
//!  a later plan has more steps ─► the same, with these alone
//!
//!  a step is behind ─► log, card if it ends ─► PUT step ─┬─ 200 ──────────────► noted
//!                                                       ├─ no answer ────────► later, the same again
//!                                                       └─ 409, 500 of a lost race ─► details ─┬─ open ───► it was an earlier
//!                                                                                              │            one of ours: noted
//!                                                                                              └─ closed ─► gone
//! ```
//!
//! Besides us only a cancel writes a step, and it closes the stage as well; so an open stage whose step has moved was moved by us.

use std::sync::Arc;

use super::{
    classify::{self, Put, about},
    client::Drone,
    known::Known,
    note::Note,
    report::Row,
    request::Request,
    stage_id::StageId,
    steps::{self, unix},
    wire::{self, is_open},
};
use crate::core::{
    effect::Tellable,
    input::{ReportError, Told},
    step::Step,
};

impl Drone {
    pub(super) async fn tell(&self, news: &Tellable) -> Result<Told, ReportError> {
        let unsent = |error: &dyn std::fmt::Display| ReportError::Refused(error.to_string().into());
        let id = StageId::parse(&news.external_id).map_err(|error| unsent(&error))?;
        let note = Note::decode(&news.reply).map_err(|error| unsent(&error))?;
        self.logs.shelf.claim(id.stage);
        let known = match &news.told {
            None => self.register_steps(id, note, news).await?,
            Some(told) => {
                let known = Known::decode(told).map_err(|error| unsent(&error))?;
                self.logs.shelf.learn(id.stage, &known, &news.steps);
                let further = known.unregistered(&news.steps);
                if !further.is_empty() {
                    self.register_further(id, note, known, news, &further).await?
                } else if let Some((nth, status)) = known.next(&news.steps) {
                    self.put_step(id, news, known, nth, status).await?
                } else {
                    return Ok(Told::default());
                }
            }
        };
        self.logs.shelf.learn(id.stage, &known, &news.steps);
        let behind = !known.unregistered(&news.steps).is_empty() || known.next(&news.steps).is_some();
        Ok(Told { note: Some(known.encode()), behind })
    }

    async fn register_steps(&self, id: StageId, note: Note, news: &Tellable) -> Result<Known, ReportError> {
        let running =
            |note: Note| note.running(unix(news.started), &steps::planned(id.stage, &news.steps, &news.steps));
        let text = match self.put(id, &running(note)).await {
            Put::Done(answer) => return Known::registered(&answer, &news.steps).ok_or_else(no_stage),
            Put::Failed(error) => return Err(error),
            Put::Lost(text) | Put::Unclear(text) => text,
        };
        let row = self.open_row(id, news, &text).await?;
        if row.stage.status == wire::STATUS_RUNNING {
            return Ok(Known { version: row.version(), updated: row.updated(), lost: true, steps: Vec::new() });
        }
        match self.put(id, &running(row.note)).await {
            Put::Done(answer) => Known::registered(&answer, &news.steps).ok_or_else(no_stage),
            Put::Failed(error) => Err(error),
            Put::Lost(text) | Put::Unclear(text) => Err(ReportError::Unanswered(text)),
        }
    }

    /// Steps that only a later plan has: another runner took the stage over and found another way through it.
    async fn register_further(
        &self,
        id: StageId,
        note: Note,
        mut known: Known,
        news: &Tellable,
        further: &[Step],
    ) -> Result<Known, ReportError> {
        let bodies = steps::planned(id.stage, further, &news.steps);
        let stage = note.since(&known).running(unix(news.started), &bodies);
        let text = match self.put(id, &stage).await {
            Put::Done(answer) => {
                known.add(&answer, further).ok_or_else(no_stage)?;
                return Ok(known);
            }
            Put::Failed(error) => return Err(error),
            Put::Lost(text) | Put::Unclear(text) => text,
        };
        let row = self.open_row(id, news, &text).await?;
        if row.version() == known.version {
            return Err(ReportError::Unanswered(text));
        }
        (known.version, known.updated) = (row.version(), row.updated());
        known.lose(further);
        Ok(known)
    }

    /// What is known once the step has been told.
    async fn put_step(
        &self,
        id: StageId,
        news: &Tellable,
        mut known: Known,
        nth: usize,
        status: &'static str,
    ) -> Result<Known, ReportError> {
        let step = &known.steps[nth];
        let body = steps::changed(id.stage, step, &news.steps, status);
        let planned = news.steps.iter().find(|planned| planned.number == step.number);
        if let (Some(body), Some(planned)) = (body, planned) {
            if status != wire::STATUS_RUNNING {
                self.before_end(id.stage, step.id, planned).await?;
            }
            let request = Request::update_step(step.id, &body, self.client.options.request_timeout);
            match classify::put(&request, &self.client.send(&request).await) {
                Put::Done(_) => {}
                Put::Failed(error) => return Err(error),
                Put::Unclear(text) => return Err(ReportError::Unanswered(text)),
                Put::Lost(text) => drop(self.open_row(id, news, &text).await?),
            }
        }
        known.told(nth, status, &news.steps);
        Ok(known)
    }

    /// The stage as it is, if it is still ours and open.
    async fn open_row(&self, id: StageId, news: &Tellable, text: &Arc<str>) -> Result<Row, ReportError> {
        let row = self.row(id, text).await?;
        if is_open(&row.stage.status) && row.stage.machine == *news.identity.delegate_id {
            return Ok(row);
        }
        let request = Request::details(id, self.client.options.request_timeout);
        Err(ReportError::Gone(about(&request, format_args!("the server has ended the stage as {}", row.stage.status))))
    }
}

fn no_stage() -> ReportError {
    ReportError::Unanswered("the steps' registration was answered with no stage".into())
}
