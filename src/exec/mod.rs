//! The built-in exec runner: any script becomes a handler.
//!
//! It stands on the public SDK alone and knows nothing of the daemon. A route maps a task type to a command; the command gets the
//! payload on standard input and answers on standard output, by its exit code (`verdict`), by events on descriptor 3 (`events`) and by
//! two files (`room`, `outputs`). It is made for Linux.
//!
//! ```text
//!  delegate ◄── SDK ──► task ──► keeper ──► script and its children
//!                        │          └─ ended.json
//!                        └── stdout → result   stderr → log   3 → events   files → result, outputs
//! ```
//!
//! What is promised: nothing of a task outlives it. Its keeper ends all its processes with it, also when the runner is killed; if
//! both are killed, the next runner on the same state directory finds the rest by its records. The payload and secrets are never
//! in arguments; secrets are files of mode 0600, in the environment only where a route asks for it; the log is masked.
//!
//! What is not: a script runs with the runner's rights. Who needs walls runs the runner as a user of its own, or in a container.

pub mod config;
mod environment;
mod events;
mod log;
mod outputs;
mod result;
mod room;
mod session;
mod task;
mod verdict;

use std::{path::PathBuf, sync::Arc};

pub use self::config::{Config, Limits, Route};
pub use crate::kit::keeper::{Host, HostError};
use crate::sdk::{Connection, Handler, RunError, Runner, Token};

/// Why the exec runner does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// The runner that `config` describes, for a process that has one already or for [`run`].
pub fn connection(config: &Config, host: &Arc<Host>) -> Connection {
    let runner = Runner::new(&config.runner_id).version(env!("CARGO_PKG_VERSION")).label("kind", "exec");
    let runner = runner.workspace(&host.rooms);
    let runner = config.slots.iter().fold(runner, |runner, (class, count)| runner.slots(class, *count));
    let runner = config.routes.iter().fold(runner, |runner, route| runner.handler(handler(route, host)));
    let connection = runner.connect(&config.connect);
    let connection = match &config.token_file {
        Some(path) => connection.token(Token::File(path.clone())),
        None => connection,
    };
    match config.shutdown_grace {
        Some(grace) => connection.shutdown_grace(grace),
        None => connection,
    }
}

/// Runs until `shutdown` is ready and all running tasks have ended; dropped earlier, it kills them.
///
/// # Errors
/// As [`Host::prepare`] and [`Connection::run`].
pub async fn run(config: &Config, keeper: PathBuf, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let limits: Vec<&Limits> = config.routes.iter().map(|route| &route.limits).collect();
    let host = Host::prepare(&config.state_dir, keeper, &limits, true)?;
    Ok(connection(config, &host).run(shutdown).await?)
}

fn handler(route: &Route, host: &Arc<Host>) -> Handler {
    let (kept_route, host) = (Arc::new(route.clone()), host.clone());
    let handler = Handler::new(&route.task_type, move |context, payload| {
        task::execute(host.clone(), kept_route.clone(), context, payload)
    });
    let handler = handler.kind(route.kind);
    let handler = if route.idempotent { handler.idempotent() } else { handler };
    let handler = if route.any_runner { handler.any_runner() } else { handler };
    let handler = match &route.slot_class {
        Some(class) => handler.slot_class(class),
        None => handler,
    };
    match route.timeout {
        Some(timeout) => handler.timeout(timeout),
        None => handler,
    }
}
