//! One attached runner: a reader that turns frames into inputs, a writer that turns orders into frames.
//!
//! The reader waits when the driver is busy, so a runner that floods slows itself. The writer's queue is bounded, so a runner
//! that does not read loses its link, and with it all that was queued. Sequences live for one stream and are counted here; what
//! they mean is the core's.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::{
    convert::{self, Inbound},
    ids::Ids,
};
use crate::{
    core::{
        config::Config,
        effect::{Close, Order},
        id::{DelegateId, LinkId, UpstreamName},
        input::{Hello, Input},
    },
    inbox::Event,
    proto::runner::v1::{self as proto, AttachRequest, AttachResponse},
    reason::Reason,
};

/// How long a peer that opened a stream may say nothing; three heartbeat intervals, if they are shorter.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Orders on their way to one runner. More than its slots twice over (an assignment and a cancellation each) with room for
/// acknowledgements, which are merged; a queue this long means that nobody reads.
const ORDERS_MAX: usize = 32_768;
/// What the orders on their way to one runner may hold in memory of their own. Payloads are shared with the ledger and count
/// nothing; lists of lost leases and refusals do, and a runner that asks for many of them has to read them.
const ORDERS_BYTES_MAX: usize = 8 << 20;
/// Frames handed to the transport and not on the wire yet.
const FRAMES_MAX: usize = 64;
/// How long a stream that the runner half-closed waits for its last acknowledgement, and then for the runner to read it.
const LAST_ACK_TIMEOUT: Duration = Duration::from_secs(30);

/// What every link of one delegate shares.
#[derive(Debug)]
pub struct Terms {
    pub config: Config,
    pub delegate: DelegateId,
    pub ids: Ids,
    /// Kind of each upstream, for `Origin`.
    pub kinds: std::collections::BTreeMap<UpstreamName, &'static str>,
}

/// The driver's end of one link. Dropped, it lets the stream end once all that is queued is written.
#[derive(Debug)]
pub struct Orders {
    queue: mpsc::Sender<Order>,
    queued_bytes: Arc<AtomicUsize>,
    cut: oneshot::Sender<Status>,
}

/// The transport's end: frames, or at any time the status that ends them.
pub struct Outbound {
    frames: mpsc::Receiver<Result<AttachResponse, Status>>,
    end: Option<oneshot::Receiver<Status>>,
    over: bool,
}

/// How the reading of a stream came to its end.
enum Ended {
    /// The runner closed its half and all it sent is acknowledged, or nobody is there any more.
    Closed,
    /// The stream is to end with this status, past all that is queued.
    Cut(Status),
}

struct Writer {
    terms: Arc<Terms>,
    ids: Ids,
    orders: mpsc::Receiver<Order>,
    queued_bytes: Arc<AtomicUsize>,
    frames: mpsc::Sender<Result<AttachResponse, Status>>,
    /// Last counted frame of ours.
    sequence: u64,
    /// Highest runner sequence acknowledged; told to the reader, too.
    acknowledged: watch::Sender<u64>,
}

// === impl Orders ===

impl Orders {
    /// Queues an order; false: nobody reads them.
    pub fn give(&self, order: Order) -> bool {
        let bytes = own_bytes(&order);
        if self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > ORDERS_BYTES_MAX {
            return false;
        }
        !matches!(self.queue.try_send(order), Err(mpsc::error::TrySendError::Full(_)))
    }

    /// Ends the stream past everything that is queued: what counts is in the journal and comes again on the next stream.
    pub fn cut(self, close: &Close) {
        let _ = self.cut.send(convert::ending(close));
    }

    /// Ends the stream because the delegate stops; the runner keeps its work and attaches again.
    pub fn shut_down(self) {
        let _ = self.cut.send(shutdown());
    }
}

/// What an order holds in memory that nothing else holds.
fn own_bytes(order: &Order) -> usize {
    size_of::<Order>()
        + match order {
            Order::Welcome { decisions } => size_of_val(&decisions[..]),
            Order::HeartbeatAck { lost, .. } => size_of_val(&lost[..]),
            Order::Refuse { message, .. } => message.len(),
            // The text is shared.
            Order::Drain { .. } => 0,
            Order::Assign(work) => size_of_val(&**work),
            Order::Cancel { .. } | Order::Acknowledge { .. } | Order::Close(_) => 0,
        }
}

fn shutdown() -> Status {
    convert::stream_end(Reason::Shutdown, "the delegate stops; keep working and attach again", None)
}

// === impl Outbound ===

impl Stream for Outbound {
    type Item = Result<AttachResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some(end) = &mut self.end
            && let Poll::Ready(status) = Pin::new(end).poll(cx)
        {
            self.end = None;
            // Without a status nobody cut the stream: what is queued still goes out.
            if let Ok(status) = status {
                self.over = true;
                return Poll::Ready(Some(Err(status)));
            }
        }
        match self.frames.poll_recv(cx) {
            // The writer went first; how the stream ends is still to be told.
            Poll::Ready(None) if self.end.is_some() => Poll::Pending,
            next => next,
        }
    }
}

/// Serves one stream until either side ends it; returns at once with what is to be sent.
pub fn attach(
    terms: Arc<Terms>,
    driver: mpsc::Sender<Event>,
    link: LinkId,
    peer: Arc<str>,
    inbound: tonic::Streaming<AttachRequest>,
) -> Outbound {
    let (frames, outbound) = mpsc::channel(FRAMES_MAX);
    let (end, ended) = oneshot::channel();
    tokio::spawn(serve(terms, driver, link, peer, inbound, frames, end));
    Outbound { frames: outbound, end: Some(ended), over: false }
}

async fn serve(
    terms: Arc<Terms>,
    driver: mpsc::Sender<Event>,
    link: LinkId,
    peer: Arc<str>,
    mut inbound: tonic::Streaming<AttachRequest>,
    frames: mpsc::Sender<Result<AttachResponse, Status>>,
    end: oneshot::Sender<Status>,
) {
    let ids = terms.ids.for_link();
    let patience = HELLO_TIMEOUT.min(terms.config.silence());
    let hello = tokio::select! {
        hello = tokio::time::timeout(patience, first(&mut inbound, &ids)) => hello.unwrap_or_else(|_| {
            let text = format!("no hello within {patience:?}");
            Err(convert::stream_end(Reason::Silent, &text, None))
        }),
        () = driver.closed() => Err(shutdown()),
    };
    let hello = match hello {
        Ok(hello) => hello,
        Err(status) => {
            tracing::warn!(%link, %peer, code = ?status.code(), reason = status.message(), "runner refused");
            let _ = end.send(status);
            return;
        }
    };
    let (queue, orders) = mpsc::channel(ORDERS_MAX);
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    let (cut, mut let_go) = oneshot::channel();
    let event = Event::Attach { link, hello, peer, orders: Orders { queue, queued_bytes: queued_bytes.clone(), cut } };
    if driver.send(event).await.is_err() {
        let _ = end.send(shutdown());
        return;
    }
    let (acknowledged, last_ack) = watch::channel(0);
    let writer = Writer { terms, ids: ids.clone(), orders, queued_bytes, frames, sequence: 0, acknowledged };
    let mut writer = tokio::spawn(writer.run());
    let ended = tokio::select! {
        biased;
        // Dropped without a word: the driver forgot the link, and nothing more that arrives is of use.
        status = &mut let_go => status.map_or(Ended::Closed, Ended::Cut),
        _ = &mut writer => Ended::Closed,
        ended = read(&driver, link, &ids, inbound, last_ack) => ended,
    };
    // A cut drops the orders after its word, so whichever of the two was seen first, the word is there by now: a link that was cut
    // must not look like one that went with everything acknowledged.
    let ended = match (ended, let_go.try_recv()) {
        (Ended::Closed, Ok(status)) => Ended::Cut(status),
        (ended, _) => ended,
    };
    let _ = driver.send(Event::Input(Input::Detached { link })).await;
    match ended {
        Ended::Cut(status) => {
            let _ = end.send(status);
        }
        Ended::Closed if writer.is_finished() => {}
        // Ends once the driver let go of the link, unless somebody has to be waited for who does not read.
        Ended::Closed => drop(tokio::time::timeout(LAST_ACK_TIMEOUT, &mut writer).await),
    }
    writer.abort();
}

/// The introduction, or the status that turns the peer away.
async fn first(inbound: &mut tonic::Streaming<AttachRequest>, ids: &Ids) -> Result<Hello, Status> {
    let invalid = |text: &str| convert::stream_end(Reason::HelloInvalid, text, None);
    match inbound.next().await {
        Some(Ok(request)) => convert::hello(request, ids).map_err(|broken| invalid(&broken.to_string())),
        Some(Err(status)) => Err(convert::undecodable(status)),
        None => Err(invalid("frame: the stream ended before hello")),
    }
}

async fn read(
    driver: &mpsc::Sender<Event>,
    link: LinkId,
    ids: &Ids,
    mut inbound: tonic::Streaming<AttachRequest>,
    mut acknowledged: watch::Receiver<u64>,
) -> Ended {
    let mut last = 0;
    loop {
        match inbound.next().await {
            Some(Ok(request)) => {
                let sequence = request.sequence;
                let Inbound::Frame(frame) = convert::frame(request, ids) else { continue };
                if frame.counts(sequence) {
                    last = last.max(sequence);
                }
                let input = Input::Received { link, sequence, frame };
                if driver.send(Event::Input(input)).await.is_err() {
                    return Ended::Cut(shutdown());
                }
            }
            Some(Err(status)) => {
                tracing::debug!(%link, code = ?status.code(), reason = status.message(), "link cut");
                // Who hung up hears nothing of it; who sent what can't be read does.
                return Ended::Cut(convert::undecodable(status));
            }
            // The runner closed its half: it goes once all it sent is acknowledged.
            None => {
                let all = acknowledged.wait_for(|sequence| *sequence >= last);
                return match tokio::time::timeout(LAST_ACK_TIMEOUT, all).await {
                    Ok(_) => Ended::Closed,
                    Err(_) => Ended::Cut(Status::unavailable("not all that was sent is durable yet; attach again")),
                };
            }
        }
    }
}

// === impl Writer ===

impl Writer {
    async fn run(mut self) {
        while let Some(order) = self.orders.recv().await {
            let before = *self.acknowledged.borrow();
            let mut told = before;
            let mut next = Some(order);
            // Everything that is queued; an acknowledgement rides on whatever frame goes, alone only if none does.
            while let Some(order) = next {
                self.queued_bytes.fetch_sub(own_bytes(&order), Ordering::Relaxed);
                if let Order::Acknowledge { sequence } = order {
                    self.acknowledged.send_replace(sequence);
                } else {
                    told = *self.acknowledged.borrow();
                    if !self.write(order).await {
                        return;
                    }
                }
                next = self.orders.try_recv().ok();
            }
            if *self.acknowledged.borrow() > told
                && !self.put(0, proto::attach_response::Frame::Ack(proto::Ack {})).await
            {
                return;
            }
        }
    }

    /// False: the stream is over.
    async fn write(&mut self, order: Order) -> bool {
        use proto::attach_response::Frame as Out;
        let (counted, frame) = match order {
            Order::Welcome { decisions } => {
                let delegate = self.terms.delegate.to_string();
                (false, Out::Welcome(convert::welcome(&self.terms.config, &self.ids, &decisions, delegate)))
            }
            Order::Assign(work) => {
                let kind = self.terms.kinds.get(&work.upstream).copied().unwrap_or_default();
                (true, Out::Assignment(convert::assignment(&work, kind, &self.ids)))
            }
            Order::Cancel { lease, reason, message, grace } => {
                (true, Out::Cancellation(convert::cancellation(&self.ids, lease, reason, &message, grace)))
            }
            Order::Drain { reason, grace } => (false, Out::Drain(convert::drain(&reason, grace))),
            Order::HeartbeatAck { id, lost } => {
                (false, Out::HeartbeatAck(convert::heartbeat_ack(&self.ids, id, &lost)))
            }
            Order::Refuse { sequence, lease, frame, reason, message } => {
                (false, Out::Rejection(convert::rejection(&self.ids, sequence, lease, frame, reason, &message)))
            }
            // The first is the run loop's, the second the driver's: neither is a frame.
            Order::Acknowledge { .. } | Order::Close(_) => return true,
        };
        if counted {
            self.sequence += 1;
        }
        self.put(if counted { self.sequence } else { 0 }, frame).await
    }

    async fn put(&self, sequence: u64, frame: proto::attach_response::Frame) -> bool {
        let ack_sequence = *self.acknowledged.borrow();
        self.frames.send(Ok(AttachResponse { sequence, ack_sequence, frame: Some(frame) })).await.is_ok()
    }
}
