//! What all pages have around them.

use axum::response::Html;
use maud::{DOCTYPE, Markup, html};

use super::{assets, visit::Visit, words::pill};
use crate::proto::admin::v1::GetDelegateResponse;

/// The pages of the navigation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Tasks,
    Runners,
    Sessions,
    Upstreams,
    Reports,
}

const PLACES: [(Place, &str, &str); 6] = [
    (Place::Overview, "/ui/", "Overview"),
    (Place::Tasks, "/ui/tasks", "Tasks"),
    (Place::Runners, "/ui/runners", "Runners"),
    (Place::Sessions, "/ui/sessions", "Sessions"),
    (Place::Upstreams, "/ui/upstreams", "Upstreams"),
    (Place::Reports, "/ui/reports", "Reports"),
];

/// What was just done, by the word that the order's redirect leaves in the query.
const DONE: [(&str, &str); 10] = [
    ("cancel", "The task is to stop. It stays here until its result is reported."),
    ("close", "The session ends: its tasks are cancelled and its cleanup runs."),
    ("drain", "The delegate drains: it takes nothing new and finishes what is here."),
    ("resume", "Work is taken again."),
    ("pause", "The upstream is paused: nothing new is taken from it."),
    ("unpause", "Work of this upstream is taken again."),
    ("runner-drain", "The runner gets nothing new; its sessions go on."),
    ("runner-resume", "The runner gets work again."),
    ("replay", "The result is on its way. It stays here until its upstream has taken it."),
    ("drop", "The result is gone: its upstream is not told."),
];

/// A page of the navigation.
pub(super) fn page(
    place: Place,
    title: &str,
    visit: &Visit,
    delegate: &GetDelegateResponse,
    body: &Markup,
) -> Html<String> {
    let done = DONE.iter().find(|(word, _)| *word == visit.query("done"));
    let shown = html! {
        header.top {
            div.inner {
                a.brand href="/ui/" { (mark()) span { "dlite" } }
                span.delegate { (delegate.name) }
                span #state data-live { (pill(&delegate.state)) }
                span #live role="status" {}
                @if visit.key.is_some() {
                    form.sign method="post" action="/ui/sign-out" { button.link type="submit" { "Sign out" } }
                } @else {
                    a.sign href=(visit.sign_in_path()) { "Sign in" }
                }
            }
            nav.places aria-label="Pages" {
                @for (other, path, name) in PLACES {
                    a href=(path) aria-current=[(other == place).then_some("page")] { (name) }
                }
            }
        }
        main #main {
            div #banner data-live { (banner(delegate)) }
            @if let Some((_, text)) = done { p.note.good role="status" { (text) } }
            (body)
        }
        footer { "dlite " (delegate.version) " · delegate " code { (delegate.delegate_id) } }
    };
    document(&format!("{title} · {}", delegate.name), &shown)
}

/// A page that stands alone.
pub(super) fn bare(title: &str, body: &Markup) -> Html<String> {
    let shown = html! {
        header.top { div.inner { a.brand href="/ui/" { (mark()) span { "dlite" } } } }
        main #main.narrow { (body) }
    };
    document(title, &shown)
}

fn document(title: &str, shown: &Markup) -> Html<String> {
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · dlite" }
                link rel="stylesheet" href=(assets::path(assets::STYLE));
                link rel="icon" type="image/svg+xml" href=(assets::path(assets::ICON));
                script src=(assets::path(assets::SCRIPT)) defer {}
            }
            body {
                a.skip href="#main" { "To the content" }
                (shown)
            }
        }
    };
    Html(whole.into_string())
}

/// What everybody has to know, whichever page they are on.
fn banner(delegate: &GetDelegateResponse) -> Markup {
    html! {
        @if let Some(drain) = &delegate.drain {
            p.note.held {
                strong { @if delegate.state == "drained" { "Drained" } @else { "Draining" } }
                " (" (drain.mode.replace('_', " ")) "): " (drain.reason) ". "
                (delegate.open_task_count) " open tasks, " (drain.acquiring_count) " acquires under way, "
                (delegate.unreported_result_count) " unreported results"
                @if drain.cancelled_task_count > 0 { "; " (drain.cancelled_task_count) " cancelled" }
                @if drain.handed_back_task_count > 0 { "; " (drain.handed_back_task_count) " handed back" }
                "."
            }
        } @else if !delegate.state_reason.is_empty() {
            p.note.bad { strong { (delegate.state.replace('_', " ")) } ": " (delegate.state_reason) }
        }
    }
}

fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 24 24" aria-hidden="true" focusable="false" {
            path d="M3 12h6m6 0h6M12 3v6m0 6v6" {}
            circle cx="12" cy="12" r="3.4" {}
        }
    }
}
