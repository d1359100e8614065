//! Results that their upstream has not confirmed, and dead letters: what nobody was told.

use axum::{extract::State, response::Html};
use maud::html;

use super::{
    Page,
    layout::{self, Place},
    sheet::Sheet,
    tasks,
    trouble::Trouble,
    visit::Visit,
};
use crate::proto::admin::v1::TaskView;

pub(super) async fn show(State(page): State<Page>, visit: Visit) -> Result<Html<String>, Trouble> {
    let (delegate, all) = (page.readings().delegate().await?, page.readings().tasks().await?);
    let in_state = |state| all.tasks.iter().filter(move |task| task.state == state);
    let owed: Vec<&TaskView> = in_state("reporting").collect();
    let dead: Vec<&TaskView> = in_state("dead").collect();
    let (owed_sheet, dead_sheet) = (Sheet::of(&owed, &visit), Sheet::of(&dead, &visit));
    let body = html! {
        h1 { "Reports" }
        section #dead data-live aria-labelledby="dead-title" {
            h2 #dead-title { "Dead letters" }
            p.quiet { "Results that are not sent any more and are kept for you." }
            @if dead.is_empty() { p.empty { "None." } }
            @else { (tasks::table(dead_sheet.rows.iter().copied(), "Dead letters")) (dead_sheet.pager(&visit)) }
        }
        section #owed data-live aria-labelledby="owed-title" {
            h2 #owed-title { "Unreported" }
            p.quiet { "Results that are in the journal and are sent until their upstream confirms them." }
            @if owed.is_empty() { p.empty { "None: every result is with its upstream." } }
            @else { (tasks::table(owed_sheet.rows.iter().copied(), "Unreported results")) (owed_sheet.pager(&visit)) }
        }
    };
    Ok(layout::page(Place::Reports, "Reports", &visit, &delegate, &body))
}
