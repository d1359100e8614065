//! Small things that are said on every page: states, times, counts. The words are those of the command line.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};
use prost_types::Timestamp;

use crate::{cli::table, proto::admin::v1::Aside};

/// A state as a pill. The colour only repeats what the word says.
pub(super) fn pill(state: &str) -> Markup {
    html! { span.pill.(tone(state)) { (state.replace('_', " ")) } }
}

/// How a state is to be taken.
pub(super) fn tone(state: &str) -> &'static str {
    match state {
        "serving" | "registered" | "attached" | "ready" | "succeeded" | "ok" => "good",
        "running" | "assigned" | "acquiring" | "reporting" | "setting_up" | "owed" | "minimal" | "hand_back" => "busy",
        "waiting" | "draining" | "drained" | "paused" | "closing" | "unregistered" | "cancelled" => "held",
        "listed" | "skipped" => "calm",
        _ => "bad",
    }
}

/// How long ago, with the exact time at hand.
pub(super) fn ago(at: Option<&Timestamp>) -> Markup {
    match at {
        None => html! { span.quiet { "never" } },
        Some(at) => html! { time datetime=(at) title=(at) { (table::ago(Some(*at))) } },
    }
}

/// How long until then; "now" if that is past.
pub(super) fn until(at: Option<&Timestamp>) -> Markup {
    match at {
        None => html! { span.quiet { "–" } },
        Some(at) => html! { time datetime=(at) title=(at) { (table::until(*at)) } },
    }
}

/// Between two times; zero if they are the other way round.
pub(super) fn between(from: Timestamp, to: Timestamp) -> Duration {
    let time = |at| SystemTime::try_from(at).unwrap_or(SystemTime::UNIX_EPOCH);
    time(to).duration_since(time(from)).unwrap_or_default()
}

pub(super) fn now() -> Timestamp {
    SystemTime::now().into()
}

/// A text, or a dash in its place.
pub(super) fn or_dash(text: &str) -> Markup {
    if text.is_empty() {
        html! { span.quiet { "–" } }
    } else {
        html! { (text) }
    }
}

/// `1 task`, `2 tasks`.
pub(super) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// What the operator has taken out: why, since when, and when what is still done there is stopped.
pub(super) fn aside(word: &str, aside: &Aside) -> Markup {
    html! {
        p.note.held {
            strong { (word) } " " (ago(aside.since_time.as_ref())) ": " (aside.reason) "."
            @if aside.end_time.is_some() { " What it still does is stopped " (until(aside.end_time.as_ref())) "." }
        }
    }
}
