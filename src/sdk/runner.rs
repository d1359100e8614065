//! A runner as its program describes it.

use std::{collections::BTreeMap, time::Duration};

use uuid::Uuid;

use super::{
    backoff::Backoff,
    driver::Driver,
    error::RunError,
    handler::{CLEANUP_CLASS, DEFAULT_CLASS, Handler},
    session::Profile,
    target::{Target, Token},
};
use crate::proto::runner::v1::{Capacity, RunnerInfo};

/// Bounds of the protocol.
const ID_BYTES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 128;
const CLASSES_MAX: usize = 16;
const SLOTS_MAX: u64 = 10_000;

/// What this SDK is called in `RunnerInfo.sdk`.
const SDK: &str = concat!("dlite-rust/", env!("CARGO_PKG_VERSION"));

/// Handlers and the slots they share.
#[derive(Debug)]
pub struct Runner {
    runner_id: String,
    version: String,
    labels: BTreeMap<String, String>,
    handlers: Vec<Handler>,
    slots: BTreeMap<String, u32>,
}

/// A runner and the way to its delegate.
#[derive(Debug)]
pub struct Connection {
    runner: Runner,
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
        }
    }

    /// Adds what the runner can execute; one handler for each task type.
    pub fn handler(mut self, handler: Handler) -> Self {
        self.handlers.push(handler);
        self
    }

    /// How many tasks run at once in a slot class; up to 16 classes and 10,000 slots in all. Unless said: one of "default", and of
    /// "cleanup" as many as of "default" if a handler uses that class.
    pub fn slots(mut self, class: impl Into<String>, count: u32) -> Self {
        self.slots.insert(class.into(), count);
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
        if slots.len() > CLASSES_MAX || slots.values().copied().map(u64::from).sum::<u64>() > SLOTS_MAX {
            return complain("slots".to_owned(), "give up to 16 classes and 10,000 slots in all");
        }
        for (at, handler) in self.handlers.iter().enumerate() {
            let declared = &handler.declared;
            let field = format!("handler {}", declared.task_type);
            if !(1..=NAME_BYTES_MAX).contains(&declared.task_type.len()) {
                return complain(field, "give a task type of 1 to 128 bytes");
            }
            if self.handlers[..at].iter().any(|other| other.declared.task_type == declared.task_type) {
                return complain(field, "one handler for each task type is possible");
            }
            let class = handler.class();
            if !slots.contains_key(class) {
                return complain(field, &format!("give its slot class {class} some slots, or it never gets a task"));
            }
        }
        Ok(())
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
            handlers: self.handlers.iter().map(Handler::declaration).collect(),
            capacity: Capacity { slots: self.all_slots() },
        }
    }

    /// Those that were given, and what holds unless they are. As many cleanups at once as other tasks, since each ends one of them.
    fn all_slots(&self) -> BTreeMap<String, u32> {
        let mut slots = self.slots.clone();
        if slots.is_empty() {
            slots.insert(DEFAULT_CLASS.to_owned(), 1);
        }
        if self.handlers.iter().any(|handler| handler.class() == CLEANUP_CLASS) && !slots.contains_key(CLEANUP_CLASS) {
            let as_many = slots.get(DEFAULT_CLASS).copied().unwrap_or(1);
            slots.insert(CLEANUP_CLASS.to_owned(), as_many);
        }
        slots
    }
}

// === impl Connection ===

impl Connection {
    /// What to show over TCP; not used on a Unix socket.
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
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
        Driver::new(profile, self.runner.handlers, target, token, self.backoff).run(shutdown, self.shutdown_grace).await
    }
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
        let unslotted = Runner::new("a").handler(noop("ECHO")).slots("big", 1);
        assert_eq!(
            complaint(&unslotted),
            "handler ECHO: give its slot class default some slots, or it never gets a task"
        );
        let many = Runner::new("a").slots("default", 10_001);
        assert_eq!(complaint(&many), "slots: give up to 16 classes and 10,000 slots in all");
    }

    #[test]
    fn cleanups_have_slots_of_their_own_unless_said() {
        let cleanup = || noop("CLEAN").kind(crate::proto::runner::v1::TaskKind::SessionCleanup);
        let slots = |runner: &Runner| runner.profile().capacity.slots.into_iter().collect::<Vec<_>>();
        let pairs =
            |pairs: &[(&str, u32)]| pairs.iter().map(|(class, n)| ((*class).to_owned(), *n)).collect::<Vec<_>>();
        let runner = Runner::new("a").handler(noop("ECHO")).handler(cleanup()).slots("default", 4);
        runner.check().expect("a good setup");
        assert_eq!(slots(&runner), pairs(&[("cleanup", 4), ("default", 4)]));
        assert_eq!(runner.profile().handlers[1].slot_class, "cleanup");
        let bare = Runner::new("a").handler(cleanup());
        assert_eq!(slots(&bare), pairs(&[("cleanup", 1), ("default", 1)]));
        let shared = Runner::new("a").handler(cleanup().slot_class("default")).slots("default", 2);
        assert_eq!(slots(&shared), pairs(&[("default", 2)]));
        assert_eq!(slots(&Runner::new("a").handler(noop("ECHO"))), pairs(&[("default", 1)]));
    }

    #[tokio::test]
    async fn tcp_without_a_token_is_refused_before_anything_is_sent() {
        let connection = Runner::new("a").handler(noop("ECHO")).connect("http://127.0.0.1:1");
        let error = connection.run(std::future::pending()).await.expect_err("no token");
        assert!(matches!(error, RunError::TokenMissing { .. }), "{error}");
    }
}
