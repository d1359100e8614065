//! `dlite reports drop`.

use std::process::ExitCode;

use crate::{
    cli::{config::ConfigArgs, confirm::Confirm, status::ask},
    proto::admin::v1::DropReportRequest,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The result is forgotten. If it is a dead letter, nothing more happens; if it was still on its way, its upstream is never told, and finds
out by the task's own timeout. There is no way back. It asks before it does so, unless --yes is given; without a terminal --yes is needed.

Exit codes: 0 it is gone, 1 refused, failed or not confirmed, 2 usage or nobody to ask, 3 the delegate is unreachable.

Example:
  dlite reports drop t-1f2e3d4c-7 --reason 'the pipeline was deleted'")]
pub struct Args {
    /// The delegate's id of the task, such as t-1f2e3d4c-7, or the upstream's
    #[arg(value_name = "ID")]
    task: String,
    /// Why, for the record
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    config: ConfigArgs,
}

pub fn run(args: &Args) -> ExitCode {
    if let Err(code) = args.confirm.ask(&format!("drop the result of {} for good?", args.task)) {
        return code;
    }
    ask(&args.config, async |mut client| {
        let request = DropReportRequest { task_id: args.task.clone(), reason: args.reason.clone() };
        client.drop_report(request).await?;
        Ok(format!("the result of {} is gone\n", args.task))
    })
}
