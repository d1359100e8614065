//! `dlite runners drain` and `resume`: one runner is taken out, the others go on.

use std::{process::ExitCode, time::Duration};

use crate::{
    cli::{config::ConfigArgs, confirm::Confirm, duration, status::ask},
    proto::admin::v1::{DrainRunnerRequest, ResumeRunnerRequest},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The runner's id, as `dlite runners list` has it
    runner: String,
    /// Stop what it still does after so long, and end its sessions, such as 20m [default: it may take as long as it takes]
    #[arg(long, value_parser = duration)]
    grace: Option<Duration>,
    /// Why, for the log and other operators
    #[arg(long, default_value = "drained by the operator")]
    reason: String,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// The runner's id, as `dlite runners list` has it
    runner: String,
    #[command(flatten)]
    config: ConfigArgs,
}

pub fn run(args: &Args) -> ExitCode {
    // Without a grace it ends nobody's work.
    if let Some(grace) = args.grace
        && let Err(code) = args.confirm.ask(&format!("stop what runner {} still does after {grace:?}?", args.runner))
    {
        return code;
    }
    ask(&args.config, async |mut client| {
        let request = DrainRunnerRequest {
            runner_id: args.runner.clone(),
            grace_period: args.grace.and_then(|grace| grace.try_into().ok()),
            reason: args.reason.clone(),
        };
        client.drain_runner(request).await?;
        Ok(format!(
            "runner {0} gets nothing new; `dlite runners get {0}` shows what is left, `dlite runners resume {0}` takes it back\n",
            args.runner
        ))
    })
}

pub fn resume(args: &ResumeArgs) -> ExitCode {
    ask(&args.config, async |mut client| {
        client.resume_runner(ResumeRunnerRequest { runner_id: args.runner.clone() }).await?;
        Ok(format!("runner {} gets work again\n", args.runner))
    })
}
