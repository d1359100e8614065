//! `dlite run`: the daemon.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::{block_on, chain, config::ConfigArgs, config::EXIT_CHECK_FAILED, fail};
use crate::{
    config::{self, Changes, Complaints, LoadOptions, Loaded},
    daemon::{self, Daemon, Wish},
    reason::Reason,
    telemetry::{self, LogFilter},
    upstreams,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// The configuration in force, and all it takes to read it anew.
struct Source {
    options: LoadOptions,
    loaded: Loaded,
    log: LogFilter,
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
    warn(&loaded);
    block_on(serve(Source { options, loaded, log }))
}

async fn serve(mut source: Source) -> ExitCode {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (mut terminate, mut interrupt, mut hangup) = match signals {
        (Ok(terminate), Ok(interrupt), Ok(hangup)) => (terminate, interrupt, hangup),
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
            return fail(&format!("signals can't be handled: {error}"));
        }
    };
    let config = &source.loaded.config;
    let adapters = match upstreams::from_config(config) {
        Ok(adapters) => adapters,
        Err(error) => return fail(&chain(&error)),
    };
    let mut daemon = match daemon::start(config, adapters, Box::new(telemetry::notes::log)).await {
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
    loop {
        tokio::select! {
            wish = daemon.wish() => match wish {
                Wish::End(ended) => {
                    let error = ended.err().map_or_else(|| "a part of the delegate ended".to_owned(), |error| chain(&error));
                    tracing::error!(%error, "the delegate fails");
                    return fail(&error);
                }
                // The operator who asked may be gone; the log tells it too.
                Wish::Reload(answer) => drop(answer.send(source.reload(&daemon).await)),
            },
            _ = hangup.recv() => {
                // Told by the log.
                let _ = source.reload(&daemon).await;
            }
            _ = terminate.recv() => {
                tracing::info!("SIGTERM: stopping; running tasks go on in their runners");
                break;
            }
            _ = interrupt.recv() => {
                tracing::info!("SIGINT: stopping; running tasks go on in their runners");
                break;
            }
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    match daemon.stop().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&chain(&error)),
    }
}

fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "configuration");
    }
}

// === impl Source ===

impl Source {
    /// Reads the configuration anew and puts what can change in force; with a mistake in it nothing changes.
    async fn reload(&mut self, daemon: &Daemon) -> Result<Changes, Complaints> {
        let (loaded, changes) = config::reload(&self.loaded, &self.options).inspect_err(|complaints| {
            tracing::error!(code = %Reason::ConfigRejected, %complaints, "the configuration is not reloaded; what was in force stays");
        })?;
        self.loaded = loaded;
        warn(&self.loaded);
        let config = &self.loaded.config;
        if let Err(error) = self.log.set(&config.log.filter) {
            tracing::error!(%error, "log.filter");
        }
        daemon.reconfigure(config).await;
        let Changes { changed, needs_restart } = &changes;
        tracing::info!(changed = changed.join(" "), needs_restart = needs_restart.join(" "), "configuration reloaded");
        Ok(changes)
    }
}
