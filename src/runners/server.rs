//! Listeners: the Unix socket always, TCP if configured. Health everywhere; reflection on the Unix socket only.

use std::{future::Future, net::SocketAddr, os::unix::fs::MetadataExt, path::Path, time::Duration};

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Server, server::TcpIncoming};

use super::{access::Access, access::Token, service::Service};
use crate::{
    health::grpc::Health,
    proto::{
        self,
        runner::v1::{log_service_server::LogServiceServer, runner_service_server::RunnerServiceServer},
    },
};

/// What the server still decodes, so that a frame above the protocol's limit can be refused by name.
const DECODED_BYTES_MAX: usize = 16 << 20;
/// HTTP/2 settings by measurement: large frames, windows at the default or above, pings well under the 60 s after which
/// proxies cut quiet streams.
const HTTP2_FRAME_BYTES: u32 = 256 << 10;
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Binds the Unix socket; its mode lets in owner and group.
///
/// # Errors
/// If the path can't be bound.
pub fn bind_unix(path: &Path) -> std::io::Result<(UnixListener, Access)> {
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o660))?;
    let socket = std::fs::metadata(path)?;
    let access = Access::Unix { uid: rustix::process::geteuid().as_raw(), gid: socket.gid() };
    Ok((listener, access))
}

/// Serves runners on a Unix socket until `stop`.
///
/// # Errors
/// If the transport fails as a whole.
pub async fn serve_unix(
    listener: UnixListener,
    service: Service,
    health: Health,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were made by the same build");
    server()
        .add_service(LogServiceServer::new(service.clone()))
        .add_service(RunnerServiceServer::new(service).max_decoding_message_size(DECODED_BYTES_MAX))
        .add_service(health.service())
        .add_service(reflection)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop)
        .await
}

/// Binds the TCP listener; the address tells the port if 0 was asked for.
///
/// # Errors
/// If the address can't be bound.
pub fn bind_tcp(address: SocketAddr) -> std::io::Result<(TcpIncoming, SocketAddr)> {
    let incoming = TcpIncoming::bind(address)?.with_nodelay(Some(true)).with_keepalive(Some(PING_INTERVAL));
    let bound = incoming.local_addr()?;
    Ok((incoming, bound))
}

/// Serves runners over TCP until `stop`.
///
/// # Errors
/// If the transport fails as a whole.
pub async fn serve_tcp(
    incoming: TcpIncoming,
    service: Service,
    health: Health,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    server()
        .add_service(LogServiceServer::new(service.clone()))
        .add_service(RunnerServiceServer::new(service).max_decoding_message_size(DECODED_BYTES_MAX))
        .add_service(health.service())
        .serve_with_incoming_shutdown(incoming, stop)
        .await
}

/// How the TCP listener knows its peers.
pub fn token_access(token: &[u8]) -> Access {
    Access::Token(Token::new(token))
}

fn server() -> Server {
    Server::builder()
        .max_frame_size(HTTP2_FRAME_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
}
