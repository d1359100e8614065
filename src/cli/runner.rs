//! `dlite runner`: built-in runners, each a process of its own.

use std::{path::PathBuf, process::ExitCode};

use tokio::signal::unix::{SignalKind, signal};

use super::{block_on, chain, config::EXIT_CHECK_FAILED, fail};
use crate::{
    config::{Log, LogFormat},
    exec, kit, telemetry,
    telemetry::traces::runner::Tracer,
};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Execute tasks by scripts and programs
    ///
    /// SIGTERM or SIGINT: take no more work and finish what runs; once more: kill it.
    Exec(ExecArgs),
    /// Keep one script (started by `exec`)
    #[command(hide = true)]
    Keep { room: PathBuf },
}

#[derive(Debug, clap::Args)]
pub struct ExecArgs {
    /// The runner's own TOML file: routes from task types to commands
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the file and end
    #[arg(long)]
    check: bool,
    /// What to log: a level, or directives such as "info,dlite::sdk=debug"
    #[arg(long, value_name = "FILTER", env = "DLITE_LOG", default_value = "info")]
    log_filter: String,
    /// Log JSON lines
    #[arg(long)]
    log_json: bool,
}

pub fn run(command: Command) -> ExitCode {
    match command {
        Command::Exec(args) => exec(&args),
        Command::Keep { room } => kit::keeper::keep(&room),
    }
}

fn exec(args: &ExecArgs) -> ExitCode {
    let config = match exec::Config::load(&args.config) {
        Ok(config) => config,
        Err(complaints) => {
            eprintln!("{complaints}");
            return ExitCode::from(EXIT_CHECK_FAILED);
        }
    };
    if args.check {
        println!("{} is fine: {} routes", args.config.display(), config.routes.len());
        return ExitCode::SUCCESS;
    }
    let format = if args.log_json { LogFormat::Json } else { LogFormat::Text };
    if let Err(error) = telemetry::start(&Log { format, filter: args.log_filter.clone() }) {
        return fail(&format!("--log-filter: {error}"));
    }
    block_on(serve(config))
}

async fn serve(config: exec::Config) -> ExitCode {
    let keeper = match std::env::current_exe() {
        Ok(keeper) => keeper,
        Err(error) => return fail(&format!("this program's own path can't be had: {error}")),
    };
    let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => return fail(&format!("signals can't be handled: {error}")),
    };
    let tracer = match Tracer::install("dlite-runner", &config.runner_id) {
        Ok(tracer) => tracer,
        Err(error) => return fail(&chain(&error)),
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = exec::run(&config, keeper, async { drop(stopped.await) });
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
