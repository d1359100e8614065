//! Metrics on their way to a collector, on a thread of their own: a collector that hangs delays the next sending and nothing else.

use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, MetricExporter, Protocol, WithExportConfig};
use opentelemetry_sdk::metrics::{PeriodicReader, Temporality};

use crate::{
    config::{Metrics, OtlpProtocol},
    upstreams::tls,
};

/// How long one sending may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Where an HTTP collector takes metrics.
const METRICS_PATH: &str = "/v1/metrics";

/// The reader that sends; none if no endpoint is configured. Needs a runtime around it, which carries the connection of gRPC.
pub(super) fn reader(config: &Metrics) -> Result<Option<PeriodicReader<MetricExporter>>, ExporterBuildError> {
    let Some(endpoint) = &config.endpoint else { return Ok(None) };
    // The client for HTTP takes the process's provider.
    tls::install_crypto_provider();
    // Named rather than left to the environment: only our own options decide.
    let builder = MetricExporter::builder().with_temporality(Temporality::Cumulative);
    let exporter = match config.protocol {
        OtlpProtocol::Grpc => {
            builder.with_tonic().with_endpoint(endpoint.clone()).with_timeout(EXPORT_TIMEOUT).build()?
        }
        OtlpProtocol::Http => builder
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(http_endpoint(endpoint))
            .with_timeout(EXPORT_TIMEOUT)
            .build()?,
    };
    Ok(Some(PeriodicReader::builder(exporter).with_interval(config.interval).build()))
}

fn http_endpoint(endpoint: &str) -> String {
    if endpoint.ends_with(METRICS_PATH) { endpoint.to_owned() } else { format!("{endpoint}{METRICS_PATH}") }
}
