//! One task, whole: what it waits for, how its time was spent, its logs, its way back.

use axum::{
    extract::{Path, State},
    response::Html,
};
use maud::{Markup, html};
use tonic::Request;

use super::{
    Page,
    bar::{self, Stretch, WIDTH},
    layout::{self, Place},
    log, orders,
    trouble::Trouble,
    visit::Visit,
    words::{ago, between, count, now, pill, tone, until},
};
use crate::{
    cli::table::span,
    proto::admin::v1::{
        GetTaskRequest, GetTaskResponse, LogView, TaskMoment, TaskView, admin_service_server::AdminService,
    },
};

pub(super) async fn show(
    State(page): State<Page>,
    Path(task_id): Path<String>,
    visit: Visit,
) -> Result<Html<String>, Trouble> {
    let delegate = page.readings().delegate().await?;
    let detail = page.readings().service()?.get_task(Request::new(GetTaskRequest { task_id })).await?.into_inner();
    let task = detail.task.clone().unwrap_or_default();
    let body = html! {
        div #task data-live {
            p.crumbs { a href="/ui/tasks" { "Tasks" } " / " span.id { (task.task_id) } }
            h1.id { (task.external_id) }
            p.lead { (pill(&task.state)) " " (task.task_type) " of " (task.upstream) }
            (wait(&task))
            @if let Some(stop) = &detail.stop {
                p.note.held {
                    "To stop (" (stop.reason.replace('_', " ")) "), " (ago(stop.time.as_ref())) ": " (stop.message)
                }
            }
            @if !detail.error.is_empty() { p.note.bad { strong { (detail.outcome) } ": " (detail.error) } }
            (timeline(&detail, &task))
            (facts(&detail, &task))
            (logs(&detail.logs, &task.task_id))
        }
        @if detail.outcome.is_empty() {
            section.orders aria-labelledby="orders-title" {
                h2 #orders-title { "Stop it" }
                (orders::cancel_form(&visit, &task.task_id))
            }
        }
    };
    Ok(layout::page(Place::Tasks, &task.external_id, &visit, &delegate, &body))
}

fn wait(task: &TaskView) -> Markup {
    html! {
        div.wait {
            p { span.label { "Waits for" } (task.waiting_for) }
            p.sub {
                "since " (ago(task.waiting_since.as_ref()))
                @if task.deadline.is_some() { ", ends at the latest " (until(task.deadline.as_ref())) }
            }
        }
    }
}

/// What each part of its life is called, by the moments that begin and end it.
const PHASES: [(&str, &str, &str); 6] = [
    ("acquire", "intended", "acquired"),
    ("queue", "acquired", "assigned"),
    ("accept", "assigned", "accepted"),
    ("start", "accepted", "started"),
    ("run", "started", "finished"),
    ("report", "finished", ""),
];

fn timeline(detail: &GetTaskResponse, task: &TaskView) -> Markup {
    let at = |phase: &str| detail.moments.iter().find(|moment| moment.phase == phase).and_then(|moment| moment.time);
    let times = || detail.moments.iter().filter_map(|moment: &TaskMoment| moment.time);
    let now = now();
    let Some(first) = times().min_by_key(|at| (at.seconds, at.nanos)) else { return html! {} };
    let whole = between(first, now).as_secs_f64().max(f64::EPSILON);
    let rows: Vec<_> = PHASES
        .iter()
        .filter_map(|(name, from, to)| {
            let (from, to) = (at(from)?, at(to));
            // A phase that was not ended is skipped if the next one has begun, and lasts until now if none has.
            let is_last = times().all(|other| (other.seconds, other.nanos) <= (from.seconds, from.nanos));
            let end = to.or_else(|| is_last.then_some(now))?;
            let length = between(from, end);
            let stretch = Stretch {
                from: between(first, from).as_secs_f64() / whole * WIDTH,
                width: length.as_secs_f64() / whole * WIDTH,
                tone: if to.is_none() { tone(&task.state) } else { "past" },
            };
            Some((*name, from, length, stretch, to.is_none()))
        })
        .collect();
    html! {
        section aria-labelledby="timeline-title" {
            h2 #timeline-title { "Timeline" @if task.attempt > 1 { " of try " (task.attempt) } }
            table.timeline {
                caption { "Phases of the task" }
                thead {
                    tr {
                        th.phase scope="col" { "Phase" }
                        th scope="col" { "Share" }
                        th.lasted scope="col" { "Lasted" }
                        th.began scope="col" { "Began" }
                    }
                }
                tbody {
                    @for (name, from, length, stretch, is_open) in &rows {
                        tr {
                            th scope="row" { (name) }
                            td { (bar::bar(std::slice::from_ref(stretch))) }
                            td.num { (span(*length)) @if *is_open { " …" } }
                            td.began.quiet { (ago(Some(from))) }
                        }
                    }
                }
            }
        }
    }
}

fn facts(detail: &GetTaskResponse, task: &TaskView) -> Markup {
    let fact = |name: &str, value: &str| html! { @if !value.is_empty() { div { dt { (name) } dd { (value) } } } };
    html! {
        section aria-labelledby="facts-title" {
            h2 #facts-title { "Facts" }
            dl.facts {
                (fact("Kind", &detail.kind))
                (fact("Tenant", &detail.tenant))
                @if !detail.session_id.is_empty() {
                    div { dt { "Session" } dd { a href={ "/ui/sessions/" (detail.session_id) } { (detail.session_id) } } }
                }
                (fact("Runner", &task.runner_id))
                @if task.attempt > 0 { (fact("Try", &task.attempt.to_string())) }
                (fact("Outcome", &detail.outcome))
                @if detail.report_try_count > 0 {
                    (fact("Report", &format!("try {}; last: {}", detail.report_try_count, detail.report_error)))
                }
                (fact("Outputs", &detail.outputs.join(", ")))
                @if !task.trace_id.is_empty() { div { dt { "Trace" } dd.id { (task.trace_id) } } }
                @for (key, value) in &detail.labels { (fact(key, value)) }
            }
        }
    }
}

fn logs(logs: &[LogView], task_id: &str) -> Markup {
    html! {
        section aria-labelledby="logs-title" {
            h2 #logs-title { "Logs" }
            @if logs.is_empty() { p.quiet { "No log of this task is on this machine." } }
            @else {
                ul.logs {
                    @for log in logs {
                        li {
                            a href=(log::path(task_id, &log.step_id)) {
                                @if log.step_id.is_empty() { "Log of the task" } @else { (log.step_id) }
                            }
                            " " span.quiet { (count(log.next_line, "line")) ", " @if log.closed { "closed" } @else { "open" } }
                            @for missing in &log.missing { span.sub { (missing) } }
                        }
                    }
                }
            }
        }
    }
}
