//! `dlite sessions`: the stages that are open, and how to end one.

use std::process::ExitCode;

mod close;
mod list;

pub(super) use self::list::json as list_json;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List open sessions: their phase, their runner, their tasks, when they end by themselves
    List(list::Args),
    /// End a session: its tasks are cancelled and its cleanup runs
    Close(close::Args),
}

pub fn run(command: &Command) -> ExitCode {
    match command {
        Command::List(args) => list::run(args),
        Command::Close(args) => close::run(args),
    }
}
