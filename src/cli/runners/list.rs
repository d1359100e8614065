//! `dlite runners list`: one line a runner.

use std::process::ExitCode;

use super::{drained, json};
use crate::{
    cli::{
        config::{ConfigArgs, Output},
        status::ask,
        table::{ago, render},
    },
    proto::admin::v1::{GetDelegateRequest, Runner},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(args: &Args) -> ExitCode {
    ask(&args.config, async |mut client| {
        let runners = client.get_delegate(GetDelegateRequest {}).await?.into_inner().runners;
        if args.output == Output::Json {
            return Ok(format!("{:#}\n", serde_json::Value::Array(runners.iter().map(json).collect())));
        }
        if runners.is_empty() {
            return Ok("no runner is attached\n".to_owned());
        }
        let rows: Vec<_> = runners.iter().map(row).collect();
        let heads = ["RUNNER", "STATE", "SLOTS", "TASKS", "SESSIONS", "LAST SEEN", "SDK", "TASK TYPES", "NOTE"];
        Ok(render(&heads, &rows))
    })
}

fn row(runner: &Runner) -> Vec<String> {
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    vec![
        runner.runner_id.clone(),
        runner.state.clone(),
        format!("{}/{}", runner.slots_used, runner.slots_total),
        runner.task_ids.len().to_string(),
        runner.session_ids.len().to_string(),
        ago(runner.last_seen_time),
        dash(runner.sdk.clone()),
        dash(runner.task_types.join(" ")),
        drained(runner),
    ]
}
