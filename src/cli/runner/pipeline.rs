//! `dlite runner pipeline`: stages of Drone pipelines, executed, or only looked at.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{LogArgs, lint, loaded, serve};
use crate::{cli::fail, pipeline::runner};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Say what of a configuration would run, as a graph, without a server
    ///
    /// With mistakes they are what is said, with code 4.
    Lint(lint::Args),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// The runner's own TOML file: which stages this host is for, and how much it takes
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Check the file and end
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    log: LogArgs,
}

pub fn run(args: Args) -> ExitCode {
    match (args.command, &args.run.config) {
        (Some(Command::Lint(args)), _) => lint::run(args),
        (None, Some(file)) => execute(file, &args.run),
        // The command line is refused without either.
        (None, None) => fail("name the runner's file by --config"),
    }
}

fn execute(file: &Path, args: &RunArgs) -> ExitCode {
    let config = match loaded(runner::Config::load(file)) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if args.check {
        let labels: Vec<String> = config.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        println!("{} is fine: {} stages at once, of {}", file.display(), config.slots, labels.join(" "));
        return ExitCode::SUCCESS;
    }
    let begin = |keeper, stopped| {
        let config = &config;
        async move { runner::run(config, keeper, async { drop::<Result<(), _>>(stopped.await) }).await }
    };
    serve(&config.runner_id, &args.log, begin)
}
