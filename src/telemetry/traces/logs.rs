//! The way of a log to its sink as a span below its task's root. It may end long after the task has.

use opentelemetry::{
    KeyValue,
    trace::{Event, SpanKind, Status},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents};

use super::{
    ids::span_id,
    spans::{ROOT, context, id, scope, time},
};
use crate::{core::logs::LogWay, runners::ids::Ids};

/// Its name.
const NAME: &str = "log";

/// The one span of a way that is over.
pub fn span(ids: &Ids, way: &LogWay) -> SpanData {
    let (task_id, lease_id) = (ids.task(way.task), ids.lease(way.lease));
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let mut attributes = vec![
        KeyValue::new("dlite.task.id", task_id.clone()),
        KeyValue::new("dlite.lease.id", lease_id.clone()),
        KeyValue::new("dlite.log.id", way.log_id.to_string()),
        KeyValue::new("dlite.upload.tries", i64::from(way.tries)),
    ];
    if !way.upstream.as_str().is_empty() {
        attributes.push(KeyValue::new("dlite.upstream", way.upstream.to_string()));
    }
    let receipt = vec![
        KeyValue::new("dlite.log.lines", number(way.lines)),
        KeyValue::new("dlite.log.bytes", number(way.bytes)),
        KeyValue::new("dlite.log.missing_lines", number(way.missing_lines)),
    ];
    let mut events = SpanEvents::default();
    let first = way.first_batch.map(|at| Event::new("first batch", time(at), Vec::new(), 0));
    events.events.extend(first);
    events.events.push(Event::new("closed", time(way.closed), receipt, 0));
    let status = if way.given_up { Status::error("LOG_GIVEN_UP") } else { Status::Unset };
    if way.given_up {
        attributes.push(KeyValue::new("error.type", "LOG_GIVEN_UP"));
    }
    // Logs of one lease differ by their ids.
    let own = span_id(&task_id, &lease_id, &format!("{NAME} {}", way.log_id));
    SpanData {
        span_context: context(way.trace_id, way.parent.as_ref(), own.0),
        parent_span_id: id(span_id(&task_id, "", ROOT).0),
        parent_span_is_remote: false,
        span_kind: SpanKind::Client,
        name: NAME.into(),
        start_time: time(way.began),
        // A wall clock that was set back must not make a span end before it began.
        end_time: time(way.ended.max(way.began)),
        attributes,
        dropped_attributes_count: 0,
        events,
        links: Default::default(),
        status,
        instrumentation_scope: scope(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        id::{DelegateId, LeaseId, TaskId, TraceId},
        time::Wall,
    };

    #[test]
    fn the_moments_of_a_log_are_events_below_the_task() {
        let ids = Ids::of(DelegateId(1 << 96));
        let way = LogWay {
            task: TaskId(4),
            lease: LeaseId(5),
            log_id: "task".into(),
            upstream: "m".into(),
            trace_id: TraceId(7),
            parent: None,
            began: Wall(1),
            first_batch: Some(Wall(2)),
            closed: Wall(8),
            ended: Wall(9),
            lines: 40,
            bytes: 900,
            missing_lines: 2,
            tries: 3,
            given_up: true,
        };
        let span = span(&ids, &way);
        let events: Vec<_> = span.events.iter().map(|event| &*event.name).collect();
        assert_eq!(events, ["first batch", "closed"]);
        assert_eq!(span.parent_span_id, id(span_id(&ids.task(TaskId(4)), "", ROOT).0));
        assert_eq!(span.status, Status::error("LOG_GIVEN_UP"));
        let other = super::span(&ids, &LogWay { log_id: "step-a".into(), ..way });
        assert_ne!(other.span_context.span_id(), span.span_context.span_id());
    }
}
