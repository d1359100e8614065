//! The token, once; a key for it.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header::SET_COOKIE},
    response::{Html, IntoResponse, Redirect, Response},
};
use maud::html;

use super::{
    Page, layout,
    trouble::Trouble,
    visit::{Visit, form, inner_path},
};
use crate::state_dir::StateDir;

pub(super) async fn show(visit: Visit) -> Html<String> {
    ask(visit.query("next"), "")
}

pub(super) async fn enter(State(page): State<Page>, request: Request) -> Result<Response, Trouble> {
    let form = form(request, &page).await?;
    let field = |name: &str| form.get(name).map_or("", |value| value.trim());
    match page.keyring().enter(field("token").as_bytes())? {
        Some(cookie) => {
            tracing::info!("somebody signed in at the status page");
            Ok(([(SET_COOKIE, cookie)], Redirect::to(inner_path(field("next")))).into_response())
        }
        None => {
            tracing::warn!("a wrong token at the status page");
            let wrong = "That is not the token.";
            Ok((StatusCode::UNAUTHORIZED, ask(field("next"), wrong)).into_response())
        }
    }
}

pub(super) async fn leave(State(page): State<Page>, headers: HeaderMap) -> Response {
    ([(SET_COOKIE, page.keyring().leave(&headers))], Redirect::to("/ui/")).into_response()
}

fn ask(next: &str, wrong: &str) -> Html<String> {
    let body = html! {
        h1 { "Sign in" }
        p {
            "Orders and the lines of logs need the token in " code { (StateDir::ADMIN_TOKEN) } " of the state directory, which the "
            "delegate's user can read. It is asked for once and not kept in the browser."
        }
        @if !wrong.is_empty() { p.note.bad role="alert" { (wrong) } }
        form.order method="post" action="/ui/sign-in" {
            input type="hidden" name="next" value=(inner_path(next));
            label for="token" { "Token" }
            input #token type="password" name="token" required autocomplete="current-password" autofocus;
            button.main type="submit" { "Sign in" }
        }
    };
    layout::bare("Sign in", &body)
}
