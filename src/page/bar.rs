//! Bars, as SVG: its sizes are attributes, which the page's policy allows where it forbids styles.

use maud::{Markup, html};

/// A stretch of a bar: where it begins and how wide it is, of [`WIDTH`], and how it is coloured.
pub(super) struct Stretch {
    pub from: f64,
    pub width: f64,
    pub tone: &'static str,
}

/// Of every bar, in its own units.
pub(super) const WIDTH: f64 = 1000.0;
/// A stretch is at least that wide, so that what was short is seen.
const STRETCH_MIN: f64 = 6.0;

/// A bar that says nothing that is not beside it in words.
pub(super) fn bar(stretches: &[Stretch]) -> Markup {
    html! {
        svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            rect.track width="1000" height="10" {}
            @for stretch in stretches {
                @let width = stretch.width.clamp(STRETCH_MIN, WIDTH);
                @let from = stretch.from.clamp(0.0, WIDTH - width);
                rect class=(stretch.tone) x=(whole(from)) width=(whole(width)) height="10" {}
            }
        }
    }
}

/// How full something is.
pub(super) fn gauge(part: u64, of: u64) -> Markup {
    let ratio = if of == 0 { 0.0 } else { part as f64 / of as f64 };
    let tone = match ratio {
        ratio if ratio >= 0.9 => "bad",
        ratio if ratio >= 0.75 => "held",
        _ => "busy",
    };
    let stretch = Stretch { from: 0.0, width: ratio * WIDTH, tone };
    bar(if part == 0 { &[] } else { std::slice::from_ref(&stretch) })
}

/// Tenths of a percent are as fine as anybody sees.
fn whole(number: f64) -> String {
    format!("{number:.0}")
}
