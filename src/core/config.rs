//! What the core is configured with. Meanings, defaults and bounds stand in the table of options; here are only the values.

use std::{collections::BTreeMap, time::Duration};

use super::{
    admission::Limits,
    id::{TaskType, UpstreamName},
    task::Kind,
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
    /// Longest run of a task from its start; absent: its own limits alone.
    pub run_time_max: Option<Duration>,
    /// Between an order to drain that names no grace and the cancelling of what still runs.
    pub drain_grace: Duration,
    /// How long a report waits for logs of its task that are still open.
    pub log_wait: Duration,
    /// Tries of an idempotent task in all.
    pub attempts_max: u32,
    /// Tasks acquired and without a result, over all upstreams.
    pub tasks_max: usize,
    /// A stage that hears of no task for so long is closed.
    pub session_ttl: Duration,
    /// Largest inline payload, in bytes, either way.
    pub payload_bytes_max: usize,
    /// Slots of a class that cleanups share with others and that only they may use; a class of one slot keeps none.
    pub cleanup_reserve: u32,
    /// Task types whose part in a stage is known without a runner's word.
    pub kinds: BTreeMap<TaskType, Kind>,
    pub admission: Limits,
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
    /// Its share of scarce slots against the other upstreams'; at least 1.
    pub weight: u32,
    /// The next task is on offer once the last one is acquired, so that what is listed does not show how much there is.
    pub offers_one_at_a_time: bool,
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
