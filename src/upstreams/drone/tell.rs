//! A stage's steps on their way to the server, one PUT a call.
//!
//! ```text
//!  no steps registered ─► PUT stage, running, all steps ─┬─ 200 ──────────────► ids and versions noted
//!                                                        └─ 409, no answer ───► details ─┬─ running ─► ids are lost: no steps
//!                                                                                        ├─ pending ─► once more, fresh version
//!                                                                                        └─ closed ──► gone
//!  a step is behind ─► its log, if it ends ─► PUT step ─┬─ 200 ──────────────► noted
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
    note::Note,
    report::Row,
    request::Request,
    stage_id::StageId,
    steps::{self, Known, unix},
    wire::{self, is_open},
};
use crate::core::{
    effect::Tellable,
    input::{ReportError, Told},
};

impl Drone {
    pub(super) async fn tell(&self, news: &Tellable) -> Result<Told, ReportError> {
        let unsent = |error: &dyn std::fmt::Display| ReportError::Refused(error.to_string().into());
        let id = StageId::parse(&news.external_id).map_err(|error| unsent(&error))?;
        let note = Note::decode(&news.reply).map_err(|error| unsent(&error))?;
        let Some(told) = &news.told else { return self.register_steps(id, note, news).await };
        let mut known = Known::decode(told).map_err(|error| unsent(&error))?;
        let Some((nth, status)) = known.next(&news.steps) else { return Ok(Told::default()) };
        self.put_step(id, news, &known, nth, status).await?;
        known.told(nth, status);
        Ok(told_of(&known, news))
    }

    async fn register_steps(&self, id: StageId, note: Note, news: &Tellable) -> Result<Told, ReportError> {
        let running = |note: Note| note.running(unix(news.started), &steps::planned(id.stage, &news.steps));
        let text = match self.put(id, &running(note)).await {
            Put::Done(answer) => return registered(&answer, news),
            Put::Failed(error) => return Err(error),
            Put::Lost(text) | Put::Unclear(text) => text,
        };
        let row = self.open_row(id, news, &text).await?;
        if row.stage.status == wire::STATUS_RUNNING {
            let known = Known { version: row.version(), updated: row.updated(), lost: true, steps: Vec::new() };
            return Ok(told_of(&known, news));
        }
        match self.put(id, &running(row.note)).await {
            Put::Done(answer) => registered(&answer, news),
            Put::Failed(error) => Err(error),
            Put::Lost(text) | Put::Unclear(text) => Err(ReportError::Unanswered(text)),
        }
    }

    async fn put_step(
        &self,
        id: StageId,
        news: &Tellable,
        known: &Known,
        nth: usize,
        status: &'static str,
    ) -> Result<(), ReportError> {
        let step = &known.steps[nth];
        let Some(body) = steps::changed(id.stage, step, &news.steps, status) else { return Ok(()) };
        let timeout = self.client.options.request_timeout;
        if !matches!(status, wire::STATUS_RUNNING | wire::STATUS_SKIPPED) {
            let request = Request::upload(step.id, timeout);
            classify::upload(&request, &self.client.send(&request).await)?;
        }
        let request = Request::update_step(step.id, &body, timeout);
        match classify::put(&request, &self.client.send(&request).await) {
            Put::Done(_) => Ok(()),
            Put::Failed(error) => Err(error),
            Put::Unclear(text) => Err(ReportError::Unanswered(text)),
            Put::Lost(text) => self.open_row(id, news, &text).await.map(drop),
        }
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

fn registered(answer: &[u8], news: &Tellable) -> Result<Told, ReportError> {
    let known = Known::registered(answer, &news.steps);
    let known =
        known.ok_or_else(|| ReportError::Unanswered("the steps' registration was answered with no stage".into()))?;
    Ok(told_of(&known, news))
}

fn told_of(known: &Known, news: &Tellable) -> Told {
    Told { note: Some(known.encode()), behind: known.next(&news.steps).is_some() }
}
