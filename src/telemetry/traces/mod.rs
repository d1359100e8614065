//! One trace a task, from the poll that listed it to the upstream's 2xx, by OTLP.
//!
//! ```text
//!  core ─ Note::StagesEnded ─► Traces ─ sampling ─ spans ─► Exporter ─ queue ─► batch thread ─ OTLP ─► collector
//!                                                               │
//!                                                               └─ full, or not taken: dropped and counted
//! ```
//!
//! Spans are made from what the journal knows, when a stage is over, with ids that are derived from the task's; so a trace goes on when
//! the process is killed in its midst, and the runner's spans hang below a span whose id was known before it was over. Live spans of a
//! tracer could do neither.
//!
//! | file | owns |
//! |---|---|
//! | `ids` | ids of spans |
//! | `sampling` | which traces are kept, and what context a runner is given |
//! | `spans` | a life's stages as spans: names, attributes, links |
//! | `logs` | a log's way to its sink as a span |
//! | `exporter` | the bounded queue, its counts, its end |
//! | `otlp` | the way to a collector: gRPC or HTTP |
//! | `runner` | the tracer of a runner's process |
//! | `tree` | a trace as text |
//!
//! It never waits in the driver's loop, never opens a payload, and puts ids, times and stable words into a span, nothing else.

mod exporter;
mod ids;
mod logs;
mod otlp;
pub mod runner;
mod sampling;
mod spans;
pub mod tree;

use std::sync::Arc;

pub use self::{
    exporter::{Counts, Exporter, FLUSH_TIMEOUT, SPANS_QUEUED_MAX},
    ids::span_id,
    otlp::Error,
    sampling::Propagation,
    spans::spans,
};
use crate::{config, core::effect::Note, runners::ids::Ids};

/// Makes spans of the core's notes; an observer's part.
#[derive(Debug)]
pub struct Traces {
    propagation: Propagation,
    exporter: Arc<Exporter>,
}

// === impl Traces ===

impl Traces {
    /// Ready to send to the configured collector; `None`: there is none. Connects when the first spans are due. To be called within a
    /// runtime, which the connection lives on.
    ///
    /// # Errors
    /// If the endpoint is none that can be connected to.
    pub fn start(config: &config::Config) -> Result<Option<Self>, Error> {
        let Some(endpoint) = &config.traces.endpoint else { return Ok(None) };
        let exporter = Arc::new(Exporter::new(otlp::exporter(endpoint, &config.traces)?));
        Ok(Some(Self { propagation: Propagation::of(&config.traces), exporter }))
    }

    /// To end it, and to read its counts.
    pub fn exporter(&self) -> &Arc<Exporter> {
        &self.exporter
    }

    /// Takes in one note. Never waits.
    pub fn note(&self, ids: &Ids, note: &Note) {
        let life = match note {
            Note::StagesEnded(life) => life,
            // Alone it would tell nothing: what is kept of a trace for its end has no room for it.
            Note::LogEnded(way) if self.propagation.keeps(way.trace_id, way.parent.as_ref()) => {
                return self.exporter.take_log(ids, way);
            }
            _ => return,
        };
        let sampled = self.propagation.keeps(life.trace_id, life.parent.as_ref());
        if sampled || life.went_wrong() {
            // One that was not to be kept is told as a whole when it turns out to be worth it.
            self.exporter.take(ids, life, !sampled);
        }
    }
}
