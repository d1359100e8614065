//! Logs of runners: one stream for each. It checks frames, hands lines to their [`Intake`](crate::logs::intake::Intake), and tells
//! the runner how far they are durable.
//!
//! The reader never waits for longer than the spool's bound, and marks leave by themselves; so a runner that does not read them slows
//! nobody but itself.

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::service::Service;
use crate::{
    logs::{
        desk::{Desk, Found, Held, Refusal},
        receipt::Receipt,
        record::{Level, Source, Time},
        spool::{Error, LineHead, LogKey, Progress},
    },
    proto::runner::v1::{
        LogChunk, LogLevel, LogLine, LogMark, LogOpened, LogReceipt, LogSource, OpenLog, StreamLogsRequest,
        StreamLogsResponse, log_service_server::LogService, stream_logs_request::Frame as In,
        stream_logs_response::Frame as Out,
    },
};

/// How long a peer that opened a stream may say nothing.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// A log that is silent for so long shows the lines that wait for what follows.
const REST: Duration = Duration::from_secs(1);
/// How long a closed log may take to be durable before its stream is cut; the runner asks again.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes above the mark that a runner may have under way: what two seconds of a slow disk take.
pub const WINDOW_BYTES: u64 = 4 << 20;
/// Lines in one chunk.
pub const CHUNK_LINES_MAX: usize = 16_384;
/// Bytes of an id.
const ID_BYTES_MAX: usize = 128;
/// Members of one line, and bytes of a key or value.
const ARGS_MAX: usize = 64;
const ARG_BYTES_MAX: usize = 1024;
/// Frames on their way to the transport; marks are merged before.
const FRAMES_MAX: usize = 4;

type Frames = mpsc::Sender<Result<StreamLogsResponse, Status>>;

#[tonic::async_trait]
impl LogService for Service {
    type StreamLogsStream = Pin<Box<dyn Stream<Item = Result<StreamLogsResponse, Status>> + Send>>;

    async fn stream_logs(
        &self,
        request: Request<Streaming<StreamLogsRequest>>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        self.access.check(&request)?;
        let (frames, outbound) = mpsc::channel(FRAMES_MAX);
        let desk = self.logs.clone();
        tokio::spawn(async move {
            let served = tokio::select! {
                served = serve(&desk, request.into_inner(), &frames) => served,
                () = desk.stopped() => Err(Status::unavailable("the delegate stops; open the log again")),
            };
            if let Err(status) = served {
                // Who hung up hears nothing of it.
                let _ = frames.try_send(Err(status));
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outbound))))
    }
}

async fn serve(desk: &Desk, mut inbound: Streaming<StreamLogsRequest>, frames: &Frames) -> Result<(), Status> {
    let first = timeout(OPEN_TIMEOUT, inbound.next()).await;
    let first = first.map_err(|_| invalid("frame", &format!("none within {OPEN_TIMEOUT:?}")))?;
    let Some(In::Open(open)) = first.transpose()?.and_then(|first| first.frame) else {
        return Err(invalid("open", "a stream begins with it"));
    };
    let held = match desk.open(key(&open)?, open.step_id).await.map_err(refused)? {
        Found::Open(held) => held,
        Found::Closed(receipt) => return say(frames, Out::Receipt(proto(&receipt))).await,
    };
    let opened = LogOpened { next_line: mark(&held).await, window_bytes: WINDOW_BYTES };
    let mut told = opened.next_line;
    say(frames, Out::Opened(opened)).await?;
    let mut progress = held.log().watch();
    loop {
        let next = timeout(REST, inbound.next());
        let frame = tokio::select! {
            frame = next => match frame {
                Ok(Some(frame)) => frame?.frame,
                // The runner comes back for what it still has, or the log is closed without it.
                Ok(None) => return Ok(()),
                Err(_) => {
                    rest(&held).await;
                    None
                }
            },
            _ = progress.changed() => None,
        };
        match frame {
            Some(In::Chunk(chunk)) => take(&held, chunk).await?,
            Some(In::Close(close)) => {
                let receipt = end(&held, close.line_count, close.truncated).await?;
                return say(frames, Out::Receipt(proto(&receipt))).await;
            }
            Some(In::Open(_)) => return Err(invalid("open", "it comes once")),
            None => {}
        }
        let Progress { is_broken, receipt, .. } = progress.borrow_and_update().clone();
        if is_broken {
            return Err(Status::unavailable("the log can't be written now; open it again"));
        }
        if let Some(receipt) = receipt {
            // Another stream closed it.
            return say(frames, Out::Receipt(proto(&receipt))).await;
        }
        let next_line = mark(&held).await;
        if next_line > told {
            told = next_line;
            say(frames, Out::Mark(LogMark { next_line })).await?;
        }
    }
}

/// Below it the runner may forget.
async fn mark(held: &Held) -> u64 {
    let durable = held.log().progress().next_line;
    held.intake().await.as_ref().map_or(durable, |intake| durable.min(intake.sure()))
}

async fn rest(held: &Held) {
    if let Some(intake) = held.intake().await.as_mut().filter(|intake| intake.held_lines() > 0) {
        intake.rest().await;
    }
}

async fn take(held: &Held, chunk: LogChunk) -> Result<(), Status> {
    if chunk.lines.len() > CHUNK_LINES_MAX {
        let text = format!("{} lines, and at most {CHUNK_LINES_MAX} fit into one chunk", chunk.lines.len());
        return Err(invalid("chunk.lines", &text));
    }
    if chunk.first_line.checked_add(CHUNK_LINES_MAX as u64).is_none() {
        return Err(invalid("chunk.first_line", "no log has so many lines"));
    }
    let lines = chunk.lines.into_iter().map(line).collect::<Result<Vec<_>, _>>()?;
    if let Some(intake) = held.intake().await.as_mut() {
        intake.lines(chunk.first_line, lines).await;
    }
    Ok(())
}

async fn end(held: &Held, line_count: u64, truncated: bool) -> Result<std::sync::Arc<Receipt>, Status> {
    let mut progress = held.log().watch();
    let intake = held.intake().await.take();
    if let Some(intake) = intake {
        intake.close(Some(line_count), truncated).await;
    }
    let is_over = |progress: &Progress| progress.receipt.is_some() || progress.is_broken || progress.removed;
    let over = timeout(CLOSE_TIMEOUT, progress.wait_for(is_over)).await;
    let receipt = over.ok().and_then(Result::ok).and_then(|progress| progress.receipt.clone());
    receipt.ok_or_else(|| Status::unavailable("the log is not durable yet; open it again"))
}

async fn say(frames: &Frames, frame: Out) -> Result<(), Status> {
    let gone = |_| Status::cancelled("the runner hung up");
    frames.send(Ok(StreamLogsResponse { frame: Some(frame) })).await.map_err(gone)
}

fn key(open: &OpenLog) -> Result<LogKey, Status> {
    for (field, id, is_needed) in [
        ("open.lease_id", &open.lease_id, true),
        ("open.log_id", &open.log_id, true),
        ("open.step_id", &open.step_id, false),
    ] {
        if id.len() > ID_BYTES_MAX || (is_needed && id.is_empty()) || id.chars().any(char::is_control) {
            let text = format!("{} bytes; it takes 1 to {ID_BYTES_MAX} without control characters", id.len());
            return Err(invalid(field, &text));
        }
    }
    Ok(LogKey { lease_id: open.lease_id.clone(), log_id: open.log_id.clone() })
}

fn line(line: LogLine) -> Result<(LineHead, Bytes), Status> {
    let is_large = |text: &String| text.len() > ARG_BYTES_MAX;
    if line.args.len() > ARGS_MAX || line.args.iter().any(|(key, value)| is_large(key) || is_large(value)) {
        return Err(invalid("chunk.lines.args", &format!("at most {ARGS_MAX}, with up to {ARG_BYTES_MAX} bytes each")));
    }
    let source = match line.source() {
        LogSource::Unspecified | LogSource::Stdout => Source::Stdout,
        LogSource::Stderr => Source::Stderr,
        LogSource::System => Source::System,
    };
    let level = match line.level() {
        LogLevel::Unspecified | LogLevel::Info => Level::Info,
        LogLevel::Debug => Level::Debug,
        LogLevel::Warn => Level::Warn,
        LogLevel::Error => Level::Error,
    };
    let time = if line.time_unix_nano == 0 { Time::now() } else { Time(line.time_unix_nano) };
    Ok((LineHead { number: 0, time, source, level, args: line.args }, line.text))
}

fn proto(receipt: &Receipt) -> LogReceipt {
    LogReceipt {
        line_count: receipt.lines,
        byte_count: receipt.bytes,
        sha256: receipt.digest.clone(),
        missing_line_count: receipt.missing_lines(),
    }
}

fn invalid(field: &str, text: &str) -> Status {
    Status::invalid_argument(format!("{field}: {text}"))
}

/// | refusal | code |
/// |---|---|
/// | the lease is not in force | `FAILED_PRECONDITION` |
/// | two logs of one step | `INVALID_ARGUMENT` |
/// | too many logs | `RESOURCE_EXHAUSTED` |
/// | anything else: it may be better soon | `UNAVAILABLE` |
fn refused(refusal: Refusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::StepTaken { .. } => Status::invalid_argument(text),
        Refusal::LeaseLost { .. } => Status::failed_precondition(text),
        Refusal::TooMany { .. } | Refusal::Spool(Error::TooMany { .. }) => Status::resource_exhausted(text),
        Refusal::Spool(_) | Refusal::NoAnswer | Refusal::NoRandom(_) => Status::unavailable(text),
    }
}
