//! Performs the core's calls at one manager.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use reqwest::Url;

use super::{
    classify::{self, Outcome},
    credentials::Credentials,
    host::host,
    options::{Error, Options},
    request::{HEARTBEAT_TIMEOUT, Request, Requests},
    result::result,
    spec::spec,
    token::AccountSecret,
    wire,
};
use crate::{
    core::{
        effect::{Answerable, Call},
        id::{ExternalId, TaskType},
        input::{AcquireError, Answer, CallError, Listing, Registered, ReportError, Standing},
        record::Host,
        task::{Identity, Spec},
    },
    upstreams::{
        Upstream,
        reload::FromFiles,
        transport::{self, Failure, Http, Response, Transport, parse_endpoint},
    },
};

/// Body of an error that repeats the account secret or the token.
const CENSORED: &[u8] = b"(the answer repeats the credentials and is not shown)";

/// One manager, seen as an upstream.
pub struct Harness {
    pub(super) options: Options,
    endpoint: Url,
    pub(super) requests: Requests,
    credentials: FromFiles<Credentials>,
    transport: Arc<dyn Transport>,
}

// === impl Harness ===

impl Harness {
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
    /// [`Error::Empty`], [`Error::TimeoutTooShort`], [`Error::SecretFile`], or an endpoint that is no base URL.
    pub fn with_transport(mut options: Options, transport: Arc<dyn Transport>) -> Result<Self, Error> {
        options.check()?;
        options.endpoint.truncate(options.endpoint.trim_end_matches('/').len());
        Ok(Self {
            endpoint: parse_endpoint(&options.endpoint)?,
            requests: Requests::new(&options.account_id),
            credentials: Credentials::of(&options)?,
            transport,
            options,
        })
    }

    async fn register(&self, task_types: &[TaskType], known: Option<Host>) -> Result<Registered, CallError> {
        let timeout = self.options.request_timeout;
        let host = match known {
            Some(host) => host,
            None => host(&self.options, &self.endpoint, timeout).await,
        };
        let mut body = self.delegate(&host);
        body.sequence_num = Some(1);
        body.supported_task_types = Some(task_types.iter().map(TaskType::as_str).collect());
        let tags: Vec<_> = self.options.tags.iter().map(String::as_str).filter(|tag| !tag.is_empty()).collect();
        body.tags = (!tags.is_empty()).then_some(tags);
        let request = self.requests.register(wire::to_json(&body));
        let outcome = self.send(&request, timeout).await;
        Ok(Registered { delegate_id: classify::register(&request, &outcome)?, host })
    }

    async fn heartbeat(&self, delegate_id: &str, host: &Host, running: &[ExternalId]) -> Result<Standing, CallError> {
        let mut body = self.delegate(host);
        body.delegate_id = Some(delegate_id);
        body.currently_executing_delegate_tasks = Some(running.iter().map(ExternalId::as_str).collect());
        let request = self.requests.heartbeat(wire::to_json(&body));
        let outcome = self.send(&request, self.options.request_timeout.min(HEARTBEAT_TIMEOUT)).await;
        classify::heartbeat(&request, &outcome)
    }

    async fn poll(&self, delegate_id: &str) -> Result<Listing, CallError> {
        let request = self.requests.poll(delegate_id).map_err(|error| CallError::Failed(error.to_string().into()))?;
        let outcome = self.send(&request, self.options.request_timeout).await;
        classify::poll(&request, &outcome)
    }

    async fn acquire(&self, external_id: &ExternalId, identity: &Identity) -> Result<Box<Spec>, AcquireError> {
        // No request can leave for such an id, so nothing was assigned.
        let request = self
            .requests
            .acquire(external_id.as_str(), identity)
            .map_err(|error| AcquireError::Refused(error.to_string().into()))?;
        let outcome = self.send(&request, self.options.request_timeout).await;
        let task = classify::acquire(&request, &outcome, external_id, identity)?;
        Ok(Box::new(spec(&task, &self.options.account_id, identity, self.options.legacy_status_code)))
    }

    async fn report(&self, report: &Answerable) -> Result<(), ReportError> {
        let request =
            result(&self.requests, report).map_err(|error| ReportError::Unanswered(error.to_string().into()))?;
        let outcome = self.send(&request, self.options.request_timeout).await;
        classify::report(&request, &outcome)
    }

    /// What registrations and heartbeats have in common.
    fn delegate<'a>(&'a self, host: &'a Host) -> wire::Delegate<'a> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        wire::Delegate {
            account_id: &self.options.account_id,
            delegate_name: &self.options.delegate_name,
            delegate_random_token: self.options.send_secret_in_body.then(|| self.credentials.get().secret.reveal()),
            last_heart_beat: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            delegate_id: None,
            delegate_type: wire::DELEGATE_TYPE,
            ng: true,
            polling_mode_enabled: true,
            host_name: &host.name,
            ip: &host.ip,
            sequence_num: None,
            supported_task_types: None,
            tags: None,
            heartbeat_as_object: true,
            currently_executing_delegate_tasks: None,
        }
    }

    pub(super) async fn send(&self, request: &Request, timeout: Duration) -> Outcome {
        let began = Instant::now();
        let credentials = self.credentials.get();
        let outcome = self.send_as(&credentials, request, timeout).await;
        if !classify::refuses_token(&outcome) {
            return outcome;
        }
        credentials.tokens.forget();
        // The secret may have been replaced a moment ago. A request that was refused did nothing, so it may be sent again.
        let renewed = self.credentials.renewed().await;
        let left = timeout.saturating_sub(began.elapsed());
        if Arc::ptr_eq(&renewed, &credentials) || left.is_zero() {
            return outcome;
        }
        self.send_as(&renewed, request, left).await
    }

    async fn send_as(&self, credentials: &Credentials, request: &Request, timeout: Duration) -> Outcome {
        let token = credentials.tokens.token(SystemTime::now());
        let token = token.map_err(|error| Failure::Unsent { reason: error.to_string() })?;
        let sent = transport::Request {
            method: request.method.clone(),
            url: format!("{}{}", self.options.endpoint, request.target),
            authorization: format!("Delegate {token}"),
            body: request.body.clone(),
            timeout,
        };
        let mut outcome = self.transport.send(sent).await;
        if let Ok(response) = &mut outcome {
            censor(response, &token, &credentials.secret);
        }
        outcome
    }
}

/// Errors quote what a server says, and some servers repeat what they were sent.
fn censor(response: &mut Response, token: &str, secret: &AccountSecret) {
    if response.status < 300 {
        return;
    }
    let text = String::from_utf8_lossy(&response.body);
    if text.contains(token) || text.to_ascii_lowercase().contains(&secret.reveal()) {
        response.body = Bytes::from_static(CENSORED);
    }
}

impl Upstream for Harness {
    fn kind(&self) -> &'static str {
        "harness"
    }

    fn perform(&self, call: Call) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        Box::pin(async move {
            match call {
                Call::Register { task_types, host } => Answer::Register(self.register(&task_types, host).await),
                Call::Heartbeat { delegate_id, host, running } => {
                    Answer::Heartbeat(self.heartbeat(&delegate_id, &host, &running).await)
                }
                Call::Poll { delegate_id } => Answer::Poll(self.poll(&delegate_id).await),
                Call::Acquire { task, external_id, identity } => {
                    Answer::Acquire { task, result: self.acquire(&external_id, &identity).await }
                }
                Call::Report { task, report } => Answer::Report { task, result: self.report(&report).await },
            }
        })
    }
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness").field("options", &self.options).finish_non_exhaustive()
    }
}
