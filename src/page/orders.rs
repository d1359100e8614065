//! What the page can do: forms that say what they lead to, and the orders they send. Each needs a key and goes the way of the
//! command line's orders, so it is answered once it is durable.

use axum::{
    extract::{Path, State},
    response::Redirect,
};
use maud::{Markup, html};
use tonic::Request;

use super::{
    Page,
    trouble::Trouble,
    visit::{Order, Visit},
};
use crate::proto::admin::v1::{
    CancelTaskRequest, CloseSessionRequest, DrainMode, DrainRequest, GetDelegateResponse, ResumeRequest,
    admin_service_server::AdminService,
};

// === forms ===

/// A form that is opened first, so that nothing happens by one slip; in its place a link for who has no key.
fn form(visit: &Visit, action: &str, summary: &str, fields: &Markup) -> Markup {
    let Some(key) = &visit.key else {
        return html! { p { a href=(visit.sign_in_path()) { "Sign in" } " to: " (summary.to_lowercase()) "." } };
    };
    html! {
        details {
            summary { (summary) }
            form.order method="post" action=(action) {
                input type="hidden" name="seal" value=(key.seal());
                (fields)
            }
        }
    }
}

fn reason(id: &str) -> Markup {
    html! {
        label for=(id) { "Reason, for upstreams and the log" }
        input id=(id) type="text" name="reason" maxlength="1024" autocomplete="off";
    }
}

pub(super) fn cancel_form(visit: &Visit, task_id: &str) -> Markup {
    let fields = html! {
        (reason("cancel-reason"))
        label for="cancel-grace" { "Grace before it is killed, such as 30s" }
        input #cancel-grace type="text" name="grace" autocomplete="off" placeholder="runners.cancel_grace";
        label.check { input type="checkbox" name="force" value="yes"; " Answer the upstream at once, without waiting for the runner" }
        button.danger type="submit" { "Cancel the task" }
    };
    form(visit, &format!("/ui/tasks/{task_id}/cancel"), "Cancel this task", &fields)
}

pub(super) fn close_form(visit: &Visit, session_id: &str) -> Markup {
    let fields = html! {
        p { "Its tasks are cancelled and its cleanup runs." }
        (reason("close-reason"))
        label.check {
            input type="checkbox" name="force" value="yes";
            " Forget it without a cleanup: what its setup left on the host stays there"
        }
        button.danger type="submit" { "Close the session" }
    };
    form(visit, &format!("/ui/sessions/{session_id}/close"), "Close this session", &fields)
}

/// The way out, or back if it is on its way.
pub(super) fn drain_forms(visit: &Visit, delegate: &GetDelegateResponse) -> Markup {
    if delegate.drain.is_some() {
        let fields = html! { p { "New work is taken again." } button.main type="submit" { "Resume" } };
        return form(visit, "/ui/resume", "Take the drain back", &fields);
    }
    let fields = html! {
        p { "It takes nothing new, finishes what is here, and stays attached until it is resumed." }
        label for="drain-mode" { "What ends first" }
        select #drain-mode name="mode" {
            option value="finish_tasks" selected { "The tasks that are here" }
            option value="finish_sessions" { "Open sessions, with their steps and cleanups" }
            option value="cancel" { "Nothing: cancel what runs" }
        }
        label for="drain-grace" { "Grace before what still runs is cancelled, such as 2h" }
        input #drain-grace type="text" name="grace" autocomplete="off" placeholder="drain.grace";
        (reason("drain-reason"))
        button.danger type="submit" { "Drain" }
    };
    form(visit, "/ui/drain", "Drain the delegate", &fields)
}

// === orders ===

pub(super) async fn cancel_task(
    State(page): State<Page>,
    Path(task_id): Path<String>,
    order: Order,
) -> Result<Redirect, Trouble> {
    let request = CancelTaskRequest {
        task_id: task_id.clone(),
        reason: order.field("reason").to_owned(),
        grace_period: order.span("grace")?,
        force: order.field("force") == "yes",
    };
    let force = request.force;
    page.readings().service()?.cancel_task(Request::new(request)).await?;
    // With force it may be gone already.
    let next = if force { "/ui/tasks?done=cancel".to_owned() } else { format!("/ui/tasks/{task_id}?done=cancel") };
    done(&page, &next).await
}

pub(super) async fn close_session(
    State(page): State<Page>,
    Path(session_id): Path<String>,
    order: Order,
) -> Result<Redirect, Trouble> {
    let request = CloseSessionRequest {
        session_id,
        reason: order.field("reason").to_owned(),
        force: order.field("force") == "yes",
    };
    page.readings().service()?.close_session(Request::new(request)).await?;
    done(&page, "/ui/sessions?done=close").await
}

pub(super) async fn drain(State(page): State<Page>, order: Order) -> Result<Redirect, Trouble> {
    let mode = match order.field("mode") {
        "finish_tasks" => DrainMode::FinishTasks,
        "finish_sessions" => DrainMode::FinishSessions,
        "cancel" => DrainMode::Cancel,
        _ => return Err(Trouble::bad_field("mode: choose what ends first.".to_owned())),
    };
    let request = DrainRequest {
        mode: mode.into(),
        grace_period: order.span("grace")?,
        reason: order.field("reason").to_owned(),
    };
    page.readings().service()?.drain(Request::new(request)).await?;
    done(&page, "/ui/?done=drain").await
}

pub(super) async fn resume(State(page): State<Page>, _: Order) -> Result<Redirect, Trouble> {
    page.readings().service()?.resume(Request::new(ResumeRequest {})).await?;
    done(&page, "/ui/?done=resume").await
}

/// On to what the order led to, read anew.
async fn done(page: &Page, next: &str) -> Result<Redirect, Trouble> {
    page.readings().forget().await;
    Ok(Redirect::to(next))
}
