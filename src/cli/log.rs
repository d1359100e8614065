//! `dlite log level`: what the delegate's log tells, for a while.

use std::{process::ExitCode, time::Duration};

use super::{
    config::{ConfigArgs, Output},
    duration,
    status::ask,
    table::{time, until},
};
use crate::proto::admin::v1::{SetLogLevelRequest, SetLogLevelResponse};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show what the log tells, or have it tell more or less for a while
    Level(LevelArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without a level it shows the one in force. A level is off, error, warn, info, debug or trace; directives name levels by module. It is in
force at once, and falls back to log.filter of the configuration by itself. A reload meanwhile changes what it falls back to.

Exit codes: 0 ok, 1 refused or failed, 2 usage, 3 the delegate is unreachable.

Example:
  dlite log level debug --for 10m
  dlite log level info,dlite::upstreams=trace --for 1h
  dlite log level --reset")]
pub struct LevelArgs {
    /// Level, or directives such as info,dlite::core=debug; without it the one in force is shown
    #[arg(value_name = "LEVEL|DIRECTIVES", conflicts_with = "reset")]
    directives: Option<String>,
    /// How long, at most 24h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, default_value = "10m")]
    time: Duration,
    /// Back to what is configured, now
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(command: &Command) -> ExitCode {
    let Command::Level(args) = command;
    ask(&args.config, async |mut client| {
        let request = SetLogLevelRequest {
            directives: args.directives.clone().unwrap_or_default(),
            for_time: args.time.try_into().ok(),
            reset: args.reset,
        };
        let level = client.set_log_level(request).await?.into_inner();
        Ok(match args.output {
            Output::Json => format!("{:#}\n", json(&level)),
            Output::Table => text(level),
        })
    })
}

fn text(level: SetLogLevelResponse) -> String {
    match level.until_time {
        None => format!("{}, as configured\n", level.directives),
        Some(at) => format!("{}; back to {} {}\n", level.directives, level.configured, until(at)),
    }
}

fn json(level: &SetLogLevelResponse) -> serde_json::Value {
    serde_json::json!({
        "directives": level.directives,
        "configured": level.configured,
        "until_time": time(&level.until_time),
    })
}
