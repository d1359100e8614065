//! What kind of manager to be, and what a task is to be.

use std::time::Duration;

use bytes::Bytes;

use crate::upstreams::harness::token::AccountSecret;

/// The log service's token that each legacy task carries.
pub const LOG_TOKEN: &str = "logtok-of-the-double";

/// Finished tasks kept by default; the oldest are forgotten, their counts stay.
pub const FINISHED_TASKS_MAX: usize = 100_000;

/// Tasks that may be open at once.
pub const OPEN_TASKS_MAX: u64 = 1_000_000;

/// Run time of a task after its acquire, unless it says otherwise. The manager's usual one for CI steps.
pub const TASK_TIMEOUT: Duration = Duration::from_secs(600);

/// Longest run or queue time of a task; the real manager's are hours.
pub const TASK_TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// What kind of manager to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// The one account.
    pub account: String,
    /// Its secret.
    pub secret: AccountSecret,
    /// Port on 127.0.0.1; 0: any free one. A fixed one lets a manager come back under its old address.
    pub port: u16,
    /// Tasks listed per poll at most; none: all, as the real manager does.
    pub events_per_poll_max: Option<usize>,
    /// Finished tasks kept.
    pub finished_tasks_max: usize,
    /// Who is offered a task that was handed back.
    pub hand_back: HandBack,
    /// Whether a heartbeat that lists a task lets it run for its timeout again. False is the harsher reading of 17.2, 14.
    pub heartbeats_extend: bool,
}

/// What `RETRY_ON_OTHER_DELEGATE` does (9.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandBack {
    /// The task is queued again for other delegates that support its type; if there is none, the answer counts.
    #[default]
    ToOthers,
    /// The task is queued again for everyone.
    ToAnyone,
}

/// A task to be.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// The manager's name of the type.
    pub task_type: String,
    /// JSON; reaches the delegate byte for byte.
    pub data: Bytes,
    /// None: made by the double. Must be safe in a URL path.
    pub id: Option<String>,
    /// Run time after acquire, at most [`TASK_TIMEOUT_MAX`].
    pub timeout: Duration,
    /// Time in the queue after which it fails as not assigned; none: it waits.
    pub queue_timeout: Option<Duration>,
    /// Someone waits for the answer right now; such tasks are listed first and can't be aborted by event.
    pub sync: bool,
    /// Ask for dialect B.
    pub runner_response: bool,
    /// List it also to delegates that do not support its type.
    pub listed_to_all: bool,
    /// Offer it to the runner family, and not to the legacy one.
    pub runner: Option<RunnerTask>,
}

/// What a task of the runner family has beside its data. All of it is JSON, and goes into the request as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerTask {
    /// `secrets`: an array of sub-tasks.
    pub secrets: String,
    pub config: String,
    pub forward: String,
    pub logger: String,
}

/// A task that can't be submitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("the data of a task must be json: it breaks at line {line}, column {column}")]
    NotJson { line: usize, column: usize },
    #[error("task id {id:?} does not fit into a url path: use letters, digits, '-', '_', '.', '~'")]
    BadId { id: String },
    #[error("a task's run and queue times are at most {TASK_TIMEOUT_MAX:?}, not {timeout:?}")]
    TimeoutTooLong { timeout: Duration },
    #[error("task {id} exists already")]
    Exists { id: String },
    #[error("{max} tasks are open already, which is the most this double keeps")]
    TooMany { max: u64 },
}

// === impl Options, NewTask ===

impl Options {
    /// The manager of this account, with everything else as the real one has it.
    pub fn new(account: impl Into<String>, secret: AccountSecret) -> Self {
        Self {
            account: account.into(),
            secret,
            port: 0,
            events_per_poll_max: None,
            finished_tasks_max: FINISHED_TASKS_MAX,
            hand_back: HandBack::default(),
            heartbeats_extend: false,
        }
    }
}

impl NewTask {
    /// An async task that wants dialect A and may run for [`TASK_TIMEOUT`].
    pub fn new(task_type: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self {
            task_type: task_type.into(),
            data: data.into(),
            id: None,
            timeout: TASK_TIMEOUT,
            queue_timeout: None,
            sync: false,
            runner_response: false,
            listed_to_all: false,
            runner: None,
        }
    }

    /// A task of the runner family, without secrets.
    pub fn for_runners(task_type: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self { runner: Some(RunnerTask::default()), ..Self::new(task_type, data) }
    }
}

// === impl RunnerTask ===

impl Default for RunnerTask {
    /// No secrets, and null for all else.
    fn default() -> Self {
        let null = || "null".to_owned();
        Self { secrets: "[]".to_owned(), config: null(), forward: null(), logger: null() }
    }
}
