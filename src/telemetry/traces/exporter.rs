//! Spans on their way to the collector: a bounded queue before the batch processor's thread, and what becomes of them.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use opentelemetry::KeyValue;
use opentelemetry_otlp::SpanExporter as Otlp;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor},
};
use tracing::{info, warn};

use super::{logs, spans::spans};
use crate::{
    core::{life::Life, logs::LogWay},
    runners::ids::Ids,
};

/// Spans that wait or are being sent; about 1.5 KiB each. A task has some eight, so this is what 500 tasks leave while one request is
/// under way.
pub const SPANS_QUEUED_MAX: usize = 4_096;
/// Spans in one request.
const BATCH_SPANS_MAX: usize = 512;
/// Longest time a span waits for others before it is sent: what a kill may take of a task that is over, and with it all that could tell
/// its end again.
const BATCH_DELAY: Duration = Duration::from_millis(200);
/// What a stop gives the last spans to leave.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// What became of spans so far.
#[derive(Debug, Default)]
pub struct Counts {
    queued: AtomicUsize,
    exported: AtomicU64,
    dropped: AtomicU64,
}

/// The queue and its processor. Cheap to hand spans to from the driver's loop.
#[derive(Debug)]
pub struct Exporter {
    counts: Arc<Counts>,
    /// Until the processor is started.
    otlp: Mutex<Option<Otlp>>,
    /// Started with the first spans: it names the delegate, whose id the journal knows.
    processor: OnceLock<BatchSpanProcessor>,
    is_over: AtomicBool,
}

/// The OTLP exporter, watched.
#[derive(Debug)]
struct Watched {
    otlp: Otlp,
    counts: Arc<Counts>,
    is_failing: AtomicBool,
}

// === impl Counts ===

impl Counts {
    /// Spans that wait or are being sent: [`SPANS_QUEUED_MAX`] at most.
    pub fn queued(&self) -> usize {
        self.queued.load(Relaxed)
    }

    /// Spans the collector took.
    pub fn exported(&self) -> u64 {
        self.exported.load(Relaxed)
    }

    /// Spans that found the queue full, or that the collector did not take.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Whether so many more may wait; if not, they count as dropped.
    fn admit(&self, count: usize) -> bool {
        let room = |queued: usize| queued.checked_add(count).filter(|queued| *queued <= SPANS_QUEUED_MAX);
        let admitted = self.queued.fetch_update(Relaxed, Relaxed, room).is_ok();
        if !admitted {
            self.dropped.fetch_add(count as u64, Relaxed);
        }
        admitted
    }
}

// === impl Exporter ===

impl Exporter {
    pub(super) fn new(otlp: Otlp) -> Self {
        let (counts, processor) = (Arc::default(), OnceLock::new());
        Self { counts, otlp: Mutex::new(Some(otlp)), processor, is_over: AtomicBool::new(false) }
    }

    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Queues the spans of a life's stages, or drops and counts them all. Never waits.
    pub(super) fn take(&self, ids: &Ids, life: &Life, all: bool) {
        let stages = life.stages.iter().filter(|stage| all || !stage.told).count();
        // Asked before they are made, so that an exporter that hangs costs next to nothing.
        if !self.counts.admit(stages + usize::from(life.end.is_some())) {
            return;
        }
        if let Some(processor) = self.processor(ids) {
            spans(ids, life, all).into_iter().for_each(|span| processor.on_end(span));
        }
    }

    /// The same of a log's way.
    pub(super) fn take_log(&self, ids: &Ids, way: &LogWay) {
        if self.counts.admit(1)
            && let Some(processor) = self.processor(ids)
        {
            processor.on_end(logs::span(ids, way));
        }
    }

    fn processor(&self, ids: &Ids) -> Option<&BatchSpanProcessor> {
        if self.processor.get().is_none()
            && let Some(otlp) = self.otlp.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            // Nobody else has taken it.
            let _ = self.processor.set(self.start(otlp, ids));
        }
        self.processor.get()
    }

    fn start(&self, otlp: Otlp, ids: &Ids) -> BatchSpanProcessor {
        let watched = Watched { otlp, counts: self.counts.clone(), is_failing: AtomicBool::new(false) };
        let config = BatchConfigBuilder::default()
            // What is being sent counts as queued, too, so that its own bound is never met.
            .with_max_queue_size(SPANS_QUEUED_MAX)
            .with_max_export_batch_size(BATCH_SPANS_MAX)
            .with_scheduled_delay(BATCH_DELAY)
            .build();
        let mut processor = BatchSpanProcessor::new(watched, config);
        processor.set_resource(&resource("dlite", ids.delegate().to_string()));
        processor
    }

    /// Sends what is queued, for [`FLUSH_TIMEOUT`] at most, and takes no more.
    pub async fn shut_down(self: &Arc<Self>) {
        if self.is_over.swap(true, Relaxed) {
            return;
        }
        let exporter = self.clone();
        let flushed = tokio::task::spawn_blocking(move || match exporter.processor.get() {
            Some(processor) => processor.shutdown_with_timeout(FLUSH_TIMEOUT),
            None => Ok(()),
        });
        match tokio::time::timeout(FLUSH_TIMEOUT, flushed).await {
            Ok(Ok(Ok(()))) => {}
            _ => warn!(spans = self.counts.queued(), "not all spans could be sent before the end"),
        }
    }
}

// === impl Watched ===

impl SpanExporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let exported = self.otlp.export(batch).await;
        self.counts.queued.fetch_sub(count, Relaxed);
        match &exported {
            Ok(()) => {
                self.counts.exported.fetch_add(count as u64, Relaxed);
                if self.is_failing.swap(false, Relaxed) {
                    info!("the collector takes spans again");
                }
            }
            Err(error) => {
                self.counts.dropped.fetch_add(count as u64, Relaxed);
                if !self.is_failing.swap(true, Relaxed) {
                    warn!(%error, "the collector does not take spans: they are dropped and counted");
                }
            }
        }
        exported
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}

/// Who made the spans. What `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` say comes on top.
pub(super) fn resource(service: &'static str, instance_id: String) -> Resource {
    let named = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let own = [
        KeyValue::new("service.name", service),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance_id),
        KeyValue::new("host.name", host),
    ];
    Resource::builder_empty()
        .with_attributes(own)
        .with_detector(Box::new(opentelemetry_sdk::resource::EnvResourceDetector::new()))
        .with_attributes(named.map(|name| KeyValue::new("service.name", name)))
        .build()
}
