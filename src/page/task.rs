//! One task, whole: what it waits for and what ends that, how its time was spent, what happened to it, its logs, its way back. Of one
//! that is gone, what became of it.

use axum::{
    extract::{Path, State},
    response::Html,
};
use maud::{Markup, html};
use tonic::{Code, Request};

use super::{
    Page,
    bar::{self, Stretch, WIDTH},
    layout::{self, Place},
    log, orders, reports,
    trouble::Trouble,
    visit::Visit,
    words::{ago, between, count, now, pill, tone, until},
};
use crate::{
    cli::{
        table::{self, span},
        tasks::log_state,
    },
    proto::admin::v1::{
        ExplainTaskRequest, ExplainTaskResponse, GetTaskRequest, GetTaskResponse, LogView, TaskEvent, TaskMoment,
        TaskView, admin_service_server::AdminService,
    },
};

pub(super) async fn show(
    State(page): State<Page>,
    Path(task_id): Path<String>,
    visit: Visit,
) -> Result<Html<String>, Trouble> {
    let delegate = page.readings().delegate().await?;
    let service = page.readings().service()?;
    let detail = match service.get_task(Request::new(GetTaskRequest { task_id: task_id.clone() })).await {
        Ok(answer) => answer.into_inner(),
        Err(missed) if missed.code() == Code::NotFound => {
            // It was here a while ago, or is on offer; else the first answer is the better one.
            let said = service.explain_task(Request::new(ExplainTaskRequest { task_id: task_id.clone() })).await;
            let said = said.map_err(|_| missed)?.into_inner();
            return Ok(layout::page(Place::Tasks, &task_id, &visit, &delegate, &explained(&task_id, &said)));
        }
        Err(status) => return Err(status.into()),
    };
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
            (events(&detail.events))
            (facts(&detail, &task))
            (logs(&detail.logs, &task.task_id))
        }
        @if detail.outcome.is_empty() {
            section.orders aria-labelledby="orders-title" {
                h2 #orders-title { "Stop it" }
                (orders::cancel_form(&visit, &task.task_id))
            }
        } @else {
            p { a href=(reports::path(&task.task_id)) { "How its report stands" } }
        }
    };
    Ok(layout::page(Place::Tasks, &task.external_id, &visit, &delegate, &body))
}

/// One that is not among the open tasks.
fn explained(name: &str, answer: &ExplainTaskResponse) -> Markup {
    html! {
        div #task data-live {
            p.crumbs { a href="/ui/tasks" { "Tasks" } }
            h1.id { (name) }
            @for explanation in &answer.explanations { p.note.held { (explanation.sentence) } }
        }
    }
}

fn wait(task: &TaskView) -> Markup {
    let Some(wait) = &task.wait else { return html! {} };
    html! {
        div.wait {
            p { span.label { "Waiting on" } (wait.text) }
            p.sub { "Since " (ago(wait.since_time.as_ref())) ". The wait ends when " (wait.ends) "." }
            p.sub {
                code { (wait.name) }
                @for (key, value) in &wait.details { " · " (key.replace('_', " ")) " " (value) }
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

fn events(events: &[TaskEvent]) -> Markup {
    html! {
        section aria-labelledby="events-title" {
            h2 #events-title { "What happened" }
            table.list.events {
                caption { "Events of the task, the oldest first" }
                thead {
                    tr {
                        th scope="col" { "When" }
                        th scope="col" { "Event" }
                        th scope="col" { "Try" }
                        th scope="col" { "Runner and lease" }
                    }
                }
                tbody {
                    @for event in events {
                        tr {
                            td.quiet { (ago(event.time.as_ref())) }
                            th.event scope="row" {
                                (event.what.replace('_', " "))
                                @if !event.text.is_empty() { span.sub { (event.text) } }
                            }
                            td data-head="try" { @if event.attempt > 0 { (event.attempt) } }
                            td.runner {
                                (event.runner_id)
                                @if !event.lease_id.is_empty() { span.sub.id { (event.lease_id) } }
                            }
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
                @if task.deadline.is_some() { div { dt { "Deadline" } dd { (until(task.deadline.as_ref())) } } }
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
            @if logs.is_empty() { p.quiet { "This task has no log." } }
            @else { ul.logs { @for log in logs { li { (receipt(log, task_id)) } } } }
        }
    }
}

/// How far a log is, what is missing of it, and, once it is closed, what it came to.
fn receipt(log: &LogView, task_id: &str) -> Markup {
    let name = if log.step_id.is_empty() { "Log of the task" } else { &log.step_id };
    html! {
        @if log.here { a href=(log::path(task_id, &log.step_id)) { (name) } } @else { (name) }
        " " span.quiet {
            (count(log.line_count, "line")) ", " (table::bytes(log.byte_count)) ", " (log_state(log))
            @if log.missing_line_count > 0 { ", " (count(log.missing_line_count, "line")) " missing" }
        }
        @if log.truncated { span.sub { "The runner left lines out." } }
        @for missing in &log.missing { span.sub { (missing) } }
        @if !log.sha256.is_empty() { span.sub { "SHA-256 " span.id { (log.sha256) } } }
    }
}
