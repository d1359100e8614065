//! Logs on this machine, for the operator.

use std::pin::Pin;

use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

use super::{Service, refused};
use crate::{
    core::logs::{LogGap, LogReceipt},
    logs::{
        receipt::Missing,
        record::{GapReason, Level, Record},
        spool::{Log, Reader},
    },
    proto::admin::v1 as proto,
    reason::Reason,
};

/// Entries of one answer, and about their bytes.
const ENTRIES_MAX: usize = 1_000;
const ENTRIES_BYTES_MAX: usize = 256 << 10;
/// Answers that wait for who reads them.
const ANSWERS_MAX: usize = 2;
/// Reasons for missing lines shown of one log: there are fewer.
const MISSING_MAX: usize = 16;

pub(super) type Entries = Pin<Box<dyn Stream<Item = Result<proto::ReadLogResponse, Status>> + Send>>;

impl Service {
    /// The logs of a task that are on this machine, and those that were and are on record.
    pub(super) fn logs_of(&self, task_id: &str, records: &[LogReceipt]) -> Vec<proto::LogView> {
        let here = self.sorted_logs(task_id);
        let gone = records.iter().map(|log| (log, self.ids.lease(log.lease))).filter(|(log, lease_id)| {
            !here.iter().any(|held| held.meta().key.lease_id == *lease_id && *held.meta().key.log_id == *log.log_id)
        });
        gone.map(|(log, lease_id)| recorded(log, lease_id)).chain(here.iter().map(view)).collect()
    }

    fn sorted_logs(&self, task_id: &str) -> Vec<Log> {
        let mut logs = self.logs.spool().logs();
        logs.retain(|log| log.meta().task_id == task_id);
        logs.sort_by_key(Log::ordinal);
        logs
    }

    pub(super) async fn one_log(&self, request: Request<proto::ReadLogRequest>) -> Result<Response<Entries>, Status> {
        let proto::ReadLogRequest { task_id, step_id, first_line, follow } = request.into_inner();
        let log = self.log(&task_id, &step_id).await?;
        let (answers, outbound) = mpsc::channel(ANSWERS_MAX);
        // It ends with the log, or with who reads it.
        tokio::spawn(read(log.read_from(first_line), follow, answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(outbound))))
    }

    /// The log of a step of a task, named as in [`proto::ReadLogRequest`].
    pub(crate) async fn log(&self, task_id: &str, step_id: &str) -> Result<Log, Status> {
        let mut logs = self.sorted_logs(task_id);
        if logs.is_empty() {
            // Maybe it is the upstream's name of it.
            let task = self.find_id(task_id).await?;
            logs = self.sorted_logs(&self.ids.task(task));
        }
        let log = chosen(&logs, step_id).map_err(|text| refused(Reason::TaskUnknown, &text))?;
        Ok(log.clone())
    }
}

/// The log of a step; of several tries at the task, the last one's.
fn chosen<'a>(logs: &'a [Log], step_id: &str) -> Result<&'a Log, String> {
    if let Some(log) = logs.iter().rev().find(|log| log.meta().step_id == step_id) {
        return Ok(log);
    }
    let mut steps: Vec<&str> = logs.iter().map(|log| log.meta().step_id.as_str()).collect();
    steps.dedup();
    match (logs, step_id) {
        ([], _) => Err("no log of this task is on this machine: its sink may have it".to_owned()),
        ([log], "") => Ok(log),
        _ => Err(format!("step_id: this task has logs of {}", steps.join(", "))),
    }
}

async fn read(mut reader: Reader, follow: bool, answers: mpsc::Sender<Result<proto::ReadLogResponse, Status>>) {
    loop {
        let batch = tokio::task::spawn_blocking(move || {
            let batch = batch(&mut reader);
            (batch, reader)
        });
        let Ok((batch, after)) = batch.await else { return };
        reader = after;
        match batch {
            Ok(entries) if entries.is_empty() => {
                if !follow || reader.is_at_end() {
                    return;
                }
                tokio::select! {
                    () = reader.wait() => {}
                    () = answers.closed() => return,
                }
            }
            Ok(entries) => {
                if answers.send(Ok(proto::ReadLogResponse { entries })).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let _ = answers.send(Err(Status::data_loss(format!("the log can't be read: {error}")))).await;
                return;
            }
        }
    }
}

fn batch(reader: &mut Reader) -> std::io::Result<Vec<proto::LogEntry>> {
    let (mut entries, mut bytes) = (Vec::new(), 0);
    while entries.len() < ENTRIES_MAX && bytes < ENTRIES_BYTES_MAX {
        let Some(record) = reader.next().transpose()? else { break };
        let entry = entry(record);
        bytes += entry.text.len();
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(record: Record) -> proto::LogEntry {
    match record {
        Record::Line(line) => proto::LogEntry {
            number: line.number,
            time: Some(prost_types::Timestamp {
                seconds: line.time.0.div_euclid(1_000_000_000),
                nanos: i32::try_from(line.time.0.rem_euclid(1_000_000_000)).unwrap_or_default(),
            }),
            source: line.source.as_str().to_owned(),
            level: line.level.as_str().to_owned(),
            text: line.text,
            missing: false,
        },
        Record::Gap(gap) => proto::LogEntry {
            number: gap.first,
            time: None,
            source: String::new(),
            level: Level::Warn.as_str().to_owned(),
            text: gap.to_string().into(),
            missing: true,
        },
    }
}

fn view(log: &Log) -> proto::LogView {
    let (progress, receipt) = (log.progress(), log.so_far());
    let key = &log.meta().key;
    let closed = progress.receipt.is_some();
    let missing = receipt.missing.iter().map(|(reason, missing)| missing.text(*reason));
    proto::LogView {
        log_id: key.log_id.clone(),
        step_id: log.meta().step_id.clone(),
        next_line: progress.next_line,
        closed,
        missing: missing.take(MISSING_MAX).collect(),
        line_count: receipt.lines,
        byte_count: receipt.bytes,
        missing_line_count: receipt.missing_lines(),
        sha256: if closed { receipt.digest.clone() } else { String::new() },
        truncated: receipt.truncated,
        lease_id: key.lease_id.clone(),
        here: true,
    }
}

/// A log that is not here any more, as it is on record.
fn recorded(log: &LogReceipt, lease_id: String) -> proto::LogView {
    let text = |gap: &LogGap| match GapReason::of_word(&gap.reason) {
        Some(reason) => Missing { lines: gap.lines, bytes: gap.bytes }.text(reason),
        None => format!("[{} lines missing: {}]", gap.lines, gap.reason),
    };
    proto::LogView {
        log_id: log.log_id.to_string(),
        step_id: log.step_id.to_string(),
        next_line: log.lines + log.missing_lines(),
        closed: true,
        missing: log.gaps.iter().map(text).take(MISSING_MAX).collect(),
        line_count: log.lines,
        byte_count: log.bytes,
        missing_line_count: log.missing_lines(),
        sha256: log.digest.to_string(),
        truncated: log.truncated,
        lease_id,
        here: false,
    }
}
