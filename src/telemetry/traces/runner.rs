//! The tracer of a runner's process, configured by the names all of OpenTelemetry shares.

use std::time::Duration;

use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};

use super::exporter::{FLUSH_TIMEOUT, resource};
use crate::upstreams::tls;

/// Either of them turns tracing on.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// Longest time a span waits for others before it is sent.
const BATCH_DELAY: Duration = Duration::from_secs(1);

/// The process's tracer; its last spans leave by [`Tracer::shut_down`].
#[derive(Debug)]
#[must_use]
pub struct Tracer(Option<SdkTracerProvider>);

/// The environment asks for an exporter that can't be had.
#[derive(Debug, thiserror::Error)]
#[error("spans can't be sent as OTEL_EXPORTER_OTLP_… say")]
pub struct Error(#[from] ExporterBuildError);

// === impl Tracer ===

impl Tracer {
    /// Makes the spans of handlers go where `OTEL_EXPORTER_OTLP_ENDPOINT` and its like say, as those of `service`; without an endpoint
    /// none are made. To be called within a runtime.
    ///
    /// # Errors
    /// If the environment names something that can't be used.
    pub fn install(service: &'static str, instance_id: &str) -> Result<Self, Error> {
        if !ENDPOINTS.iter().any(|name| std::env::var(name).is_ok_and(|endpoint| !endpoint.is_empty())) {
            return Ok(Self(None));
        }
        tls::install_crypto_provider();
        let exporter = opentelemetry_otlp::SpanExporter::builder().build()?;
        let config = BatchConfigBuilder::default().with_scheduled_delay(BATCH_DELAY).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::new(exporter, config))
            .with_resource(resource(service, instance_id.to_owned()))
            .build();
        opentelemetry::global::set_tracer_provider(provider.clone());
        Ok(Self(Some(provider)))
    }

    /// Sends what is left, for [`FLUSH_TIMEOUT`] at most.
    pub async fn shut_down(self) {
        let Some(provider) = self.0 else { return };
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT));
        if !matches!(tokio::time::timeout(FLUSH_TIMEOUT, flushed).await, Ok(Ok(Ok(())))) {
            tracing::warn!("not all spans could be sent before the end");
        }
    }
}
