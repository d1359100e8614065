//! The built-in runner of pipelines: stages of type `exec` from a Drone server, as processes of this host.
//!
//! It stands on the public SDK alone and knows nothing of the daemon.
//!
//! ```text
//!  delegate ◄── SDK ──► handler ──► Stage ──► Engine ──► Workshop ──► keeper ──► shell and its children
//!                                    text, secrets,  Board: which     one a step
//!                                    directory       step is next
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `config` | what an operator can set |
//! | `details` | what the server tells of a stage |
//! | `stage`, `stage_dir` | a stage made ready; its directory |
//! | `environ`, `script`, `clone` | what steps find, and what they run |
//! | `secrets` | where the value of a `from_secret` comes from |
//! | `board`, `engine` | which step is next; the steps on their way |
//! | `step` | one program, its log and its end |
//!
//! What is promised: nothing of a stage outlives it: no process, no file, no credential; after a kill of the runner its steps end at
//! once, and its directories go at the next start. Secrets are never in arguments, and the log is masked.
//!
//! What is not: steps run with the runner's rights. Who needs walls runs the runner as a user of its own, or in a container.

mod board;
mod clone;
mod config;
mod details;
mod engine;
mod environ;
mod script;
mod secrets;
mod stage;
mod stage_dir;
mod step;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use self::config::{Config, SecretPlugin};
use self::{
    secrets::{Plugin, SecretFile},
    stage::Stage,
    step::Workshop,
};
use crate::{
    kit::keeper::{Host, HostError, make_dir},
    proto::upstream::drone::v1::StageInfo,
    sdk::{Connection, Context, Failure, Handler, Payload, RunError, Runner, Success, Token},
};

/// What the Drone adapter calls stages of these pipelines.
pub const TASK_TYPE: &str = "drone.stage.exec";

/// Why the pipeline runner does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("{} can't be used", path.display())]
    Stages { path: PathBuf, source: io::Error },
    #[error("secrets_file: {0}")]
    SecretFile(String),
    #[error("secret_plugin: {0}")]
    SecretPlugin(String),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// What all stages of a runner share.
struct Shop {
    config: Config,
    host: Arc<Host>,
    /// Holds the stages' directories.
    stages: PathBuf,
    secrets_file: Option<SecretFile>,
    plugin: Option<Plugin>,
}

/// Runs until `shutdown` is ready and all running stages have ended; dropped earlier, it kills them. `keeper` is the `dlite` program.
///
/// # Errors
/// If the state directory, a secret's source or the delegate can't be used.
pub async fn run(config: &Config, keeper: PathBuf, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let shop = Arc::new(Shop::open(config, keeper)?);
    Ok(connection(&shop).run(shutdown).await?)
}

fn connection(shop: &Arc<Shop>) -> Connection {
    let config = &shop.config;
    let stages = shop.clone();
    let handler = Handler::new(TASK_TYPE, move |context, payload| execute(stages.clone(), context, payload));
    let handler = config
        .labels
        .iter()
        .fold(handler.extension::<StageInfo>(), |handler, (name, value)| handler.match_label(name, value));
    let handler = match config.stage_timeout {
        Some(timeout) => handler.timeout(timeout),
        None => handler,
    };
    let runner = Runner::new(&config.runner_id)
        .version(env!("CARGO_PKG_VERSION"))
        .label("kind", "pipeline")
        .workspace(&shop.stages)
        .slots("default", config.slots)
        .handler(handler);
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

/// Executes one stage, in a task of its own: a handler that is dropped leaves it to stop and to clear up.
async fn execute(shop: Arc<Shop>, context: Context, payload: Payload) -> Result<Success, Failure> {
    let work = tokio::spawn(async move {
        let stage = tokio::select! {
            stage = Stage::prepare(&shop, &context, &payload) => Arc::new(stage?),
            cancellation = context.cancelled() => return Err(engine::stopped(&cancellation)),
        };
        let end = engine::run(&shop, &stage, &context).await;
        match Arc::into_inner(stage) {
            Some(stage) => stage.leave().await,
            None => tracing::error!(task_id = context.task_id(), "a step outlives its stage"),
        }
        end
    });
    work.await
        .unwrap_or_else(|error| Err(Failure::errored("RUNNER_FAILED", format!("the stage's task broke: {error}"))))
}

// === impl Shop ===

impl Shop {
    fn open(config: &Config, keeper: PathBuf) -> Result<Self, Error> {
        let host = Host::prepare(&config.state_dir, keeper, &[&config.limits], true)?;
        let stages = stages_dir(&config.state_dir)
            .map_err(|source| Error::Stages { path: config.state_dir.join("stages"), source })?;
        let secrets_file = config.secrets_file.clone().map(SecretFile::new);
        if let Some(file) = &secrets_file {
            file.read().map_err(|error| Error::SecretFile(crate::kit::chain(&error)))?;
        }
        let plugin = config.secret_plugin.as_ref();
        let plugin = plugin.map(|plugin| Plugin::new(&plugin.endpoint, plugin.token_file.clone(), plugin.verify));
        let plugin = plugin.transpose().map_err(|error| Error::SecretPlugin(crate::kit::chain(&error)))?;
        Ok(Self { config: config.clone(), host, stages, secrets_file, plugin })
    }

    fn workshop(&self) -> Workshop {
        Workshop { host: self.host.clone(), limits: self.config.limits }
    }
}

/// Under the lock of the state directory, and after the end of what ran.
fn stages_dir(state_dir: &Path) -> io::Result<PathBuf> {
    let stages = state_dir.join("stages");
    match make_dir(&stages) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let stages = fs::canonicalize(stages)?;
    stage_dir::sweep(&stages)?;
    Ok(stages)
}
