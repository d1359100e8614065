//! The exec runner's configuration: one TOML file in, one immutable [`Config`] or every complaint at once out.
//!
//! It reads that file and nothing else: whether commands exist is seen when they are started.

mod route;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::route::Route;
pub use crate::kit::keeper::Limits;
pub(super) use crate::kit::toml::value::RESULT_BYTES_MAX;
use crate::{
    config::Complaints,
    kit::toml::{
        Page, Section,
        value::{self, duration, path, slots},
    },
};

/// Most routes of one runner; the delegate's bound on handlers.
pub const ROUTES_MAX: usize = 256;

/// Where runners attach unless said, as in the delegate's own configuration.
const CONNECT_DEFAULT: &str = "unix:/run/dlite/runner.sock";

const STATE_DIR_DEFAULT: &str = "/var/lib/dlite-exec";

/// The whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `unix:/path` or `http://host:port`.
    pub connect: String,
    /// One place in the fleet, the same after a restart.
    pub runner_id: String,
    /// The token for TCP; read at each attach.
    pub token_file: Option<PathBuf>,
    /// Tasks at once, by slot class.
    pub slots: BTreeMap<String, u32>,
    /// Holds the rooms of running tasks, by which a later process finds what was left behind. One runner at a time.
    pub state_dir: PathBuf,
    /// How long a stop waits before running tasks are cancelled. `None`: until they end.
    pub shutdown_grace: Option<Duration>,
    /// At least one, by task type.
    pub routes: Vec<Route>,
}

// === impl Config ===

impl Config {
    /// Reads the configuration file.
    ///
    /// # Errors
    /// Every mistake in it, each with its place, reason and fix.
    pub fn load(file: &Path) -> Result<Self, Complaints> {
        crate::kit::toml::load(file, Self::read)
    }

    /// As [`Config::load`], of a text; `file` is how complaints call it.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, Complaints> {
        crate::kit::toml::parse(text, file, Self::read)
    }

    /// `None` only with a complaint.
    fn read(page: &Page, root: &mut Section<'_, '_>) -> Option<Self> {
        let connect = root.take("connect", value::target).unwrap_or_else(|| CONNECT_DEFAULT.to_owned());
        let runner_id = root.need("runner_id", value::name, "add a name for this runner, for example \"scripts-1\"");
        let token_file = root.take("token_file", path);
        if connect.starts_with("http://") && token_file.is_none() && !root.has("token_file") {
            root.complain_missing(
                "token_file",
                "missing, and TCP needs a token",
                "name the file with the runners' token",
            );
        }
        let slots = root.take("slots", slots).unwrap_or_else(|| BTreeMap::from([("default".to_owned(), 1)]));
        let state_dir = root.take("state_dir", path).unwrap_or_else(|| STATE_DIR_DEFAULT.into());
        let shutdown_grace = root.take("shutdown_grace", duration);
        let defaults = route::Defaults {
            grace: root.take("grace", duration).unwrap_or(route::GRACE_DEFAULT),
            log_bytes_max: root.take("log_bytes_max", value::bytes).unwrap_or(route::LOG_BYTES_MAX_DEFAULT),
            result_bytes_max: root
                .take("result_bytes_max", value::result_bytes)
                .unwrap_or(route::RESULT_BYTES_MAX_DEFAULT),
            limits: root.section("limits", Limits::read).unwrap_or_default(),
        };
        let mut routes = Vec::new();
        root.section("routes", |table| {
            table.each(ROUTES_MAX, |task_type, section| {
                routes.extend(Route::read(task_type, section, &defaults, &slots));
            });
        });
        if routes.is_empty() && page.is_clean() {
            root.complain_missing(
                "routes",
                "no task type is routed",
                "write [routes.YOUR_TASK_TYPE] with a command below it",
            );
        }
        Some(Self { connect, runner_id: runner_id?, token_file, slots, state_dir, shutdown_grace, routes })
    }
}

#[cfg(test)]
mod tests;
