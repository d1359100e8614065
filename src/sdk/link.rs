//! The way to the delegate: waiting to attach, attaching, attached, leaving. It moves frames and never looks into them.

use std::{future::poll_fn, pin::Pin, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use super::{
    error::{Ended, RunError, classify},
    target::{Target, Token},
};
use crate::proto::runner::v1::{AttachRequest, AttachResponse, runner_service_client::RunnerServiceClient};

/// Frames between the engine and HTTP/2. More stay in the engine, where their content is still fresh when they leave.
const FRAMES_BUFFERED: usize = 64;

/// Largest frame decoded, as at the delegate.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bound on the delegate's goodbye after the runner closed its half.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

type Opening = Pin<Box<dyn Future<Output = Result<Streaming<AttachResponse>, Lost>> + Send>>;

/// See the module.
pub(crate) enum Link {
    /// Not before this moment.
    Waiting(Instant),
    Attaching {
        frames: mpsc::Sender<AttachRequest>,
        opening: Opening,
    },
    Attached {
        frames: mpsc::Sender<AttachRequest>,
        inbound: Streaming<AttachResponse>,
    },
    /// The half is closed; the delegate has until then to end its own.
    Leaving {
        inbound: Streaming<AttachResponse>,
        until: Instant,
    },
}

/// What happened on the way.
pub(crate) enum LinkEvent {
    /// Time to attach.
    Due,
    /// The delegate opened its half.
    Opened,
    Frame(Box<AttachResponse>),
    /// There is room for frames again.
    Writable,
    Lost(Lost),
}

/// Why there is no stream.
#[derive(Debug)]
pub(crate) enum Lost {
    /// The token can't be had, nothing was sent.
    Token(RunError),
    /// Nobody listens, or nobody answers.
    Connect(tonic::transport::Error),
    /// The delegate, or what stands between, ended it.
    Status(Status),
    /// It ended without a word, as a delegate does that has nothing left to say.
    Closed,
}

// === impl Link ===

impl Link {
    /// Begins to attach; frames written from now on leave once the stream is open.
    pub fn attach(target: Target, token: Option<Token>) -> Self {
        let (frames, outbound) = mpsc::channel(FRAMES_BUFFERED);
        Self::Attaching { frames, opening: Box::pin(open(target, token, ReceiverStream::new(outbound))) }
    }

    /// Closes this half and listens on for the delegate's goodbye. True: there is no stream to say goodbye on.
    pub fn leave(&mut self) -> bool {
        match std::mem::replace(self, Self::Waiting(Instant::now())) {
            Self::Attached { inbound, .. } => {
                *self = Self::Leaving { inbound, until: Instant::now() + GOODBYE_TIMEOUT }
            }
            leaving @ Self::Leaving { .. } => *self = leaving,
            Self::Waiting(_) | Self::Attaching { .. } => return true,
        }
        false
    }

    /// Room for one frame, if there is any now.
    pub fn try_reserve(&self) -> Option<mpsc::Permit<'_, AttachRequest>> {
        match self {
            Self::Attaching { frames, .. } | Self::Attached { frames, .. } => frames.try_reserve().ok(),
            Self::Waiting(_) | Self::Leaving { .. } => None,
        }
    }

    /// Waits for the next event, and for room if `has_frame`. May be dropped at any await without loss.
    pub async fn next(&mut self, has_frame: bool) -> LinkEvent {
        match self {
            Self::Waiting(until) => {
                sleep_until(*until).await;
                LinkEvent::Due
            }
            Self::Attaching { frames, opening } => {
                let opened = tokio::select! {
                    biased;
                    opened = poll_fn(|cx| opening.as_mut().poll(cx)) => opened,
                    Ok(_) = frames.reserve(), if has_frame => return LinkEvent::Writable,
                };
                match opened {
                    Ok(inbound) => {
                        *self = Self::Attached { frames: frames.clone(), inbound };
                        LinkEvent::Opened
                    }
                    Err(lost) => LinkEvent::Lost(lost),
                }
            }
            Self::Attached { frames, inbound } => tokio::select! {
                biased;
                received = inbound.message() => event_of(received),
                Ok(_) = frames.reserve(), if has_frame => LinkEvent::Writable,
            },
            Self::Leaving { inbound, until } => match timeout_at(*until, inbound.message()).await {
                Ok(received) => event_of(received),
                Err(_) => LinkEvent::Lost(Lost::Closed),
            },
        }
    }
}

fn event_of(received: Result<Option<AttachResponse>, Status>) -> LinkEvent {
    match received {
        Ok(Some(frame)) => LinkEvent::Frame(Box::new(frame)),
        Ok(None) => LinkEvent::Lost(Lost::Closed),
        Err(status) => LinkEvent::Lost(Lost::Status(status)),
    }
}

async fn open(
    target: Target,
    token: Option<Token>,
    outbound: ReceiverStream<AttachRequest>,
) -> Result<Streaming<AttachResponse>, Lost> {
    let mut request = Request::new(outbound);
    if let Some(token) = token {
        let authorization = token.read().map_err(Lost::Token)?;
        request.metadata_mut().insert("authorization", authorization);
    }
    let channel = target.endpoint().map_err(Lost::Connect)?.connect().await.map_err(Lost::Connect)?;
    let mut client = RunnerServiceClient::new(channel)
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    client.attach(request).await.map(tonic::Response::into_inner).map_err(Lost::Status)
}

// === impl Lost ===

impl Lost {
    /// What to do about it. A token that can't be read now may be there at the next attach, as while it is being replaced.
    pub fn classify(&self) -> Ended {
        match self {
            Self::Status(status) => classify(status),
            Self::Token(_) | Self::Connect(_) | Self::Closed => Ended::Again,
        }
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(error) => error.fmt(f),
            Self::Connect(error) => match std::error::Error::source(error) {
                Some(source) => write!(f, "{error}: {source}"),
                None => error.fmt(f),
            },
            Self::Status(status) => write!(f, "{:?}: {}", status.code(), status.message()),
            Self::Closed => f.write_str("the delegate closed the stream"),
        }
    }
}
