//! `dlite run`: the daemon.

use std::{process::ExitCode, sync::Arc};

use super::{block_on, chain, config::ConfigArgs, config::EXIT_CHECK_FAILED, fail};
use crate::{
    config,
    core::effect::Note,
    daemon::{self, Daemon},
    runners::ids::Ids,
    settings::Settings,
    shutdown::{self, Signals},
    telemetry::{self, traces},
    upstreams,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub fn run(args: &Args) -> ExitCode {
    let options = args.config.load_options();
    let loaded = match config::load(&options) {
        Ok(loaded) => loaded,
        Err(complaints) => {
            eprintln!("{complaints}");
            return ExitCode::from(EXIT_CHECK_FAILED);
        }
    };
    let log = match telemetry::start(&loaded.config.log) {
        Ok(log) => log,
        Err(error) => return fail(&format!("log.filter: {error}")),
    };
    block_on(serve(Settings::new(options, loaded, log)))
}

async fn serve(mut settings: Settings) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("signals can't be handled: {error}")),
    };
    let adapters = match upstreams::from_config(settings.config()) {
        Ok(adapters) => adapters,
        Err(error) => return fail(&chain(&error)),
    };
    let traces = match traces::Traces::start(settings.config()) {
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
    let mut daemon = match daemon::start(settings.config(), adapters, Box::new(observer)).await {
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
    let ended = match shutdown::wait(&mut daemon, &mut signals, &mut settings).await {
        Ok(ended) => ended,
        Err(error) => {
            let error = chain(&error);
            tracing::error!(%error, "the delegate fails");
            return fail(&error);
        }
    };
    let stopped = tokio::select! {
        stopped = stop(daemon, exporter) => stopped,
        // What is acknowledged is durable whenever the process ends.
        _ = signals.stop() => Ok(()),
    };
    if let Err(error) = stopped {
        return fail(&chain(&error));
    }
    eprintln!("dlite: {ended}");
    ExitCode::from(ended.code())
}

/// The last spans leave after the daemon's end, which makes some.
async fn stop(daemon: Daemon, exporter: Option<Arc<traces::Exporter>>) -> Result<(), daemon::Error> {
    let stopped = daemon.stop().await;
    if let Some(exporter) = exporter {
        exporter.shut_down().await;
    }
    stopped
}
