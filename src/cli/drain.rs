//! `dlite drain` and `dlite resume`: the operator empties the delegate, and takes that back.

use std::{process::ExitCode, time::Duration};

use tonic::transport::Channel;

use super::{
    config::ConfigArgs,
    confirm::Confirm,
    duration, fail,
    status::{ask, ask_for},
};
use crate::{
    proto::admin::v1::{
        DrainMode, DrainRequest, GetDelegateRequest, GetDelegateResponse, ResumeRequest,
        admin_service_client::AdminServiceClient,
    },
    shutdown::{CLEAN, LEFT_BEHIND},
};

/// Between two looks at how far a drain is.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long reports may take after the last task has ended, before the command no longer waits for them.
const REPORTS_PATIENCE: Duration = crate::core::drain::REPORTS_MAX;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Let open sessions end: their executes and cleanups are still taken
    #[arg(long, group = "mode")]
    finish_sessions: bool,
    /// Let the tasks end that were taken; the default
    #[arg(long, group = "mode")]
    finish_tasks: bool,
    /// Cancel what runs at once
    #[arg(long, group = "mode")]
    cancel: bool,
    /// How long to wait before what still runs is cancelled, such as 2h [default: drain.grace]
    #[arg(long, value_parser = duration)]
    grace: Option<Duration>,
    /// Why, for runners, upstreams and the log
    #[arg(long, default_value = "drained by the operator")]
    reason: String,
    /// Wait until it is over and tell how far it is; exit code 5 if the grace passed: something was cancelled, or is not reported
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub fn run(args: &Args) -> ExitCode {
    // The other modes are taken back by a resume before they end anything.
    if args.cancel
        && let Err(code) = args.confirm.ask("cancel every task that runs here?")
    {
        return code;
    }
    ask_for(&args.config, async |mut client| {
        let mode = match (args.finish_sessions, args.cancel) {
            (true, _) => DrainMode::FinishSessions,
            (_, true) => DrainMode::Cancel,
            _ => DrainMode::FinishTasks,
        };
        let request = DrainRequest {
            mode: mode.into(),
            grace_period: args.grace.and_then(|grace| grace.try_into().ok()),
            reason: args.reason.clone(),
        };
        client.drain(request).await?;
        if args.wait {
            return wait(client).await;
        }
        println!("draining; `dlite status` shows how far it is, `dlite resume` takes it back");
        Ok(ExitCode::SUCCESS)
    })
}

pub fn resume(args: &ResumeArgs) -> ExitCode {
    ask(&args.config, async |mut client| {
        client.resume(ResumeRequest {}).await?;
        Ok("work is taken again\n".to_owned())
    })
}

/// Tells each change until the drain is over, or nothing more is to be expected of it.
async fn wait(mut client: AdminServiceClient<Channel>) -> Result<ExitCode, tonic::Status> {
    let mut said = String::new();
    loop {
        let status = client.get_delegate(GetDelegateRequest {}).await?.into_inner();
        let Some(drain) = &status.drain else {
            return Ok(fail("the drain was taken back"));
        };
        let line = progress(&status);
        if line != said {
            println!("{line}");
            said = line;
        }
        let lossless = drain.cancelled_task_count == 0;
        if status.state == "drained" {
            return Ok(ExitCode::from(if lossless { CLEAN } else { LEFT_BEHIND }));
        }
        if is_overdue(&status) {
            eprintln!("dlite: the grace passed; the delegate goes on reporting what is left");
            return Ok(ExitCode::from(LEFT_BEHIND));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// How far a drain is, on one line.
pub(super) fn progress(status: &GetDelegateResponse) -> String {
    let Some(drain) = &status.drain else { return String::new() };
    let mut line = format!(
        "{}: {} open tasks, {} acquires under way, {} unreported results",
        status.state, status.open_task_count, drain.acquiring_count, status.unreported_result_count
    );
    for (count, what) in [(drain.cancelled_task_count, "cancelled"), (drain.handed_back_task_count, "handed back")] {
        if count > 0 {
            line += &format!("; {count} {what}");
        }
    }
    line
}

/// Past the time at which all tasks have ended, with some patience for their reports.
fn is_overdue(status: &GetDelegateResponse) -> bool {
    let Some(end) = status.drain.as_ref().and_then(|drain| drain.end_time) else { return false };
    let Ok(end) = std::time::SystemTime::try_from(end) else { return false };
    let grace_end = status.drain.as_ref().and_then(|drain| drain.grace_end_time);
    let grace_end = grace_end.and_then(|at| std::time::SystemTime::try_from(at).ok()).unwrap_or(end);
    let done = status.open_task_count == 0;
    let limit = if done { grace_end } else { end };
    std::time::SystemTime::now() > limit + REPORTS_PATIENCE
}
