//! `/metrics`, `/healthz` and `/readyz`, for probes and scrapers. They show counts and states, no task's content, and ask for no
//! credentials; so the default address is one of this host only. The status page shares the listener, with doors of its own.
//!
//! ```text
//! /metrics   200 text of all metrics
//! /healthz   200 the loop turns, or the delegate starts · 503 it is stuck: restart me
//! /readyz    200 work comes through · 503 it does not, with a reason for each condition
//! ```

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Extension, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use serde::Serialize;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower::Layer as _;

use super::{
    readiness::Readiness,
    vitals::{Pulse, Vitals},
};
use crate::telemetry::metrics::{CONTENT_TYPE, Metrics};

/// Connections at once; further ones wait in the system's queue until one of these ends.
pub const CONNECTIONS_MAX: usize = 32;
/// Longest life of a connection, which carries one request: a peer that dawdles holds its place no longer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest life of a connection that carries a stream; whoever wants more of it asks again.
pub const STREAM_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Pause after an accept that failed, which it does while the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connection that a request came by, among the extensions of that. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Of this end.
    local: Option<SocketAddr>,
    /// Gone once it carries a stream.
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

#[derive(Clone)]
struct Shown {
    vitals: Vitals,
    metrics: Metrics,
}

/// The body of `/healthz`.
#[derive(Debug, Serialize)]
struct Alive {
    alive: bool,
    reason: String,
}

/// Binds the listener; the address tells the port if 0 was asked for.
///
/// # Errors
/// If the address can't be bound.
pub fn bind(address: SocketAddr) -> io::Result<(std::net::TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// What serves until `stop`, to be called on a thread of its own: a loop that blocks a thread of the runtime may stop that one's timers
/// and sockets, and this is where it is to be seen. What is being answered at the stop is cut.
pub fn serve(
    listener: std::net::TcpListener,
    vitals: Vitals,
    metrics: Metrics,
    page: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> impl FnOnce() -> io::Result<()> + Send + 'static {
    move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            take_all(TcpListener::from_std(listener)?, vitals, metrics, page, stop).await;
            Ok(())
        })
    }
}

async fn take_all(
    listener: TcpListener,
    vitals: Vitals,
    metrics: Metrics,
    page: Router,
    stop: impl Future<Output = ()>,
) {
    let routes = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Shown { vitals, metrics })
        .merge(page);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::pin!(stop);
    loop {
        let accepted = async {
            // It is never closed.
            let place = places.clone().acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut stop => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (local, place) = (stream.local_addr().ok(), Mutex::new(place));
                let connection = Connection(Arc::new(Inner { local, place }));
                let answered = answer(stream, routes.clone(), connection.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = answered => {}
                        // It is cut.
                        () = connection.overdue() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection taken at http.listen");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

// === impl Connection ===

impl Connection {
    /// The address of this host that it leads to.
    pub fn local(&self) -> Option<SocketAddr> {
        self.0.local
    }

    /// Its answer is a stream, which somebody else bounds the number of: it gives its place back to probes, and may last for
    /// [`STREAM_TIMEOUT`].
    pub fn becomes_stream(&self) {
        *self.0.place.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn is_stream(&self) -> bool {
        self.0.place.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Returns when it has lasted too long.
    async fn overdue(&self) {
        tokio::time::sleep(REQUEST_TIMEOUT).await;
        if self.is_stream() {
            tokio::time::sleep(STREAM_TIMEOUT - REQUEST_TIMEOUT).await;
        }
    }
}

async fn answer(stream: TcpStream, routes: Router, connection: Connection) {
    let routes = Extension(connection).layer(routes);
    let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
    server.http1().timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT).keep_alive(false);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await {
        tracing::debug!(error, "a connection at http.listen failed");
    }
}

async fn metrics_text(State(shown): State<Shown>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], shown.metrics.text()).into_response()
}

async fn healthz(State(shown): State<Shown>) -> Response {
    let (alive, reason) = match shown.vitals.pulse() {
        Pulse::Turns => (true, "the loop turns".to_owned()),
        // How long a start may take is the supervisor's to bound.
        Pulse::Starting => (true, "the delegate starts: its journal is being read".to_owned()),
        Pulse::Stuck(age) => (false, format!("the loop has not turned for {} s", age.as_secs())),
    };
    json(alive, &Alive { alive, reason })
}

async fn readyz(State(shown): State<Shown>) -> Response {
    let readiness = Readiness::of(&shown.vitals);
    json(readiness.ready, &readiness)
}

fn json(good: bool, body: &impl Serialize) -> Response {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_vec(body) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        // A body of words and numbers has no such case.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
