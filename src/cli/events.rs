//! `dlite events`: what happens, as it happens.

use std::{io::Write as _, process::ExitCode};

use super::{
    config::{ConfigArgs, Output},
    status::ask_for,
    table::time,
};
use crate::proto::admin::v1::{EventView, WatchEventsRequest};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
One line an event: tasks from their acquire to their report, sessions, runners, upstreams, drains, the journal, and what operators do. It
goes on until the delegate ends or Ctrl-C. Whoever does not keep up misses the oldest events, and a line says how many.

With -o json each line is one JSON object.

Exit codes: 0 the delegate ended, or --limit was reached; 1 failed; 2 usage; 3 the delegate is unreachable.

Example:
  dlite events -f
  dlite events -f --category runner --category upstream
  dlite events -f -o json | jq 'select(.kind == \"lease_lost\")'")]
pub struct Args {
    /// Follow; it always does, since only what happens from now on is told
    #[arg(short, long)]
    follow: bool,
    /// Only these: task, session, runner, upstream, drain, admin, host; several times if need be
    #[arg(long = "category", value_name = "CATEGORY")]
    categories: Vec<String>,
    /// End after so many events
    #[arg(long)]
    limit: Option<u64>,
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(args: &Args) -> ExitCode {
    ask_for(&args.config, async |mut client| {
        let request = WatchEventsRequest { categories: args.categories.clone() };
        let mut events = client.watch_events(request).await?.into_inner();
        // Scripts wait for it before they do what they want to see.
        eprintln!("watching");
        let mut left = args.limit.unwrap_or(u64::MAX);
        while left > 0
            && let Some(answer) = events.message().await?
        {
            let line = match (answer.event, args.output) {
                (Some(event), Output::Table) => row(&event),
                (Some(event), Output::Json) => json(&event).to_string(),
                (None, Output::Table) => format!("… missed {} events: this watcher did not keep up", answer.missed),
                (None, Output::Json) => serde_json::json!({ "missed": answer.missed }).to_string(),
            };
            let mut out = std::io::stdout().lock();
            if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                // Nobody reads any more.
                break;
            }
            left -= 1;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The time of the day, in UTC: whoever watches knows the day.
fn row(event: &EventView) -> String {
    let at = time(&event.time).unwrap_or_default();
    let clock = at.split_once('T').map_or("", |(_, clock)| clock);
    let clock: String = clock.chars().take_while(|c| *c != 'Z').take(12).collect();
    let ids = [&event.task_id, &event.session_id, &event.external_id, &event.upstream, &event.runner_id];
    let ids: Vec<&str> = ids.into_iter().filter(|id| !id.is_empty()).map(String::as_str).collect();
    format!("{clock:12}  {:18}  {}  {}", event.kind, ids.join(" "), event.text)
}

fn json(event: &EventView) -> serde_json::Value {
    serde_json::json!({
        "time": time(&event.time),
        "category": event.category,
        "kind": event.kind,
        "task_id": event.task_id,
        "session_id": event.session_id,
        "upstream": event.upstream,
        "external_id": event.external_id,
        "runner_id": event.runner_id,
        "text": event.text,
    })
}
