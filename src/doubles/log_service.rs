//! The log service as its clients see it, quirks included: section by section what `upstreams::harness::logs` has to live with.
//!
//! | call | answer |
//! |---|---|
//! | `POST /stream` | 204; an open stream is emptied |
//! | `PUT /stream` | 204; 400 if it is not open; the newest 5,000 lines stay |
//! | `DELETE /stream` | 204; 500 if it is not open |
//! | `POST /blob` | 204; replaces what was there |
//! | `POST /blob/link/upload` | a link that is good once; 500 without an object store |
//! | `PUT` of a link | 200; 403 once it is over |
//! | `GET /blob` | the blob, or 404 |
//!
//! It forgets everything with the process, and its streams do not end by themselves.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Query, Request, State},
    http::{Method, StatusCode},
    response::Response,
};
use tokio::{net::TcpListener, sync::Notify, task::AbortHandle};

/// Lines of a stream that stay.
pub const STREAM_LINES_MAX: usize = 5_000;
/// Largest blob, in bytes.
pub const BLOB_BYTES_MAX: usize = 1 << 30;
const BATCH_BYTES_MAX: usize = 16 << 20;

/// A log service on loopback, as long as it is kept.
#[derive(Debug)]
pub struct LogService {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: AbortHandle,
}

/// What it counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub opens: u64,
    pub writes: u64,
    pub closes: u64,
    pub links: u64,
    pub uploads_direct: u64,
    pub uploads_by_link: u64,
    /// Answered 503, since it was down.
    pub turned_away: u64,
}

#[derive(Debug)]
struct Shared {
    token: String,
    address: SocketAddr,
    changed: Notify,
    state: Mutex<Service>,
}

#[derive(Debug, Default)]
struct Service {
    is_down: bool,
    has_no_store: bool,
    /// Links that are refused although they are new.
    links_to_refuse: u32,
    streams: BTreeMap<String, VecDeque<serde_json::Value>>,
    blobs: BTreeMap<String, Bytes>,
    /// Names of blobs by the links that lead there.
    links: BTreeMap<String, String>,
    counts: Counts,
}

#[derive(serde::Deserialize)]
struct Place {
    #[serde(rename = "accountID", default)]
    account: String,
    #[serde(default)]
    key: String,
}

// === impl LogService ===

impl LogService {
    /// Starts one that takes `token`.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start(token: impl Into<String>) -> io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Mutex::default();
        let shared = Arc::new(Shared { token: token.into(), address, changed: Notify::new(), state });
        let app = Router::new().fallback(call).with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await }).abort_handle();
        Ok(Self { address, shared, serving })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The `log_config` that a task carries to log here.
    pub fn config(&self, account: &str, indirect_upload: bool) -> serde_json::Value {
        serde_json::json!({
            "url": self.url(), "token": self.shared.token, "account_id": account, "indirect_upload": indirect_upload,
        })
    }

    /// While it is down, everything is answered with 503.
    pub fn set_down(&self, is_down: bool) {
        self.shared.lock().is_down = is_down;
    }

    /// Without an object store there are no links.
    pub fn set_no_store(&self, has_no_store: bool) {
        self.shared.lock().has_no_store = has_no_store;
    }

    /// The next so many links are over when they are used.
    pub fn refuse_links(&self, count: u32) {
        self.shared.lock().links_to_refuse = count;
    }

    /// It forgets the open streams, as a restart does.
    pub fn forget_streams(&self) {
        self.shared.lock().streams.clear();
    }

    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }

    /// The lines of an open stream.
    pub fn stream(&self, account: &str, key: &str) -> Option<Vec<serde_json::Value>> {
        self.shared.lock().streams.get(&format!("{account}/{key}")).map(|lines| lines.iter().cloned().collect())
    }

    pub fn blob(&self, account: &str, key: &str) -> Option<Bytes> {
        self.shared.lock().blobs.get(&format!("{account}/{key}")).cloned()
    }

    /// Everything that anybody could read here.
    pub fn everything(&self) -> Vec<u8> {
        let state = self.shared.lock();
        let streams = state.streams.values().flatten().flat_map(|line| line.to_string().into_bytes());
        state.blobs.values().flat_map(|blob| blob.to_vec()).chain(streams).collect()
    }

    /// Waits until `what` is true, looking after every call.
    pub async fn until(&self, what: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if what(self) {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for LogService {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Service> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn call(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let answer = answer(&shared, request).await;
    shared.changed.notify_waiters();
    let (status, body) = answer.unwrap_or_else(|(status, text)| {
        let error = serde_json::json!({ "error_msg": text }).to_string();
        (status, Bytes::from(error))
    });
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
}

type Answer = Result<(StatusCode, Bytes), (StatusCode, &'static str)>;

async fn answer(shared: &Shared, request: Request) -> Answer {
    const DONE: Answer = Ok((StatusCode::NO_CONTENT, Bytes::new()));
    let (parts, body) = request.into_parts();
    {
        let mut state = shared.lock();
        if state.is_down {
            state.counts.turned_away += 1;
            return Err((StatusCode::SERVICE_UNAVAILABLE, "down"));
        }
    }
    let path = parts.uri.path();
    if let Some(link) = path.strip_prefix("/store/") {
        let body = read(body, BLOB_BYTES_MAX).await?;
        let mut state = shared.lock();
        let name = state.links.remove(link).filter(|_| state.links_to_refuse == 0);
        state.links_to_refuse = state.links_to_refuse.saturating_sub(1);
        let name = name.ok_or((StatusCode::FORBIDDEN, "the link is over"))?;
        if parts.headers.get("content-length").is_none() {
            return Err((StatusCode::LENGTH_REQUIRED, "an object store wants the length"));
        }
        state.counts.uploads_by_link += 1;
        state.blobs.insert(name, body);
        return Ok((StatusCode::OK, Bytes::new()));
    }
    if parts.headers.get("x-harness-token").is_none_or(|token| token.as_bytes() != shared.token.as_bytes()) {
        return Err((StatusCode::FORBIDDEN, "the token is not valid for this account"));
    }
    let place = Query::<Place>::try_from_uri(&parts.uri).map_err(|_| (StatusCode::BAD_REQUEST, "bad query"))?.0;
    if place.account.is_empty() || place.key.is_empty() {
        return Err((StatusCode::BAD_REQUEST, "accountID and key are needed"));
    }
    let name = format!("{}/{}", place.account, place.key);
    match (parts.method, path) {
        (Method::POST, "/stream") => {
            let mut state = shared.lock();
            state.counts.opens += 1;
            state.streams.insert(name, VecDeque::new());
            DONE
        }
        (Method::PUT, "/stream") => {
            let batch = read(body, BATCH_BYTES_MAX).await?;
            let batch: Vec<serde_json::Value> =
                serde_json::from_slice(&batch).map_err(|_| (StatusCode::BAD_REQUEST, "bad JSON"))?;
            let mut state = shared.lock();
            state.counts.writes += 1;
            let lines = state.streams.get_mut(&name).ok_or((StatusCode::BAD_REQUEST, "the stream is not open"))?;
            lines.extend(batch);
            while lines.len() > STREAM_LINES_MAX {
                lines.pop_front();
            }
            DONE
        }
        (Method::DELETE, "/stream") => {
            let mut state = shared.lock();
            state.counts.closes += 1;
            match state.streams.remove(&name) {
                Some(_) => DONE,
                None => Err((StatusCode::INTERNAL_SERVER_ERROR, "the stream is not open")),
            }
        }
        (Method::POST, "/blob") => {
            let blob = read(body, BLOB_BYTES_MAX).await?;
            let mut state = shared.lock();
            state.counts.uploads_direct += 1;
            state.blobs.insert(name, blob);
            DONE
        }
        (Method::POST, "/blob/link/upload") => {
            let mut state = shared.lock();
            if state.has_no_store {
                return Err((StatusCode::INTERNAL_SERVER_ERROR, "no object store"));
            }
            state.counts.links += 1;
            let link = format!("{:x}", state.counts.links);
            state.links.insert(link.clone(), name);
            // An hour, in nanoseconds; `&` as the service writes it.
            let link = format!(
                r#"{{"link":"http://{}/store/{link}?sig=abc\u0026exp=1","expires":3600000000000}}"#,
                shared.address
            );
            Ok((StatusCode::OK, link.into()))
        }
        (Method::GET, "/blob") => {
            let blob = shared.lock().blobs.get(&name).cloned();
            blob.map(|blob| (StatusCode::OK, blob)).ok_or((StatusCode::NOT_FOUND, "no such blob"))
        }
        _ => Err((StatusCode::NOT_FOUND, "no such route")),
    }
}

async fn read(body: Body, max: usize) -> Result<Bytes, (StatusCode, &'static str)> {
    to_bytes(body, max).await.map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, "the body is cut or too large"))
}
