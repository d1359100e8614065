//! The way to a collector: OTLP over gRPC or over HTTP.

use std::{collections::HashMap, io, sync::Arc};

use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use reqwest::Url;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{
    metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::{
    config::{Headers, Traces, TracesProtocol},
    upstreams::tls::{self, Tls},
};

/// Where an HTTP collector takes spans.
const TRACES_PATH: &str = "/v1/traces";

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("traces.endpoint {endpoint} is no address to connect to")]
    Endpoint { endpoint: String },
    #[error("traces.headers_file: the header {name} can't be sent")]
    Header { name: String },
    #[error("the system's certificates can't be used for traces.endpoint")]
    Tls(#[from] tls::Error),
    #[error("traces.endpoint {endpoint} can't be used")]
    Exporter { endpoint: String, source: ExporterBuildError },
}

/// Sends to `endpoint`, a base URL.
pub(super) fn exporter(endpoint: &str, config: &Traces) -> Result<SpanExporter, Error> {
    // Its client for HTTP takes the process's provider, too.
    tls::install_crypto_provider();
    let built = match config.protocol {
        TracesProtocol::Grpc => SpanExporter::builder()
            .with_tonic()
            .with_channel(channel(endpoint, config)?)
            .with_timeout(config.timeout)
            .with_metadata(metadata(&config.headers)?)
            .build(),
        TracesProtocol::Http => SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(http_endpoint(endpoint))
            .with_timeout(config.timeout)
            .with_headers(headers(&config.headers))
            .build(),
    };
    built.map_err(|source| Error::Exporter { endpoint: endpoint.to_owned(), source })
}

fn http_endpoint(endpoint: &str) -> String {
    if endpoint.ends_with(TRACES_PATH) { endpoint.to_owned() } else { format!("{endpoint}{TRACES_PATH}") }
}

/// Connects when it is used, anew after each failure.
fn channel(endpoint: &str, config: &Traces) -> Result<Channel, Error> {
    let bad = || Error::Endpoint { endpoint: endpoint.to_owned() };
    let channel = Endpoint::from_shared(endpoint.to_owned()).map_err(|_| bad())?;
    let channel = channel.timeout(config.timeout).connect_timeout(config.timeout);
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

fn metadata(headers: &Headers) -> Result<MetadataMap, Error> {
    let mut metadata = MetadataMap::new();
    for (name, value) in headers.iter() {
        let bad = || Error::Header { name: name.to_owned() };
        let key = MetadataKey::<Ascii>::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let mut value: MetadataValue<Ascii> = value.expose().parse().map_err(|_| bad())?;
        value.set_sensitive(true);
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn headers(headers: &Headers) -> HashMap<String, String> {
    headers.iter().map(|(name, value)| (name.to_owned(), value.expose().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_kind_of_endpoint_has_an_exporter_and_a_bad_one_is_named() {
        let traces = |protocol| Traces {
            endpoint: None,
            protocol,
            sample_ratio: crate::config::Ratio::ALL,
            headers: Headers::default(),
            timeout: std::time::Duration::from_secs(1),
        };
        for (endpoint, protocol) in [
            ("http://127.0.0.1:4317", TracesProtocol::Grpc),
            ("https://[::1]:4317", TracesProtocol::Grpc),
            ("http://127.0.0.1:4318", TracesProtocol::Http),
        ] {
            // A machine without certificates can't speak TLS to anybody.
            match exporter(endpoint, &traces(protocol)) {
                Ok(_) | Err(Error::Tls(_)) => {}
                Err(error) => panic!("{endpoint}: {error}"),
            }
        }
        let error = exporter("https://a b", &traces(TracesProtocol::Grpc)).unwrap_err();
        assert_eq!(error.to_string(), "traces.endpoint https://a b is no address to connect to");
    }

    #[test]
    fn the_path_of_the_standard_is_appended_once() {
        assert_eq!(http_endpoint("http://127.0.0.1:4318"), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(http_endpoint("https://a.example/otlp/v1/traces"), "https://a.example/otlp/v1/traces");
    }
}
