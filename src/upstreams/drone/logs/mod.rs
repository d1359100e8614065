//! Logs of a stage's steps: live while they run, and whole once, before the server hears of their end.
//!
//! ```text
//!  step runs ─► batches ─► log closed ─► whole ─► card ─► last PUT of the step
//! ```
//!
//! | what | how |
//! |---|---|
//! | no line before the step runs | batches and the whole wait until the server was told so |
//! | a batch | about one a second; 500: nobody keeps a live log of it now, and later ones may be taken |
//! | the whole | once; as `null` if the step has no log. One that is there already is what was wanted |
//! | the last PUT waits for it | [`LOG_WAIT`] for its runner to close it, [`UPLOAD_WAIT_MAX`] or [`FAULTS_MAX`] refusals for the server to take it; then it goes first, and the log follows |
//!
//! So a log never holds the result up for ever, and no line is lost to an outage: an upload that finds no server is tried again like a
//! PUT that finds none. Steps whose ids are lost (see `tell`) have no log there.

mod body;
mod shelf;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{sync::Semaphore, time::Instant};

pub(super) use self::shelf::Shelf;
use self::shelf::{OnServer, StillOpen, Upload, Way};
use super::{
    classify::{self, about},
    client::Client,
    note::Note,
    request::Request,
};
use crate::{
    core::{input::ReportError, step::Step, task::Spec},
    logs::{
        record::Record,
        sink::{Delivery, Failure, Sent, Sink},
        spool::Log,
    },
};

/// How long a step's end waits for its runner to close the step's log. A runner of the SDK closes it before.
pub const LOG_WAIT: Duration = Duration::from_secs(10);
/// How long it waits for a server that does not answer an upload. An outage that is longer costs the order, not the log.
pub const UPLOAD_WAIT_MAX: Duration = Duration::from_secs(600);
/// Refusals of an upload that it waits for.
const FAULTS_MAX: u32 = 3;
/// Refusals after which a log is given up.
const FAULTS_IN_ALL_MAX: u32 = 8;
/// Bound of a batch: the next one is due after a second, and nobody depends on it.
const BATCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Of an upload: a minute, and longer for what a slow line needs.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60);
const UPLOAD_BYTES_A_SECOND: u64 = 256 << 10;
/// Whole logs under way to one server at once; each is in memory meanwhile.
const UPLOADS_MAX: usize = 8;
/// How long a batch waits for the server to be told that the step runs.
const EARLY_WAIT: Duration = Duration::from_secs(1);
/// How long a closed log waits for the core to tell of its stage: after a start that takes moments, and if the stage was reported by
/// an earlier process it never does.
const UNKNOWN_MAX: Duration = Duration::from_secs(600);

/// The logs of one server's steps.
#[derive(Clone)]
pub(super) struct StepLogs {
    client: Arc<Client>,
    pub shelf: Arc<Shelf>,
    /// Of whole logs.
    turns: Arc<Semaphore>,
}

/// A step, as it stands sealed in the spool.
#[derive(Debug, Serialize, Deserialize)]
struct Destination {
    stage: i64,
    step: String,
}

/// One log on its way.
struct StepLog {
    logs: StepLogs,
    to: Destination,
    writer: Option<body::Writer>,
    unknown_since: Option<Instant>,
}

// === impl StepLogs ===

impl StepLogs {
    pub fn new(client: Arc<Client>) -> Self {
        Self { client, shelf: Arc::default(), turns: Arc::new(Semaphore::new(UPLOADS_MAX)) }
    }

    /// Brings the step's whole log to the server before its last PUT, or finds that the PUT waits no longer.
    ///
    /// # Errors
    /// The server did not take it now: the same again, later.
    pub async fn settle(&self, stage: i64, server_id: i64, step: &Step) -> Result<(), ReportError> {
        let upload = self.shelf.upload(stage, &step.id);
        if upload.lock().await.is_stored {
            return Ok(());
        }
        let log = self.shelf.closed(stage, step, self.client.options.pace.log_wait).await;
        let mut upload = upload.lock().await;
        upload.is_ending = true;
        let waits = upload.faults < FAULTS_MAX
            && upload.tried_since.is_none_or(|since| since.elapsed() < self.client.options.pace.upload_wait_max);
        let log = match log {
            _ if upload.is_stored => return Ok(()),
            // It is deleted once it has been delivered, or given up.
            Ok(Some(log)) if log.progress().removed => return Ok(()),
            Ok(log) if waits => log,
            Ok(_) => {
                tracing::warn!(stage, step = %step.id, "the server does not take a step's log: it hears of its end before");
                return Ok(());
            }
            Err(StillOpen) => {
                tracing::warn!(stage, step = %step.id, "a step's log is not closed: the server hears of its end before");
                return Ok(());
            }
        };
        let started = step.started.or(step.ended).unwrap_or(crate::core::time::Wall(0));
        let server = OnServer { id: server_id, has_begun: true, started };
        match self.send(server, log.as_ref(), &mut upload).await {
            // Nothing will make it fit; the step's end is worth more.
            Err(ReportError::Refused(reason)) => {
                tracing::error!(stage, step = %step.id, %reason, "the server refuses a step's log");
                Ok(())
            }
            sent => sent,
        }
    }

    /// Sends the whole log; none: the step has no lines.
    async fn send(&self, server: OnServer, log: Option<&Log>, upload: &mut Upload) -> Result<(), ReportError> {
        // It is never closed.
        let _turn = self.turns.acquire().await;
        upload.tried_since.get_or_insert_with(Instant::now);
        let body = match log {
            None => body::EMPTY,
            Some(log) => whole(log, server).await.inspect_err(|_| upload.faults += 1)?,
        };
        let slow = Duration::from_secs(body.len() as u64 / UPLOAD_BYTES_A_SECOND);
        let timeout = self.client.options.request_timeout.max(UPLOAD_TIMEOUT + slow);
        let request = Request::upload(server.id, body, timeout);
        let outcome = self.client.send(&request).await;
        let result = classify::upload(&request, &outcome, upload.is_unsure);
        match &result {
            Ok(()) => (upload.is_stored, upload.is_empty) = (true, log.is_none()),
            Err(ReportError::Fault(_) | ReportError::Refused(_)) => upload.faults += 1,
            Err(_) => upload.is_unsure |= outcome.is_err(),
        }
        result
    }
}

impl Sink for StepLogs {
    fn destination(&self, task: &Spec, step_id: &str) -> Option<Vec<u8>> {
        // The server keeps no log of a stage.
        let to = Destination { stage: Note::decode(&task.reply).ok()?.stage_id()?, step: step_id.to_owned() };
        Some(to).filter(|to| !to.step.is_empty()).and_then(|to| serde_json::to_vec(&to).ok())
    }

    fn begun(&self, destination: &[u8], log: &Log) {
        if let Ok(to) = serde_json::from_slice::<Destination>(destination) {
            self.shelf.begun(to.stage, &to.step, log);
        }
    }

    fn deliver(&self, destination: &[u8]) -> Result<Box<dyn Delivery>, String> {
        let to: Destination = serde_json::from_slice(destination).map_err(|_| "it is of another version".to_owned())?;
        self.shelf.arrive(to.stage, &to.step);
        Ok(Box::new(StepLog { logs: self.clone(), to, writer: None, unknown_since: None }))
    }
}

// === impl StepLog ===

impl StepLog {
    async fn batch(&mut self, records: &[Record]) -> Result<(), Failure> {
        let Destination { stage, step } = &self.to;
        let server = match self.logs.shelf.way_within(*stage, step, EARLY_WAIT).await {
            Way::Open(server) => server,
            Way::Early | Way::Unknown => return Err(Failure::Early("the step does not run yet".to_owned())),
            Way::Never(why) => return Err(Failure::Never(why.to_owned())),
        };
        let upload = self.logs.shelf.upload(*stage, step);
        let upload = upload.lock().await;
        if upload.is_ending || upload.is_stored {
            return Err(Failure::Early("the step has ended".to_owned()));
        }
        let body = self.writer.get_or_insert_with(|| body::Writer::new(server.started)).batch(records);
        let request = Request::batch(server.id, body, BATCH_TIMEOUT);
        match self.logs.client.send(&request).await {
            Ok(response) if matches!(response.status, 200..=299) => Ok(()),
            Ok(response) => Err(Failure::Again(about(&request, response.status).to_string())),
            Err(failure) => Err(Failure::Again(about(&request, failure).to_string())),
        }
    }

    async fn upload(&mut self, log: &Log) -> Result<(), Failure> {
        let Destination { stage, step } = &self.to;
        // It takes the turn of other logs, so it does not wait.
        let server = match self.logs.shelf.way(*stage, step) {
            Way::Open(server) => server,
            Way::Never(why) => return Err(Failure::Never(why.to_owned())),
            Way::Early => return Err(Failure::Early("the step does not run yet".to_owned())),
            Way::Unknown => {
                let since = self.unknown_since.get_or_insert_with(Instant::now);
                return Err(match since.elapsed() {
                    waited if waited > UNKNOWN_MAX => Failure::Never("nobody knows the step any more".to_owned()),
                    _ => Failure::Early("nothing is known of the step yet".to_owned()),
                });
            }
        };
        let upload = self.logs.shelf.upload(*stage, step);
        let Ok(mut upload) = upload.try_lock() else { return Err(Failure::Early("it is on its way".to_owned())) };
        if upload.is_empty {
            return Err(Failure::Never("the step was told to have no log: set has_log before it ends".to_owned()));
        }
        if upload.is_stored {
            return Ok(());
        }
        match self.logs.send(server, Some(log), &mut upload).await {
            Ok(()) => Ok(()),
            Err(ReportError::Refused(reason)) => Err(Failure::Never(reason.to_string())),
            Err(error) if upload.faults >= FAULTS_IN_ALL_MAX => Err(Failure::Never(error.text().to_string())),
            Err(error) => Err(Failure::Again(error.text().to_string())),
        }
    }
}

impl Delivery for StepLog {
    fn live<'a>(&'a mut self, records: &'a [Record]) -> Sent<'a> {
        Box::pin(self.batch(records))
    }

    fn whole<'a>(&'a mut self, log: &'a Log, _: &'a crate::logs::receipt::Receipt) -> Sent<'a> {
        Box::pin(self.upload(log))
    }
}

impl Drop for StepLog {
    fn drop(&mut self) {
        self.logs.shelf.depart(self.to.stage, &self.to.step);
    }
}

async fn whole(log: &Log, server: OnServer) -> Result<bytes::Bytes, ReportError> {
    let unread = |why: &dyn std::fmt::Display| ReportError::Fault(format!("the log can't be read: {why}").into());
    let Some(receipt) = log.progress().receipt else { return Err(unread(&"it is deleted")) };
    let log = log.clone();
    let read = tokio::task::spawn_blocking(move || body::whole(&log, &receipt, server.started)).await;
    read.map_err(|_| unread(&"the reader panicked"))?.map_err(|error| unread(&error))
}
