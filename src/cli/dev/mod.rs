//! `dlite dev`: see it work, feed it by hand, measure it.

use std::process::ExitCode;

use clap::{Args as ClapArgs, Subcommand};

mod bench;
mod drone;
mod pipeline;
mod runner;
mod scene;
mod show;
mod span;
mod stage;
mod submit;
mod timeline;

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    show: show::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Submit one task to the manager's double of a `dlite dev --keep`
    Submit(submit::Args),
    /// A runner with sample handlers, built on the public SDK
    Runner(runner::Args),
    /// Run a command in a span of its own below $TRACEPARENT
    Span(span::Args),
    /// Measure throughput and latencies beside floors taken in the same run
    Bench(bench::Args),
}

pub fn run(args: Args) -> ExitCode {
    match args.command {
        None => show::run(&args.show),
        Some(Command::Submit(args)) => submit::run(&args),
        Some(Command::Runner(args)) => runner::run(&args),
        Some(Command::Span(args)) => span::run(&args),
        Some(Command::Bench(args)) => bench::run(&args),
    }
}
