//! Runners: who is attached, what each can do, and how much of it is in use.

use axum::{extract::State, response::Html};
use maud::{Markup, html};

use super::{
    Page, bar,
    layout::{self, Place},
    orders, sessions,
    sheet::Sheet,
    tasks,
    trouble::Trouble,
    visit::Visit,
    words::{ago, aside, or_dash, pill},
};
use crate::proto::admin::v1::Runner;

/// Task types named of one runner.
const TYPES_SHOWN: usize = 24;

pub(super) async fn show(State(page): State<Page>, visit: Visit) -> Result<Html<String>, Trouble> {
    let delegate = page.readings().delegate().await?;
    let sheet = Sheet::of(&delegate.runners, &visit);
    let body = html! {
        h1 { "Runners" }
        section #runners data-live aria-label="Runners" {
            @if sheet.rows.is_empty() { p.empty { "No runner is attached: tasks wait until one is." } }
            @else {
                div.cards { @for runner in sheet.rows { (card(runner, &visit)) } }
                (sheet.pager(&visit))
            }
        }
    };
    Ok(layout::page(Place::Runners, "Runners", &visit, &delegate, &body))
}

fn card(runner: &Runner, visit: &Visit) -> Markup {
    html! {
        article.card {
            h2 { span.id { (runner.runner_id) } " " (pill(&runner.state)) }
            @if let Some(drain) = &runner.drain { (aside("Drained", drain)) }
            dl.gauges {
                div {
                    dt { "Slots" }
                    dd { (runner.slots_used) " of " (runner.slots_total) }
                    dd.gauge { (bar::used(runner.slots_used.into(), runner.slots_total.into())) }
                }
            }
            dl.facts {
                div { dt { "Has" } dd { (tasks::number(runner.task_ids.len())) ", " (sessions::number(runner.session_ids.len())) } }
                div { dt { "Last seen" } dd { (ago(runner.last_seen_time.as_ref())) } }
                div { dt { "SDK" } dd { (or_dash(&runner.sdk)) } }
                div { dt { "Instance" } dd.id { (or_dash(&runner.instance_id)) } }
            }
            @if !runner.task_types.is_empty() {
                ul.types aria-label="Task types" {
                    @for task_type in runner.task_types.iter().take(TYPES_SHOWN) { li { (task_type) } }
                    @if runner.task_types.len() > TYPES_SHOWN { li { "and " (runner.task_types.len() - TYPES_SHOWN) " more" } }
                }
            }
            (orders::runner_form(visit, runner))
        }
    }
}

/// For the overview.
pub(super) fn short(runners: &[Runner], rows: usize) -> Markup {
    if runners.is_empty() {
        return html! { p.empty { "No runner is attached: tasks wait until one is." } };
    }
    html! {
        ul.short {
            @for runner in runners.iter().take(rows) {
                li {
                    span.id { (runner.runner_id) }
                    span.quiet { (runner.slots_used) "/" (runner.slots_total) " slots" }
                    (pill(&runner.state))
                }
            }
            @if runners.len() > rows { li { a href="/ui/runners" { "and " (runners.len() - rows) " more" } } }
        }
    }
}
