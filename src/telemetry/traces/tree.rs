//! A trace as text: each span with its offset, its length and a bar, children below their parent.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use opentelemetry::trace::{SpanId, Status};
use opentelemetry_sdk::trace::SpanData;

/// Columns that the root's length fills.
const BAR: usize = 32;
/// Columns of a name with its branch.
const NAME: usize = 30;

/// The spans of one trace, from the root down. A span without its parent among them is a root.
pub fn render(spans: &[SpanData]) -> String {
    let mut text = String::new();
    let has_parent = |span: &SpanData| spans.iter().any(|other| other.span_context.span_id() == span.parent_span_id);
    let roots: Vec<&SpanData> = sorted(spans.iter().filter(|span| !has_parent(span)));
    for root in roots {
        let _ = writeln!(text, "trace {}", root.span_context.trace_id());
        let whole = (root.start_time, length(root).max(Duration::from_micros(1)));
        line(&mut text, root, "", whole);
        below(&mut text, spans, root.span_context.span_id(), "", whole);
    }
    text
}

fn below(text: &mut String, spans: &[SpanData], parent: SpanId, indent: &str, whole: (SystemTime, Duration)) {
    let children = sorted(spans.iter().filter(|span| span.parent_span_id == parent));
    let last = children.len().saturating_sub(1);
    for (nth, child) in children.into_iter().enumerate() {
        let (branch, under) = if nth == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        line(text, child, &format!("{indent}{branch}"), whole);
        below(text, spans, child.span_context.span_id(), &format!("{indent}{under}"), whole);
    }
}

fn line(text: &mut String, span: &SpanData, branch: &str, (began, whole): (SystemTime, Duration)) {
    let offset = span.start_time.duration_since(began).unwrap_or_default();
    let attempt = attribute(span, "dlite.attempt").map(|attempt| format!(" #{attempt}")).unwrap_or_default();
    let name = format!("{branch}{}{attempt}", span.name);
    let worker = attribute(span, "cicd.worker.id").map(|worker| format!("  {worker}")).unwrap_or_default();
    let error = match &span.status {
        Status::Error { description } => format!("  {description}"),
        Status::Unset | Status::Ok => String::new(),
    };
    let bar = bar(offset, length(span), whole);
    let line =
        format!("{name:NAME$} {bar} +{:>9} {:>9}{worker}{error}", millis(offset), millis(length(span)));
    let _ = writeln!(text, "{}", line.trim_end());
}

fn bar(offset: Duration, length: Duration, whole: Duration) -> String {
    let column = |span: Duration| {
        let column = span.as_micros() * BAR as u128 / whole.as_micros().max(1);
        usize::try_from(column).unwrap_or(BAR).min(BAR)
    };
    let from = column(offset).min(BAR - 1);
    let to = column(offset + length).max(from + 1);
    format!("{}{}{}", "·".repeat(from), "█".repeat(to - from), "·".repeat(BAR - to))
}

fn length(span: &SpanData) -> Duration {
    span.end_time.duration_since(span.start_time).unwrap_or_default()
}

fn millis(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1_000.0)
}

fn attribute(span: &SpanData, name: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key.as_str() == name)?;
    Some(attribute.value.as_str().into_owned())
}

fn sorted<'a>(spans: impl Iterator<Item = &'a SpanData>) -> Vec<&'a SpanData> {
    let mut spans: Vec<&SpanData> = spans.collect();
    spans.sort_by_key(|span| (span.start_time, span.end_time));
    spans
}
