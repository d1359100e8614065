//! The text at `/metrics`, in the format of Prometheus, version 0.0.4.
//!
//! `opentelemetry-prometheus` stays behind this file. What it would do otherwise and must not: append units and `_total` to names
//! (ours have them), add a label for the instrumentation's scope to every series, add a `target_info` that is in no table. It tells
//! nothing of an instrument that has no series yet; here each metric of the table is announced from the first scrape on.

use opentelemetry_prometheus::PrometheusExporter;
use opentelemetry_sdk::error::OTelSdkError;
use prometheus::{Registry, TextEncoder};

use super::definitions::DEFINITIONS;

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Debug)]
pub(super) struct Text {
    registry: Registry,
}

// === impl Text ===

impl Text {
    pub fn new() -> Self {
        Self { registry: Registry::new() }
    }

    /// What collects for this text.
    pub fn reader(&self) -> Result<PrometheusExporter, OTelSdkError> {
        opentelemetry_prometheus::exporter()
            .with_registry(self.registry.clone())
            .without_units()
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false)
            .build()
    }

    /// All metrics as they are now.
    pub fn read(&self) -> String {
        let families = self.registry.gather();
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
            // It refuses only a family without series, and gathers none.
            tracing::warn!(%error, "metrics can't be written");
        }
        for definition in DEFINITIONS {
            if !families.iter().any(|family| family.name() == definition.name) {
                let (name, meaning, kind) = (definition.name, definition.meaning, definition.kind.word());
                text.push_str(&format!("# HELP {name} {}\n# TYPE {name} {kind}\n", escape(meaning)));
            }
        }
        text
    }
}

fn escape(help: &str) -> String {
    help.replace('\\', "\\\\").replace('\n', "\\n")
}
