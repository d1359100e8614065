//! `dlite runner pipeline`: stages of Drone pipelines.

use std::{path::PathBuf, process::ExitCode};

use super::{LogArgs, loaded, serve};
use crate::pipeline::runner;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The runner's own TOML file: which stages this host is for, and how much it takes
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the file and end
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    log: LogArgs,
}

pub fn run(args: &Args) -> ExitCode {
    let config = match loaded(runner::Config::load(&args.config)) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if args.check {
        let labels: Vec<String> = config.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        println!("{} is fine: {} stages at once, of {}", args.config.display(), config.slots, labels.join(" "));
        return ExitCode::SUCCESS;
    }
    let begin = |keeper, stopped| {
        let config = &config;
        async move { runner::run(config, keeper, async { drop::<Result<(), _>>(stopped.await) }).await }
    };
    serve(&config.runner_id, &args.log, begin)
}
