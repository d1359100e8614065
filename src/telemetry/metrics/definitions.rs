//! The one table of metrics: name, kind, unit, labels, meaning. The instruments, `docs/metrics.md` and the tests follow it, so that a
//! metric added here is known everywhere and one left out exists nowhere.
//!
//! Names are the same at `/metrics` and in OTLP.

/// One metric.
#[derive(Debug, PartialEq)]
pub struct Definition {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub labels: &'static [&'static str],
    /// What it counts or measures, in sentences.
    pub meaning: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows, from zero at each start of the process.
    Counter,
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Bytes,
    /// Of the thing that the name says.
    Count,
}

/// From the time of one call on loopback to a proxy that gives up.
const CALLS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// From an idle NVMe disk to one that is about to fail.
const COMMITS: &[f64] = &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// From a task that finds a free slot to one that waits for an outage to end.
const WAITS: &[f64] = &[0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0];

/// Label keys. The bound of each label's values is in `labels`.
pub mod label {
    pub const CALL: &str = "call";
    pub const CLASS: &str = "class";
    pub const FRAME: &str = "frame";
    pub const OUTCOME: &str = "outcome";
    pub const LEFT_BEHIND: &str = "left_behind";
    pub const REASON: &str = "reason";
    pub const REPEATS: &str = "repeats";
    pub const RESOURCE: &str = "resource";
    pub const STATE: &str = "state";
    pub const TASK_TYPE: &str = "task_type";
    pub const UPSTREAM: &str = "upstream";
    pub const VERSION: &str = "version";
    pub const WAIT: &str = "wait";
}

macro_rules! table {
    ($($id:ident: $kind:expr, $unit:ident, $name:literal, [$($label:ident),*], $meaning:literal;)*) => {
        $(pub static $id: Definition = Definition {
            name: $name,
            kind: $kind,
            unit: Unit::$unit,
            labels: &[$(label::$label),*],
            meaning: $meaning,
        };)*

        /// All metrics, in the order they are documented.
        pub static DEFINITIONS: &[&Definition] = &[$(&$id),*];
    };
}

use Kind::{Counter, Gauge, Histogram};

table! {
    // === the process ===
    BUILD_INFO: Gauge, Count, "dlite_build_info", [VERSION],
        "Always 1; the label tells the version.";
    UPTIME: Gauge, Seconds, "dlite_uptime_seconds", [],
        "Since the process started.";
    LOOP_AGE: Gauge, Seconds, "dlite_loop_age_seconds", [],
        "Since the loop that decides everything last turned; it turns at least once a second.";
    STATE: Gauge, Count, "dlite_state", [STATE],
        "1 for the state that the delegate is in, 0 for the others: serving, draining (nothing new is taken), drained (and nothing \
         is left).";
    STORE_FAILING: Gauge, Count, "dlite_store_failing", [],
        "1 while the journal can't write or its disk is nearly full, and nothing is taken; else 0.";
    JOURNAL_COMMIT: Histogram(COMMITS), Seconds, "dlite_journal_commit_seconds", [],
        "One commit of the journal to disk, failed ones included.";
    JOURNAL_FAILURES: Counter, Count, "dlite_journal_commit_failures_total", [],
        "Commits of the journal that failed; each is tried again.";
    SPANS_DROPPED: Counter, Count, "dlite_spans_dropped", [],
        "Spans that found their queue full or that the collector did not take; 0 without traces.endpoint.";

    // === tasks ===
    TASKS: Gauge, Count, "dlite_tasks", [STATE],
        "Tasks by where they stand: listed (on offer, not acquired), acquiring (no clear answer yet), waiting (for a runner), \
         assigned (not accepted yet), running, reporting (the upstream has not confirmed the result), dead (the result is kept as a \
         dead letter).";
    TASKS_WAITING: Gauge, Count, "dlite_tasks_waiting", [WAIT],
        "Open tasks by the one thing they wait for, those on offer included; `dlite tasks explain` says the same of one task, and \
         docs/waits.md has the names.";
    QUEUE_AGE: Gauge, Seconds, "dlite_queue_age_seconds", [],
        "How long the task that has waited longest has waited for a runner; 0 if none waits.";
    TASKS_ACQUIRED: Counter, Count, "dlite_tasks_acquired_total", [UPSTREAM],
        "Tasks taken from an upstream.";
    TASKS_NOT_ACQUIRED: Counter, Count, "dlite_tasks_not_acquired_total", [UPSTREAM, REASON],
        "Tasks on offer that were left to others, by reason; counted once a task for as long as the reason stays the same.";
    ACQUIRES_WITHOUT_TASK: Counter, Count, "dlite_acquires_without_task_total", [UPSTREAM],
        "Acquires that ended without a task, most of them lost races.";
    TASKS_FINISHED: Counter, Count, "dlite_tasks_finished_total", [OUTCOME],
        "Tasks that came to a result, by outcome.";
    TASKS_REPORTED: Counter, Count, "dlite_tasks_reported_total", [TASK_TYPE, OUTCOME],
        "Tasks whose result the upstream has confirmed, by type and outcome.";
    TASKS_CANCELLED: Counter, Count, "dlite_tasks_cancelled_total", [REASON],
        "Tasks that were told to stop, by who wanted it.";
    TASKS_HANDED_BACK: Counter, Count, "dlite_tasks_handed_back_total", [UPSTREAM],
        "Tasks given back to the upstream for another delegate.";
    TASK_QUEUE: Histogram(WAITS), Seconds, "dlite_task_queue_seconds", [TASK_TYPE],
        "From acquiring a task to its last assignment to a runner.";
    TASK_RUN: Histogram(WAITS), Seconds, "dlite_task_run_seconds", [TASK_TYPE],
        "From the start of the handler to the result, of the last attempt.";

    // === admission ===
    ADMISSION_USED: Gauge, Count, "dlite_admission_used_percent", [RESOURCE],
        "How full the host is, by what admission looks at, in percents of what there is.";
    ADMISSION_SHORT: Gauge, Count, "dlite_admission_short", [RESOURCE],
        "1 from the reading above the high mark to the one at the low mark, while new work is left to others for it; else 0.";

    // === sessions ===
    SESSIONS: Gauge, Count, "dlite_sessions", [STATE],
        "Open sessions by where they stand: setting_up, ready, closing (waiting for the cleanup), orphaned (the runner is gone).";
    SESSIONS_CLOSED: Counter, Count, "dlite_sessions_closed_total", [LEFT_BEHIND],
        "Sessions that ended; \"true\" for those whose cleanup did not succeed, so that something may be left on a host.";
    CLEANUPS_MADE: Counter, Count, "dlite_session_cleanups_made_total", [],
        "Cleanups that the delegate ran by itself, because no upstream sent one.";

    // === logs ===
    SPOOL_BYTES: Gauge, Bytes, "dlite_spool_bytes", [STATE],
        "What logs take up on the disk until their sinks have them: open (a runner still writes), closed.";
    SPOOL_BYTES_MAX: Gauge, Bytes, "dlite_spool_bytes_max", [],
        "What they may take up together: logs.all_max_mib.";
    LOG_WAIT: Gauge, Seconds, "dlite_log_wait_seconds", [],
        "Since the closed log was closed that has waited longest for its sink; 0 if none waits.";
    LOG_UPLOADS: Counter, Count, "dlite_log_uploads_total", [OUTCOME],
        "Tries to bring a whole log to its sink: delivered, failed (tried again), given_up.";
    LOG_LINES_MISSING: Counter, Count, "dlite_log_lines_missing_total", [REASON],
        "Lines that closed logs lack, by reason: log_full, spool_full, disk_full, disk_slow, not_received, damaged, unmaskable. Where \
         they should be, the log says so.";

    // === results ===
    UNREPORTED: Gauge, Count, "dlite_unreported_results", [UPSTREAM],
        "Results that the upstream has not confirmed; dead letters do not count.";
    UNREPORTED_AGE: Gauge, Seconds, "dlite_unreported_age_seconds", [UPSTREAM],
        "Age of the oldest of them; 0 if there is none.";
    REPORT: Histogram(WAITS), Seconds, "dlite_report_seconds", [UPSTREAM],
        "From a task's result to the upstream's confirmation on disk.";
    DEAD_LETTERS: Gauge, Count, "dlite_dead_letters", [UPSTREAM],
        "Results that are not sent any more and kept for the operator.";
    DEAD_LETTERS_MADE: Counter, Count, "dlite_dead_letters_total", [UPSTREAM],
        "Results that became dead letters.";

    // === upstreams ===
    UPSTREAM_STATE: Gauge, Count, "dlite_upstream_state", [UPSTREAM, STATE],
        "1 for the state that the upstream is in, 0 for all others; `dlite status` shows the same word.";
    UPSTREAM_CALL: Histogram(CALLS), Seconds, "dlite_upstream_call_seconds", [UPSTREAM, CALL],
        "One call to an upstream, failed ones included: register, heartbeat, poll, acquire, report, tell.";
    UPSTREAM_ERRORS: Counter, Count, "dlite_upstream_errors_total", [UPSTREAM, CALL, CLASS],
        "Calls that failed, by class: denied (it refuses this delegate), deleted, failed (no answer or none that makes sense), \
         refused (of an acquire: another has the task; of a report: it does not take the body), unassigned, unanswered, fault, gone, \
         unsent.";
    UPSTREAM_POLL_AGE: Gauge, Seconds, "dlite_upstream_poll_age_seconds", [UPSTREAM],
        "Since the last poll that succeeded; before the first, since the process started.";

    // === runners ===
    RUNNERS_ATTACHED: Gauge, Count, "dlite_runners_attached", [],
        "Attached runners.";
    RUNNER_ATTACHMENTS: Counter, Count, "dlite_runner_attachments_total", [],
        "Times that a runner attached.";
    RUNNER_HEARTBEATS: Counter, Count, "dlite_runner_heartbeats_total", [],
        "Heartbeats from runners.";
    RUNNER_FRAMES_REFUSED: Counter, Count, "dlite_runner_frames_refused_total", [FRAME, REASON],
        "Frames of runners that were refused, by the frame's name and the reason told to the runner.";
    SLOTS: Gauge, Count, "dlite_slots", [],
        "Slots that the attached runners announce.";
    CREDITS: Gauge, Count, "dlite_credits", [STATE],
        "Credits for those slots: free, held (used by an assignment), reserved (promised to an acquisition under way). Their sum \
         exceeds dlite_slots only while runners hold more than they announce, such as after they reduced it.";
    CREDITS_MISMATCH: Gauge, Count, "dlite_credits_mismatch", [],
        "Credits on which the roster of runners and the tasks' own account disagree. Anything but 0 is a bug of the delegate.";
    LEASES_LOST: Counter, Count, "dlite_leases_lost_total", [REPEATS],
        "Leases that ended without a result, by whether the task is tried again; \"false\" means that the task failed by it.";
    ASSIGNMENTS_ENDED: Counter, Count, "dlite_assignments_ended_total", [],
        "Assignments that ended before they were accepted: rejected, or not answered in time.";
}

// === impl Unit ===

impl Unit {
    /// In the words of UCUM, as OTLP wants it.
    pub fn ucum(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Bytes => "By",
            Self::Count => "1",
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Count => "count",
        }
    }
}

// === impl Kind ===

impl Kind {
    /// As the type line of the text format names it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}
