//! A double of the Harness manager: both its families over real HTTP on loopback, with its quirks.
//!
//! Section numbers are those of the wire reference. What it imitates:
//!
//! * register (3), heartbeat (4), unregister (5), capacity (6), task events (7), acquire (8), results in dialects A and B (9), with the
//!   JWE check (2.3) on each, the error envelope (1), and no redirects;
//! * the quirks of 17.2: an unknown delegate's heartbeat is 200 `DELETED` (1); registrations are refused by 200 with an action, or by
//!   204 (2); a lost race is 500 with a body that says nothing (3); an acquire can hand a task out without assigning it (4) and is
//!   idempotent per delegate and instance (5); events repeat with every poll until someone acquires (6); an abort is told once (7);
//!   results are not tied to the acquirer, the first wins (8); dialect A wants an object and known names, else 500 (9), and is answered
//!   204 also for ids that nobody knows; same host, ip and account are the same delegate (11); immutable delegates lose their tasks at
//!   registration (12); a missing token is 500 (13); a started task fails at acquire plus timeout (14), and heartbeats that list it
//!   help only if [`Options::heartbeats_extend`] says so.
//!
//! Of the runner family: runner events, requests and dialect C (10), and the daemon sets' calls (11), to which it answers that none is
//! wanted. Whatever of it is a guess in the reference follows its advice: a request that is not to be had is 404. Every call may carry
//! the hash of the account secret (2.4); it is compared, counted, and never held against anyone.
//!
//! It does not speak the log service (13), checks no mTLS header, and keeps nothing on disk.
//!
//! ```text
//!  HTTP ─► server ─► calls (which call?) ─► faults ─► answers ─► State ─► Record ◄─ Manager::read, wait_until
//!                                                                  ▲
//!  Manager::submit, abort, … and /dev/tasks ───────────────────────┘
//! ```
//!
//! One mutex holds the state; nothing is rendered, sent or awaited under it.

mod answers;
mod calls;
mod delegates;
mod dev;
mod faults;
mod options;
mod record;
mod server;
mod shared;
mod tasks;
mod wire;

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinHandle};

use self::shared::Shared;
pub use self::{
    calls::Route,
    delegates::DELEGATES_MAX,
    dev::WAIT_MAX,
    faults::RegisterAnswer,
    options::{
        FINISHED_TASKS_MAX, HandBack, LOG_TOKEN, NewTask, OPEN_TASKS_MAX, Options, RunnerTask, SubmitError,
        TASK_TIMEOUT, TASK_TIMEOUT_MAX,
    },
    record::{
        Abort, Acquire, Acquired, Answer, Arrival, At, CALLS_KEPT_MAX, Dialect, Failure, Heartbeat, POLLS_KEPT_MAX,
        Poll, Record, Register, SEEN_PER_TASK_MAX, TaskRecord, TaskState, Totals,
    },
    wire::{CapacityConfig, Hidden, Registration},
};
pub use super::{
    door::BODY_BYTES_MAX,
    faults::{Calls, Fault, Gate},
    recent::Recent,
    wait::TimedOut,
};

/// A running double. Clones are the same one; it stops when the last is dropped.
#[derive(Clone)]
pub struct Manager {
    shared: Arc<Shared>,
    address: SocketAddr,
    _running: Arc<Running>,
}

/// The double's own tasks, which end with it.
struct Running {
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

// === impl Manager ===

impl Manager {
    /// Listens and serves, on the present runtime.
    ///
    /// # Errors
    /// The port can't be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(options));
        let serve = tokio::spawn({
            let shared = Arc::clone(&shared);
            // axum's serve ends only by being dropped.
            async move { drop(server::run(listener, shared).await) }
        });
        let expire = tokio::spawn(shared::expire(Arc::clone(&shared)));
        let running = Arc::new(Running { shared: Arc::clone(&shared), tasks: [serve, expire] });
        Ok(Self { shared, address, _running: running })
    }

    /// The base URL, without a slash at its end.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The account it serves.
    pub fn account(&self) -> &str {
        &self.shared.account
    }

    /// Queues a task; its id.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub fn submit(&self, task: NewTask) -> Result<String, SubmitError> {
        self.shared.submit(task)
    }

    /// Aborts a task: whether a delegate will be told, by its next poll. Not for sync, queued or finished tasks.
    pub fn abort(&self, id: &str) -> bool {
        self.shared.abort(id)
    }

    // --- what it saw ---

    /// A copy of the record. [`Manager::read`] does without one.
    pub fn record(&self) -> Record {
        self.shared.lock().record.clone()
    }

    /// Looks at the record in place. The server stands still meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&self.shared.lock().record)
    }

    /// A copy of one task's record.
    pub fn task(&self, id: &str) -> Option<TaskRecord> {
        self.read(|record| record.task(id).cloned())
    }

    /// A copy of the task's effective result, if it has one.
    pub fn effective(&self, id: &str) -> Option<Answer> {
        self.read(|record| record.effective(id).cloned())
    }

    /// Waits for the task's effective result.
    ///
    /// # Errors
    /// It did not come in time.
    pub async fn wait_for(&self, id: &str, timeout: Duration) -> Result<Answer, TimedOut> {
        let mut found = None;
        self.wait_until(
            |record| {
                found = record.effective(id).cloned();
                found.is_some()
            },
            timeout,
        )
        .await?;
        found.ok_or(TimedOut { waited: timeout })
    }

    /// Waits until the record is as wanted. The predicate runs after every call and every change, under the lock: it should be cheap.
    ///
    /// # Errors
    /// It was not so in time.
    pub async fn wait_until(&self, predicate: impl FnMut(&Record) -> bool, timeout: Duration) -> Result<(), TimedOut> {
        self.shared.wait_until(predicate, timeout).await
    }

    // --- what goes wrong ---

    /// Makes calls of a route go wrong. Faults of one route are used up in the order they were set.
    pub fn fault(&self, route: Route, fault: Fault, calls: Calls) {
        self.shared.script().faults.set(route as usize, fault, calls);
    }

    /// Forgets all faults, scripted registrations and token refusals. What is held stays held by its gate.
    pub fn clear_faults(&self) {
        let mut script = self.shared.script();
        script.faults.clear();
        script.register.clear();
        script.token_refusal = None;
    }

    /// Goes down: open connections break at their next call or answer, new ones are hung up on. State stays.
    pub fn down(&self) {
        self.shared.down.store(true, Ordering::Release);
    }

    /// Comes back.
    pub fn up(&self) {
        self.shared.down.store(false, Ordering::Release);
    }

    /// Deletes all delegates: their heartbeats are answered `DELETED`, and who registers again gets a new id. Their tasks go on.
    pub fn forget_delegates(&self) {
        self.shared.lock().delegates.forget();
        self.shared.changed.notify_waiters();
    }

    /// Lets the next acquire of this task hand it out without assigning it. Calls add up.
    pub fn hand_out_unassigned(&self, id: &str) {
        self.shared.lock().hand_out_unassigned(id);
    }

    /// Scripts what registrations are answered.
    pub fn refuse_registers(&self, answer: RegisterAnswer, calls: Calls) {
        self.shared.script().register.push(answer, calls);
    }

    /// Refuses every token with 401 and this code, such as `REVOKED_TOKEN`; none: checks them again.
    pub fn refuse_tokens(&self, code: Option<&'static str>) {
        self.shared.script().token_refusal = code;
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("address", &self.address).finish_non_exhaustive()
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        // Connections are tasks of their own and end at their next call.
        self.shared.down.store(true, Ordering::Release);
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
