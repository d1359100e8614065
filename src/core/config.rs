//! What the core is configured with. Meanings, defaults and bounds stand in the table of options; here are only the values.

use std::time::Duration;

use super::{
    id::{TaskType, UpstreamName},
    trace::TraceScope,
};

#[derive(Clone, Debug)]
pub struct Config {
    pub heartbeat_interval: Duration,
    pub lease_ttl: Duration,
    pub accept_timeout: Duration,
    /// Added to the ttl before an idempotent task is assigned anew: its runner stops by itself at the ttl.
    pub reassign_margin: Duration,
    /// Between asking a handler to stop and killing it.
    pub cancel_grace: Duration,
    /// Added to the grace before the delegate answers for a runner that does not.
    pub revoke_margin: Duration,
    /// How long a task that was acquired may wait for a runner of its type.
    pub no_runner_timeout: Duration,
    /// Tries of an idempotent task in all.
    pub attempts_max: u32,
    /// Tasks acquired and without a result, over all upstreams.
    pub tasks_max: usize,
    /// Largest inline payload, in bytes, either way.
    pub payload_bytes_max: usize,
    pub upstreams: Vec<Upstream>,
    /// Makes the core break a promise, to show that the simulation would see it.
    #[cfg(test)]
    pub planted: Option<super::planted::Bug>,
}

#[derive(Clone, Debug)]
pub struct Upstream {
    pub name: UpstreamName,
    pub trace_scope: TraceScope,
    pub poll_interval: Duration,
    pub heartbeat_interval: Duration,
    /// Registered at once; empty: with the first handler.
    pub task_types: Vec<TaskType>,
    /// Oldest result that is still sent.
    pub report_age_max: Duration,
    pub report_retry_min: Duration,
    pub report_retry_max: Duration,
    /// Ends the registration as the last act of a stop that leaves nothing behind.
    pub unregister_on_stop: bool,
    /// Longest time an acquire without a clear answer stays open.
    pub acquire_recovery_max: Duration,
}

/// Heartbeat intervals without any frame after which either side takes a link for dead; from the runner protocol.
const SILENT_INTERVALS: u32 = 3;

// === impl Config ===

impl Config {
    /// How long a peer may say nothing.
    pub fn silence(&self) -> Duration {
        self.heartbeat_interval * SILENT_INTERVALS
    }
}
