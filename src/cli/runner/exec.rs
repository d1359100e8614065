//! `dlite runner exec`: tasks by scripts and programs.

use std::{path::PathBuf, process::ExitCode};

use super::{LogArgs, loaded, serve};
use crate::exec;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The runner's own TOML file: routes from task types to commands
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the file and end
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    log: LogArgs,
}

pub fn run(args: &Args) -> ExitCode {
    let config = match loaded(exec::Config::load(&args.config)) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if args.check {
        println!("{} is fine: {} routes", args.config.display(), config.routes.len());
        return ExitCode::SUCCESS;
    }
    let begin = |keeper, stopped| {
        let config = &config;
        async move { exec::run(config, keeper, async { drop::<Result<(), _>>(stopped.await) }).await }
    };
    serve(&config.runner_id, &args.log, begin)
}
