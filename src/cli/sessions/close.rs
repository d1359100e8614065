//! `dlite sessions close`: the operator ends a stage.

use std::process::ExitCode;

use crate::{
    cli::{config::ConfigArgs, confirm::Confirm, status::ask},
    proto::admin::v1::CloseSessionRequest,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The delegate's id of the session, such as s-1f2e3d4c-9, or the upstream's
    session: String,
    /// Why, for the log and the tasks that are cancelled
    #[arg(long, default_value = "closed by the operator")]
    reason: String,
    /// Forget it without a cleanup; what its setup left on the host stays there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    config: ConfigArgs,
}

pub fn run(args: &Args) -> ExitCode {
    let how = if args.force { "forget session" } else { "end session" };
    if let Err(code) = args.confirm.ask(&format!("{how} {}?", args.session)) {
        return code;
    }
    ask(&args.config, async |mut client| {
        let request =
            CloseSessionRequest { session_id: args.session.clone(), reason: args.reason.clone(), force: args.force };
        client.close_session(request).await?;
        Ok(if args.force {
            format!("{} is forgotten; what its setup left on the host stays there\n", args.session)
        } else {
            format!("{} is closing; `dlite sessions list` shows it until its cleanup is over\n", args.session)
        })
    })
}
