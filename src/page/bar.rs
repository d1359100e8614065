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

/// How much of something is in use, which is what it is for.
pub(super) fn used(part: u64, of: u64) -> Markup {
    filled(part, of, "busy")
}

/// How full the host is, of which nothing good comes.
pub(super) fn full(percent: u32) -> Markup {
    let tone = match percent {
        90.. => "bad",
        75..90 => "held",
        _ => "busy",
    };
    filled(percent.into(), 100, tone)
}

fn filled(part: u64, of: u64, tone: &'static str) -> Markup {
    if part == 0 || of == 0 {
        return bar(&[]);
    }
    bar(&[Stretch { from: 0.0, width: part as f64 / of as f64 * WIDTH, tone }])
}

/// Tenths of a percent, which are as fine as anybody sees.
fn whole(number: f64) -> String {
    format!("{number:.0}")
}
