//! A double's door: a port that stays its own while it is down, and connections that can be cut at will.

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
    body::Body,
    extract::connect_info::Connected,
    response::Response,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// Largest body a double reads, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Pause after a failed accept, which is a lack of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Whose door it is.
pub(super) trait House: Send + Sync + 'static {
    /// Whether nobody is to be let in.
    fn is_down(&self) -> bool;

    /// A connection was hung up on because of that.
    fn hung_up(&self);
}

/// Accepts; while the double is down, only to hang up.
pub(super) struct Door<H> {
    pub(super) listener: TcpListener,
    pub(super) house: Arc<H>,
}

impl<H: House> Listener for Door<H> {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                // Keeping the port open keeps it ours. To a client, hanging up at once is as good as refusing.
                Ok((stream, _)) if self.house.is_down() => {
                    drop(stream);
                    self.house.hung_up();
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

impl<H: House> Connected<IncomingStream<'_, Door<H>>> for Link {
    fn connect_info(stream: IncomingStream<'_, Door<H>>) -> Self {
        stream.io().link.clone()
    }
}

pub(super) struct Connection {
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
