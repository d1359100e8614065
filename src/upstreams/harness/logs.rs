//! The log service: another host than the manager, another credential, and quirks of its own.
//!
//! ```text
//!  open ─► write batches … ─► upload of the whole, at once or by a signed link ─► close
//! ```
//!
//! | quirk | what is done |
//! |---|---|
//! | opening an open key empties it | a log is opened once a process; the next one begins its live part anew |
//! | a write before the open is 400, and the service forgets streams | it is opened again, and the batch sent again |
//! | closing a closed one is 500 | the answer of the close counts for nothing |
//! | no object store: the link is 500 | it is uploaded directly |
//! | a link lives for an hour | each try asks for a new one |
//!
//! Redirects are not followed, and neither token nor link appears in an error.

mod body;
pub(super) mod destination;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use reqwest::{
    Method, RequestBuilder,
    header::{CONTENT_LENGTH, HeaderValue},
};

use self::destination::Destination;
use crate::{
    core::task::Spec,
    logs::{
        receipt::Receipt,
        record::Record,
        sink::{Delivery, Failure, Sent, Sink},
        spool::Log,
    },
    upstreams::transport::{Http, Network, parse_endpoint},
};

/// Carries the account's token.
const TOKEN: &str = "x-harness-token";
/// Bounds of the calls, as the Go client has them.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
const LINK_TIMEOUT: Duration = Duration::from_secs(10);
/// Of an upload: a minute, and longer for what a slow line needs.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60);
const UPLOAD_BYTES_A_SECOND: u64 = 256 << 10;
/// Largest answer that is read: a link.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How whole logs are uploaded. Decided once for an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upload {
    /// As each task says.
    #[default]
    Task,
    /// To the log service itself.
    Direct,
    /// To an object store, by a signed link that the log service gives.
    Link,
}

/// The log services of one upstream's tasks.
#[derive(Clone)]
pub struct LogService(Arc<Inner>);

struct Inner {
    network: Network,
    upload: Upload,
    account: String,
    /// With and without TLS; made when first needed, since certificates are loaded for it.
    clients: [OnceLock<Http>; 2],
}

/// One log on its way.
struct Stream {
    service: LogService,
    to: Destination,
    http: Http,
    is_open: bool,
}

// === impl LogService ===

impl LogService {
    /// For tasks of `account`.
    pub fn new(account: impl Into<String>, upload: Upload, network: Network) -> Self {
        Self(Arc::new(Inner { network, upload, account: account.into(), clients: Default::default() }))
    }

    fn client(&self, url: &str) -> Result<Http, String> {
        let endpoint = parse_endpoint(url).map_err(|error| error.to_string())?;
        let place = &self.0.clients[usize::from(endpoint.scheme() == "https")];
        if let Some(http) = place.get() {
            return Ok(http.clone());
        }
        let http = Http::new(&endpoint, &self.0.network).map_err(|error| error.to_string())?;
        Ok(place.get_or_init(|| http).clone())
    }
}

impl Sink for LogService {
    fn destination(&self, task: &Spec, step_id: &str) -> Option<Vec<u8>> {
        destination::of_task(task, step_id, &self.0.account).and_then(|to| serde_json::to_vec(&to).ok())
    }

    fn deliver(&self, destination: &[u8]) -> Result<Box<dyn Delivery>, String> {
        // The error would quote what it can't read.
        let to: Destination = serde_json::from_slice(destination).map_err(|_| "it is of another version".to_owned())?;
        let http = self.client(&to.url)?;
        Ok(Box::new(Stream { service: self.clone(), to, http, is_open: false }))
    }
}

// === impl Stream ===

impl Stream {
    fn url(&self, path: &str) -> String {
        format!("{}{path}?accountID={}&key={}", self.to.url, escaped(&self.to.account), escaped(&self.to.key))
    }

    fn request(&self, method: Method, path: &str, timeout: Duration) -> Result<RequestBuilder, Failure> {
        Ok(self.http.client().request(method, self.url(path)).header(TOKEN, self.token()?).timeout(timeout))
    }

    fn token(&self) -> Result<HeaderValue, Failure> {
        let mut token = HeaderValue::try_from(&self.to.token)
            .map_err(|_| Failure::Never("the token does not fit into a header".to_owned()))?;
        token.set_sensitive(true);
        Ok(token)
    }

    async fn open(&mut self) -> Result<(), Failure> {
        let request = self.request(Method::POST, "/stream", OPEN_TIMEOUT)?.header(CONTENT_LENGTH, "0");
        perform("open", request).await?;
        self.is_open = true;
        Ok(())
    }

    async fn write(&mut self, records: &[Record]) -> Result<(), Failure> {
        if !self.is_open {
            self.open().await?;
        }
        let batch = body::batch(records, &self.to);
        let request = self.request(Method::PUT, "/stream", CALL_TIMEOUT)?.body(batch.clone());
        match perform("write", request).await {
            Err(Failure::Never(_)) => {
                // It may have forgotten the stream.
                self.open().await?;
                perform("write", self.request(Method::PUT, "/stream", CALL_TIMEOUT)?.body(batch)).await.map(drop)
            }
            written => written.map(drop),
        }
    }

    async fn upload(&self, log: &Log, receipt: &Receipt) -> Result<(), Failure> {
        let is_direct = match self.service.0.upload {
            Upload::Task => self.to.is_direct,
            Upload::Direct => true,
            Upload::Link => false,
        };
        let whole = body::Whole::measure(log, receipt, &self.to).await?;
        let timeout = UPLOAD_TIMEOUT + Duration::from_secs(whole.bytes() / UPLOAD_BYTES_A_SECOND);
        if !is_direct && let Some(link) = self.link().await? {
            let request = self.http.client().request(Method::PUT, link).header(TOKEN, self.token()?).timeout(timeout);
            return match perform("upload by link", whole.attach(request)).await {
                // A link that is over is refused; the next try asks for another one.
                Err(Failure::Never(reason)) => Err(Failure::Again(reason)),
                sent => sent.map(drop),
            };
        }
        let request = self.request(Method::POST, "/blob", timeout)?;
        perform("upload", whole.attach(request)).await.map(drop)
    }

    /// Where to upload to; none: the service has no object store.
    async fn link(&self) -> Result<Option<reqwest::Url>, Failure> {
        #[derive(serde::Deserialize)]
        struct Link {
            link: String,
        }
        let request = self.request(Method::POST, "/blob/link/upload", LINK_TIMEOUT)?.header(CONTENT_LENGTH, "0");
        let answer = match send("upload link", request).await? {
            (500, _) => return Ok(None),
            answered => judge("upload link", answered)?,
        };
        let link = serde_json::from_slice::<Link>(&answer).ok().and_then(|answer| answer.link.parse().ok());
        link.map(Some).ok_or_else(|| Failure::Again("upload link: the answer holds none".to_owned()))
    }

    async fn close(&mut self) {
        // One that nobody wrote to was never opened.
        if self.is_open
            && let Ok(request) = self.request(Method::DELETE, "/stream", CALL_TIMEOUT)
            && let Err(reason) = perform("close", request).await
        {
            // The service closes it by itself in time.
            tracing::debug!(%reason, "the live part of a log was not closed");
        }
        self.is_open = false;
    }
}

impl Delivery for Stream {
    fn live<'a>(&'a mut self, records: &'a [Record]) -> Sent<'a> {
        Box::pin(self.write(records))
    }

    fn whole<'a>(&'a mut self, log: &'a Log, receipt: &'a Receipt) -> Sent<'a> {
        Box::pin(async {
            self.upload(log, receipt).await?;
            self.close().await;
            Ok(())
        })
    }
}

/// Sends a request and reads what there is of an answer that counts.
async fn perform(what: &str, request: RequestBuilder) -> Result<Bytes, Failure> {
    judge(what, send(what, request).await?)
}

async fn send(what: &str, request: RequestBuilder) -> Result<(u16, Bytes), Failure> {
    let unanswered = |error: reqwest::Error| Failure::Again(format!("{what}: {}", cause(error)));
    let mut answer = request.send().await.map_err(unanswered)?;
    let status = answer.status().as_u16();
    let mut body = bytes::BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(unanswered)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, body.freeze()))
}

/// | status | meaning |
/// |---|---|
/// | 2xx | done |
/// | 401, 403, 408, 429, 5xx | it may be better later: a token is given anew, a service comes back |
/// | other | it never will |
fn judge(what: &str, (status, body): (u16, Bytes)) -> Result<Bytes, Failure> {
    let text = format!("{what}: status {status}");
    match status {
        200..300 => Ok(body),
        401 | 403 | 408 | 429 | 500.. => Err(Failure::Again(text)),
        _ => Err(Failure::Never(text)),
    }
}

fn cause(error: reqwest::Error) -> String {
    crate::upstreams::transport::chain(&error.without_url())
}

/// A key goes into the query as the Go client writes it, with `:` and `/` raw; anything that would end it is escaped.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'/' | b'-' | b'_' | b'.' | b'~' | b'!' | b'$' | b',' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_as_it_is_but_for_what_would_end_it() {
        assert_eq!(escaped("accountId:acct/stageId:a-b_c/step:x"), "accountId:acct/stageId:a-b_c/step:x");
        assert_eq!(escaped("a b&c=d#e%f+\u{e4}"), "a%20b%26c%3Dd%23e%25f%2B%C3%A4");
    }

    #[test]
    fn what_may_be_better_later_is_tried_again() {
        let judged = |status| judge("upload", (status, Bytes::new()));
        assert!(judged(204).is_ok() && judged(200).is_ok());
        for status in [401, 403, 429, 500, 502, 503] {
            assert_eq!(judged(status), Err(Failure::Again(format!("upload: status {status}"))));
        }
        for status in [302, 400, 404, 413] {
            assert_eq!(judged(status), Err(Failure::Never(format!("upload: status {status}"))));
        }
    }
}
