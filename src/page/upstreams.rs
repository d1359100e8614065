//! Upstreams: how each of them takes this delegate, and its last word.

use axum::{extract::State, response::Html};
use maud::{Markup, html};

use super::{
    Page,
    layout::{self, Place},
    orders,
    sheet::Sheet,
    trouble::Trouble,
    visit::Visit,
    words::{ago, aside, or_dash, pill},
};
use crate::proto::admin::v1::Upstream;

pub(super) async fn show(State(page): State<Page>, visit: Visit) -> Result<Html<String>, Trouble> {
    let delegate = page.readings().delegate().await?;
    let sheet = Sheet::of(&delegate.upstreams, &visit);
    let body = html! {
        h1 { "Upstreams" }
        section #upstreams data-live aria-label="Upstreams" {
            @if sheet.rows.is_empty() { p.empty { "No upstream is configured." } }
            div.cards { @for upstream in sheet.rows { (card(upstream, &visit)) } }
            (sheet.pager(&visit))
        }
    };
    Ok(layout::page(Place::Upstreams, "Upstreams", &visit, &delegate, &body))
}

fn card(upstream: &Upstream, visit: &Visit) -> Markup {
    html! {
        article.card {
            h2 { span.id { (upstream.name) } " " (pill(&upstream.state)) }
            @if let Some(pause) = &upstream.pause { (aside("Paused", pause)) }
            @if !upstream.last_error.is_empty() { p.note.bad { (upstream.last_error) } }
            dl.facts {
                div { dt { "Kind" } dd { (or_dash(&upstream.kind)) } }
                div { dt { "Last success" } dd { (ago(upstream.last_success_time.as_ref())) } }
                div { dt { "Registered as" } dd.id { (or_dash(&upstream.registered_id)) } }
            }
            (orders::upstream_form(visit, upstream))
        }
    }
}

/// For the overview.
pub(super) fn short(upstreams: &[Upstream], rows: usize) -> Markup {
    html! {
        ul.short {
            @for upstream in upstreams.iter().take(rows) {
                li {
                    span.id { (upstream.name) }
                    span.quiet { (ago(upstream.last_success_time.as_ref())) }
                    (pill(&upstream.state))
                    @if !upstream.last_error.is_empty() { span.sub { (upstream.last_error) } }
                }
            }
            @if upstreams.len() > rows { li { a href="/ui/upstreams" { "and " (upstreams.len() - rows) " more" } } }
        }
    }
}
