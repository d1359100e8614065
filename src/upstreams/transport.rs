//! HTTP to an upstream: one request, one whole answer, both bounded. It knows no upstream, and never tries again.
//!
//! Adapters hold a [`Transport`], so a test can play the other side without a socket.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Client, Method, Proxy, Url, Version,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, HeaderValue},
    redirect::Policy,
};

use super::{
    reload::{FromFiles, LOOK_INTERVAL},
    tls::{self, Tls, install_crypto_provider},
};
use crate::config::ProxyUrl;

/// Largest answer that is read, in bytes. A task's payload may be 3.5 MiB; a poll lists a task in some 200 bytes.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest wait for a connection, within the request's own timeout.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections kept: as many as the core has reports under way at once, and some for its other calls. HTTP/2 needs one.
pub const IDLE_CONNECTIONS_MAX: usize = 80;
/// How long an idle connection is kept. Below the 60 s after which many proxies close one, so that few requests meet a closed one.
pub const IDLE_CONNECTION_AGE_MAX: Duration = Duration::from_secs(50);

/// Names this program in the logs of servers and proxies.
const USER_AGENT: &str = concat!("dlite/", env!("CARGO_PKG_VERSION"));

/// Sends requests.
pub trait Transport: Send + Sync + 'static {
    /// Sends one request and reads its whole answer, within `request.timeout`.
    fn send(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send + '_>>;
}

/// A request to an upstream.
pub struct Request {
    pub method: Method,
    /// With scheme, host and query; all ids in it are escaped.
    pub url: String,
    /// The whole value of the header; empty: none.
    pub authorization: String,
    /// A further header, and its value, which is kept out of logs as well.
    pub header: Option<(HeaderName, String)>,
    /// JSON; empty: none.
    pub body: Bytes,
    /// For everything: connecting, sending, and reading the answer.
    pub timeout: Duration,
}

/// An answer, whatever its status.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// At most [`ANSWER_BYTES_MAX`].
    pub body: Bytes,
}

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub status: u16,
    /// The server's time, in whole seconds.
    pub date: Option<SystemTime>,
    pub version: Version,
}

/// No whole answer came. Whether the upstream acted is unknown, but for [`Failure::Unsent`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing was sent.
    #[error("not sent: {reason}")]
    Unsent { reason: String },
    #[error("can't connect: {reason}")]
    Unconnected { reason: String },
    #[error("no answer within {waited:?}")]
    TimedOut { waited: Duration },
    #[error("the connection was lost before the answer was whole: {reason}")]
    Cut { reason: String },
    #[error("the answer is larger than {max} bytes")]
    TooLarge { max: usize },
}

/// The way to a server: what TLS trusts and shows, and through whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its files are read again when they change.
    pub tls: Tls,
    /// Every request goes through it. The environment is not asked: that is the configuration's part.
    pub proxy: Option<ProxyUrl>,
    /// How often the files are looked at.
    pub look_interval: Duration,
}

/// A transport that can't be made from what is configured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("endpoint {endpoint:?} is no base url: expected http or https with a host, and no user, query or fragment")]
    Endpoint { endpoint: String },
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("no http client can be made: {reason}")]
    Client { reason: String },
}

/// HTTP/1.1 or 2 over TCP or TLS.
#[derive(Clone, Debug)]
pub struct Http {
    client: FromFiles<Client>,
}

/// Reads a base URL.
///
/// # Errors
/// [`Error::Endpoint`].
pub fn parse_endpoint(endpoint: &str) -> Result<Url, Error> {
    let refuse = || Error::Endpoint { endpoint: without_user(endpoint) };
    let url = Url::parse(endpoint).map_err(|_| refuse())?;
    let is_base = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if is_base { Ok(url) } else { Err(refuse()) }
}

/// What stands before an `@` may be a password.
fn without_user(endpoint: &str) -> String {
    endpoint.rsplit_once('@').map_or_else(|| endpoint.to_owned(), |(_, rest)| format!("…@{rest}"))
}

// === impl Http ===

impl Http {
    /// A client for one endpoint.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn new(endpoint: &Url, network: &Network) -> Result<Self, Error> {
        install_crypto_provider();
        let uses_tls = network.uses_tls(endpoint);
        let (files, interval, network) = (network.tls.files(), network.look_interval, network.clone());
        let client = FromFiles::load("certificates", files, interval, move || client(&network, uses_tls))?;
        Ok(Self { client })
    }

    /// The client in force. Its connections are its own: a successor shows and trusts nothing that this one did.
    pub(super) fn client(&self) -> Arc<Client> {
        self.client.get()
    }

    /// Asks for the head of `url`, without a token and without reading a body.
    ///
    /// # Errors
    /// As for any request.
    pub async fn probe(&self, url: &str, timeout: Duration) -> Result<Probe, Failure> {
        let answer = self.client().get(url).timeout(timeout).send().await.map_err(|error| failure(error, timeout))?;
        let date = answer.headers().get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        Ok(Probe { status: answer.status().as_u16(), date, version: answer.version() })
    }

    async fn perform(&self, request: Request) -> Result<Response, Failure> {
        let waited = request.timeout;
        let explain = |error: reqwest::Error| failure(error, waited);
        let client = self.client();
        let mut sent = client
            .request(request.method.clone(), request.url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .timeout(request.timeout);
        if !request.authorization.is_empty() {
            let mut authorization = HeaderValue::try_from(request.authorization)
                .map_err(|_| Failure::Unsent { reason: "the token does not fit into a header".to_owned() })?;
            authorization.set_sensitive(true);
            sent = sent.header(AUTHORIZATION, authorization);
        }
        if let Some((name, value)) = request.header {
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| Failure::Unsent { reason: format!("the value of {name} does not fit into a header") })?;
            value.set_sensitive(true);
            sent = sent.header(name, value);
        }
        if request.body.is_empty() && request.method != Method::GET {
            // The client leaves it out, and some servers and proxies want it said (411).
            sent = sent.header(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut response = sent.body(request.body).send().await.map_err(explain)?;
        let status = response.status().as_u16();
        let too_large = Failure::TooLarge { max: ANSWER_BYTES_MAX };
        if response.content_length().is_some_and(|length| length > ANSWER_BYTES_MAX as u64) {
            return Err(too_large);
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(explain)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(too_large);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, body: body.freeze() })
    }
}

impl Transport for Http {
    fn send(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send + '_>> {
        Box::pin(self.perform(request))
    }
}

fn failure(error: reqwest::Error, waited: Duration) -> Failure {
    // The URL says nothing that the caller does not know.
    let error = error.without_url();
    match () {
        () if error.is_connect() => Failure::Unconnected { reason: chain(&error) },
        () if error.is_timeout() => Failure::TimedOut { waited },
        () if error.is_builder() => Failure::Unsent { reason: chain(&error) },
        () => Failure::Cut { reason: chain(&error) },
    }
}

/// The error and its sources in one line, each said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

fn client(network: &Network, uses_tls: bool) -> Result<Client, Error> {
    // With it no proxy of the environment is asked.
    let builder = Client::builder().no_proxy();
    let builder = match &network.proxy {
        Some(proxy) => builder.proxy(
            Proxy::all(proxy.expose().clone())
                .map_err(|error| Error::Client { reason: chain(&error.without_url()) })?,
        ),
        None => builder,
    };
    builder
        // An upstream's answer to a result is final; following it elsewhere would carry the token along.
        .redirect(Policy::none())
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .pool_idle_timeout(IDLE_CONNECTION_AGE_MAX)
        .tls_backend_preconfigured(network.tls.client_config(uses_tls)?)
        .build()
        .map_err(|error| Error::Client { reason: chain(&error) })
}

// === impl Network ===

impl Network {
    /// Whether TLS is spoken on the way, so that the system's certificates are needed.
    pub fn uses_tls(&self, endpoint: &Url) -> bool {
        endpoint.scheme() == "https" || self.proxy.as_ref().is_some_and(ProxyUrl::is_tls)
    }
}

impl Default for Network {
    /// Directly, with the system's certificates.
    fn default() -> Self {
        Self { tls: Tls::default(), proxy: None, look_interval: LOOK_INTERVAL }
    }
}

// === impl Request, Response: sizes, never content ===

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {}, {} bytes)", self.method, self.url, self.body.len())
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_has_a_scheme_and_a_host_and_nothing_at_its_end() {
        for good in ["https://manager.example.test", "http://127.0.0.1:80/gateway/x", "https://[::1]:1/"] {
            assert!(parse_endpoint(good).is_ok(), "{good}");
        }
        for bad in ["", "manager.example.test", "ftp://m", "https://", "https://m?x=1", "https://m#x"] {
            assert!(parse_endpoint(bad).unwrap_err().to_string().contains("no base url"), "{bad}");
        }
    }

    #[test]
    fn a_password_in_an_endpoint_is_refused_and_not_quoted() {
        let error = parse_endpoint("https://user:hunter2@manager.example.test").unwrap_err().to_string();
        assert!(error.contains("manager.example.test") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_file_without_a_certificate_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "no certificate").unwrap();
        let endpoint = parse_endpoint("https://manager.example.test").unwrap();
        for path in [empty, dir.path().join("missing.pem")] {
            let tls = Tls { ca_files: vec![path.clone()], ..Tls::default() };
            let network = Network { tls, ..Network::default() };
            let error = Http::new(&endpoint, &network).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
    }
}
