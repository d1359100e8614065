//! The HTTP side: takes calls in, applies faults, and can cut a connection at will.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request, State, connect_info::Connected},
    http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::Response,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

use super::{Shared, calls::Call, dev, faults::Fault, wire::Reply};

/// Largest body the double reads, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Pause after a failed accept, which is a lack of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const HARNESS_ERROR: HeaderName = HeaderName::from_static("x-harness-error");

/// Serves until dropped.
pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    let door = Door { listener, shared: Arc::clone(&shared) };
    let app = Router::new().merge(dev::routes()).fallback(call).with_state(shared);
    axum::serve(door, app.into_make_service_with_connect_info::<Link>()).await
}

async fn call(State(shared): State<Arc<Shared>>, ConnectInfo(link): ConnectInfo<Link>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if shared.is_down() {
        shared.hung_up();
        return link.cut();
    }
    let Some(call) = Call::parse(parts.uri.path()) else {
        shared.no_route();
        return respond(Reply::no_route(404));
    };
    let route = call.route();
    if parts.method != route.method() {
        return respond(Reply::no_route(405));
    }
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return respond(Reply::error(413, "DEFAULT_ERROR_CODE", "Request entity too large"));
    };
    let fault = shared.arrived(route, parts.uri.query().unwrap_or(""), &body);
    match &fault {
        Some(Fault::CutBefore) => return link.cut(),
        Some(Fault::Status(status, body)) => return respond(Reply { status: *status, ..Reply::json(body.clone()) }),
        Some(Fault::Html) => return respond(Reply { content_type: "text/html", ..Reply::json(HTML) }),
        _ => {}
    }
    let mut reply = shared.answer(call, &parts.uri, &parts.headers, &body);
    shared.changed.notify_waiters();
    match fault {
        Some(Fault::CutBeforeAnswer) => return link.cut(),
        Some(Fault::Malformed) => reply = broken_off(&reply),
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::Hold(gate)) => gate.pass().await,
        _ => {}
    }
    // Who goes down while an answer is on its way does not send it.
    if shared.is_down() { link.cut() } else { respond(reply) }
}

const HTML: &str =
    "<!doctype html><html><head><title>Sign in</title></head><body>Sign in to this network.</body></html>";

/// 200 and the first half of the body; of an empty one, the beginning of an envelope.
fn broken_off(reply: &Reply) -> Reply {
    match reply.body.len() {
        0 | 1 => Reply::json(&br#"{"metaData":{},"resource":"#[..]),
        bytes => Reply::json(reply.body.slice(..bytes / 2)),
    }
}

pub(super) fn respond(reply: Reply) -> Response {
    let has_body = !reply.body.is_empty();
    let mut response = Response::new(Body::from(reply.body));
    // A fault may carry any number.
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if has_body {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    }
    if let Some(code) = reply.harness_error {
        response.headers_mut().insert(HARNESS_ERROR, HeaderValue::from_static(code));
    }
    response
}

// === connections that can be cut ===

/// Accepts; while the manager is down, only to hang up.
struct Door {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                // Keeping the port open keeps it ours. To a client, hanging up at once is as good as refusing.
                Ok((stream, _)) if self.shared.is_down() => {
                    drop(stream);
                    self.shared.hung_up();
                }
                Ok((stream, peer)) => {
                    // Small answers must not wait for the peer's acknowledgement of the last one.
                    let _ = stream.set_nodelay(true);
                    return (Connection { stream, link: Link::default() }, peer);
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The handler's hold on the connection that its request came in on.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    is_cut: Arc<AtomicBool>,
}

impl Link {
    /// Cuts the connection. The response returned is never sent: writing it is what fails.
    pub(super) fn cut(&self) -> Response {
        self.is_cut.store(true, Ordering::Release);
        Response::new(Body::empty())
    }

    fn check(&self) -> io::Result<()> {
        match self.is_cut.load(Ordering::Acquire) {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }
}

impl Connected<IncomingStream<'_, Door>> for Link {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().link.clone()
    }
}

struct Connection {
    stream: TcpStream,
    link: Link,
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.link.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.link.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.link.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
