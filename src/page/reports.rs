//! Results that their upstream has not confirmed, and dead letters: what nobody was told, why, and what can be done about it. A payload
//! is never shown here.

use axum::{
    extract::{Path, State},
    response::Html,
};
use maud::{Markup, html};
use tonic::Request;

use super::{
    Page,
    layout::{self, Place},
    orders,
    sheet::Sheet,
    trouble::Trouble,
    visit::Visit,
    words::{ago, or_dash, pill, until},
};
use crate::{
    cli::{reports::replay, table},
    proto::admin::v1::{GetReportRequest, GetReportResponse, ReportView, admin_service_server::AdminService},
};

pub(super) async fn show(State(page): State<Page>, visit: Visit) -> Result<Html<String>, Trouble> {
    let (delegate, all) = (page.readings().delegate().await?, page.readings().reports().await?);
    let (dead, owed): (Vec<&ReportView>, Vec<&ReportView>) = all.reports.iter().partition(|one| one.state == "dead");
    let (owed_sheet, dead_sheet) = (Sheet::of(&owed, &visit), Sheet::of(&dead, &visit));
    let body = html! {
        h1 { "Reports" }
        section #dead data-live aria-labelledby="dead-title" {
            h2 #dead-title { "Dead letters" }
            p.quiet { "Results that are not sent any more and are kept for you." }
            @if dead.is_empty() { p.empty { "None." } }
            @else { (rows(dead_sheet.rows, "Dead letters")) (dead_sheet.pager(&visit)) }
        }
        section #owed data-live aria-labelledby="owed-title" {
            h2 #owed-title { "Unreported" }
            p.quiet { "Results that are in the journal and are sent until their upstream confirms them." }
            @if owed.is_empty() { p.empty { "None: every result is with its upstream." } }
            @else { (rows(owed_sheet.rows, "Unreported results")) (owed_sheet.pager(&visit)) }
            @if all.truncated {
                p.quiet { "There are more: the delegate shows the first " (all.reports.len()) "." }
            }
        }
    };
    Ok(layout::page(Place::Reports, "Reports", &visit, &delegate, &body))
}

fn rows(reports: &[&ReportView], caption: &str) -> Markup {
    html! {
        table.list.reports {
            caption { (caption) }
            thead {
                tr {
                    th.task scope="col" { "Task" }
                    th.state scope="col" { "State" }
                    th.wait scope="col" { "Outcome, and why it is not reported" }
                    th scope="col" { "Next try" }
                    th scope="col" { "Ended" }
                }
            }
            tbody { @for report in reports { (row(report)) } }
        }
    }
}

fn row(report: &ReportView) -> Markup {
    html! {
        tr {
            th.task scope="row" {
                a.id href=(path(&report.task_id)) { (report.external_id) }
                span.sub { (report.task_type) " · " (report.upstream) }
            }
            td.state {
                (pill(&report.state))
                @if report.try_count > 0 { span.sub { (tries(report)) } }
            }
            td.wait {
                span { (report.outcome.replace('_', " ")) }
                span.sub { @if report.reason.is_empty() { "not tried yet" } @else { (report.reason) } }
            }
            td data-head="next try" { (until(report.next_try_time.as_ref())) }
            td data-head="ended" { (ago(report.finish_time.as_ref())) }
        }
    }
}

pub(super) async fn show_one(
    State(page): State<Page>,
    Path(task_id): Path<String>,
    visit: Visit,
) -> Result<Html<String>, Trouble> {
    let delegate = page.readings().delegate().await?;
    let question = Request::new(GetReportRequest { task_id, show_payload: false });
    let detail = page.readings().service()?.get_report(question).await?.into_inner();
    let report = detail.report.clone().unwrap_or_default();
    let body = html! {
        div #report data-live {
            p.crumbs { a href="/ui/reports" { "Reports" } " / " span.id { (report.task_id) } }
            h1.id { (report.external_id) }
            p.lead { (pill(&report.state)) " " (report.task_type) " of " (report.upstream) }
            @if !report.reason.is_empty() { p.note.(tone_of(&report)) { "Not reported: " (report.reason) } }
            (facts(&detail, &report))
        }
        section.orders aria-labelledby="orders-title" {
            h2 #orders-title { "Send it or drop it" }
            (orders::report_forms(&visit, &report))
        }
    };
    Ok(layout::page(Place::Reports, &report.external_id, &visit, &delegate, &body))
}

fn facts(detail: &GetReportResponse, report: &ReportView) -> Markup {
    html! {
        dl.facts {
            div { dt { "Task" } dd { a href={ "/ui/tasks/" (report.task_id) } { (report.task_id) } } }
            div { dt { "Outcome" } dd { (report.outcome.replace('_', " ")) ", " (ago(report.finish_time.as_ref())) } }
            div { dt { "Error" } dd { (or_dash(&detail.error)) } }
            @if let Some(code) = detail.exit_code { div { dt { "Exit code" } dd { (code) } } }
            div { dt { "Tries" } dd { (tries(report)) } }
            div { dt { "Next try" } dd { (until(report.next_try_time.as_ref())) } }
            div { dt { "Replay" } dd { (replay(report)) } }
            div { dt { "Outputs" } dd { (or_dash(&detail.outputs.join(", "))) } }
            div {
                dt { "Payload" }
                dd {
                    (table::bytes(report.payload_bytes))
                    @if !detail.content_type.is_empty() { " of " (detail.content_type) }
                }
            }
        }
    }
}

/// Where one result is shown.
pub(super) fn path(task_id: &str) -> String {
    format!("/ui/reports/{task_id}")
}

fn tone_of(report: &ReportView) -> &'static str {
    if report.state == "dead" { "bad" } else { "held" }
}

fn tries(report: &ReportView) -> String {
    match report.try_count {
        1 => "1 try".to_owned(),
        tries => format!("{tries} tries"),
    }
}
