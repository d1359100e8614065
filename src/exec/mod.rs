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

use std::{fs, io, path::PathBuf, sync::Arc};

use tracing::warn;

pub use self::config::{Config, Limits, Route};
use crate::{
    kit::keeper::{self, Parent},
    sdk::{Connection, Handler, RunError, Runner, Token},
    state_dir::{self, StateDir},
};

/// Why the exec runner does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    StateDir(#[from] state_dir::Error),
    #[error("{} can't be used", path.display())]
    Rooms { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Run(#[from] RunError),
}

/// What tasks need of the place they run in.
#[derive(Debug)]
pub struct Host {
    /// This program, for `dlite runner keep`.
    keeper: PathBuf,
    rooms: PathBuf,
    /// Where groups with limits can be made.
    cgroups: Option<Parent>,
    /// Two runners would sweep each other's rooms.
    _lock: StateDir,
}

// === impl Host ===

impl Host {
    /// Takes the state directory's lock, ends what an earlier runner left there, and finds out how limits can be enforced.
    ///
    /// `keeper` is the `dlite` program. `is_alone`: the process is for this runner only, so that it may move to a cgroup below its
    /// own, which limits ask for.
    ///
    /// # Errors
    /// If the state directory is in use or can't be used.
    pub fn prepare(config: &Config, keeper: PathBuf, is_alone: bool) -> Result<Arc<Self>, Error> {
        let lock = StateDir::lock(&config.state_dir)?;
        // Scripts start elsewhere, and find their files by these paths.
        let rooms = config.state_dir.join("rooms");
        let unusable = |source| Error::Rooms { path: rooms.clone(), source };
        fs::create_dir_all(&rooms).map_err(unusable)?;
        let rooms = fs::canonicalize(&rooms).map_err(unusable)?;
        keeper::sweep(&rooms).map_err(unusable)?;
        let limited: Vec<&Limits> =
            config.routes.iter().map(|route| &route.limits).filter(|limits| !limits.is_empty()).collect();
        let cgroups = if limited.is_empty() { None } else { find_cgroups(&limited, is_alone) };
        Ok(Arc::new(Self { keeper, rooms, cgroups, _lock: lock }))
    }

    fn enforces_memory(&self) -> bool {
        self.cgroups.as_ref().is_some_and(Parent::enforces_memory)
    }
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
    let host = Host::prepare(config, keeper, true)?;
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

/// One warning, if anything is not enforced as asked.
fn find_cgroups(limited: &[&Limits], is_alone: bool) -> Option<Parent> {
    let unenforced = |parent: &Parent| {
        let mut names: Vec<&str> = limited.iter().flat_map(|limits| parent.unenforced(limits)).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let memory = "memory is watched instead: it is looked at every 50 ms, and a task above its limit is killed";
    match Parent::find(is_alone) {
        Ok(parent) => {
            let names = unenforced(&parent);
            if !names.is_empty() {
                warn!(limits = ?names, memory, "cgroup v2 does not enforce these limits here");
            }
            Some(parent)
        }
        Err(error) => {
            let names = unenforced(&Parent::none());
            let why = crate::kit::chain(&error);
            warn!(limits = ?names, %why, memory, "cgroup v2 does not enforce these limits here");
            None
        }
    }
}
