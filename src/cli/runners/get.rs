//! `dlite runners get`: one runner, whole.

use std::{fmt::Write as _, process::ExitCode};

use super::{drained, find, json};
use crate::{
    cli::{
        config::{ConfigArgs, Output},
        status::ask,
        table::ago,
    },
    proto::admin::v1::{GetDelegateRequest, Runner},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The runner's id, as `dlite runners list` has it
    runner: String,
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(args: &Args) -> ExitCode {
    ask(&args.config, async |mut client| {
        let status = client.get_delegate(GetDelegateRequest {}).await?.into_inner();
        let runner = find(status, &args.runner)?;
        Ok(if args.output == Output::Json { format!("{:#}\n", json(&runner)) } else { text(&runner) })
    })
}

fn text(runner: &Runner) -> String {
    let mut text = format!("{} ({})\n", runner.runner_id, runner.state);
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            // Writing to a string can't fail.
            let _ = writeln!(text, "  {name:<12} {value}");
        }
    };
    line("drain", &drained(runner));
    line("instance", &runner.instance_id);
    line("sdk", &runner.sdk);
    line("peer", &runner.peer);
    line("last seen", &ago(runner.last_seen_time));
    for class in &runner.classes {
        line("slots", &format!("{} {}/{}", class.slot_class, class.used, class.total));
    }
    for handler in &runner.handlers {
        line("handler", &format!("{} ({}, class {})", handler.task_type, handler.kind, handler.slot_class));
    }
    for task in &runner.task_ids {
        line("task", task);
    }
    for session in &runner.session_ids {
        line("session", session);
    }
    text
}
