//! `dlite tasks`: what runs, why it waits, and how to stop it.

use std::process::ExitCode;

mod cancel;
mod explain;
mod get;
mod list;
mod logs;

pub(crate) use self::get::log_state;
pub(super) use self::list::json as list_json;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List every open task with what it waits for and since when
    List(list::Args),
    /// Show one open task, whole: phases, what it waits for, who stops it, its way back
    Get(get::Args),
    /// Say why a task does not start or end, and what would end that; also for one on offer that is not taken
    Explain(explain::Args),
    /// Stop a task: its runner is asked and has a grace, then the upstream is answered without it
    Cancel(cancel::Args),
    /// Read a log of a task that is on this machine, and follow it; its sink need not be reachable
    Logs(logs::Args),
}

pub fn run(command: &Command) -> ExitCode {
    match command {
        Command::List(args) => list::run(args),
        Command::Get(args) => get::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Cancel(args) => cancel::run(args),
        Command::Logs(args) => logs::run(args),
    }
}
