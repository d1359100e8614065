//! All open tasks, each with the one thing it waits for and how its time was spent.

use std::time::Duration;

use axum::{extract::State, response::Html};
use maud::{Markup, html};

use super::{
    Page,
    bar::{self, Stretch, WIDTH},
    layout::{self, Place},
    sheet::Sheet,
    trouble::Trouble,
    visit::Visit,
    words::{ago, count, or_dash, pill, tone},
};
use crate::{
    cli::table::{self, span},
    proto::admin::v1::TaskView,
};

/// What `state=` chooses.
const STATES: [(&str, &str, &[&str]); 6] = [
    ("", "All", &[]),
    ("running", "Running", &["running", "assigned"]),
    ("waiting", "Waiting", &["waiting", "acquiring"]),
    ("listed", "On offer", &["listed"]),
    ("reporting", "Reporting", &["reporting"]),
    ("dead", "Dead letters", &["dead"]),
];

pub(super) async fn show(State(page): State<Page>, visit: Visit) -> Result<Html<String>, Trouble> {
    let (delegate, all) = (page.readings().delegate().await?, page.readings().tasks().await?);
    let (state, words) = (visit.query("state"), visit.query("q").to_lowercase());
    let chosen = STATES.iter().find(|(name, ..)| *name == state).unwrap_or(&STATES[0]);
    let in_words: Vec<&TaskView> = all.tasks.iter().filter(|task| has_words(task, &words)).collect();
    let is_in = |states: &[&str], task: &TaskView| states.is_empty() || states.contains(&&*task.state);
    let mut tasks: Vec<&TaskView> = in_words.iter().copied().filter(|task| is_in(chosen.2, task)).collect();
    let newest_first = visit.query("sort") == "newest";
    if newest_first {
        tasks.reverse();
    }
    let sheet = Sheet::of(&tasks, &visit);
    let body = html! {
        h1 { "Tasks" }
        form.search role="search" method="get" action="/ui/tasks" {
            @if !chosen.0.is_empty() { input type="hidden" name="state" value=(chosen.0); }
            label for="q" { "Id, type, runner or wait" }
            input #q type="search" name="q" value=(visit.query("q")) autocomplete="off" spellcheck="false";
            button type="submit" { "Find" }
        }
        section #tasks data-live aria-label="Open tasks" {
            div.sift {
                nav.states aria-label="Tasks by state" {
                    @for (name, text, states) in STATES {
                        @let number = in_words.iter().filter(|task| is_in(states, task)).count();
                        a href=(visit.with("state", name)) aria-current=[(name == chosen.0).then_some("true")] {
                            (text) " " span.count { (number) }
                        }
                    }
                }
                a.sort href=(visit.with("sort", if newest_first { "" } else { "newest" })) {
                    @if newest_first { "Newest first ↑" } @else { "Oldest first ↓" }
                }
            }
            (table(sheet.rows.iter().copied(), "Open tasks"))
            (sheet.pager(&visit))
            @if all.truncated {
                p.quiet { "There are more: the delegate shows the first " (all.tasks.len()) "." }
            }
        }
    };
    Ok(layout::page(Place::Tasks, "Tasks", &visit, &delegate, &body))
}

fn has_words(task: &TaskView, words: &str) -> bool {
    let fields =
        [&task.task_id, &task.external_id, &task.task_type, &task.runner_id, &task.upstream, &task.waiting_for];
    let mut fields = fields.into_iter().chain(task.wait.as_ref().map(|wait| &wait.name));
    words.is_empty() || fields.any(|field| field.to_lowercase().contains(words))
}

/// Rows with a common scale of time: from the oldest of them until now.
pub(super) fn table<'a>(tasks: impl Iterator<Item = &'a TaskView> + Clone, caption: &str) -> Markup {
    let oldest = tasks.clone().map(age).max().unwrap_or_default();
    let mut tasks = tasks.peekable();
    if tasks.peek().is_none() {
        return html! { p.empty { "No task is here." } };
    }
    html! {
        table.list.tasks {
            caption { (caption) }
            thead {
                tr {
                    th.task scope="col" { "Task" }
                    th.state scope="col" { "State" }
                    th.wait scope="col" { "Waits for" }
                    th.runner scope="col" { "Runner" }
                    th.age scope="col" { "Age" }
                }
            }
            tbody { @for task in tasks { (row(task, oldest)) } }
        }
    }
}

fn row(task: &TaskView, oldest: Duration) -> Markup {
    html! {
        tr {
            th.task scope="row" {
                @if task.task_id.is_empty() { span.id { (task.external_id) } }
                @else { a.id href={ "/ui/tasks/" (task.task_id) } { (task.external_id) } }
                span.sub { @if !task.task_type.is_empty() { (task.task_type) " · " } (task.upstream) }
            }
            td.state { (pill(&task.state)) @if task.attempt > 1 { span.sub { "try " (task.attempt) } } }
            td.wait {
                span { (task.waiting_for) }
                span.sub {
                    @if let Some(wait) = &task.wait { code { (wait.name) } " · " }
                    "since " (ago(task.waiting_since.as_ref()))
                }
            }
            td.runner { (or_dash(&task.runner_id)) }
            td.age { (span(age(task))) (line(task, oldest)) }
        }
    }
}

/// Since it was taken, or seen.
fn age(task: &TaskView) -> Duration {
    let taken = task.age.and_then(|age| age.try_into().ok());
    taken.or_else(|| task.waiting_since.map(table::age)).unwrap_or_default()
}

/// Its life so far on the scale of all: what is past, and the wait of now.
fn line(task: &TaskView, oldest: Duration) -> Markup {
    let scale = |span: Duration| {
        if oldest.is_zero() { 0.0 } else { span.as_secs_f64() / oldest.as_secs_f64() * WIDTH }
    };
    let (whole, wait) = (scale(age(task)), scale(task.waiting_since.map(table::age).unwrap_or_default()));
    bar::bar(&[
        Stretch { from: WIDTH - whole, width: whole, tone: "past" },
        Stretch { from: WIDTH - wait, width: wait, tone: tone(&task.state) },
    ])
}

/// What a list of tasks comes to in words.
pub(super) fn number(tasks: usize) -> String {
    count(u64::try_from(tasks).unwrap_or(u64::MAX), "task")
}
