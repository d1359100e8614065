//! `dlite run`: the daemon.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::{block_on, chain, config::ConfigArgs, config::EXIT_CHECK_FAILED, fail};
use crate::{
    config,
    core::effect::Note,
    daemon,
    health::{Vitals, systemd::Supervisor},
    runners::ids::Ids,
    telemetry::{self, metrics::definitions::SPANS_DROPPED},
    upstreams,
};

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
    let supervisor = Supervisor::of_process();
    let mut daemon = match daemon::start(&config, adapters, Box::new(observer)).await {
        Ok(daemon) => daemon,
        Err(error) => return fail(&chain(&error)),
    };
    tracing::info!(
        runners = %daemon.runners_socket.display(),
        admin = %daemon.admin_socket.display(),
        listen = ?daemon.listen,
        http = ?daemon.http,
        open_tasks = daemon.resumed,
        "ready"
    );
    let counts = exporter.as_ref().map(|exporter| exporter.counts().clone());
    daemon.metrics.count_of(&SPANS_DROPPED, move || counts.as_ref().map_or(0, |counts| counts.dropped()));
    if let Some(supervisor) = &supervisor {
        supervisor.ready();
    }
    let vitals = daemon.vitals.clone();
    tokio::select! {
        failed = daemon.failed() => {
            let error = failed.err().map_or_else(|| "a part of the delegate ended".to_owned(), |error| chain(&error));
            tracing::error!(%error, "the delegate fails");
            return fail(&error);
        }
        () = follow(supervisor.as_ref(), &vitals) => {}
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping; running tasks go on in their runners"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping; running tasks go on in their runners"),
    }
    if let Some(supervisor) = &supervisor {
        supervisor.stopping();
    }
    let stopped = daemon.stop().await;
    if let Some(exporter) = exporter {
        exporter.shut_down().await;
    }
    match stopped {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&chain(&error)),
    }
}

/// Tells the supervisor how the delegate does; does not end.
async fn follow(supervisor: Option<&Supervisor>, vitals: &Vitals) {
    match supervisor {
        Some(supervisor) => supervisor.follow(vitals).await,
        None => std::future::pending().await,
    }
}
