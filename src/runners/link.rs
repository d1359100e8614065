//! One attached runner: a reader that turns frames into inputs, a writer that turns orders into frames.
//!
//! The reader waits when the driver is busy, so a runner that floods slows itself. The writer's queue is bounded, so a runner
//! that does not read loses its link. Sequences live for one stream and are counted here; what they mean is the core's.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Status};

use super::{
    convert::{self, Inbound},
    ids::Ids,
};
use crate::{
    core::{
        config::Config,
        effect::{Close, Order},
        id::{DelegateId, LinkId, UpstreamName},
        input::Input,
    },
    driver::Event,
    proto::runner::v1::{self as proto, AttachRequest, AttachResponse},
};

/// A peer that opened a stream and says nothing.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Orders on their way to one runner. More than its slots twice over (an assignment and a cancellation each) with room for
/// acknowledgements, which are merged; a queue this long means that nobody reads.
const ORDERS_MAX: usize = 32_768;
/// Frames handed to the transport and not on the wire yet.
const FRAMES_MAX: usize = 64;
/// How long a stream that the runner half-closed waits for its last acknowledgement.
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

/// The driver's end of one link.
#[derive(Debug)]
pub struct Orders {
    queue: mpsc::Sender<Order>,
    end: oneshot::Sender<Status>,
}

/// The transport's end: frames, or at any time the status that ends them.
pub struct Outbound {
    frames: mpsc::Receiver<Result<AttachResponse, Status>>,
    end: Option<oneshot::Receiver<Status>>,
    over: bool,
}

struct Writer {
    terms: Arc<Terms>,
    ids: Ids,
    orders: mpsc::Receiver<Order>,
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
        !matches!(self.queue.try_send(order), Err(mpsc::error::TrySendError::Full(_)))
    }

    /// Ends the stream past everything that is queued.
    pub fn cut(self, close: Close) {
        let _ = self.end.send(convert::ending(&close));
    }

    /// Ends the stream because the delegate stops; the runner keeps its work and attaches again.
    pub fn shut_down(self) {
        let text = "the delegate stops; keep working and attach again";
        let _ = self.end.send(convert::stream_end(Code::Unavailable, "SHUTDOWN", text, None));
    }
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
            // Without a status the driver let go of the link: what is queued still goes out.
            if let Ok(status) = status {
                self.over = true;
                return Poll::Ready(Some(Err(status)));
            }
        }
        self.frames.poll_recv(cx)
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
    let first = tokio::time::timeout(HELLO_TIMEOUT, inbound.next()).await;
    let hello = match first {
        Ok(Some(Ok(request))) => convert::hello(request, &ids).map_err(|broken| broken.to_string()),
        Ok(Some(Err(_)) | None) => return,
        Err(_) => Err(format!("no hello within {HELLO_TIMEOUT:?}")),
    };
    let hello = match hello {
        Ok(hello) => hello,
        Err(text) => {
            tracing::warn!(%link, %peer, reason = "HELLO_INVALID", %text, "runner refused");
            let status = convert::stream_end(Code::InvalidArgument, "HELLO_INVALID", &text, None);
            let _ = frames.send(Err(status)).await;
            return;
        }
    };
    let (queue, orders) = mpsc::channel(ORDERS_MAX);
    let (acknowledged, last_ack) = watch::channel(0);
    let event = Event::Attach { link, hello, peer, orders: Orders { queue, end } };
    if driver.send(event).await.is_err() {
        let text = "the delegate stops; attach again";
        let _ = frames.send(Err(convert::stream_end(Code::Unavailable, "SHUTDOWN", text, None))).await;
        return;
    }
    let writer = Writer { terms, ids: ids.clone(), orders, frames, sequence: 0, acknowledged };
    let writer = tokio::spawn(writer.run());
    read(&driver, link, &ids, inbound, last_ack).await;
    let _ = driver.send(Event::Input(Input::Detached { link })).await;
    // Ends once the driver let go of the link.
    let _ = writer.await;
}

async fn read(
    driver: &mpsc::Sender<Event>,
    link: LinkId,
    ids: &Ids,
    mut inbound: tonic::Streaming<AttachRequest>,
    mut acknowledged: watch::Receiver<u64>,
) {
    let mut last = 0;
    loop {
        match inbound.next().await {
            Some(Ok(request)) => {
                let sequence = request.sequence;
                last = last.max(sequence);
                let Inbound::Frame(frame) = convert::frame(request, ids) else { continue };
                let input = Input::Received { link, sequence, frame };
                if driver.send(Event::Input(input)).await.is_err() {
                    return;
                }
            }
            Some(Err(status)) => {
                tracing::debug!(%link, code = ?status.code(), "link cut");
                return;
            }
            // The runner closed its half: it goes once all it sent is acknowledged.
            None => {
                let all = acknowledged.wait_for(|sequence| *sequence >= last);
                let _ = tokio::time::timeout(LAST_ACK_TIMEOUT, all).await;
                return;
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
            Order::HeartbeatAck { id, lost } => {
                (false, Out::HeartbeatAck(convert::heartbeat_ack(&self.ids, id, &lost)))
            }
            Order::Refuse { sequence, lease, frame, reason, message } => {
                (false, Out::Rejection(convert::rejection(&self.ids, sequence, lease, frame, reason, &message)))
            }
            Order::Acknowledge { .. } => return true,
            Order::Close(close) => {
                let _ = self.frames.send(Err(convert::ending(&close))).await;
                return false;
            }
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
