//! `dlite reports inspect`.

use std::process::ExitCode;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::list::json;
use crate::{
    cli::{
        config::{ConfigArgs, Output},
        status::ask,
        table::{ago, dash},
    },
    proto::admin::v1::{GetReportRequest, GetReportResponse},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The payload may hold what the task's owner would not show to everybody: it is printed only with --show-payload, and that it was is on
record (`dlite audit list`). In JSON a payload that is no text is base64.

Exit codes: 0 ok, 1 failed (such as no such result), 2 usage, 3 the delegate is unreachable.

Example:
  dlite reports inspect t-1f2e3d4c-7
  dlite reports inspect t-1f2e3d4c-7 --show-payload -o json")]
pub struct Args {
    /// The delegate's id of the task, such as t-1f2e3d4c-7, or the upstream's
    #[arg(value_name = "ID")]
    task: String,
    /// Show what the result holds, too; this goes on record
    #[arg(long)]
    show_payload: bool,
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(args: &Args) -> ExitCode {
    ask(&args.config, async |mut client| {
        let request = GetReportRequest { task_id: args.task.clone(), show_payload: args.show_payload };
        let answer = client.get_report(request).await?.into_inner();
        Ok(match args.output {
            Output::Json => format!("{:#}\n", document(&answer)),
            Output::Table => text(answer),
        })
    })
}

fn text(answer: GetReportResponse) -> String {
    let report = answer.report.unwrap_or_default();
    let mut text = format!(
        "task:      {} ({} of upstream {})\ntype:      {}\noutcome:   {}, {}\nerror:     {}\nstate:     {}, tried {} times\nreason:    {}\nreplay:    {}\noutputs:   {}\npayload:   {} bytes of {}\n",
        report.task_id,
        report.external_id,
        report.upstream,
        report.task_type,
        report.outcome,
        ago(report.finish_time),
        dash(answer.error),
        report.state,
        report.try_count,
        dash(report.reason),
        if report.replayable { "possible" } else { "not possible" },
        dash(answer.outputs.join(", ")),
        report.payload_bytes,
        if answer.content_type.is_empty() { "no type" } else { &answer.content_type },
    );
    if let Some(payload) = answer.payload {
        text += &format!("\n{}\n", String::from_utf8_lossy(&payload));
    }
    text
}

fn document(answer: &GetReportResponse) -> serde_json::Value {
    let mut document = answer.report.as_ref().map(json).unwrap_or_default();
    document["error"] = answer.error.as_str().into();
    document["exit_code"] = answer.exit_code.into();
    document["outputs"] = answer.outputs.clone().into();
    document["content_type"] = answer.content_type.as_str().into();
    if let Some(payload) = &answer.payload {
        match std::str::from_utf8(payload) {
            Ok(text) => document["payload"] = text.into(),
            Err(_) => document["payload_base64"] = STANDARD.encode(payload).into(),
        }
    }
    document
}
