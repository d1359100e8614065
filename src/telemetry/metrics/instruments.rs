//! What is counted and measured where it happens: a note of the core, a call, a commit.

use std::time::Duration;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter},
};

use super::{
    definitions::{self as table, Definition, Kind, label},
    labels::{self, TaskTypes},
};
use crate::{
    core::{
        effect::{Note, Summary},
        id::UpstreamName,
        input::Answer,
        time::Wall,
    },
    logs::record::GapReason,
};

pub(super) struct Instruments {
    task_types: TaskTypes,
    acquired: Counter<u64>,
    not_acquired: Counter<u64>,
    without_task: Counter<u64>,
    finished: Counter<u64>,
    reported: Counter<u64>,
    cancelled: Counter<u64>,
    handed_back: Counter<u64>,
    queue: Histogram<f64>,
    run: Histogram<f64>,
    report: Histogram<f64>,
    dead_letters: Counter<u64>,
    sessions_closed: Counter<u64>,
    cleanups_made: Counter<u64>,
    call: Histogram<f64>,
    errors: Counter<u64>,
    attachments: Counter<u64>,
    heartbeats: Counter<u64>,
    frames_refused: Counter<u64>,
    leases_lost: Counter<u64>,
    assignments_ended: Counter<u64>,
    commit: Histogram<f64>,
    commit_failures: Counter<u64>,
    log_uploads: Counter<u64>,
    lines_missing: Counter<u64>,
}

// === impl Instruments ===

impl Instruments {
    /// Those without labels of their own, or with few, begin at zero, so that the first event is seen as an increase.
    pub fn new<'a>(meter: &Meter, upstreams: impl Iterator<Item = &'a UpstreamName>) -> Self {
        let instruments = Self {
            task_types: TaskTypes::default(),
            acquired: counter(meter, &table::TASKS_ACQUIRED),
            not_acquired: counter(meter, &table::TASKS_NOT_ACQUIRED),
            without_task: counter(meter, &table::ACQUIRES_WITHOUT_TASK),
            finished: counter(meter, &table::TASKS_FINISHED),
            reported: counter(meter, &table::TASKS_REPORTED),
            cancelled: counter(meter, &table::TASKS_CANCELLED),
            handed_back: counter(meter, &table::TASKS_HANDED_BACK),
            queue: histogram(meter, &table::TASK_QUEUE),
            run: histogram(meter, &table::TASK_RUN),
            report: histogram(meter, &table::REPORT),
            dead_letters: counter(meter, &table::DEAD_LETTERS_MADE),
            sessions_closed: counter(meter, &table::SESSIONS_CLOSED),
            cleanups_made: counter(meter, &table::CLEANUPS_MADE),
            call: histogram(meter, &table::UPSTREAM_CALL),
            errors: counter(meter, &table::UPSTREAM_ERRORS),
            attachments: counter(meter, &table::RUNNER_ATTACHMENTS),
            heartbeats: counter(meter, &table::RUNNER_HEARTBEATS),
            frames_refused: counter(meter, &table::RUNNER_FRAMES_REFUSED),
            leases_lost: counter(meter, &table::LEASES_LOST),
            assignments_ended: counter(meter, &table::ASSIGNMENTS_ENDED),
            commit: histogram(meter, &table::JOURNAL_COMMIT),
            commit_failures: counter(meter, &table::JOURNAL_FAILURES),
            log_uploads: counter(meter, &table::LOG_UPLOADS),
            lines_missing: counter(meter, &table::LOG_LINES_MISSING),
        };
        for counter in [
            &instruments.attachments,
            &instruments.heartbeats,
            &instruments.assignments_ended,
            &instruments.commit_failures,
            &instruments.cleanups_made,
        ] {
            counter.add(0, &[]);
        }
        for outcome in labels::OUTCOMES {
            instruments.finished.add(0, &[labels::outcome(outcome)]);
        }
        for outcome in labels::LOG_UPLOADS {
            instruments.log_uploads.add(0, &[labels::log_upload(outcome)]);
        }
        for reason in GapReason::ALL {
            instruments.lines_missing(reason, 0);
        }
        for reason in labels::CANCEL_REASONS {
            instruments.cancelled.add(0, &[labels::cancel_reason(reason)]);
        }
        for repeats in [true, false] {
            instruments.leases_lost.add(0, &[KeyValue::new(label::REPEATS, repeats)]);
        }
        for left_behind in [true, false] {
            instruments.sessions_closed.add(0, &[KeyValue::new(label::LEFT_BEHIND, left_behind)]);
        }
        for name in upstreams {
            let upstream = labels::upstream(name);
            for counter in
                [&instruments.acquired, &instruments.without_task, &instruments.handed_back, &instruments.dead_letters]
            {
                counter.add(0, std::slice::from_ref(&upstream));
            }
        }
        instruments
    }

    /// Must not wait: it is called in the loop.
    pub fn note(&self, note: &Note) {
        match note {
            Note::Acquired { upstream, .. } => self.acquired.add(1, &[labels::upstream(upstream)]),
            Note::NotAcquired { upstream, reason, .. } => {
                let reason = KeyValue::new(label::REASON, reason.reason().word());
                self.not_acquired.add(1, &[labels::upstream(upstream), reason]);
            }
            Note::AcquireEnded { upstream, .. } => self.without_task.add(1, &[labels::upstream(upstream)]),
            Note::LeaseLost { repeats, .. } => {
                self.leases_lost.add(1, &[KeyValue::new(label::REPEATS, *repeats)]);
            }
            Note::AssignmentEnded { .. } => self.assignments_ended.add(1, &[]),
            Note::Cancelled { reason, .. } => self.cancelled.add(1, &[labels::cancel_reason(*reason)]),
            Note::Finished { outcome, .. } => self.finished.add(1, &[labels::outcome(*outcome)]),
            Note::DeadLetter { upstream, .. } => self.dead_letters.add(1, &[labels::upstream(upstream)]),
            Note::Reported(summary) => self.reported(summary),
            Note::HandedBack { upstream, .. } => self.handed_back.add(1, &[labels::upstream(upstream)]),
            Note::SessionClosed { left_behind, .. } => {
                self.sessions_closed.add(1, &[KeyValue::new(label::LEFT_BEHIND, left_behind.is_some())]);
            }
            Note::CleanupSynthesized { .. } => self.cleanups_made.add(1, &[]),
            Note::RunnerAttached { .. } => self.attachments.add(1, &[]),
            Note::FrameRefused { frame, reason, .. } => {
                self.frames_refused
                    .add(1, &[KeyValue::new(label::FRAME, *frame), KeyValue::new(label::REASON, reason.word())]);
            }
            // States are gauges, and each failed call is counted as one.
            _ => {}
        }
    }

    fn reported(&self, summary: &Summary) {
        let task_type = self.task_types.label(&summary.task_type);
        self.reported.add(1, &[task_type.clone(), labels::outcome(summary.outcome)]);
        let between = |from: Wall, to: Wall| to.since(from).as_secs_f64();
        self.report.record(between(summary.finished, summary.reported), &[labels::upstream(&summary.upstream)]);
        let times = &summary.times;
        let task_type = [task_type];
        if let Some(assigned) = times.assigned {
            self.queue.record(between(times.acquired, assigned), &task_type);
        }
        if let Some(started) = times.started {
            self.run.record(between(started, summary.finished), &task_type);
        }
    }

    pub fn log_sent(&self, outcome: labels::LogUpload) {
        self.log_uploads.add(1, &[labels::log_upload(outcome)]);
    }

    pub fn lines_missing(&self, reason: GapReason, lines: u64) {
        self.lines_missing.add(lines, &[KeyValue::new(label::REASON, reason.word())]);
    }

    pub fn heartbeat(&self) {
        self.heartbeats.add(1, &[]);
    }

    pub fn called(&self, upstream: &UpstreamName, call: &'static str, answer: &Answer, took: Duration) {
        let (upstream, call) = (labels::upstream(upstream), KeyValue::new(label::CALL, call));
        if let Some(class) = labels::class(answer) {
            self.errors.add(1, &[upstream.clone(), call.clone(), KeyValue::new(label::CLASS, class)]);
        }
        self.call.record(took.as_secs_f64(), &[upstream, call]);
    }

    pub fn committed(&self, took: Duration, worked: bool) {
        self.commit.record(took.as_secs_f64(), &[]);
        if !worked {
            self.commit_failures.add(1, &[]);
        }
    }
}

fn counter(meter: &Meter, definition: &'static Definition) -> Counter<u64> {
    assert_eq!(definition.kind, Kind::Counter, "{} is a counter here and not in the table", definition.name);
    meter.u64_counter(definition.name).with_unit(definition.unit.ucum()).with_description(definition.meaning).build()
}

fn histogram(meter: &Meter, definition: &'static Definition) -> Histogram<f64> {
    let Kind::Histogram(bounds) = definition.kind else {
        panic!("{} is a histogram here and not in the table", definition.name)
    };
    meter
        .f64_histogram(definition.name)
        .with_unit(definition.unit.ucum())
        .with_description(definition.meaning)
        .with_boundaries(bounds.to_vec())
        .build()
}
