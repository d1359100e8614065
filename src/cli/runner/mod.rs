//! `dlite runner`: built-in runners, each a process of its own.

mod exec;
mod lint;
mod pipeline;

use std::{path::PathBuf, process::ExitCode};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use super::{block_on, chain, config::EXIT_CHECK_FAILED, fail};
use crate::{
    config::{Complaints, Log, LogFormat},
    kit, telemetry,
    telemetry::traces::runner::Tracer,
};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Execute tasks by scripts and programs
    ///
    /// SIGTERM or SIGINT: take no more work and finish what runs; once more: kill it.
    Exec(exec::Args),
    /// Execute Drone pipelines of type exec, as processes of this host; `lint` says what would run
    ///
    /// SIGTERM or SIGINT: take no more stages and finish those that run; once more: kill them.
    Pipeline(Box<pipeline::Args>),
    /// Keep one script (started by the others)
    #[command(hide = true)]
    Keep { room: PathBuf },
}

/// What each of them logs.
#[derive(Debug, clap::Args)]
struct LogArgs {
    /// What to log: a level, or directives such as "info,dlite::sdk=debug"
    #[arg(long, value_name = "FILTER", env = "DLITE_LOG", default_value = "info")]
    log_filter: String,
    /// Log JSON lines
    #[arg(long)]
    log_json: bool,
}

pub fn run(command: Command) -> ExitCode {
    match command {
        Command::Exec(args) => exec::run(&args),
        Command::Pipeline(args) => pipeline::run(*args),
        Command::Keep { room } => kit::keeper::keep(&room),
    }
}

/// A configuration that was loaded, or the exit code of one that can't be.
fn loaded<C>(loaded: Result<C, Complaints>) -> Result<C, ExitCode> {
    loaded.map_err(|complaints| {
        eprintln!("{complaints}");
        ExitCode::from(EXIT_CHECK_FAILED)
    })
}

/// Runs what `begin` makes of this program's own path and the stop, until it ends or is killed by a second signal.
fn serve<E, R>(runner_id: &str, log: &LogArgs, begin: impl FnOnce(PathBuf, oneshot::Receiver<()>) -> R) -> ExitCode
where
    E: std::error::Error,
    R: Future<Output = Result<(), E>>,
{
    let format = if log.log_json { LogFormat::Json } else { LogFormat::Text };
    if let Err(error) = telemetry::start(&Log { format, filter: log.log_filter.clone() }) {
        return fail(&format!("--log-filter: {error}"));
    }
    let keeper = match std::env::current_exe() {
        Ok(keeper) => keeper,
        Err(error) => return fail(&format!("this program's own path can't be had: {error}")),
    };
    let (stop, stopped) = oneshot::channel();
    let running = begin(keeper, stopped);
    block_on(until_ended(runner_id, running, stop))
}

async fn until_ended<E: std::error::Error>(
    runner_id: &str,
    running: impl Future<Output = Result<(), E>>,
    stop: oneshot::Sender<()>,
) -> ExitCode {
    let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => return fail(&format!("signals can't be handled: {error}")),
    };
    let tracer = match Tracer::install("dlite-runner", runner_id) {
        Ok(tracer) => tracer,
        Err(error) => return fail(&chain(&error)),
    };
    let mut running = std::pin::pin!(running);
    let mut stop = Some(stop);
    loop {
        tokio::select! {
            ended = &mut running => {
                tracer.shut_down().await;
                return match ended {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => fail(&chain(&error)),
                };
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        match stop.take() {
            Some(stop) => {
                tracing::info!(
                    "stopping: no more work is taken, running tasks are finished; a second signal kills them"
                );
                let _ = stop.send(());
            }
            None => return fail("killed running tasks at the second signal"),
        }
    }
}
