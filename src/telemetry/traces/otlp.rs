//! The way to a collector: OTLP over gRPC or over HTTP.

use std::collections::HashMap;

use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};

use crate::{
    config::{Headers, OtlpProtocol, Traces},
    telemetry::otlp::{self, ChannelError},
    upstreams::tls,
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

impl Error {
    fn of(error: ChannelError, endpoint: &str) -> Self {
        match error {
            ChannelError::Endpoint => Self::Endpoint { endpoint: endpoint.to_owned() },
            ChannelError::Tls(error) => Self::Tls(error),
        }
    }
}

/// Sends to `endpoint`, a base URL.
pub(super) fn exporter(endpoint: &str, config: &Traces) -> Result<SpanExporter, Error> {
    // Its client for HTTP takes the process's provider, too.
    tls::install_crypto_provider();
    let built = match config.protocol {
        OtlpProtocol::Grpc => SpanExporter::builder()
            .with_tonic()
            .with_channel(otlp::channel(endpoint, config.timeout).map_err(|error| Error::of(error, endpoint))?)
            .with_timeout(config.timeout)
            .with_metadata(metadata(&config.headers)?)
            .build(),
        OtlpProtocol::Http => SpanExporter::builder()
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
            ("http://127.0.0.1:4317", OtlpProtocol::Grpc),
            ("https://[::1]:4317", OtlpProtocol::Grpc),
            ("http://127.0.0.1:4318", OtlpProtocol::Http),
        ] {
            // A machine without certificates can't speak TLS to anybody.
            match exporter(endpoint, &traces(protocol)) {
                Ok(_) | Err(Error::Tls(_)) => {}
                Err(error) => panic!("{endpoint}: {error}"),
            }
        }
        let error = exporter("https://a b", &traces(OtlpProtocol::Grpc)).unwrap_err();
        assert_eq!(error.to_string(), "traces.endpoint https://a b is no address to connect to");
    }

    #[test]
    fn the_path_of_the_standard_is_appended_once() {
        assert_eq!(http_endpoint("http://127.0.0.1:4318"), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(http_endpoint("https://a.example/otlp/v1/traces"), "https://a.example/otlp/v1/traces");
    }
}
