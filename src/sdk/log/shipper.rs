//! Brings one log to the delegate, over as many streams as it takes.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{
    buffer::{Buffer, Next},
    door::Door,
};
use crate::{
    proto::runner::v1::{
        LogReceipt, OpenLog, StreamLogsRequest, stream_logs_request::Frame as Out, stream_logs_response::Frame as In,
    },
    sdk::backoff::Backoff,
};

/// Between two streams.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long a closed log is tried to be brought there.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);
/// Frames between the buffer and HTTP/2.
const FRAMES_MAX: usize = 4;

/// Runs until the delegate has the log, or does not take it.
pub(super) async fn run(door: Arc<Door>, open: OpenLog, buffer: Arc<Buffer>) {
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    let mut give_up_at = None;
    loop {
        let status = match stream(&door, &open, &buffer, &mut backoff).await {
            Ok(receipt) => return buffer.end(Some(receipt)),
            Err(status) => status,
        };
        let is_final = matches!(
            status.code(),
            Code::FailedPrecondition | Code::InvalidArgument | Code::Unimplemented | Code::Unauthenticated
        );
        if buffer.is_closed() {
            give_up_at = give_up_at.or(Some(Instant::now() + GIVE_UP_AFTER));
        }
        if is_final || give_up_at.is_some_and(|at| at <= Instant::now()) {
            let (log_id, code, message) = (&open.log_id, status.code(), status.message());
            tracing::warn!(lease_id = %open.lease_id, %log_id, ?code, message, "the delegate does not take a log");
            return buffer.end(None);
        }
        tracing::debug!(log_id = %open.log_id, code = ?status.code(), message = status.message(), "a log's stream was cut");
        sleep(backoff.next_wait()).await;
    }
}

/// One stream.
async fn stream(door: &Door, open: &OpenLog, buffer: &Buffer, backoff: &mut Backoff) -> Result<LogReceipt, Status> {
    let (frames, outbound) = mpsc::channel(FRAMES_MAX);
    let mut client = door.client()?;
    let request = door.request(ReceiverStream::new(outbound))?;
    let say = |frame| StreamLogsRequest { frame: Some(frame) };
    let cut = || Status::unavailable("the stream is cut");
    // Fits: nothing was sent yet.
    frames.try_send(say(Out::Open(open.clone()))).map_err(|_| cut())?;
    let mut inbound = client.stream_logs(request).await?.into_inner();
    let (mut sent, mut is_open, mut is_closed) = (0, false, false);
    loop {
        let next = if is_open && !is_closed { buffer.next(sent) } else { Next::Nothing };
        let has_next = !matches!(next, Next::Nothing);
        tokio::select! {
            biased;
            received = inbound.message() => match received?.ok_or_else(cut)?.frame {
                Some(In::Opened(opened)) => {
                    is_open = true;
                    backoff.reset();
                    buffer.forget(opened.next_line);
                }
                Some(In::Mark(mark)) => buffer.forget(mark.next_line),
                Some(In::Receipt(receipt)) => return Ok(receipt),
                None => {}
            },
            permit = frames.reserve(), if has_next => {
                let permit = permit.map_err(|_| cut())?;
                match next {
                    Next::Chunk(chunk) => {
                        sent = chunk.first_line + chunk.lines.len() as u64;
                        permit.send(say(Out::Chunk(chunk)));
                    }
                    Next::Close(close) => {
                        is_closed = true;
                        permit.send(say(Out::Close(close)));
                    }
                    Next::Nothing => {}
                }
            }
            () = buffer.news.notified(), if !has_next && !is_closed => {}
        }
    }
}
