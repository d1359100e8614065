//! Metrics on their way to a collector, on a thread of their own: a collector that hangs delays the next sending and nothing else.

use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, MetricExporter, Protocol, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::metrics::{PeriodicReader, Temporality};

use crate::{
    config::{Metrics, OtlpProtocol},
    telemetry::otlp::{self, ChannelError},
    upstreams::tls,
};

/// How long one sending may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Where an HTTP collector takes metrics.
const METRICS_PATH: &str = "/v1/metrics";

/// Why metrics can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("metrics.endpoint {endpoint} is no address to connect to")]
    Endpoint { endpoint: String },
    #[error("the system's certificates can't be used for metrics.endpoint")]
    Tls(#[from] tls::Error),
    #[error("metrics.endpoint {endpoint} can't be used")]
    Exporter { endpoint: String, source: ExporterBuildError },
}

/// The reader that sends; none if no endpoint is configured. Needs a runtime around it, which carries the connection of gRPC.
pub(super) fn reader(config: &Metrics) -> Result<Option<PeriodicReader<MetricExporter>>, Error> {
    let Some(endpoint) = &config.endpoint else { return Ok(None) };
    // The client for HTTP takes the process's provider.
    tls::install_crypto_provider();
    // Named rather than left to the environment: only our own options decide.
    let builder = MetricExporter::builder().with_temporality(Temporality::Cumulative);
    let built = match config.protocol {
        OtlpProtocol::Grpc => {
            let channel = otlp::channel(endpoint, EXPORT_TIMEOUT).map_err(|error| match error {
                ChannelError::Endpoint => Error::Endpoint { endpoint: endpoint.clone() },
                ChannelError::Tls(error) => Error::Tls(error),
            })?;
            builder.with_tonic().with_channel(channel).with_timeout(EXPORT_TIMEOUT).build()
        }
        OtlpProtocol::Http => builder
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(http_endpoint(endpoint))
            .with_timeout(EXPORT_TIMEOUT)
            .build(),
    };
    let exporter = built.map_err(|source| Error::Exporter { endpoint: endpoint.clone(), source })?;
    Ok(Some(PeriodicReader::builder(exporter).with_interval(config.interval).build()))
}

fn http_endpoint(endpoint: &str) -> String {
    if endpoint.ends_with(METRICS_PATH) { endpoint.to_owned() } else { format!("{endpoint}{METRICS_PATH}") }
}
