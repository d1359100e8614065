//! `dlite upstreams pause` and `resume`: nothing new from one upstream, the others go on.

use std::process::ExitCode;

use crate::{
    cli::{config::ConfigArgs, status::ask},
    proto::admin::v1::{PauseUpstreamRequest, ResumeUpstreamRequest},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the upstream
    #[arg(value_name = "NAME")]
    upstream: String,
    /// Why, for the log and other operators
    #[arg(long, default_value = "paused by the operator")]
    reason: String,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// Name of the upstream
    #[arg(value_name = "NAME")]
    upstream: String,
    #[command(flatten)]
    config: ConfigArgs,
}

pub fn run(args: &Args) -> ExitCode {
    ask(&args.config, async |mut client| {
        let request = PauseUpstreamRequest { upstream: args.upstream.clone(), reason: args.reason.clone() };
        client.pause_upstream(request).await?;
        Ok(format!(
            "nothing new is taken from upstream {0}; `dlite upstreams resume {0}` takes that back\n",
            args.upstream
        ))
    })
}

pub fn resume(args: &ResumeArgs) -> ExitCode {
    ask(&args.config, async |mut client| {
        client.resume_upstream(ResumeUpstreamRequest { upstream: args.upstream.clone() }).await?;
        Ok(format!("work is taken from upstream {} again\n", args.upstream))
    })
}
