//! `dlite audit`: who did what.

use std::process::ExitCode;

use crate::{
    cli::{
        config::{ConfigArgs, Output},
        status::ask,
        table::{ago, dash, render, time},
    },
    proto::admin::v1::{AuditView, ListAuditsRequest},
};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List what was done to the delegate: by whom, what, and what came of it; the newest last
    List(ListArgs),
    /// Show the last few deeds
    Tail(TailArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
On record is every command that changes something, with the user and process at the other end of the admin socket; a reload, also by
SIGHUP; a changed token file; a payload that was shown. The newest 10,000 deeds are kept, in the journal. Questions are no deeds.

Exit codes: 0 ok, 1 failed, 2 usage, 3 the delegate is unreachable.

Example:
  dlite audit list --limit 1000 -o json | jq '.[] | select(.outcome != \"ok\")'")]
pub struct ListArgs {
    /// So many of the newest
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
As `dlite audit list`, for the newest ones. `dlite events -f` shows deeds as they happen.

Exit codes: 0 ok, 1 failed, 2 usage, 3 the delegate is unreachable.

Example:
  dlite audit tail -n 5")]
pub struct TailArgs {
    /// So many
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    lines: u32,
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(command: &Command) -> ExitCode {
    match command {
        Command::List(args) => show(&args.config, args.limit, args.output),
        Command::Tail(args) => show(&args.config, args.lines, args.output),
    }
}

fn show(config: &ConfigArgs, limit: u32, output: Output) -> ExitCode {
    ask(config, async |mut client| {
        let audits = client.list_audits(ListAuditsRequest { limit }).await?.into_inner().audits;
        Ok(match output {
            Output::Json => format!("{:#}\n", serde_json::Value::Array(audits.iter().map(json).collect())),
            Output::Table if audits.is_empty() => "nothing was done yet\n".to_owned(),
            Output::Table => {
                let rows: Vec<_> = audits.into_iter().map(row).collect();
                render(&["WHEN", "BY", "ACTION", "OUTCOME", "ARGUMENTS"], &rows)
            }
        })
    })
}

fn row(audit: AuditView) -> Vec<String> {
    let mut by = audit.via;
    if let Some(uid) = audit.uid {
        by += &format!(" uid {uid}");
    }
    if let Some(pid) = audit.pid {
        by += &format!(" pid {pid}");
    }
    vec![ago(audit.time), by, audit.action, audit.outcome, dash(audit.arguments)]
}

pub(in crate::cli) fn json(audit: &AuditView) -> serde_json::Value {
    serde_json::json!({
        "time": time(&audit.time),
        "via": audit.via,
        "uid": audit.uid,
        "pid": audit.pid,
        "action": audit.action,
        "arguments": audit.arguments,
        "outcome": audit.outcome,
    })
}
