//! The story of each task on one line: who did it, how long it waited, ran and took to report, and how it ended.

use std::{collections::BTreeMap, time::Duration};

use crate::core::{effect::Summary, task::Outcome, time::Wall};

/// Widest mark of a bar.
const BAR_WIDTH: u32 = 24;

/// What to call the tasks of the show.
pub type Labels = BTreeMap<String, String>;

/// Column heads.
pub fn heads() -> String {
    format!(
        "{:<22} {:<28} {:<8} {:>8} {:>8} {:>8}  {:<10}",
        "TASK", "TYPE", "RUNNER", "WAIT", "RUN", "REPORT", "OUTCOME"
    )
}

/// One line for one reported task. The bar shows its run against the longest usual one.
pub fn line(summary: &Summary, label: &str, longest: Duration) -> String {
    let started = summary.times.started.unwrap_or(summary.finished);
    let run = summary.finished.since(started);
    let share = run.as_secs_f64() / longest.as_secs_f64().max(0.001);
    // Between 1 and the width; the cast can't leave that range.
    let bar = "▇".repeat((share * f64::from(BAR_WIDTH)).clamp(1.0, f64::from(BAR_WIDTH)) as usize);
    format!(
        "{label:<22} {:<28} {:<9} {:>8} {:>8} {:>8}  {:<10} {bar}",
        summary.task_type.as_str(),
        summary.runner.as_ref().map_or("-", |runner| runner.as_str()),
        millis(summary.times.acquired, started),
        millis(started, summary.finished),
        millis(summary.finished, summary.reported),
        outcome(summary.outcome),
    )
}

fn millis(from: Wall, to: Wall) -> String {
    let span = to.since(from);
    if span < Duration::from_secs(10) {
        format!("{:.1} ms", span.as_secs_f64() * 1_000.0)
    } else {
        format!("{:.1} s", span.as_secs_f64())
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Errored => "errored",
        Outcome::Cancelled => "cancelled",
        Outcome::TimedOut => "timed out",
        Outcome::Skipped => "skipped",
    }
}
