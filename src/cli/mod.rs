//! The command line: one file a command.
//!
//! Exit codes: 0 ok, 1 failed, 2 usage, 3 the delegate is unreachable, 4 a check failed, 5 a drain left something behind.

use std::process::ExitCode;

use clap::{FromArgMatches as _, Parser, Subcommand};

pub use self::help::command;

mod audit;
mod completions;
pub mod config;
mod confirm;
mod dev;
mod doctor;
mod drain;
mod events;
mod help;
mod init;
mod log;
mod reload;
pub(crate) mod reports;
mod run;
mod runner;
mod runners;
mod sessions;
mod status;
mod style;
mod support;
pub(crate) mod table;
pub(crate) mod tasks;
mod upstreams;

/// It did not work.
pub const FAILED: u8 = 1;
/// The command was not understood, or may not be followed as it was given; clap's own code.
pub const USAGE: u8 = 2;
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
  dlite doctor                  what is wrong with this host, and what to do about it
  dlite tasks list              what runs, and what does each task wait for?
  dlite tasks explain TASK      why is it waiting, and what would end that?

Exit codes of every command: 0 ok, 1 failed, 2 usage, 3 the delegate is unreachable, 4 a check failed, 5 a drain left something behind."
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
    /// Look at results that are not reported, send one again, or give one up
    #[command(subcommand)]
    Reports(reports::Command),
    /// See who did what to the delegate
    #[command(subcommand)]
    Audit(audit::Command),
    /// Watch what happens, as it happens
    Events(events::Args),
    /// See or change, for a while, what the delegate's log tells
    #[command(subcommand)]
    Log(log::Command),
    /// Collect what whoever helps you needs
    #[command(subcommand)]
    Support(support::Command),
    /// Have the delegate read its configuration anew, as SIGHUP does; a file with mistakes changes nothing
    Reload(reload::Args),
    /// List upstreams, check the way to one, stop taking work from one
    #[command(subcommand)]
    Upstreams(upstreams::Command),
    /// Look at the attached runners, and take one out for maintenance
    #[command(subcommand)]
    Runners(runners::Command),
    /// Run a built-in runner
    #[command(subcommand)]
    Runner(runner::Command),
    /// Print a script that completes commands and options in your shell
    Completions(completions::Args),
    /// Write the manual: a page for each command
    Man(completions::ManArgs),
    /// Try it without an upstream, submit tasks by hand, measure
    Dev(dev::Args),
}

#[derive(Debug, Subcommand)]
enum Config {
    /// Write a first configuration from what you know: URL, account, token
    Init(init::Args),
    /// Report every mistake of the configuration at once
    Check(config::CheckArgs),
    /// Print each value in force and where it came from; secrets masked
    Show(config::ShowArgs),
}

// === impl Cli ===

impl Cli {
    /// The command that this process was started with. What is none ends it with exit code 2, and help with 0.
    pub fn of_process() -> Self {
        let matches = command().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Runs the command to its end.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Run(args) => run::run(&args),
            Command::Config(Config::Init(args)) => init::run(&args),
            Command::Config(Config::Check(args)) => config::check(&args),
            Command::Config(Config::Show(args)) => config::show(&args),
            Command::Doctor(args) => doctor::run(&args),
            Command::Status(args) => status::run(&args),
            Command::Drain(args) => drain::run(&args),
            Command::Resume(args) => drain::resume(&args),
            Command::Tasks(command) => tasks::run(&command),
            Command::Sessions(command) => sessions::run(&command),
            Command::Reports(command) => reports::run(&command),
            Command::Audit(command) => audit::run(&command),
            Command::Events(args) => events::run(&args),
            Command::Log(command) => log::run(&command),
            Command::Support(command) => support::run(&command),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => completions::man(&args),
            Command::Reload(args) => reload::run(&args),
            Command::Upstreams(command) => upstreams::run(&command),
            Command::Runners(command) => runners::run(&command),
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
