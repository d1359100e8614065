//! Performs the core's calls at one manager.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use reqwest::{Url, header::HeaderName};

use super::{
    classify::{self, Enrolled, Outcome},
    credentials::Credentials,
    host::host,
    logs::LogService,
    options::{Error, Family, Options},
    request::{BadId, HEARTBEAT_TIMEOUT, Request, Requests},
    result::result,
    spec::{self, spec},
    stage,
    token::AccountSecret,
    wire,
};
use crate::{
    core::{
        effect::{Answerable, Call},
        id::{ExternalId, TaskType},
        input::{AcquireError, Answer, CallError, Listing, Registered, ReportError, Standing, Told},
        record::Host,
        task::{Identity, Kind, Spec},
    },
    logs::sink::Sink,
    upstreams::{
        Upstream,
        reload::FromFiles,
        transport::{self, Failure, Http, Response, Transport, parse_endpoint},
    },
};

/// Body of an error that repeats the account secret or the token.
const CENSORED: &[u8] = b"(the answer repeats the credentials and is not shown)";

/// Carries the hash of the account secret.
const TOKEN_HASH: HeaderName = HeaderName::from_static("delegatetokenhash");
/// Managers that a registration is sent on to; two that name each other must not go on for ever.
const MOVES_MAX: usize = 3;

/// One manager, seen as an upstream.
pub struct Harness {
    pub(super) options: Options,
    endpoint: Url,
    /// Where the account lives now, if the manager said so, without a slash at its end. Lost with the process.
    moved_to: Mutex<Option<Arc<str>>>,
    requests: Requests,
    credentials: FromFiles<Credentials>,
    transport: Arc<dyn Transport>,
    logs: LogService,
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
            moved_to: Mutex::default(),
            requests: Requests::new(&options.account_id),
            credentials: Credentials::of(&options)?,
            transport,
            logs: LogService::new(&options.account_id, options.log_upload, options.network.clone()),
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
        if self.options.family == Family::Legacy {
            body.sequence_num = Some(1);
            body.supported_task_types = Some(task_types.iter().map(TaskType::as_str).collect());
            let tags = self.tags();
            body.tags = (!tags.is_empty()).then_some(tags);
        }
        let request = self.requests.register(wire::to_json(&body));
        let delegate_id = self.enroll(&request).await?;
        self.announce_capacity(&delegate_id).await;
        Ok(Registered { delegate_id, host, moved_to: self.moved_to() })
    }

    /// Registers where the account lives, which is found out on the way.
    async fn enroll(&self, request: &Request) -> Result<Arc<str>, CallError> {
        let mut base = self.base();
        for _ in 0..=MOVES_MAX {
            let outcome = self.send_to(&base, request, self.options.request_timeout).await;
            match classify::register(request, &outcome)? {
                Enrolled::Granted(delegate_id) => {
                    if base != self.base() {
                        *self.moved_to.lock().unwrap_or_else(PoisonError::into_inner) = Some(base);
                    }
                    return Ok(delegate_id);
                }
                Enrolled::Moved(url) => base = self.followed(request, &url)?,
            }
        }
        Err(classify::unfollowed(request, &base, format_args!("it moved more than {MOVES_MAX} times")))
    }

    /// The base URL that the account moved to, if credentials may be sent there.
    fn followed(&self, request: &Request, url: &str) -> Result<Arc<str>, CallError> {
        let refuse = |why: &str| classify::unfollowed(request, url, why);
        let parsed = parse_endpoint(url).map_err(|_| refuse("the address is no base url"))?;
        // Whoever asked for TLS keeps it; and certificates are loaded only where they are needed.
        if parsed.scheme() != self.endpoint.scheme() {
            return Err(refuse("its scheme is another one"));
        }
        Ok(url.trim_end_matches('/').into())
    }

    /// Only the legacy family has a call for it, and only operators who ask for it send it: managers do without.
    async fn announce_capacity(&self, delegate_id: &str) {
        let (Family::Legacy, Some(maximum_number_of_builds)) = (self.options.family, self.options.capacity) else {
            return;
        };
        let body = wire::to_json(&wire::Capacity { maximum_number_of_builds });
        let Ok(request) = self.requests.capacity(delegate_id, body) else { return };
        let outcome = self.send(&request, self.options.request_timeout).await;
        if let Some(text) = classify::told(&request, &outcome) {
            tracing::warn!(reason = %text, "the manager was not told this delegate's capacity; the next registration tells it");
        }
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
        let request = self.poll_request(delegate_id).map_err(|error| CallError::Failed(error.to_string().into()))?;
        let outcome = self.send(&request, self.options.request_timeout).await;
        self.read_poll(&request, &outcome)
    }

    pub(super) fn poll_request(&self, delegate_id: &str) -> Result<Request, BadId> {
        match self.options.family {
            Family::Legacy => self.requests.poll(delegate_id),
            Family::Runner => self.requests.runner_poll(delegate_id),
        }
    }

    pub(super) fn read_poll(&self, request: &Request, outcome: &Outcome) -> Result<Listing, CallError> {
        match self.options.family {
            Family::Legacy => classify::poll(request, outcome),
            Family::Runner => classify::runner::poll(request, outcome),
        }
    }

    async fn acquire(&self, external_id: &ExternalId, identity: &Identity) -> Result<Box<Spec>, AcquireError> {
        let (id, name) = (external_id.as_str(), &self.options.delegate_name);
        let request = match self.options.family {
            Family::Legacy => self.requests.acquire(id, identity),
            Family::Runner => self.requests.runner_acquire(id, identity, name),
        };
        // No request can leave for such an id, so nothing was assigned.
        let request = request.map_err(|error| AcquireError::Refused(error.to_string().into()))?;
        let outcome = self.send(&request, self.options.request_timeout).await;
        let (account, pointers) = (&self.options.account_id, &self.options.trace_pointers);
        let mut spec = match self.options.family {
            Family::Legacy => {
                let task = classify::acquire(&request, &outcome, external_id, identity)?;
                spec(&task, account, identity, self.options.legacy_status_code, pointers)
            }
            Family::Runner => {
                let given = classify::runner::acquire(&request, &outcome)?;
                spec::runner::spec(&given, account, identity, pointers)
            }
        };
        self.options.session_pointers.place(&mut spec);
        Ok(Box::new(spec))
    }

    async fn report(&self, report: &Answerable) -> Result<(), ReportError> {
        let request = result(&self.requests, report).map_err(|error| ReportError::Unsent(error.to_string().into()))?;
        let outcome = self.send(&request, self.options.request_timeout).await;
        classify::report(&request, &outcome)
    }

    /// What registrations and heartbeats have in common.
    fn delegate<'a>(&'a self, host: &'a Host) -> wire::Delegate<'a> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let is_runner = self.options.family == Family::Runner;
        let send_secret = self.options.send_secret_in_body && !is_runner;
        wire::Delegate {
            account_id: &self.options.account_id,
            delegate_name: &self.options.delegate_name,
            delegate_random_token: send_secret.then(|| self.credentials.get().secret.reveal()),
            last_heart_beat: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            delegate_id: None,
            delegate_type: wire::DELEGATE_TYPE,
            ng: true,
            polling_mode_enabled: true,
            host_name: &host.name,
            ip: &host.ip,
            sequence_num: None,
            supported_task_types: None,
            // The runner says all of itself each time, an empty list of tags included.
            tags: is_runner.then(|| self.tags()),
            heartbeat_as_object: true,
            version: is_runner.then_some(wire::runner::VERSION),
            capacity_config: is_runner.then_some(wire::runner::CapacityConfig { max_stages: self.options.capacity }),
            runner: is_runner.then_some(true),
            currently_executing_delegate_tasks: None,
        }
    }

    fn tags(&self) -> Vec<&str> {
        self.options.tags.iter().map(String::as_str).filter(|tag| !tag.is_empty()).collect()
    }

    fn moved_to(&self) -> Option<Arc<str>> {
        self.moved_to.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The manager's base URL as far as this process knows.
    fn base(&self) -> Arc<str> {
        self.moved_to().unwrap_or_else(|| self.options.endpoint.as_str().into())
    }

    pub(super) async fn send(&self, request: &Request, timeout: Duration) -> Outcome {
        self.send_to(&self.base(), request, timeout).await
    }

    async fn send_to(&self, base: &str, request: &Request, timeout: Duration) -> Outcome {
        let began = Instant::now();
        let credentials = self.credentials.get();
        let outcome = self.send_as(&credentials, base, request, timeout).await;
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
        self.send_as(&renewed, base, request, left).await
    }

    async fn send_as(&self, credentials: &Credentials, base: &str, request: &Request, timeout: Duration) -> Outcome {
        let token = credentials.tokens.token(SystemTime::now());
        let token = token.map_err(|error| Failure::Unsent { reason: error.to_string() })?;
        let sent = transport::Request {
            method: request.method.clone(),
            url: format!("{base}{}", request.target),
            authorization: format!("Delegate {token}"),
            header: (self.options.family == Family::Runner).then(|| (TOKEN_HASH, credentials.secret.hash())),
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

    fn unregister<'a>(
        &'a self,
        delegate_id: &'a str,
        host: &'a Host,
    ) -> Pin<Box<dyn Future<Output = Result<(), Arc<str>>> + Send + 'a>> {
        Box::pin(async move {
            let request = self.requests.unregister(wire::to_json(&wire::Unregister {
                delegate_id,
                host_name: &host.name,
                ng: true,
                delegate_type: wire::DELEGATE_TYPE,
                ip_address: &host.ip,
            }));
            let outcome = self.send(&request, self.options.request_timeout).await;
            classify::told(&request, &outcome).map_or(Ok(()), Err)
        })
    }

    fn known_kinds(&self) -> Vec<(TaskType, Kind)> {
        stage::kinds().collect()
    }

    fn log_sink(&self) -> Option<Arc<dyn Sink>> {
        Some(Arc::new(self.logs.clone()))
    }

    fn secret_changes(&self) -> Option<tokio::sync::watch::Receiver<u64>> {
        Some(self.credentials.changes())
    }

    fn perform(&self, call: Call) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        Box::pin(async move {
            match call {
                Call::Register { task_types, host } => Answer::Register(self.register(&task_types, host).await),
                Call::Heartbeat { delegate_id, host, running } => {
                    Answer::Heartbeat(self.heartbeat(&delegate_id, &host, &running).await)
                }
                Call::Poll { delegate_id, .. } => Answer::Poll(self.poll(&delegate_id).await),
                Call::Acquire { task, external_id, identity } => {
                    Answer::Acquire { task, result: self.acquire(&external_id, &identity).await }
                }
                // A manager knows no steps.
                Call::Tell { task, .. } => Answer::Tell { task, result: Ok(Told::default()) },
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
