//! A list too long for one page: which part of it is shown, and the way to the others.

use maud::{Markup, html};

use super::visit::Visit;

/// Rows of one page.
pub const ROWS_MAX: usize = 1_000;

/// The part of a list that a visit asks for by `page=`, counted from 1.
pub(super) struct Sheet<'a, T> {
    pub rows: &'a [T],
    number: usize,
    sheets: usize,
    total: usize,
}

// === impl Sheet ===

impl<'a, T> Sheet<'a, T> {
    pub fn of(all: &'a [T], visit: &Visit) -> Self {
        let sheets = all.len().div_ceil(ROWS_MAX).max(1);
        let number = usize::try_from(visit.number("page")).unwrap_or(1).clamp(1, sheets);
        let rows = all.chunks(ROWS_MAX).nth(number - 1).unwrap_or_default();
        Self { rows, number, sheets, total: all.len() }
    }

    /// Which rows these are, and links to the others; nothing if these are all.
    pub fn pager(&self, visit: &Visit) -> Markup {
        let first = (self.number - 1) * ROWS_MAX + 1;
        let link = |number: usize, text: &str| html! { a href=(visit.with("page", &number.to_string())) { (text) } };
        html! {
            @if self.sheets > 1 {
                nav.pager aria-label="Pages of this list" {
                    @if self.number > 1 { (link(self.number - 1, "← Earlier")) }
                    span { (first) "–" (first + self.rows.len() - 1) " of " (self.total) }
                    @if self.number < self.sheets { (link(self.number + 1, "Later →")) }
                }
            }
        }
    }
}
