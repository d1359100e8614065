//! `dlite reports`: results that are not reported, and dead letters.

use std::process::ExitCode;

mod drop;
mod inspect;
mod list;
mod replay;

pub(super) use self::list::json as list_json;
pub(crate) use self::list::replay;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List results that are not reported, and dead letters, with the reason of each
    List(list::Args),
    /// Show one result; its payload only on request
    Inspect(inspect::Args),
    /// Send a result now, or a dead letter after all
    Replay(replay::Args),
    /// Give a result up for good: its upstream is never told
    Drop(drop::Args),
}

pub fn run(command: &Command) -> ExitCode {
    match command {
        Command::List(args) => list::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Drop(args) => drop::run(args),
    }
}
