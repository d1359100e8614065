//! `dlite reports list`.

use std::process::ExitCode;

use crate::{
    cli::{
        config::{ConfigArgs, Output},
        status::ask,
        table::{ago, dash, render, time, until},
    },
    proto::admin::v1::{ListReportsRequest, ReportView},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A result is kept until its upstream has taken it. It is sent again and again, for 24 hours by default; what its upstream refuses for
good, or does not take in time, is a dead letter: kept, and not sent any more until `dlite reports replay`.

States: owed (on its way), minimal (refused as it is; a minimal failure is on its way in its place), hand_back (the task goes back to its
upstream), dead.

Exit codes: 0 ok, 1 failed, 2 usage, 3 the delegate is unreachable.

Example:
  dlite reports list
  dlite reports list -o json | jq '.[] | select(.state == \"dead\")'")]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(args: &Args) -> ExitCode {
    ask(&args.config, async |mut client| {
        let answer = client.list_reports(ListReportsRequest {}).await?.into_inner();
        if args.output == Output::Json {
            let reports = answer.reports.iter().map(json).collect();
            return Ok(format!("{:#}\n", serde_json::Value::Array(reports)));
        }
        if answer.reports.is_empty() {
            return Ok("every result is reported\n".to_owned());
        }
        let rows: Vec<_> = answer.reports.into_iter().map(row).collect();
        let heads = [
            "TASK",
            "UPSTREAM",
            "EXTERNAL ID",
            "TYPE",
            "OUTCOME",
            "STATE",
            "FINISHED",
            "TRIES",
            "NEXT",
            "REPLAY",
            "REASON",
        ];
        let mut text = render(&heads, &rows);
        if answer.truncated {
            text += &format!("… and more; the first {} are shown\n", rows.len());
        }
        Ok(text)
    })
}

/// What a replay of it would do, in a word or two.
pub(crate) fn replay(report: &ReportView) -> &'static str {
    match (report.replayable, &*report.state) {
        (true, "dead") => "possible",
        (true, _) => "at once",
        (false, _) => "no",
    }
}

fn row(report: ReportView) -> Vec<String> {
    let replay = replay(&report);
    vec![
        report.task_id,
        report.upstream,
        report.external_id,
        report.task_type,
        report.outcome,
        report.state,
        ago(report.finish_time),
        report.try_count.to_string(),
        report.next_try_time.map_or_else(|| "-".to_owned(), until),
        replay.to_owned(),
        dash(report.reason),
    ]
}

pub(in crate::cli) fn json(report: &ReportView) -> serde_json::Value {
    serde_json::json!({
        "task_id": report.task_id,
        "upstream": report.upstream,
        "external_id": report.external_id,
        "task_type": report.task_type,
        "outcome": report.outcome,
        "state": report.state,
        "reason": report.reason,
        "finish_time": time(&report.finish_time),
        "try_count": report.try_count,
        "next_try_time": time(&report.next_try_time),
        "replayable": report.replayable,
        "payload_bytes": report.payload_bytes,
    })
}
