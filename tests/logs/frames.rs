//! The stream of one log, frame by frame.

use dlite::proto::{
    admin::v1::ReadLogRequest,
    runner::v1::{
        CloseLog, LogChunk, LogLine, LogReceipt, OpenLog, StreamLogsRequest, StreamLogsResponse,
        log_service_client::LogServiceClient, stream_logs_request::Frame as Say, stream_logs_response::Frame,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::support::{
    patiently,
    peer::Peer,
    place::{Place, Running},
};

/// One stream from the runner's side.
struct Stream {
    frames: mpsc::Sender<StreamLogsRequest>,
    answers: Streaming<StreamLogsResponse>,
}

impl Stream {
    async fn open(running: &Running) -> Self {
        let (frames, outbound) = mpsc::channel(16);
        let mut client = LogServiceClient::new(running.channel().await);
        let answers = patiently(client.stream_logs(ReceiverStream::new(outbound))).await.unwrap().into_inner();
        Self { frames, answers }
    }

    async fn say(&self, frame: Say) {
        self.frames.send(StreamLogsRequest { frame: Some(frame) }).await.unwrap();
    }

    async fn next(&mut self) -> Result<Option<Frame>, Status> {
        let answer = patiently(self.answers.message()).await?;
        Ok(answer.and_then(|answer| answer.frame))
    }

    async fn opened(&mut self, lease: &str, log: &str, step: &str) -> u64 {
        self.say(open(lease, log, step)).await;
        match self.next().await {
            Ok(Some(Frame::Opened(opened))) => opened.next_line,
            other => panic!("not opened: {other:?}"),
        }
    }

    async fn mark(&mut self, line: u64) {
        loop {
            match self.next().await {
                Ok(Some(Frame::Mark(mark))) if mark.next_line >= line => return assert_eq!(mark.next_line, line),
                Ok(Some(Frame::Mark(_))) => {}
                other => panic!("no mark: {other:?}"),
            }
        }
    }

    async fn receipt(&mut self) -> LogReceipt {
        loop {
            match self.next().await {
                Ok(Some(Frame::Receipt(receipt))) => return receipt,
                Ok(Some(Frame::Mark(_) | Frame::Opened(_))) => {}
                other => panic!("no receipt: {other:?}"),
            }
        }
    }

    async fn refused(&mut self) -> (Code, String) {
        loop {
            match self.next().await {
                Ok(Some(Frame::Mark(_) | Frame::Opened(_))) => {}
                Err(status) => return (status.code(), status.message().to_owned()),
                other => panic!("not refused: {other:?}"),
            }
        }
    }
}

fn open(lease: &str, log: &str, step: &str) -> Say {
    Say::Open(OpenLog { lease_id: lease.to_owned(), log_id: log.to_owned(), step_id: step.to_owned() })
}

fn chunk(first_line: u64, texts: &[&str]) -> Say {
    let line = |text: &&str| LogLine { text: text.to_string().into(), ..LogLine::default() };
    Say::Chunk(LogChunk { first_line, lines: texts.iter().map(line).collect() })
}

/// A delegate whose runner executes one task; its lease.
async fn at_work() -> (Running, Peer, String) {
    let running = Place::new().start().await;
    let mut peer = running.attach("runner-1", "TYPE", 1).await;
    running.stub.offer("x", "TYPE");
    let lease = peer.start().await;
    (running, peer, lease)
}

#[tokio::test]
async fn marks_follow_the_lines_repeats_fall_and_the_receipt_counts_what_is_there() {
    let (running, _peer, lease) = at_work().await;
    let mut stream = Stream::open(&running).await;
    assert_eq!(stream.opened(&lease, "log", "").await, 0);
    stream.say(chunk(0, &["a", "b"])).await;
    stream.mark(2).await;
    stream.say(chunk(1, &["b", "c"])).await;
    stream.mark(3).await;
    stream.say(chunk(5, &["f"])).await;
    stream.say(Say::Close(CloseLog { line_count: 7, truncated: false })).await;
    let receipt = stream.receipt().await;
    assert_eq!((receipt.line_count, receipt.byte_count, receipt.missing_line_count), (4, 4, 3));
    // printf 'a\nb\nc\nf\n' | sha256sum
    assert_eq!(receipt.sha256.len(), 64);
    assert!(matches!(stream.next().await, Ok(None)));
    // The answer may have been lost: who asks again hears the same.
    let mut again = Stream::open(&running).await;
    again.say(open(&lease, "log", "")).await;
    assert_eq!(again.receipt().await, receipt);
}

#[tokio::test]
async fn a_cut_stream_is_taken_up_where_it_was() {
    let (running, _peer, lease) = at_work().await;
    let mut stream = Stream::open(&running).await;
    stream.opened(&lease, "log", "").await;
    stream.say(chunk(0, &["a", "b"])).await;
    stream.mark(2).await;
    drop(stream);
    let mut stream = Stream::open(&running).await;
    assert_eq!(stream.opened(&lease, "log", "").await, 2);
    stream.say(chunk(0, &["a", "b", "c"])).await;
    stream.say(Say::Close(CloseLog { line_count: 3, truncated: false })).await;
    assert_eq!(stream.receipt().await.line_count, 3);
}

#[tokio::test]
async fn a_lease_that_is_not_in_force_opens_no_log() {
    let (running, _peer, lease) = at_work().await;
    for unknown in [format!("{lease}0"), "nonsense".to_owned()] {
        let mut stream = Stream::open(&running).await;
        stream.say(open(&unknown, "log", "")).await;
        let (code, text) = stream.refused().await;
        assert_eq!(code, Code::FailedPrecondition, "{text}");
    }
}

#[tokio::test]
async fn frames_out_of_order_or_bounds_end_their_own_stream_by_name() {
    let (running, _peer, lease) = at_work().await;
    let mut good = Stream::open(&running).await;
    good.opened(&lease, "good", "").await;
    let long = "x".repeat(200);
    let mut many = LogChunk { first_line: 0, lines: Vec::new() };
    many.lines.resize(20_000, LogLine::default());
    let cases = [
        (vec![chunk(0, &["a"])], "open"),
        (vec![open(&lease, "", "")], "open.log_id"),
        (vec![open(&lease, &long, "")], "open.log_id"),
        (vec![open(&lease, "x", &long)], "open.step_id"),
        (vec![open(&lease, "other", "")], "open.step_id"),
        (vec![open(&lease, "s", "s"), open(&lease, "s", "s")], "open"),
        (vec![open(&lease, "m", "m"), Say::Chunk(many)], "chunk.lines"),
        (vec![open(&lease, "n", "n"), chunk(u64::MAX, &["a"])], "chunk.first_line"),
    ];
    for (frames, field) in cases {
        let mut stream = Stream::open(&running).await;
        for frame in frames {
            stream.say(frame).await;
        }
        let (code, text) = stream.refused().await;
        assert_eq!(code, Code::InvalidArgument, "{text}");
        assert!(text.starts_with(&format!("{field}: ")), "{text} should name {field}");
    }
    good.say(chunk(0, &["a"])).await;
    good.mark(1).await;
}

#[tokio::test]
async fn a_log_that_nobody_ends_is_closed_once_its_task_is_over() {
    let (running, mut peer, lease) = at_work().await;
    let mut stream = Stream::open(&running).await;
    stream.opened(&lease, "log", "").await;
    stream.say(chunk(0, &["a"])).await;
    stream.mark(1).await;
    let mut watching = Stream::open(&running).await;
    watching.opened(&lease, "log", "").await;
    let task_id = running.task("x").await.expect("it runs").task_id;
    peer.succeed(&lease).await;
    // Streams that are there may go on.
    stream.say(chunk(1, &["b"])).await;
    stream.mark(2).await;
    drop(stream);
    drop(watching);
    let mut admin = running.admin().await;
    let request = ReadLogRequest { task_id, follow: true, ..ReadLogRequest::default() };
    let mut entries = patiently(admin.read_log(request)).await.expect("the log").into_inner();
    // Who follows a log is at its end once it is closed.
    while patiently(entries.message()).await.expect("entries").is_some() {}
    let mut stream = Stream::open(&running).await;
    stream.say(open(&lease, "log", "")).await;
    let receipt = stream.receipt().await;
    assert_eq!(receipt.line_count, 2);
}
