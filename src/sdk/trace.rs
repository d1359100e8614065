//! The trace that a task belongs to, and the handler's own span in it.
//!
//! It takes part in OpenTelemetry by its API alone: where the process has set a tracer provider, each handler runs in a span of it, and
//! what the handler traces hangs below that; where it has not, everything hangs below the delegate's span.

use opentelemetry::{
    Context as TraceContext, KeyValue, global,
    trace::{
        FutureExt, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    },
};
use tracing::{Instrument, info_span};

use super::{
    context::Context,
    outcome::{Failure, Success},
};
use crate::{
    core::trace::TraceParent,
    proto::runner::v1::{self as proto, TaskOutcome},
};

/// Names the SDK as the maker of its spans.
const TRACER: &str = "dlite.sdk";

/// The delegate's span as a remote one; without a good one, nothing.
pub(super) fn remote_parent(trace: Option<&proto::TraceContext>) -> TraceContext {
    let parent = trace.and_then(|trace| TraceParent::parse(&trace.traceparent, Some(&trace.tracestate)).ok());
    let Some(parent) = parent else { return TraceContext::new() };
    let flags = if parent.sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    let state = parent.state.parse::<TraceState>().unwrap_or_default();
    let (trace_id, span_id) = (TraceId::from(parent.trace_id.0), SpanId::from(parent.span_id.0));
    TraceContext::new().with_remote_span_context(SpanContext::new(trace_id, span_id, flags, true, state))
}

/// `traceparent` and `tracestate` of the span in force here; `None`: there is none.
pub(super) fn current() -> Option<(String, String)> {
    let context = TraceContext::current();
    let span = context.span();
    let span = span.span_context();
    let parent =
        || format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), u8::from(span.trace_flags().is_sampled()));
    span.is_valid().then(|| (parent(), span.trace_state().header()))
}

/// Runs a handler's `work` in a span of its own.
pub(super) async fn traced(
    context: Context,
    work: impl Future<Output = Result<Success, Failure>>,
) -> Result<Success, Failure> {
    let parent = context.trace_context();
    let tracer = global::tracer(TRACER);
    let span = tracer
        .span_builder(format!("handle {}", context.task_type()))
        .with_kind(SpanKind::Server)
        .with_attributes([
            KeyValue::new("dlite.task.id", context.task_id().to_owned()),
            KeyValue::new("dlite.lease.id", context.lease_id().to_owned()),
            KeyValue::new("dlite.attempt", i64::from(context.attempt())),
            KeyValue::new("cicd.pipeline.task.name", context.task_type().to_owned()),
        ])
        .start_with_context(&tracer, &parent);
    let traced = parent.with_span(span);
    let log = info_span!("handler", task_id = context.task_id(), attempt = context.attempt());
    // Dropped before its end, the handler's span ends with it.
    let ended = work.with_context(traced.clone()).instrument(log).await;
    let span = traced.span();
    match &ended {
        Err(failure) if !matches!(failure.outcome(), TaskOutcome::Skipped | TaskOutcome::Cancelled) => {
            let reason = failure.reason();
            span.set_attribute(KeyValue::new("error.type", reason.clone()));
            span.set_status(Status::error(reason));
        }
        Ok(_) | Err(_) => {}
    }
    span.end();
    ended
}
