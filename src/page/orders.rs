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
    CancelTaskRequest, CloseSessionRequest, DrainMode, DrainRequest, DrainRunnerRequest, DropReportRequest,
    GetDelegateResponse, PauseUpstreamRequest, ReplayReportRequest, ReportView, ResumeRequest, ResumeRunnerRequest,
    ResumeUpstreamRequest, Runner, Upstream, admin_service_server::AdminService,
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

/// The switch of one upstream.
pub(super) fn upstream_form(visit: &Visit, upstream: &Upstream) -> Markup {
    let name = html! { input type="hidden" name="upstream" value=(upstream.name); };
    if upstream.pause.is_some() {
        let fields = html! { (name) p { "Its tasks are taken again." } button.main type="submit" { "Resume" } };
        return form(visit, "/ui/upstreams/resume", "Resume this upstream", &fields);
    }
    let fields = html! {
        (name)
        p { "Nothing new is taken from it; what is here goes on and is reported." }
        label { "Reason, for the log and other operators" (short_text("reason")) }
        button.danger type="submit" { "Pause" }
    };
    form(visit, "/ui/upstreams/pause", "Pause this upstream", &fields)
}

/// One runner out, or back in.
pub(super) fn runner_form(visit: &Visit, runner: &Runner) -> Markup {
    let name = html! { input type="hidden" name="runner" value=(runner.runner_id); };
    if runner.drain.is_some() {
        let fields = html! { (name) p { "It gets work again." } button.main type="submit" { "Resume" } };
        return form(visit, "/ui/runners/resume", "Resume this runner", &fields);
    }
    let fields = html! {
        (name)
        p { "It gets nothing new, and its sessions end on it; other runners go on." }
        label { "Grace before what it still does is stopped, such as 20m; empty: as long as it takes" (short_text("grace")) }
        label { "Reason, for the log and other operators" (short_text("reason")) }
        button.danger type="submit" { "Drain" }
    };
    form(visit, "/ui/runners/drain", "Drain this runner", &fields)
}

fn short_text(name: &str) -> Markup {
    html! { input type="text" name=(name) maxlength="1024" autocomplete="off"; }
}

/// What is to become of one result.
pub(super) fn report_forms(visit: &Visit, report: &ReportView) -> Markup {
    let path = |deed: &str| format!("/ui/reports/{}/{deed}", report.task_id);
    let replay = html! {
        p {
            @if report.state == "dead" { "It is owed again, byte for byte as it was." }
            @else { "It is sent at once, without waiting for its next try." }
        }
        button.main type="submit" { "Send" }
    };
    let drop = html! {
        p { "It is forgotten and its upstream is never told. There is no way back." }
        label { "Reason, for the record" input type="text" name="reason" maxlength="1024" autocomplete="off" required; }
        button.danger type="submit" { "Drop for good" }
    };
    html! {
        @if report.replayable { (form(visit, &path("replay"), "Send this result", &replay)) }
        (form(visit, &path("drop"), "Drop this result", &drop))
    }
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

pub(super) async fn pause_upstream(State(page): State<Page>, order: Order) -> Result<Redirect, Trouble> {
    let (upstream, reason) = (order.field("upstream").to_owned(), order.field("reason").to_owned());
    page.readings().service()?.pause_upstream(Request::new(PauseUpstreamRequest { upstream, reason })).await?;
    done(&page, "/ui/upstreams?done=pause").await
}

pub(super) async fn resume_upstream(State(page): State<Page>, order: Order) -> Result<Redirect, Trouble> {
    let upstream = order.field("upstream").to_owned();
    page.readings().service()?.resume_upstream(Request::new(ResumeUpstreamRequest { upstream })).await?;
    done(&page, "/ui/upstreams?done=unpause").await
}

pub(super) async fn drain_runner(State(page): State<Page>, order: Order) -> Result<Redirect, Trouble> {
    let request = DrainRunnerRequest {
        runner_id: order.field("runner").to_owned(),
        grace_period: order.span("grace")?,
        reason: order.field("reason").to_owned(),
    };
    page.readings().service()?.drain_runner(Request::new(request)).await?;
    done(&page, "/ui/runners?done=runner-drain").await
}

pub(super) async fn resume_runner(State(page): State<Page>, order: Order) -> Result<Redirect, Trouble> {
    let runner_id = order.field("runner").to_owned();
    page.readings().service()?.resume_runner(Request::new(ResumeRunnerRequest { runner_id })).await?;
    done(&page, "/ui/runners?done=runner-resume").await
}

pub(super) async fn replay_report(
    State(page): State<Page>,
    Path(task_id): Path<String>,
    _: Order,
) -> Result<Redirect, Trouble> {
    page.readings().service()?.replay_report(Request::new(ReplayReportRequest { task_id })).await?;
    // Its upstream may have taken it already.
    done(&page, "/ui/reports?done=replay").await
}

pub(super) async fn drop_report(
    State(page): State<Page>,
    Path(task_id): Path<String>,
    order: Order,
) -> Result<Redirect, Trouble> {
    let reason = order.field("reason").to_owned();
    page.readings().service()?.drop_report(Request::new(DropReportRequest { task_id, reason })).await?;
    done(&page, "/ui/reports?done=drop").await
}

/// On to what the order led to, read anew.
async fn done(page: &Page, next: &str) -> Result<Redirect, Trouble> {
    page.readings().forget().await;
    Ok(Redirect::to(next))
}
