//! A life's stages as spans. `docs/tracing.md` has the names and attributes for those who read traces.

use std::time::{Duration, SystemTime};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::ids::span_id;
use crate::{
    core::{
        self,
        life::{End, Life, Phase, Stage, is_well},
        logs::LogReceipt,
        task::{Kind, Outcome},
        time::Wall,
        trace::TraceParent,
    },
    runners::ids::Ids,
};

/// The part that stands for the task as a whole.
pub(super) const ROOT: &str = "task";
/// Longest word of a runner or an upstream that an attribute repeats, in bytes.
const WORD_BYTES_MAX: usize = 64;
/// What the semantic conventions call an error whose kind has no word.
const OTHER: &str = "_OTHER";

/// Spans of the stages that were not told yet, or of `all`; with the root, if the life has ended.
pub fn spans(ids: &Ids, life: &Life, all: bool) -> Vec<SpanData> {
    let maker = Maker { ids, life, task_id: ids.task(life.task) };
    let stages = life.stages.iter().filter(|stage| all || !stage.told).map(|stage| maker.stage(stage));
    stages.chain(life.end.as_ref().map(|end| maker.root(end))).collect()
}

struct Maker<'a> {
    ids: &'a Ids,
    life: &'a Life,
    task_id: String,
}

// === impl Maker ===

impl Maker<'_> {
    fn root(&self, end: &End) -> SpanData {
        let life = self.life;
        let mut attributes = vec![
            KeyValue::new("cicd.pipeline.task.run.result", result(end.outcome)),
            KeyValue::new("dlite.kind", kind(life.kind)),
        ];
        if !life.tenant.is_empty() {
            attributes.push(KeyValue::new("dlite.tenant", life.tenant.to_string()));
        }
        attributes.extend(self.session());
        let attempts = life.stages.iter().map(|stage| stage.attempt).max().unwrap_or(0);
        attributes.push(KeyValue::new("dlite.attempts", i64::from(attempts)));
        if !life.logs.is_empty() {
            let sum =
                |of: fn(&LogReceipt) -> u64| i64::try_from(life.logs.iter().map(of).sum::<u64>()).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new("dlite.log.lines", sum(|log| log.lines)));
            attributes.push(KeyValue::new("dlite.log.bytes", sum(|log| log.bytes)));
            attributes.push(KeyValue::new("dlite.log.missing_lines", sum(LogReceipt::missing_lines)));
        }
        let error = match &end.unreported {
            Some(unreported) => Some(&**unreported),
            None if is_well(end.outcome) => None,
            None => Some(&*end.reason),
        };
        let parent = life.parent.as_ref().map(|parent| SpanId::from(parent.span_id.0));
        SpanData {
            parent_span_id: parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: parent.is_some(),
            ..self.span(
                span_id(&self.task_id, "", ROOT).0,
                format!("task {}", life.task_type),
                SpanKind::Internal,
                (life.began, end.at),
                attributes,
                error,
            )
        }
    }

    fn stage(&self, stage: &Stage) -> SpanData {
        let lease = stage.lease.map(|lease| self.ids.lease(lease)).unwrap_or_default();
        let mut attributes = Vec::new();
        if stage.attempt > 0 && stage.phase != Phase::Report {
            attributes.push(KeyValue::new("dlite.attempt", i64::from(stage.attempt)));
        }
        if !lease.is_empty() {
            attributes.push(KeyValue::new("dlite.lease.id", lease.clone()));
        }
        if let Some(runner) = &stage.runner {
            attributes.push(KeyValue::new("cicd.worker.id", runner.to_string()));
        }
        if let (Phase::Report, Some(end)) = (stage.phase, &self.life.end) {
            attributes.push(KeyValue::new("dlite.report.tries", i64::from(end.report_tries)));
        }
        if stage.phase == Phase::Run {
            attributes.extend(self.session());
        }
        let kind = match stage.phase {
            Phase::Poll | Phase::Acquire | Phase::Report | Phase::Run => SpanKind::Client,
            Phase::Admit | Phase::Queue | Phase::Assign => SpanKind::Internal,
        };
        if matches!(stage.phase, Phase::Assign | Phase::Run) {
            attributes.push(KeyValue::new("rpc.system.name", "grpc"));
            attributes.push(KeyValue::new("rpc.method", "dlite.runner.v1.RunnerService/Attach"));
        }
        let name = stage.phase.name();
        let mut span = self.span(
            span_id(&self.task_id, &lease, name).0,
            name,
            kind,
            (stage.from, stage.to),
            attributes,
            stage.error.as_deref(),
        );
        span.parent_span_id = id(span_id(&self.task_id, "", ROOT).0);
        let waits = stage.waits.iter().map(|waited| {
            Event::new("dlite.wait", time(waited.at), vec![KeyValue::new("dlite.wait.name", waited.name.word())], 0)
        });
        span.events.events.extend(waits);
        if let Some(earlier) = stage.after {
            let run = span_id(&self.task_id, &self.ids.lease(earlier), Phase::Run.name());
            span.links.links.push(Link::new(
                self.context(run.0),
                vec![KeyValue::new("dlite.link", "previous attempt")],
                0,
            ));
        }
        span
    }

    /// What the spans of one stage's tasks have in common, whatever their traces are.
    fn session(&self) -> Option<KeyValue> {
        self.life.session.map(|session| KeyValue::new("dlite.session.id", self.ids.session(session)))
    }

    fn span(
        &self,
        span_id: u64,
        name: impl Into<std::borrow::Cow<'static, str>>,
        span_kind: SpanKind,
        (from, to): (Wall, Wall),
        mut attributes: Vec<KeyValue>,
        error: Option<&str>,
    ) -> SpanData {
        let life = self.life;
        attributes.extend([
            KeyValue::new("dlite.task.id", self.task_id.clone()),
            KeyValue::new("cicd.pipeline.task.name", life.task_type.to_string()),
            KeyValue::new("cicd.pipeline.task.run.id", life.external_id.to_string()),
            KeyValue::new("dlite.upstream", life.upstream.to_string()),
        ]);
        let status = match error {
            Some(word) => {
                let word = stable(word);
                attributes.push(KeyValue::new("error.type", word.to_owned()));
                Status::error(word.to_owned())
            }
            None => Status::Unset,
        };
        SpanData {
            span_context: self.context(span_id),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind,
            name: name.into(),
            start_time: time(from),
            // A wall clock that was set back must not make a span end before it began.
            end_time: time(to.max(from)),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: scope(),
        }
    }

    fn context(&self, span_id: u64) -> SpanContext {
        context(self.life.trace_id, self.life.parent.as_ref(), span_id)
    }
}

/// Of a span in a task's trace.
pub(super) fn context(trace_id: core::id::TraceId, parent: Option<&TraceParent>, span_id: u64) -> SpanContext {
    let state = parent.and_then(|parent| parent.state.parse::<TraceState>().ok());
    // What gets here is kept, whoever decided on it.
    let trace_id = TraceId::from(trace_id.0);
    SpanContext::new(trace_id, id(span_id), TraceFlags::SAMPLED, false, state.unwrap_or_default())
}

pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("dlite").with_version(env!("CARGO_PKG_VERSION")).build()
}

pub(super) fn id(number: u64) -> SpanId {
    SpanId::from(number)
}

pub(super) fn time(at: Wall) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(at.0).unwrap_or(0))
}

/// A word that is one: what a runner gives as a reason may be anything.
fn stable(word: &str) -> &str {
    let is_word = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if (1..=WORD_BYTES_MAX).contains(&word.len()) && word.bytes().all(is_word) { word } else { OTHER }
}

/// As the semantic conventions for CI/CD have it.
fn result(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "success",
        Outcome::Failed => "failure",
        Outcome::Errored => "error",
        Outcome::Cancelled => "cancellation",
        Outcome::TimedOut => "timeout",
        Outcome::Skipped => "skip",
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Standalone => "standalone",
        Kind::SessionSetup => "setup",
        Kind::SessionExecute => "execute",
        Kind::SessionCleanup => "cleanup",
        Kind::Pipeline => "pipeline",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::core::id::{DelegateId, SessionId, TaskId};

    fn life(task: u64) -> Life {
        let stage = |phase, from: i64, to: i64| Stage {
            phase,
            from: Wall(from),
            to: Wall(to),
            lease: None,
            attempt: 1,
            runner: None,
            after: None,
            error: None,
            told: phase == Phase::Poll,
            waits: Vec::new(),
        };
        Life {
            task: TaskId(task),
            upstream: "m".into(),
            external_id: "e-1".into(),
            task_type: "BUILD".into(),
            kind: Kind::Standalone,
            tenant: "".into(),
            trace_id: crate::core::id::TraceId(7),
            parent: None,
            session: None,
            began: Wall(1),
            stages: vec![stage(Phase::Poll, 1, 5), stage(Phase::Report, 9, 3)],
            logs: Vec::new(),
            end: Some(End {
                at: Wall(9),
                outcome: Outcome::Errored,
                reason: "a password: hunter2".into(),
                report_tries: 1,
                unreported: None,
            }),
        }
    }

    #[test]
    fn a_task_that_comes_back_shares_the_trace_and_no_span() {
        let ids = Ids::of(DelegateId(1 << 96));
        let all: Vec<SpanData> = [life(3), life(4)].iter().flat_map(|life| spans(&ids, life, true)).collect();
        let traces: BTreeSet<_> = all.iter().map(|span| span.span_context.trace_id().to_string()).collect();
        let spans: BTreeSet<_> = all.iter().map(|span| span.span_context.span_id().to_string()).collect();
        assert_eq!((traces.len(), spans.len()), (1, all.len()));
    }

    #[test]
    fn what_was_told_is_left_out_and_the_same_is_told_alike() {
        let ids = Ids::of(DelegateId(1 << 96));
        let news = spans(&ids, &life(3), false);
        assert_eq!(news.iter().map(|span| &*span.name).collect::<Vec<_>>(), ["report", "task BUILD"]);
        assert_eq!(spans(&ids, &life(3), true)[1..], news, "the same ids and times");
        assert!(news.iter().all(|span| span.end_time >= span.start_time), "whatever the clock did");
    }

    #[test]
    fn the_tasks_of_a_session_share_an_attribute_and_others_have_none() {
        let ids = Ids::of(DelegateId(1 << 96));
        let of = |life: &Life| -> Vec<Option<String>> {
            let session = |span: &SpanData| {
                let found = span.attributes.iter().find(|held| held.key.as_str() == "dlite.session.id");
                found.map(|held| held.value.to_string())
            };
            spans(&ids, life, true).iter().map(session).collect()
        };
        let staged = |task: u64| {
            let mut life = life(task);
            life.session = Some(SessionId(9));
            life.stages[1].phase = Phase::Run;
            life
        };
        let session = Some(ids.session(SessionId(9)));
        assert_eq!(of(&staged(3)), [None, session.clone(), session], "poll, run, task");
        assert_eq!(of(&staged(3)), of(&staged(4)));
        assert_eq!(of(&life(3)), [None, None, None]);
    }

    #[test]
    fn only_a_stable_word_is_repeated() {
        for (word, shown) in
            [("LEASE_LOST", "LEASE_LOST"), ("E2BIG", "E2BIG"), ("", OTHER), ("hunter2", OTHER), ("A: B", OTHER)]
        {
            assert_eq!(stable(word), shown);
        }
        assert_eq!(stable(&"A".repeat(WORD_BYTES_MAX + 1)), OTHER);
        let root = spans(&Ids::of(DelegateId(1)), &life(3), true).pop().unwrap();
        assert_eq!(root.status, Status::error(OTHER));
    }
}
