//! What the delegate counts and measures: one set of instruments, read as text at `/metrics` and sent by OTLP.
//!
//! ```text
//!  core's notes ──┐                         ┌─► text: asked for
//!  calls, commits ┼─► instruments ─► SDK ───┤
//!  reading (1/s) ─┘                         └─► otlp: sent every interval
//! ```
//!
//! To add a metric: a row in `definitions`, and where it is counted (`instruments`) or read (`gauges`). It never waits, and never asks
//! the core: that leaves a reading behind once a second.

mod gauges;
mod instruments;
mod journal;
mod otlp;
mod polls;
mod text;

pub mod definitions;
pub mod docs;
pub mod labels;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, MeterProvider},
};
use opentelemetry_sdk::{Resource, error::OTelSdkError, metrics::SdkMeterProvider};

use self::{
    definitions::{Definition, label},
    instruments::Instruments,
    polls::Polls,
    text::Text,
};
pub use self::{journal::Timed, labels::LogUpload, text::CONTENT_TYPE};
use crate::{
    config::Config,
    core::{
        effect::{Call, Note},
        id::UpstreamName,
        input::{Answer, Frame, Input},
    },
    health::Vitals,
    logs::record::GapReason,
};

/// How long the last sending of a stop may take.
const LAST_SENDING_TIMEOUT: Duration = Duration::from_secs(2);

/// The metrics of one delegate; clones are the same.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    provider: SdkMeterProvider,
    instruments: Instruments,
    polls: Polls,
    text: Text,
}

/// A call under way.
#[derive(Debug)]
pub struct Timing {
    call: &'static str,
    began: Instant,
}

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("metrics can't be collected")]
    Reader(#[from] OTelSdkError),
    #[error(transparent)]
    Sending(#[from] otlp::Error),
}

// === impl Metrics ===

impl Metrics {
    /// Starts counting, and sending if the configuration says where to.
    ///
    /// # Errors
    /// If the endpoint can't be used.
    pub fn start(config: &Config, vitals: &Vitals) -> Result<Self, Error> {
        let upstreams: Vec<UpstreamName> = config.upstreams.iter().map(|up| up.name.as_str().into()).collect();
        let text = Text::new();
        let resource = Resource::builder_empty()
            .with_service_name("dlite")
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", config.name.clone()),
            ])
            .build();
        let mut provider = SdkMeterProvider::builder().with_resource(resource).with_reader(text.reader()?);
        if let Some(reader) = otlp::reader(&config.metrics)? {
            provider = provider.with_reader(reader);
        }
        let provider = provider.build();
        let meter = provider.meter("dlite");
        let polls = Polls::new(upstreams.iter());
        gauges::register(&meter, vitals, polls.clone());
        let instruments = Instruments::new(&meter, upstreams.iter());
        Ok(Self(Arc::new(Inner { provider, instruments, polls, text })))
    }

    /// A counter that somebody else keeps, such as an exporter of what it dropped; `count` is asked whenever metrics are read.
    pub fn count_of(&self, definition: &'static Definition, count: impl Fn() -> u64 + Send + Sync + 'static) {
        let meter = self.0.provider.meter("dlite");
        let _ = meter
            .u64_observable_counter(definition.name)
            .with_unit(definition.unit.ucum())
            .with_description(definition.meaning)
            .with_callback(move |see| see.observe(count(), &[]))
            .build();
    }

    /// A gauge that somebody else keeps, such as the spool; `number` is asked whenever metrics are read.
    pub fn gauge_of(&self, definition: &'static Definition, number: impl Fn() -> u64 + Send + Sync + 'static) {
        self.observe(definition, move |see| see.observe(number(), &[]));
    }

    /// The same of one that has a number for each state.
    pub fn states_of<const N: usize>(
        &self,
        definition: &'static Definition,
        numbers: impl Fn() -> [(&'static str, u64); N] + Send + Sync + 'static,
    ) {
        self.observe(definition, move |see| {
            for (state, number) in numbers() {
                see.observe(number, &[KeyValue::new(label::STATE, state)]);
            }
        });
    }

    fn observe(
        &self,
        definition: &'static Definition,
        look: impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static,
    ) {
        let meter = self.0.provider.meter("dlite");
        let _ = meter
            .u64_observable_gauge(definition.name)
            .with_unit(definition.unit.ucum())
            .with_description(definition.meaning)
            .with_callback(look)
            .build();
    }

    /// A try to bring a whole log to its sink.
    pub fn log_sent(&self, outcome: LogUpload) {
        self.0.instruments.log_sent(outcome);
    }

    /// What a log lacks that was closed just now.
    pub fn lines_missing(&self, reason: GapReason, lines: u64) {
        self.0.instruments.lines_missing(reason, lines);
    }

    /// Counts what the core notes.
    pub fn note(&self, note: &Note) {
        self.0.instruments.note(note);
    }

    /// Counts what the core is told, where no note says it.
    pub fn told(&self, input: &Input) {
        if let Input::Received { frame: Frame::Heartbeat { .. }, .. } = input {
            self.0.instruments.heartbeat();
        }
    }

    /// Takes the time of a call from here on.
    pub fn call(&self, call: &Call) -> Timing {
        Timing { call: labels::call(call), began: Instant::now() }
    }

    pub fn answered(&self, timing: &Timing, upstream: &UpstreamName, answer: &Answer) {
        self.0.polls.answered(upstream, answer);
        self.0.instruments.called(upstream, timing.call, answer, timing.began.elapsed());
    }

    /// A commit of the journal, told by [`Timed`].
    fn committed(&self, took: Duration, worked: bool) {
        self.0.instruments.committed(took, worked);
    }

    /// All metrics as text of [`CONTENT_TYPE`].
    pub fn text(&self) -> String {
        self.0.text.read()
    }

    /// Sends what there is for the last time. A collector that does not take it is not waited for.
    pub async fn stop(&self) {
        let provider = self.0.provider.clone();
        let stopping = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_SENDING_TIMEOUT));
        // Nothing depends on it: what was not sent is lost with the process.
        let _ = tokio::time::timeout(LAST_SENDING_TIMEOUT, stopping).await;
    }
}
