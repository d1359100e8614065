//! `dlite run`: the daemon.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::{block_on, chain, config::ConfigArgs, config::EXIT_CHECK_FAILED, fail};
use crate::{config, core::effect::Note, daemon, runners::ids::Ids, telemetry, upstreams};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub fn run(args: &Args) -> ExitCode {
    let loaded = match config::load(&args.config.load_options()) {
        Ok(loaded) => loaded,
        Err(complaints) => {
            eprintln!("{complaints}");
            return ExitCode::from(EXIT_CHECK_FAILED);
        }
    };
    if let Err(error) = telemetry::start(&loaded.config.log) {
        return fail(&format!("log.filter: {error}"));
    }
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "configuration");
    }
    block_on(serve(loaded.config))
}

async fn serve(config: config::Config) -> ExitCode {
    let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => return fail(&format!("signals can't be handled: {error}")),
    };
    let adapters = match upstreams::from_config(&config) {
        Ok(adapters) => adapters,
        Err(error) => return fail(&chain(&error)),
    };
    let traces = match telemetry::traces::Traces::start(&config) {
        Ok(traces) => traces,
        Err(error) => return fail(&chain(&error)),
    };
    let exporter = traces.as_ref().map(|traces| traces.exporter().clone());
    let observer = move |ids: &Ids, note: &Note| {
        telemetry::notes::log(ids, note);
        if let Some(traces) = &traces {
            traces.note(ids, note);
        }
    };
    let mut daemon = match daemon::start(&config, adapters, Box::new(observer)).await {
        Ok(daemon) => daemon,
        Err(error) => return fail(&chain(&error)),
    };
    tracing::info!(
        runners = %daemon.runners_socket.display(),
        admin = %daemon.admin_socket.display(),
        listen = ?daemon.listen,
        open_tasks = daemon.resumed,
        "ready"
    );
    // Nobody listens outside systemd.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tokio::select! {
        failed = daemon.failed() => {
            let error = failed.err().map_or_else(|| "a part of the delegate ended".to_owned(), |error| chain(&error));
            tracing::error!(%error, "the delegate fails");
            return fail(&error);
        }
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping; running tasks go on in their runners"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping; running tasks go on in their runners"),
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let stopped = daemon.stop().await;
    if let Some(exporter) = exporter {
        exporter.shut_down().await;
    }
    match stopped {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&chain(&error)),
    }
}
