//! `dlite upstreams`: what is configured, how far one gets with it, and how to stop taking work from one.

use std::process::ExitCode;

use super::config::{ConfigArgs, EXIT_CHECK_FAILED};
use crate::config::{self, Config};

mod check;
mod list;
mod pause;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Try the way to an upstream, stage by stage: DNS, TCP, proxy, TLS, HTTP, auth, poll
    Check(check::Args),
    /// List the upstreams of the configuration, with the state of each if the delegate runs
    List(list::Args),
    /// Take nothing new from an upstream, and go on with the others; what is here is finished and reported; holds over restarts
    Pause(pause::Args),
    /// Take work from a paused upstream again
    Resume(pause::ResumeArgs),
}

pub fn run(command: &Command) -> ExitCode {
    match command {
        Command::Check(args) => check::run(args),
        Command::List(args) => list::run(args),
        Command::Pause(args) => pause::run(args),
        Command::Resume(args) => pause::resume(args),
    }
}

fn load(args: &ConfigArgs) -> Result<Config, ExitCode> {
    config::load(&args.load_options()).map(|loaded| loaded.config).map_err(|complaints| {
        eprintln!("{complaints}");
        ExitCode::from(EXIT_CHECK_FAILED)
    })
}
