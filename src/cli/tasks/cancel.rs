//! `dlite tasks cancel`: the operator stops a task.

use std::{process::ExitCode, time::Duration};

use crate::{
    cli::{config::ConfigArgs, confirm::Confirm, duration, status::ask},
    proto::admin::v1::CancelTaskRequest,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The delegate's id of the task, such as t-1f2e3d4c-7, or the upstream's
    task: String,
    /// Why, for the upstream and the log
    #[arg(long, default_value = "cancelled by the operator")]
    reason: String,
    /// How long the handler has to stop before it is killed, such as 30s [default: runners.cancel_grace]
    #[arg(long, value_parser = duration)]
    grace: Option<Duration>,
    /// Answer the upstream at once, without waiting for the runner; what it still does is not stopped by its own will
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    config: ConfigArgs,
}

pub fn run(args: &Args) -> ExitCode {
    let how = if args.force { " without waiting for its runner" } else { "" };
    if let Err(code) = args.confirm.ask(&format!("stop task {}{how}?", args.task)) {
        return code;
    }
    ask(&args.config, async |mut client| {
        let request = CancelTaskRequest {
            task_id: args.task.clone(),
            reason: args.reason.clone(),
            grace_period: args.grace.and_then(|grace| grace.try_into().ok()),
            force: args.force,
        };
        client.cancel_task(request).await?;
        Ok(format!("{} is to stop; `dlite tasks get {}` shows how far it is\n", args.task, args.task))
    })
}
