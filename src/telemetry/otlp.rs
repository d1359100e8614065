//! The connection to a collector over gRPC, for traces and metrics alike.

use std::{io, sync::Arc, time::Duration};

use reqwest::Url;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::upstreams::tls::{self, Tls};

/// Why a collector can't be connected to.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChannelError {
    #[error("the endpoint is no address to connect to")]
    Endpoint,
    #[error("the system's certificates can't be used")]
    Tls(#[from] tls::Error),
}

/// Connects when it is used, anew after each failure.
pub(super) fn channel(endpoint: &str, timeout: Duration) -> Result<Channel, ChannelError> {
    let bad = || ChannelError::Endpoint;
    let channel = Endpoint::from_shared(endpoint.to_owned()).map_err(|_| bad())?;
    let channel = channel.timeout(timeout).connect_timeout(timeout);
    let url = Url::parse(endpoint).map_err(|_| bad())?;
    if url.scheme() != "https" {
        return Ok(channel.connect_lazy());
    }
    // The transport is built without TLS of its own, so that there is one way to the system's certificates.
    let host = url.host_str().ok_or_else(bad)?.to_owned();
    let port = url.port_or_known_default().ok_or_else(bad)?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_| bad())?;
    let mut tls = Tls::default().client_config(true)?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(tls));
    Ok(channel.connect_with_connector_lazy(tower::service_fn(move |_| {
        let (connector, name, host) = (connector.clone(), name.clone(), host.clone());
        async move {
            let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(hyper_util::rt::TokioIo::new(connector.connect(name, stream).await?))
        }
    })))
}
