//! A log on this machine, and what is still written to it. Lines are content of tasks: they need a key.
//!
//! A browser that reads slower than the runner writes is not waited for: it is told how many lines it was too late for.

use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
    response::{Html, Response, sse::Event},
};
use maud::{Markup, html};
use tokio::time::sleep;

use super::{
    Page, ansi,
    layout::{self, Place},
    live::{self, Events},
    trouble::Trouble,
    visit::Visit,
    words::count,
};
use crate::{
    health::http::Connection,
    logs::{
        record::{Level, Line, Record, Source},
        spool::{Log, Reader},
    },
};

/// Lines of one page.
const LINES_MAX: u64 = 1_000;
/// Lines that a page without a number begins with: the last ones.
const TAIL_LINES: u64 = 500;
/// Lines of one event, and about their bytes.
const EVENT_LINES_MAX: u64 = 500;
const BYTES_MAX: usize = 512 << 10;
/// Between two events: five thousand lines a second are more than anybody reads.
const EVENT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
/// A stream that is so many lines behind goes on with the last ones.
const BEHIND_MAX: u64 = 5_000;

/// Where the log of a step is shown.
pub(super) fn path(task_id: &str, step_id: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if !step_id.is_empty() {
        query.append_pair("step", step_id);
    }
    format!("/ui/tasks/{task_id}/log?{}", query.finish())
}

pub(super) async fn show(
    State(page): State<Page>,
    Path(task_id): Path<String>,
    visit: Visit,
) -> Result<Html<String>, Trouble> {
    visit.needs_key()?;
    let delegate = page.readings().delegate().await?;
    let log = page.readings().service()?.log(&task_id, visit.query("step")).await?;
    let (meta, progress) = (log.meta(), log.progress());
    let is_tail = visit.query("from").is_empty();
    let first = if is_tail { progress.next_line.saturating_sub(TAIL_LINES) } else { visit.number("from") };
    let (records, reader) = read(log.read_from(first), LINES_MAX).await?;
    let next = reader.next_line();
    let is_last = next >= progress.next_line;
    let is_open = progress.receipt.is_none() && !progress.removed;
    let stream = (is_last && is_open).then(|| stream_path(&task_id, visit.query("step"), next));
    let name = if meta.step_id.is_empty() { "Log of the task" } else { meta.step_id.as_str() };
    let body = html! {
        p.crumbs { a href="/ui/tasks" { "Tasks" } " / " a.id href={ "/ui/tasks/" (meta.task_id) } { (meta.task_id) } }
        h1 { (name) }
        p.lead {
            (count(progress.next_line, "line")) ", "
            @if is_open { "still written" } @else { "closed" }
            @for (reason, missing) in &log.so_far().missing { "; " (missing.text(*reason)) }
        }
        nav.pager aria-label="Parts of this log" {
            @if first > 0 {
                a href=(visit.with("from", "0")) { "⇤ Beginning" }
                a href=(visit.with("from", &first.saturating_sub(LINES_MAX).to_string())) { "← Earlier" }
            }
            @if !is_last {
                a href=(visit.with("from", &next.to_string())) { "Later →" }
                a href=(visit.with("from", "")) { "End ⇥" }
            }
        }
        div #log.log tabindex="0" role="region" aria-label="Lines of the log" data-stream=[stream] {
            (lines(&records))
        }
        p #log-end.quiet role="status" { @if records.is_empty() { "No line yet." } }
    };
    Ok(layout::page(Place::Tasks, name, &visit, &delegate, &body))
}

fn stream_path(task_id: &str, step_id: &str, first: u64) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("from", &first.to_string()).append_pair("step", step_id);
    format!("/ui/tasks/{task_id}/log/stream?{}", query.finish())
}

pub(super) async fn stream(
    State(page): State<Page>,
    Path(task_id): Path<String>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    visit: Visit,
) -> Result<Response, Trouble> {
    visit.needs_key()?;
    let log = page.readings().service()?.log(&task_id, visit.query("step")).await?;
    let place = live::place(&page)?;
    // A browser that was cut off says where it was.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let first = last.unwrap_or_else(|| visit.number("from"));
    Ok(live::answer(&connection, place, |events| follow(log, first, events)))
}

/// Sends what there is and what comes, until the log or the browser has ended.
async fn follow(log: Log, first: u64, events: Events) {
    let mut reader = log.read_from(first);
    loop {
        let mut late = 0;
        let newest = log.progress().next_line;
        if newest.saturating_sub(reader.next_line()) > BEHIND_MAX {
            let next = newest - TAIL_LINES;
            late = next - reader.next_line();
            reader = log.read_from(next);
        }
        let Ok((records, after)) = read(reader, EVENT_LINES_MAX).await else {
            // The page says so when it is loaded again.
            return;
        };
        reader = after;
        if records.is_empty() {
            if reader.is_at_end() {
                let _ = events.send(Ok(Event::default().event("end").data("end"))).await;
                return;
            }
            tokio::select! {
                () = reader.wait() => {}
                () = events.closed() => return,
            }
            continue;
        }
        let text = html! {
            @if late > 0 { div.line.gap { "[" (count(late, "line")) " not shown: they came faster than this page]" } }
            (lines(&records))
        };
        // Control characters are no part of it, so each event is one line.
        let event = Event::default().event("lines").id(reader.next_line().to_string()).data(text.into_string());
        if events.send(Ok(event)).await.is_err() {
            return;
        }
        sleep(EVENT_PAUSE).await;
    }
}

/// Reads where that may block.
async fn read(mut reader: Reader, lines_max: u64) -> Result<(Vec<Record>, Reader), Trouble> {
    let reading = tokio::task::spawn_blocking(move || {
        let (mut records, mut bytes) = (Vec::new(), 0);
        let last = reader.next_line().saturating_add(lines_max);
        while reader.next_line() < last && bytes < BYTES_MAX {
            let Some(record) = reader.next().transpose()? else { break };
            if let Record::Line(line) = &record {
                bytes += line.text.len().min(ansi::LINE_BYTES_MAX);
            }
            records.push(record);
        }
        Ok::<_, std::io::Error>((records, reader))
    });
    match reading.await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => Err(Trouble::unreadable(format!("The log can't be read: {error}."))),
        Err(_) => Err(Trouble::unreadable("The log can't be read.".to_owned())),
    }
}

fn lines(records: &[Record]) -> Markup {
    html! {
        @for record in records {
            @match record {
                Record::Line(line) => (one(line)),
                Record::Gap(gap) => div.line.gap { (gap) },
            }
        }
    }
}

fn one(line: &Line) -> Markup {
    let time = line.time.to_string();
    let kind = match (line.source, line.level) {
        (Source::System, _) => "system",
        (_, Level::Error) | (Source::Stderr, _) => "err",
        (_, Level::Warn) => "warn",
        _ => "out",
    };
    html! {
        div.line.(kind) {
            span.n { (line.number + 1) }
            // Of RFC 3339 the time of day, with milliseconds.
            time datetime=(time) title=(time) { (time.get(11..23).unwrap_or(&time)) }
            span.t { (ansi::line(&line.text)) }
        }
    }
}
