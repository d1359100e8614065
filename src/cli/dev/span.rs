//! `dlite dev span`: a command in a span of its own below `$TRACEPARENT`, so that the steps of a script show in the task's trace.

use std::process::{ExitCode, Stdio};

use opentelemetry::{
    Context, global,
    trace::{Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, Tracer as _},
};

use crate::{
    cli::{block_on, chain, fail},
    core::trace::TraceParent,
    telemetry::traces::runner::Tracer,
};

/// Names the maker of these spans.
const TRACER: &str = "dlite.dev.span";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the span
    name: String,
    /// What to run in it; its exit code is handed on
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub fn run(args: &Args) -> ExitCode {
    block_on(async {
        match trace(args).await {
            Ok(code) => code,
            Err(error) => fail(&error),
        }
    })
}

async fn trace(args: &Args) -> Result<ExitCode, String> {
    let tracer = Tracer::install("dlite-span", "").map_err(|error| chain(&error))?;
    let parent = std::env::var("TRACEPARENT").ok().and_then(|parent| TraceParent::parse(&parent, None).ok());
    let above = parent.map_or_else(Context::new, |parent| {
        let flags = if parent.sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        let (trace_id, span_id) = (TraceId::from(parent.trace_id.0), SpanId::from(parent.span_id.0));
        let span = SpanContext::new(trace_id, span_id, flags, true, Default::default());
        Context::new().with_remote_span_context(span)
    });
    let spans = global::tracer(TRACER);
    let mut span =
        spans.span_builder(args.name.clone()).with_kind(SpanKind::Internal).start_with_context(&spans, &above);
    let context = span.span_context();
    let (program, arguments) = args.command.split_first().ok_or("no command")?;
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::inherit());
    if context.is_valid() {
        let sampled = u8::from(context.trace_flags().is_sampled());
        command.env("TRACEPARENT", format!("00-{}-{}-{sampled:02x}", context.trace_id(), context.span_id()));
    }
    let ended = command.status().await.map_err(|error| format!("{program} can't be run: {error}"));
    if !ended.as_ref().is_ok_and(std::process::ExitStatus::success) {
        span.set_status(Status::error("COMMAND_FAILED"));
    }
    span.end();
    tracer.shut_down().await;
    let code = ended?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(crate::cli::FAILED);
    Ok(ExitCode::from(code))
}
