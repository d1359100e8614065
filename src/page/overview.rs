//! The delegate at a glance.

use axum::{extract::State, response::Html};
use maud::{Markup, html};

use super::{
    Page, bar,
    layout::{self, Place},
    orders, runners, tasks,
    trouble::Trouble,
    upstreams,
    visit::Visit,
    words::ago,
};
use crate::{
    health::Readiness,
    proto::admin::v1::{Admission, GetDelegateResponse, ListTasksResponse},
};

/// Tasks shown here, those that have been here longest.
const TASKS_SHOWN: usize = 8;
/// Runners and upstreams shown here.
const ROWS_SHOWN: usize = 8;

pub(super) async fn show(State(page): State<Page>, visit: Visit) -> Result<Html<String>, Trouble> {
    let (delegate, tasks) = (page.readings().delegate().await?, page.readings().tasks().await?);
    let readiness = Readiness::of(page.vitals());
    let body = html! {
        section #glance data-live aria-labelledby="glance-title" {
            h1 #glance-title { (delegate.name) }
            p.lead { (sentence(&readiness)) }
            (tiles(&delegate, &tasks))
        }
        div.columns {
            section #host data-live.card aria-labelledby="host-title" {
                h2 #host-title { "Host" }
                (admission(delegate.admission.as_ref()))
            }
            section #upstreams data-live.card aria-labelledby="upstreams-title" {
                h2 #upstreams-title { a href="/ui/upstreams" { "Upstreams" } }
                (upstreams::short(&delegate.upstreams, ROWS_SHOWN))
            }
            section #runners data-live.card aria-labelledby="runners-title" {
                h2 #runners-title { a href="/ui/runners" { "Runners" } }
                (runners::short(&delegate.runners, ROWS_SHOWN))
            }
        }
        section #oldest data-live aria-labelledby="oldest-title" {
            h2 #oldest-title { "Oldest tasks" }
            (tasks::table(tasks.tasks.iter().take(TASKS_SHOWN), "Oldest tasks"))
            @if tasks.tasks.len() > TASKS_SHOWN {
                p { a href="/ui/tasks" { "All " (tasks.tasks.len()) @if tasks.truncated { " and more" } " tasks" } }
            }
        }
        section.orders aria-labelledby="orders-title" {
            h2 #orders-title { "Take it out of service" }
            (orders::drain_forms(&visit, &delegate))
        }
    };
    Ok(layout::page(Place::Overview, "Overview", &visit, &delegate, &body))
}

fn sentence(readiness: &Readiness) -> String {
    let mut said = readiness.sentence();
    if let Some(first) = said.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    said + "."
}

fn tiles(delegate: &GetDelegateResponse, tasks: &ListTasksResponse) -> Markup {
    let in_state = |states: &[&str]| tasks.tasks.iter().filter(|task| states.contains(&&*task.state)).count();
    let used: u64 = delegate.runners.iter().map(|runner| u64::from(runner.slots_used)).sum();
    let total: u64 = delegate.runners.iter().map(|runner| u64::from(runner.slots_total)).sum();
    let dead = delegate.dead_letter_count;
    html! {
        dl.tiles {
            div { dt { "Running" } dd { a href="/ui/tasks?state=running" { (in_state(&["running", "assigned"])) } } }
            div { dt { "Waiting" } dd { a href="/ui/tasks?state=waiting" { (in_state(&["waiting", "acquiring"])) } } }
            div { dt { "On offer" } dd { a href="/ui/tasks?state=listed" { (in_state(&["listed"])) } } }
            div { dt { "Slots in use" } dd { (used) span.of { " of " (total) } } dd.gauge { (bar::used(used, total)) } }
            div { dt { "Open sessions" } dd { a href="/ui/sessions" { (delegate.open_session_count) } } }
            div { dt { "Unreported" } dd { a href="/ui/reports" { (delegate.unreported_result_count) } } }
            div.bad[dead > 0] { dt { "Dead letters" } dd { a href="/ui/reports" { (dead) } } }
            div { dt { "Started" } dd.text { (ago(delegate.start_time.as_ref())) } }
        }
    }
}

/// How full the host is, and what that holds up.
fn admission(admission: Option<&Admission>) -> Markup {
    let Some(admission) = admission else { return html! { p.quiet { "Nothing of the host is known." } } };
    let refused = match (&*admission.beginnings_refused, &*admission.steps_refused) {
        ("", "") => None,
        (beginnings, "") => Some((beginnings, "nothing is begun")),
        (_, steps) => Some((steps, "only cleanups are taken")),
    };
    html! {
        @match refused {
            Some((reason, what)) => p.note.held { (reason) ": " (what) "." }
            None => p { "Work is admitted." }
        }
        @if admission.usage_percent.is_empty() { p.quiet { "No figure of the host is known." } }
        @else {
            dl.gauges {
                // In order of name, so that they stay where they are.
                @for (of, percent) in admission.usage_percent.iter().collect::<std::collections::BTreeMap<_, _>>() {
                    div { dt { (of) } dd { (percent) " %" } dd.gauge { (bar::full(*percent)) } }
                }
            }
        }
    }
}
