//! A finished task as the final PUT of its stage, and who is right if the PUT's answer is lost or refused.
//!
//! | outcome | status | exit code | error |
//! |---|---|---|---|
//! | succeeded | success | 0 | |
//! | skipped | skipped | 0 | |
//! | failed | failure | 0 ¹ | the handler's, if it gave one |
//! | errored, or a result that was refused | error | 255 | why |
//! | timed out | killed | 137 | why |
//! | cancelled | killed | 137 | |
//!
//! ¹ As the server's own runners have it: the steps carry the codes.
//!
//! ```text
//!  PUT ─┬─ 200 ─────────────► reported
//!       ├─ 409, no answer ──► details ─┬─ our status ───────────────► reported: an earlier PUT, or the server, was first
//!       │                              ├─ open, and our machine ────► PUT once more at the fresh version
//!       │                              └─ any other ────────────────► gone: the server has ended it otherwise
//!       └─ else ────────────► as `classify` says
//! ```

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    classify::{self, NoDetails, Put, about},
    client::Drone,
    known::Known,
    note::{End, Note},
    request::Request,
    stage_id::StageId,
    steps::{self, unix},
    wire::{self, Details, is_open},
};
use crate::core::{
    effect::Answerable,
    input::ReportError,
    step::Step,
    task::{Finish, Outcome},
};

/// A stage as the server has it now.
pub(super) struct Row {
    pub note: Note,
    pub stage: wire::Stage,
}

impl Drone {
    pub(super) async fn report(&self, report: &Answerable) -> Result<(), ReportError> {
        let unsent = |error: &dyn std::fmt::Display| ReportError::Unsent(error.to_string().into());
        let id = StageId::parse(&report.external_id).map_err(|error| unsent(&error))?;
        let note = Note::decode(&report.spec.reply).map_err(|error| unsent(&error))?;
        self.watches.end(id);
        let end = end(report, &note);
        let known = report.told.as_deref().map(Known::decode).transpose().map_err(|error| unsent(&error))?;
        let stage = match &known {
            Some(known) => {
                let outcome = if report.refusal.is_some() { Outcome::Errored } else { report.finish.outcome };
                self.settle_steps(id, known, &report.steps).await?;
                let steps = steps::ended(id.stage, known, &report.steps, outcome, report.finished);
                note.since(known).ended(&end, &steps)
            }
            None => note.ended(&end, &[]),
        };
        let result = match self.put(id, &stage).await {
            Put::Done(_) => Ok(()),
            Put::Failed(error) => Err(error),
            Put::Lost(text) | Put::Unclear(text) => self.resolve(id, &report.identity.delegate_id, &end, text).await,
        };
        if matches!(result, Ok(()) | Err(ReportError::Gone(_))) {
            self.logs.shelf.leave(id.stage);
        }
        result
    }

    /// Logs and cards of the steps that end with their stage: detached ones, and those of a runner that is gone.
    async fn settle_steps(&self, id: StageId, known: &Known, steps: &[Step]) -> Result<(), ReportError> {
        self.logs.shelf.claim(id.stage);
        self.logs.shelf.learn(id.stage, known, steps);
        // All wait for their runner at the same time.
        self.logs.shelf.ending(id.stage, known.open(steps).map(|(_, step)| &*step.id));
        for (server_id, step) in known.open(steps) {
            self.before_end(id.stage, server_id, step).await?;
        }
        Ok(())
    }

    pub(super) async fn put(&self, id: StageId, stage: &Map<String, Value>) -> Put {
        let request = Request::update_stage(id, stage, self.client.options.request_timeout);
        classify::put(&request, &self.client.send(&request).await)
    }

    /// Reads the stage again, after a PUT that failed as `text` says.
    pub(super) async fn row(&self, id: StageId, text: &Arc<str>) -> Result<Row, ReportError> {
        let details = match self.client.details(id).await {
            Ok(details) => details,
            Err(NoDetails::Refused(text)) => return Err(ReportError::Fault(text)),
            Err(NoDetails::Failed(text)) => return Err(ReportError::Unanswered(text)),
        };
        let row = serde_json::from_slice::<Details<'_>>(&details).ok().and_then(|details| details.stage);
        let row = row.map(|row| row.get().as_bytes());
        let row = row.and_then(|row| Some(Row { note: Note::of(row)?, stage: serde_json::from_slice(row).ok()? }));
        row.ok_or_else(|| ReportError::Unanswered(text.clone()))
    }

    /// Reads the stage again, and goes by what it says. Its steps stay as they are: what the server knows of them is not certain.
    async fn resolve(&self, id: StageId, machine: &str, end: &End, text: Arc<str>) -> Result<(), ReportError> {
        let Row { note, stage } = self.row(id, &text).await?;
        if is_ours(&stage.status, end.status) {
            return Ok(());
        }
        if !is_open(&stage.status) || stage.machine != machine {
            let request = Request::details(id, self.client.options.request_timeout);
            let what = format_args!("the server has ended the stage as {}, not as {}", stage.status, end.status);
            return Err(ReportError::Gone(about(&request, what)));
        }
        match self.put(id, &note.ended(end, &[])).await {
            Put::Done(_) => Ok(()),
            Put::Failed(error) => Err(error),
            // It changes under our hands; the core comes back to it.
            Put::Lost(text) | Put::Unclear(text) => Err(ReportError::Unanswered(text)),
        }
    }
}

// === impl Row ===

impl Row {
    pub fn version(&self) -> i64 {
        self.number("version")
    }

    pub fn updated(&self) -> i64 {
        self.number("updated")
    }

    fn number(&self, key: &str) -> i64 {
        self.note.stage.get(key).and_then(Value::as_i64).unwrap_or_default()
    }
}

/// Whether the stage's status says what we would. The server closes what it cancels itself, and calls it skipped if it had not begun.
fn is_ours(theirs: &str, ours: &str) -> bool {
    theirs == ours || (ours == wire::STATUS_KILLED && theirs == wire::STATUS_SKIPPED)
}

fn end(report: &Answerable, note: &Note) -> End {
    let finish = &report.finish;
    let outcome = if report.refusal.is_some() { Outcome::Errored } else { finish.outcome };
    let (status, exit_code) = match outcome {
        Outcome::Succeeded => (wire::STATUS_SUCCESS, 0),
        Outcome::Skipped => (wire::STATUS_SKIPPED, 0),
        Outcome::Failed => (wire::STATUS_FAILURE, 0),
        Outcome::Errored => (wire::STATUS_ERROR, wire::EXIT_ERROR),
        Outcome::Cancelled | Outcome::TimedOut => (wire::STATUS_KILLED, wire::EXIT_KILLED),
    };
    let mut error = match (&report.refusal, &note.trouble, outcome) {
        (Some(refusal), _, _) => format!("RESULT_REFUSED: {refusal}"),
        (None, Some(trouble), Outcome::Errored) => format!("the stage's details can't be used: {trouble}"),
        (_, _, Outcome::Succeeded | Outcome::Skipped | Outcome::Cancelled) => String::new(),
        (_, _, Outcome::Failed | Outcome::Errored | Outcome::TimedOut) => explain(finish),
    };
    error.truncate(error.floor_char_boundary(wire::ERROR_BYTES_MAX));
    let stopped = unix(report.finished);
    End { status, exit_code, error, started: report.started.map_or(stopped, unix), stopped }
}

/// `<reason>: <text>`, or what there is of it.
fn explain(finish: &Finish) -> String {
    match (&finish.error, finish.outcome) {
        (Some(error), _) if error.reason.is_empty() => error.message.to_string(),
        (Some(error), _) if error.message.is_empty() => error.reason.to_string(),
        (Some(error), _) => format!("{}: {}", error.reason, error.message),
        (None, Outcome::TimedOut) => "the stage's time is over".to_owned(),
        (None, Outcome::Errored) => "the handler gave no text".to_owned(),
        (None, _) => String::new(),
    }
}
