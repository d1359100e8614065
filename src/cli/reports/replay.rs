//! `dlite reports replay`.

use std::process::ExitCode;

use crate::{
    cli::{config::ConfigArgs, status::ask},
    proto::admin::v1::ReplayReportRequest,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A result on its way is sent at once, without waiting for its next try. A dead letter is owed again, byte for byte as it was, for another
report_age_max. It is refused if the upstream has an answer already (a minimal failure was taken in its place), or has given the task out
again: one result of a task counts.

Exit codes: 0 it is on its way, 1 refused or failed, 2 usage, 3 the delegate is unreachable.

Example:
  dlite reports replay t-1f2e3d4c-7
  dlite reports list                     # it is gone once the upstream has taken it")]
pub struct Args {
    /// The delegate's id of the task, such as t-1f2e3d4c-7, or the upstream's
    #[arg(value_name = "ID")]
    task: String,
    #[command(flatten)]
    config: ConfigArgs,
}

pub fn run(args: &Args) -> ExitCode {
    ask(&args.config, async |mut client| {
        client.replay_report(ReplayReportRequest { task_id: args.task.clone() }).await?;
        Ok(format!("the result of {} is on its way; `dlite reports list` shows it until it is taken\n", args.task))
    })
}
