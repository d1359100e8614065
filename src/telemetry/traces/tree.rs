//! A trace as text: each span with its offset, its length and a bar, children below their parent.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use opentelemetry::trace::{SpanId, Status};
use opentelemetry_sdk::trace::SpanData;

/// Columns that the root's length fills.
const BAR: usize = 32;
/// The spans of one trace, from the root down. A span without its parent among them is a root.
pub fn render(spans: &[SpanData]) -> String {
    let has_parent = |span: &SpanData| spans.iter().any(|other| other.span_context.span_id() == span.parent_span_id);
    let mut text = String::new();
    for root in sorted(spans.iter().filter(|span| !has_parent(span))) {
        let mut rows = vec![(label(root, ""), root)];
        below(&mut rows, spans, root.span_context.span_id(), "");
        let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        let whole = length(root).max(Duration::from_micros(1));
        let _ = writeln!(text, "trace {}", root.span_context.trace_id());
        for (label, span) in rows {
            let _ = writeln!(text, "{label:width$} {}", about(span, root.start_time, whole).trim_end());
        }
    }
    text
}

fn below<'a>(rows: &mut Vec<(String, &'a SpanData)>, spans: &'a [SpanData], parent: SpanId, indent: &str) {
    let children = sorted(spans.iter().filter(|span| span.parent_span_id == parent));
    let last = children.len().saturating_sub(1);
    for (nth, child) in children.into_iter().enumerate() {
        let (branch, under) = if nth == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        rows.push((label(child, &format!("{indent}{branch}")), child));
        below(rows, spans, child.span_context.span_id(), &format!("{indent}{under}"));
    }
}

fn label(span: &SpanData, branch: &str) -> String {
    let attempt = attribute(span, "dlite.attempt").map(|attempt| format!(" #{attempt}")).unwrap_or_default();
    format!("{branch}{}{attempt}", span.name)
}

fn about(span: &SpanData, began: SystemTime, whole: Duration) -> String {
    let offset = span.start_time.duration_since(began).unwrap_or_default();
    let worker = attribute(span, "cicd.worker.id").unwrap_or_default();
    let error = match &span.status {
        Status::Error { description } => description.as_ref(),
        Status::Unset | Status::Ok => "",
    };
    let bar = bar(offset, length(span), whole);
    format!("{bar} +{:>9} {:>9}  {worker} {error}", millis(offset), millis(length(span)))
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

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanKind, TraceFlags, TraceId, TraceState};
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

    use super::*;

    fn span(id: u64, parent: u64, name: &'static str, from: u64, to: u64) -> SpanData {
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        SpanData {
            span_context: SpanContext::new(
                TraceId::from(1),
                SpanId::from(id),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: SpanId::from(parent),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: at(from),
            end_time: at(to),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if name == "run" { Status::error("WHY") } else { Status::Unset },
            instrumentation_scope: Default::default(),
        }
    }

    #[test]
    fn a_trace_is_a_tree_with_offsets_lengths_and_errors() {
        let spans = [
            span(3, 1, "run", 50, 100),
            span(1, 9, "task A", 0, 100),
            span(2, 1, "poll", 0, 50),
            span(4, 3, "below", 75, 100),
        ];
        let text = render(&spans);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "trace 00000000000000000000000000000001");
        assert_eq!(lines[1], format!("task A      {} +   0.0 ms  100.0 ms", "█".repeat(32)));
        assert_eq!(lines[2], format!("├─ poll     {}{} +   0.0 ms   50.0 ms", "█".repeat(16), "·".repeat(16)));
        assert_eq!(lines[3], format!("└─ run      {}{} +  50.0 ms   50.0 ms   WHY", "·".repeat(16), "█".repeat(16)));
        assert_eq!(lines[4], format!("   └─ below {}{} +  75.0 ms   25.0 ms", "·".repeat(24), "█".repeat(8)));
    }
}
