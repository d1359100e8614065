//! The configuration in force in this process, and all it takes to read it anew.

use crate::{
    config::{self, Changes, Complaints, Config, LoadOptions, Loaded},
    core::{
        audit::{Actor, Deed, FOLLOWED},
        command::Command,
    },
    daemon::Daemon,
    reason::Reason,
    telemetry::level::LogFilter,
};

/// One snapshot at a time; parts of the process are handed what concerns them.
pub struct Settings {
    options: LoadOptions,
    loaded: Loaded,
    log: LogFilter,
}

// === impl Settings ===

impl Settings {
    pub fn new(options: LoadOptions, loaded: Loaded, log: LogFilter) -> Self {
        let settings = Self { options, loaded, log };
        settings.warn();
        settings
    }

    pub fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Reads the configuration anew and puts what can change in force. That `by` had it done goes on record.
    ///
    /// # Errors
    /// With a mistake in it nothing changes, and all mistakes are told.
    pub async fn reload(&mut self, daemon: &Daemon, by: Actor) -> Result<Changes, Complaints> {
        let outcome = self.read_anew(daemon).await;
        let (arguments, outcome_word) = match &outcome {
            Ok(Changes { changed, needs_restart }) if needs_restart.is_empty() => (changed.join(" "), FOLLOWED),
            Ok(Changes { changed, needs_restart }) => {
                (format!("{} (after a restart: {})", changed.join(" "), needs_restart.join(" ")), FOLLOWED)
            }
            Err(_) => (String::new(), Reason::ConfigRejected.word()),
        };
        let deed = Deed::new(by, "reload", arguments);
        daemon.order(Command::PutOnRecord { deed, outcome: outcome_word.into() }).await;
        outcome
    }

    async fn read_anew(&mut self, daemon: &Daemon) -> Result<Changes, Complaints> {
        let (loaded, changes) = config::reload(&self.loaded, &self.options).inspect_err(|complaints| {
            let code = Reason::ConfigRejected;
            tracing::error!(%code, %complaints, "the configuration is not reloaded; what was in force stays");
        })?;
        self.loaded = loaded;
        self.warn();
        let config = &self.loaded.config;
        if let Err(error) = self.log.set(&config.log.filter) {
            tracing::error!(%error, "log.filter");
        }
        daemon.reconfigure(config).await;
        let Changes { changed, needs_restart } = &changes;
        tracing::info!(changed = changed.join(" "), needs_restart = needs_restart.join(" "), "configuration reloaded");
        Ok(changes)
    }

    fn warn(&self) {
        for warning in &self.loaded.warnings {
            tracing::warn!(%warning, "configuration");
        }
    }
}
