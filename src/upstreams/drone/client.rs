//! Performs the core's calls at one server.

use std::{
    collections::BTreeSet,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Instant,
};

use bytes::Bytes;
use reqwest::header::HeaderName;
use tokio::sync::Notify;

use super::{
    classify::{self, NoDetails, Outcome},
    filter,
    logs::StepLogs,
    machine::machine,
    options::{Error, Options},
    polls::Polls,
    request::Request,
    stage_id::StageId,
    token::Token,
    watches::Watches,
};
use crate::{
    core::{
        effect::{Call, Wanted},
        id::ExternalId,
        input::{Answer, CallError, Listing, Registered, Standing},
        record::Host,
    },
    logs::sink::Sink,
    upstreams::{
        Upstream,
        check::Trouble,
        reload::FromFiles,
        transport::{self, Failure, Http, Response, Transport, parse_endpoint},
    },
};

/// Body of an error that repeats the secret.
const CENSORED: &[u8] = b"(the answer repeats the secret and is not shown)";

/// Carries the secret.
const TOKEN: HeaderName = HeaderName::from_static("x-drone-token");

/// One server, seen as an upstream.
pub struct Drone {
    pub(super) client: Arc<Client>,
    pub(super) polls: Polls,
    pub(super) watches: Watches,
    pub(super) logs: StepLogs,
    /// The server is one without cards.
    pub(super) has_no_cards: AtomicBool,
    /// Stages that may be ours although the server did not say so, or said that they have a machine.
    pub(super) doubts: Mutex<BTreeSet<StageId>>,
    /// Rings when there is something for the next listing.
    news: Arc<Notify>,
}

/// Sends single requests.
pub(super) struct Client {
    pub options: Options,
    token: FromFiles<Token>,
    transport: Arc<dyn Transport>,
}

// === impl Drone ===

impl Drone {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn new(options: Options) -> Result<Self, Error> {
        let http = Http::new(&parse_endpoint(&options.endpoint)?, &options.network)?;
        Self::with_transport(options, Arc::new(http))
    }

    /// The same over another transport; `options.network` is its own affair then.
    ///
    /// # Errors
    /// [`Error::TimeoutTooShort`], [`Error::SecretFile`], or an endpoint that is no base URL.
    pub fn with_transport(mut options: Options, transport: Arc<dyn Transport>) -> Result<Self, Error> {
        options.check()?;
        options.endpoint.truncate(options.endpoint.trim_end_matches('/').len());
        parse_endpoint(&options.endpoint)?;
        let client = Arc::new(Client { token: Token::of(&options)?, options, transport });
        let news = Arc::new(Notify::new());
        Ok(Self {
            polls: Polls::new(client.clone(), news.clone()),
            watches: Watches::new(client.clone(), news.clone()),
            logs: StepLogs::new(client.clone()),
            has_no_cards: AtomicBool::new(false),
            doubts: Mutex::default(),
            client,
            news,
        })
    }

    async fn register(&self, known: Option<Host>) -> Result<Registered, CallError> {
        self.ping().await?;
        let host = known.unwrap_or_else(|| machine(self.client.options.machine.as_deref()));
        Ok(Registered { delegate_id: host.name.clone(), host, moved_to: None })
    }

    /// Whether the server takes the secret; for `dlite upstreams check`.
    pub(in crate::upstreams) async fn check_secret(&self) -> Result<((), String), Trouble> {
        match self.ping().await {
            Ok(()) => Ok(((), "the secret is accepted".to_owned())),
            Err(CallError::Denied(_, text)) => {
                Err(Trouble::new(text.to_string(), "copy DRONE_RPC_SECRET of the server into secret_file once more"))
            }
            Err(CallError::Failed(text) | CallError::Deleted(text) | CallError::SelfDestruct(text)) => {
                Err(Trouble::new(text.to_string(), "is endpoint the base URL of a Drone server that has runners?"))
            }
        }
    }

    async fn ping(&self) -> Result<(), CallError> {
        let request = Request::ping(self.client.options.request_timeout);
        classify::ping(&request, &self.client.send(&request).await)
    }

    /// The server has no heartbeats and answers pings as well as anything; what is said here is for the watches.
    async fn heartbeat(&self, machine: &Arc<str>, running: &[ExternalId]) -> Result<Standing, CallError> {
        self.watches.keep(machine, running.iter().filter_map(|id| StageId::parse(id).ok()).collect());
        self.ping().await?;
        Ok(Standing::Known)
    }

    /// Waits for an offer or a cancel, or for a turn's time: what is open stays so for the next call.
    async fn poll(&self, wanted: &[Wanted]) -> Result<Listing, CallError> {
        // What is over before this is known to whoever asks.
        self.polls.take_settled();
        self.polls.want(wanted.iter().filter_map(filter::filter).collect());
        let until = tokio::time::Instant::now() + self.client.options.pace.turn;
        loop {
            // Listening begins before looking, so that nothing falls between.
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            let aborts = self.watches.take_cancelled();
            let heard = self.polls.take_heard();
            if !aborts.is_empty() || !heard.is_empty() {
                return listing(aborts, heard);
            }
            if self.polls.take_settled() || tokio::time::timeout_at(until, news).await.is_err() {
                return Ok(Listing { quiet: true, ..Listing::default() });
            }
        }
    }
}

/// An offer or a cancel is worth more than an error, which comes again.
fn listing(
    aborts: Vec<StageId>,
    heard: Vec<Result<Option<super::wire::Stage>, CallError>>,
) -> Result<Listing, CallError> {
    let quiet = heard.iter().all(Result::is_err);
    let aborts: Vec<ExternalId> = aborts.into_iter().map(StageId::external).collect();
    let mut tasks = Vec::new();
    let mut error = None;
    for heard in heard {
        match heard {
            Ok(offer) => tasks.extend(offer.as_ref().map(filter::listed)),
            Err(failed) => error = Some(failed),
        }
    }
    match error {
        Some(error) if tasks.is_empty() && aborts.is_empty() => Err(error),
        _ => Ok(Listing { tasks, aborts, quiet }),
    }
}

impl Upstream for Drone {
    fn kind(&self) -> &'static str {
        "drone"
    }

    fn secret_changes(&self) -> Option<tokio::sync::watch::Receiver<u64>> {
        Some(self.client.token.changes())
    }

    fn log_sink(&self) -> Option<Arc<dyn Sink>> {
        Some(Arc::new(self.logs.clone()))
    }

    fn perform(&self, call: Call) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        Box::pin(async move {
            match call {
                Call::Register { host, .. } => Answer::Register(self.register(host).await),
                Call::Heartbeat { delegate_id, running, .. } => {
                    Answer::Heartbeat(self.heartbeat(&delegate_id, &running).await)
                }
                Call::Poll { wanted, .. } => Answer::Poll(self.poll(&wanted).await),
                Call::Acquire { task, external_id, identity } => {
                    Answer::Acquire { task, result: self.acquire(&external_id, &identity).await }
                }
                Call::Tell { task, news } => Answer::Tell { task, result: self.tell(&news).await },
                Call::Report { task, report } => Answer::Report { task, result: self.report(&report).await },
            }
        })
    }
}

impl fmt::Debug for Drone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drone").field("endpoint", &self.client.options.endpoint).finish_non_exhaustive()
    }
}

// === impl Client ===

impl Client {
    /// Sends one request, and once more if the secret was refused and has been replaced meanwhile: a refused one did nothing.
    pub async fn send(&self, request: &Request) -> Outcome {
        let began = Instant::now();
        let token = self.token.get();
        let outcome = self.send_as(&token, request, request.timeout).await;
        if !classify::refuses_token(&outcome) {
            return outcome;
        }
        let renewed = self.token.renewed().await;
        let left = request.timeout.saturating_sub(began.elapsed());
        if renewed == token || left.is_zero() {
            return outcome;
        }
        self.send_as(&renewed, request, left).await
    }

    pub async fn details(&self, id: StageId) -> Result<Bytes, NoDetails> {
        let request = Request::details(id, self.options.request_timeout);
        classify::details(&request, &self.send(&request).await)
    }

    async fn send_as(&self, token: &Token, request: &Request, timeout: std::time::Duration) -> Outcome {
        let sent = transport::Request {
            method: request.method.clone(),
            url: format!("{}{}", self.options.endpoint, request.target),
            authorization: String::new(),
            header: Some((TOKEN, token.reveal().to_owned())),
            body: request.body.clone(),
            timeout,
        };
        let mut outcome = self.transport.send(sent).await;
        if let Ok(response) = &mut outcome {
            censor(response, token);
        }
        if let Err(Failure::TimedOut { .. }) = &outcome {
            tracing::debug!(call = request.template, "no answer");
        }
        outcome
    }
}

/// Errors quote what a server says, and some servers repeat what they were sent.
fn censor(response: &mut Response, token: &Token) {
    let token = token.reveal().as_bytes();
    if !matches!(response.status, 200..=299) && response.body.windows(token.len()).any(|window| window == token) {
        response.body = Bytes::from_static(CENSORED);
    }
}
