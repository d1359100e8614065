//! A runner as its program describes it.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use uuid::Uuid;

use super::{
    backoff::Backoff,
    control::{Control, check_slots},
    driver::Driver,
    engine::Profile,
    error::RunError,
    handler::Handler,
    layer::{Around, Layer, around},
    target::{Target, Token},
    usage::Meter,
};
use crate::proto::runner::v1::{self as proto, Capacity, RunnerInfo};

/// Bounds of the protocol.
const ID_BYTES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 128;

const DEFAULT_CLASS: &str = "default";

/// Class of handlers made by [`Handler::cleanup`], so that executes never keep a cleanup waiting.
pub const CLEANUP_CLASS: &str = "cleanup";

/// Slots of that class, unless said. A cleanup takes little of a host and makes room on it.
const CLEANUP_SLOTS_DEFAULT: u32 = 4;

/// What this SDK is called in `RunnerInfo.sdk`.
const SDK: &str = concat!("dlite-rust/", env!("CARGO_PKG_VERSION"));

/// Handlers and the slots they share.
pub struct Runner {
    runner_id: String,
    version: String,
    labels: BTreeMap<String, String>,
    handlers: Vec<Handler>,
    slots: BTreeMap<String, u32>,
    workspace: PathBuf,
    layers: Vec<Around>,
}

/// A runner and the way to its delegate.
#[derive(Debug)]
pub struct Connection {
    runner: Runner,
    control: Control,
    target: String,
    token: Option<Token>,
    backoff: Backoff,
    shutdown_grace: Option<Duration>,
}

// === impl Runner ===

impl Runner {
    /// `runner_id` (1 to 64 bytes of visible ASCII) is one place in the fleet, the same after a restart; the newest process
    /// that uses it wins.
    pub fn new(runner_id: impl Into<String>) -> Self {
        Self {
            runner_id: runner_id.into(),
            version: String::new(),
            labels: BTreeMap::new(),
            handlers: Vec::new(),
            slots: BTreeMap::new(),
            workspace: PathBuf::from("."),
            layers: Vec::new(),
        }
    }

    /// Adds what the runner can execute; one handler for each task type.
    pub fn handler(mut self, handler: Handler) -> Self {
        self.handlers.push(handler);
        self
    }

    /// Puts a layer around all handlers, those added later, too; the last one is the outermost.
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.layers.push(around(layer));
        self
    }

    /// How many tasks run at once in a slot class; up to 16 classes and 10,000 slots in all. Unless said: one of "default", and
    /// four of "cleanup" if a handler [cleans up](Handler::cleanup).
    pub fn slots(mut self, class: impl Into<String>, count: u32) -> Self {
        self.slots.insert(class.into(), count);
        self
    }

    /// A path in the file system that holds the workspaces, whose free space the delegate is told. Unless said: the working directory.
    pub fn workspace(mut self, path: impl Into<PathBuf>) -> Self {
        self.workspace = path.into();
        self
    }

    /// Version of the program, shown to the operator.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// A label of the runner, shown to the operator.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// `unix:/path/of/socket`, or `http://host:port` together with a [`token`](Connection::token). Nothing is sent yet.
    pub fn connect(self, target: impl Into<String>) -> Connection {
        Connection {
            control: Control::new(self.all_slots()),
            runner: self,
            target: target.into(),
            token: None,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            shutdown_grace: None,
        }
    }

    fn check(&self) -> Result<(), RunError> {
        let complain = |field: String, why: &str| Err(RunError::Setup { field, why: why.to_owned() });
        if !is_name(&self.runner_id, ID_BYTES_MAX) {
            return complain("runner_id".to_owned(), "give 1 to 64 bytes of visible ASCII");
        }
        let slots = self.all_slots();
        check_slots(&slots)?;
        for (at, handler) in self.handlers.iter().enumerate() {
            let declared = &handler.declared;
            let field = format!("handler {}", declared.task_type);
            if !(1..=NAME_BYTES_MAX).contains(&declared.task_type.len()) {
                return complain(field, "give a task type of 1 to 128 bytes");
            }
            if self.handlers[..at].iter().any(|other| other.declared.task_type == declared.task_type) {
                return complain(field, "one handler for each task type is possible");
            }
            let class = slot_class(declared);
            if !slots.contains_key(class) {
                return complain(field, &format!("give its slot class {class} some slots, or it never gets a task"));
            }
        }
        Ok(())
    }

    /// What was said, one of "default" if nothing was, and those that cleanups have of their own.
    fn all_slots(&self) -> BTreeMap<String, u32> {
        let mut slots = self.slots.clone();
        if slots.is_empty() {
            slots.insert(DEFAULT_CLASS.to_owned(), 1);
        }
        let cleans_up = |handler: &Handler| slot_class(&handler.declared) == CLEANUP_CLASS;
        if !slots.contains_key(CLEANUP_CLASS) && self.handlers.iter().any(cleans_up) {
            slots.insert(CLEANUP_CLASS.to_owned(), CLEANUP_SLOTS_DEFAULT);
        }
        slots
    }

    fn profile(&self) -> Profile {
        let info = RunnerInfo {
            version: self.version.clone(),
            sdk: SDK.to_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            labels: self.labels.clone(),
        };
        Profile {
            runner_id: self.runner_id.clone(),
            instance_id: Uuid::new_v4().to_string(),
            info,
            handlers: self.handlers.iter().map(|handler| handler.declared.clone()).collect(),
            capacity: Capacity { slots: self.all_slots(), refuse_new_sessions: false },
        }
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("runner_id", &self.runner_id)
            .field("handlers", &self.handlers)
            .field("slots", &self.all_slots())
            .finish_non_exhaustive()
    }
}

// === impl Connection ===

impl Connection {
    /// What to show over TCP; not used on a Unix socket.
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// To change health and capacity before and while it runs.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Bounds of the random wait before an attach that follows a failure: up to `min` after the first one, doubled each time
    /// up to `max`. Unless said: 1 s and 60 s.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.backoff = Backoff::new(min, max);
        self
    }

    /// How long `run` may go on after it was told to stop: then handlers are asked to stop, with the grace of their tasks, and
    /// what is not acknowledged after as long again is given up. Unless said, running tasks are finished however long they
    /// take, and their results acknowledged however long that takes.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.shutdown_grace = Some(grace);
        self
    }

    /// Attaches, executes tasks, and attaches again whenever the link is lost, until `shutdown` is ready; then takes no more
    /// work, finishes what runs and returns `Ok` once the delegate has acknowledged all of it.
    ///
    /// Returns an error only for what attaching again can't mend: a wrong setup, a refused hello, token or runner id, a newer
    /// instance with the same runner id. Handlers that still run are dropped then, as they are when this future is dropped.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        self.runner.check()?;
        let target = Target::parse(&self.target)?;
        let token = match (&target, self.token) {
            (Target::Unix(_), _) => None,
            (Target::Http(_), Some(token)) => Some(token),
            (Target::Http(_), None) => return Err(RunError::TokenMissing { target: self.target }),
        };
        let profile = self.runner.profile();
        let meter = Meter::new(self.runner.workspace);
        let layers = self.runner.layers;
        let wrapped = |handler| layers.iter().cloned().fold(handler, Handler::wrapped);
        let handlers = self.runner.handlers.into_iter().map(wrapped).collect();
        let driver = Driver::new(profile, handlers, self.control, meter, target, token, self.backoff);
        driver.run(shutdown, self.shutdown_grace).await
    }
}

fn slot_class(declared: &proto::Handler) -> &str {
    if declared.slot_class.is_empty() { DEFAULT_CLASS } else { &declared.slot_class }
}

fn is_name(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdk::{Context, Payload};

    fn noop(task_type: &str) -> Handler {
        Handler::new(task_type, |_: Context, _: Payload| async { Ok(()) })
    }

    fn complaint(runner: &Runner) -> String {
        runner.check().expect_err("a complaint").to_string()
    }

    #[test]
    fn a_wrong_setup_names_the_field_and_the_fix() {
        assert_eq!(complaint(&Runner::new("a b")), "runner_id: give 1 to 64 bytes of visible ASCII");
        let doubled = Runner::new("a").handler(noop("ECHO")).handler(noop("ECHO"));
        assert_eq!(complaint(&doubled), "handler ECHO: one handler for each task type is possible");
        let slotless = Runner::new("a").handler(noop("ECHO").slot_class("big")).slots("default", 1);
        assert_eq!(complaint(&slotless), "handler ECHO: give its slot class big some slots, or it never gets a task");
        let many = Runner::new("a").slots("default", 10_001);
        assert_eq!(complaint(&many), "slots: give up to 16 classes and 10,000 slots in all");
    }

    #[tokio::test]
    async fn tcp_without_a_token_is_refused_before_anything_is_sent() {
        let connection = Runner::new("a").handler(noop("ECHO")).connect("http://127.0.0.1:1");
        let error = connection.run(std::future::pending()).await.expect_err("no token");
        assert!(matches!(error, RunError::TokenMissing { .. }), "{error}");
    }
}
