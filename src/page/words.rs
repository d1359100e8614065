//! Small things that are said on every page: states, times, counts. The words are those of the command line.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};
use prost_types::Timestamp;

use crate::cli::table;

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
        Some(at) => html! { time datetime=(at) title=(at) { (ahead(*at)) } },
    }
}

fn ahead(at: Timestamp) -> String {
    let at = SystemTime::try_from(at).unwrap_or(SystemTime::UNIX_EPOCH);
    match at.duration_since(SystemTime::now()) {
        Ok(left) => format!("in {}", table::span(left)),
        Err(_) => "now".to_owned(),
    }
}

/// Since then.
pub(super) fn elapsed(at: Timestamp) -> Duration {
    let at = SystemTime::try_from(at).unwrap_or(SystemTime::UNIX_EPOCH);
    SystemTime::now().duration_since(at).unwrap_or_default()
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

/// Bytes in the unit that suits.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{} KiB", count / 1024),
        _ => format!("{} MiB", count / 1_048_576),
    }
}
