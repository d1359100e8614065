//! The command line: one file a command.
//!
//! Exit codes: 0 ok, 1 failed, 2 usage, 3 the delegate is unreachable, 4 a check failed, 5 a drain left something behind.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod config;
mod dev;
mod doctor;
mod drain;
mod reload;
mod run;
mod runner;
mod sessions;
mod status;
mod style;
pub(crate) mod table;
mod tasks;
mod upstreams;

/// It did not work.
pub const FAILED: u8 = 1;
/// Nobody answers at the admin socket.
pub const UNREACHABLE: u8 = 3;

/// A delegate between CI managers and runners.
///
/// It takes tasks from upstreams (Harness managers), streams them to the runners attached to it, and reports each result once,
/// whatever is killed, cut or down in between.
#[derive(Debug, Parser)]
#[command(
    name = "dlite",
    version,
    max_term_width = 120,
    after_help = "\
Start here:
  dlite dev                     see it work: a manager's double, a delegate and a runner in one go
  dlite config check            is my configuration right?
  dlite upstreams check NAME    does it lead to the manager?
  dlite run --config dlite.toml run the delegate
  dlite tasks list              what runs, and what does each task wait for?"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the delegate
    Run(run::Args),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(Config),
    /// Find out what is wrong with this host: configuration, disk, sockets, runners, upstreams; with what to do next
    Doctor(doctor::Args),
    /// Show the delegate at a glance: state, upstreams, runners, counts
    Status(status::Args),
    /// Empty the delegate: take nothing new, finish, report; it stays attached and takes nothing until `dlite resume`
    Drain(drain::Args),
    /// Take work again after `dlite drain`
    Resume(drain::ResumeArgs),
    /// Look at tasks, and stop one
    #[command(subcommand)]
    Tasks(tasks::Command),
    /// Look at open sessions, and end one
    #[command(subcommand)]
    Sessions(sessions::Command),
    /// Have the delegate read its configuration anew, as SIGHUP does; a file with mistakes changes nothing
    Reload(reload::Args),
    /// List upstreams, and check the way to one
    #[command(subcommand)]
    Upstreams(Upstreams),
    /// Run a built-in runner
    #[command(subcommand)]
    Runner(runner::Command),
    /// Try it without an upstream, submit tasks by hand, measure
    Dev(dev::Args),
}

#[derive(Debug, Subcommand)]
enum Config {
    /// Report every mistake of the configuration at once
    Check(config::CheckArgs),
    /// Print each value in force and where it came from; secrets masked
    Show(config::ShowArgs),
}

#[derive(Debug, Subcommand)]
enum Upstreams {
    /// Try the way to an upstream, stage by stage: DNS, TCP, proxy, TLS, HTTP, auth, poll
    Check(upstreams::CheckArgs),
    /// List the upstreams of the configuration
    List(upstreams::ListArgs),
}

// === impl Cli ===

impl Cli {
    /// Runs the command to its end.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Run(args) => run::run(&args),
            Command::Config(Config::Check(args)) => config::check(&args),
            Command::Config(Config::Show(args)) => config::show(&args),
            Command::Doctor(args) => doctor::run(&args),
            Command::Status(args) => status::run(&args),
            Command::Drain(args) => drain::run(&args),
            Command::Resume(args) => drain::resume(&args),
            Command::Tasks(command) => tasks::run(&command),
            Command::Sessions(command) => sessions::run(&command),
            Command::Reload(args) => reload::run(&args),
            Command::Upstreams(Upstreams::Check(args)) => upstreams::check(&args),
            Command::Upstreams(Upstreams::List(args)) => upstreams::list(&args),
            Command::Runner(command) => runner::run(command),
            Command::Dev(args) => dev::run(args),
        }
    }
}

/// The process's runtime: one worker for driver, links and upstreams, beside the journal's thread. A task's way leads through all of
/// them, and a hand-over between threads costs as much as what is done in between; `dlite dev bench` shows what one worker carries.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

/// Runs a command's future on a runtime of its own.
fn block_on(command: impl Future<Output = ExitCode>) -> ExitCode {
    match runtime() {
        Ok(runtime) => {
            let code = runtime.block_on(command);
            // Calls under way are in the journal; none of them may keep the process.
            runtime.shutdown_background();
            code
        }
        Err(error) => fail(&format!("the system gives no threads: {error}")),
    }
}

/// A span as people write it on the command line, such as `90s`, `15m` or `2h`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    crate::config::parse_duration(text)
        .ok_or_else(|| "write a number with its unit, such as \"90s\", \"15m\" or \"2h\"".to_owned())
}

/// Says what went wrong, with all its causes, on one line.
fn fail(error: &str) -> ExitCode {
    eprintln!("dlite: {error}");
    ExitCode::from(FAILED)
}

/// An error and its sources as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
