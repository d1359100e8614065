//! Open sessions: what each stage holds, and the way to end one.

use axum::{
    extract::{Path, State},
    response::Html,
};
use maud::{Markup, html};

use super::{
    Page,
    layout::{self, Place},
    orders,
    sheet::Sheet,
    tasks,
    trouble::Trouble,
    visit::Visit,
    words::{ago, count, or_dash, pill, until},
};
use crate::{
    cli::table,
    proto::admin::v1::{SessionView, TaskView},
};

pub(super) async fn show(State(page): State<Page>, visit: Visit) -> Result<Html<String>, Trouble> {
    let (delegate, all) = (page.readings().delegate().await?, page.readings().sessions().await?);
    let sheet = Sheet::of(&all.sessions, &visit);
    let body = html! {
        h1 { "Sessions" }
        section #sessions data-live aria-label="Open sessions" {
            @if sheet.rows.is_empty() { p.empty { "No session is open." } }
            @else { (table(sheet.rows)) }
            (sheet.pager(&visit))
            @if all.truncated { p.quiet { "There are more: the delegate shows the first " (all.sessions.len()) "." } }
        }
    };
    Ok(layout::page(Place::Sessions, "Sessions", &visit, &delegate, &body))
}

fn table(sessions: &[SessionView]) -> Markup {
    html! {
        table.list.sessions {
            caption { "Open sessions" }
            thead {
                tr {
                    th.task scope="col" { "Session" }
                    th.state scope="col" { "Phase" }
                    th.runner scope="col" { "Runner" }
                    th scope="col" { "Open tasks" }
                    th scope="col" { "Opened" }
                    th scope="col" { "Closes itself" }
                }
            }
            tbody {
                @for session in sessions {
                    tr {
                        th.task scope="row" {
                            a.id href={ "/ui/sessions/" (session.session_id) } { (session.external_id) }
                            span.sub { @if !session.tenant.is_empty() { (session.tenant) " · " } (session.upstream) }
                        }
                        td.state { (pill(&session.phase)) }
                        td.runner { (or_dash(&session.runner_id)) }
                        td { (tasks::number(session.task_ids.len())) }
                        td data-head="opened" { (ago(session.create_time.as_ref())) }
                        td data-head="closes" { (until(session.expire_time.as_ref())) }
                    }
                }
            }
        }
    }
}

pub(super) async fn show_one(
    State(page): State<Page>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Html<String>, Trouble> {
    let (delegate, all) = (page.readings().delegate().await?, page.readings().sessions().await?);
    let session = all.sessions.iter().find(|session| session.session_id == id);
    let Some(session) = session else {
        return Err(Trouble::gone(format!("No open session {id}: it may be over.")));
    };
    let open = page.readings().tasks().await?;
    let tasks: Vec<&TaskView> = open.tasks.iter().filter(|task| session.task_ids.contains(&task.task_id)).collect();
    let body = html! {
        div #session data-live {
            p.crumbs { a href="/ui/sessions" { "Sessions" } " / " span.id { (session.session_id) } }
            h1.id { (session.external_id) }
            p.lead { (pill(&session.phase)) " a stage of " (session.upstream) }
            dl.facts {
                div { dt { "Tenant" } dd { (or_dash(&session.tenant)) } }
                div { dt { "Runner" } dd { (or_dash(&session.runner_id)) } }
                div { dt { "Opened" } dd { (ago(session.create_time.as_ref())) } }
                div { dt { "Closes itself" } dd { (until(session.expire_time.as_ref())) } }
                div { dt { "State" } dd { (table::bytes(session.state_bytes)) } }
            }
            h2 { "Open tasks" }
            (tasks::table(tasks.iter().copied(), "Open tasks of the session"))
        }
        section.orders aria-labelledby="orders-title" {
            h2 #orders-title { "End it" }
            (orders::close_form(&visit, &session.session_id))
        }
    };
    Ok(layout::page(Place::Sessions, &session.external_id, &visit, &delegate, &body))
}

/// What a list of sessions comes to in words.
pub(super) fn number(sessions: usize) -> String {
    count(u64::try_from(sessions).unwrap_or(u64::MAX), "session")
}
