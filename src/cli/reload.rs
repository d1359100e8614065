//! `dlite reload`: the delegate reads its configuration anew.

use std::process::ExitCode;

use super::{config::ConfigArgs, status::ask};
use crate::proto::admin::v1::{ReloadRequest, ReloadResponse};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub fn run(args: &Args) -> ExitCode {
    ask(&args.config, async |mut client| Ok(show(&client.reload(ReloadRequest {}).await?.into_inner())))
}

fn show(answer: &ReloadResponse) -> String {
    let mut text = match answer.changed.as_slice() {
        [] => "nothing changed\n".to_owned(),
        keys => format!("in force now: {}\n", keys.join(", ")),
    };
    if !answer.needs_restart.is_empty() {
        text += &format!("waits for a restart: {}\n", answer.needs_restart.join(", "));
    }
    text
}
