//! A double of the Drone server: its runner protocol over real HTTP on loopback, as strict as the real one.
//!
//! Section numbers are those of the wire reference. What it imitates:
//!
//! * the token on every call, 401 and 403 (2.2); 500 for nearly everything that goes wrong (2.3); bodies as Go reads them (2.4);
//! * polls and watches that are held (3.3, 3.8), offers that repeat until somebody accepts, and the queue's rules (7);
//! * versions: a write names the one it read, or gets 409, and for a step's end 500 with the text of the lost race (3.6, 3.7, 6); ids
//!   of the path are ignored in both PUTs; whatever a body leaves out is zeroed;
//! * an accept that revives a cancelled stage (3.4); steps registered by number; live logs that exist while a step runs (3.9); one
//!   stored log a step (3.10); cards, or a server without them (3.11);
//! * dependants and the close of a build (5.3, 5.4); cancels, and what of them a late watch misses; the reaper (8).
//!
//! A cancel's memory of five minutes is only there with [`Options::redis`]: without Redis the real server keeps one, too, and never
//! looks at it within a watch's hold. Of two polls that match, both may be offered the same stage at once, as two passes of the real
//! queue do. It keeps nothing on disk, checks no platform against a list, and reads no pipeline.
//!
//! ```text
//!  HTTP ─► server ─► calls (which call?) ─► faults ─► answers ─► Tables ─► Record ◄─ Drone::read, wait_until
//!                                                                  ▲
//!  Drone::submit, cancel, reap ────────────────────────────────────┘
//! ```
//!
//! One mutex holds the tables; nothing is sent or awaited under it.

mod answers;
mod calls;
mod cancel;
mod options;
mod queue;
mod record;
mod server;
mod shared;
mod tables;
mod updates;
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
    options::{HOLD, NewBuild, NewRepo, NewStage, OPEN_STAGES_MAX, Options, SubmitError, Submitted},
    record::{
        Accept, Arrival, CALLS_KEPT_MAX, End, LIVE_LINES_MAX, Poll, Put, Record, SEEN_PER_ROW_MAX, StageSeen, StepSeen,
        Totals,
    },
    wire::{Build, Filter, Line, Stage, Step},
};
pub use super::{
    at::At,
    faults::{Calls, Fault, Gate},
    recent::Recent,
    wait::TimedOut,
};

/// A running double. Clones are the same one; it stops when the last is dropped.
#[derive(Clone)]
pub struct Drone {
    shared: Arc<Shared>,
    address: SocketAddr,
    _running: Arc<Running>,
}

/// The double's own task, which ends with it.
struct Running {
    shared: Arc<Shared>,
    serve: JoinHandle<()>,
}

// === impl Drone ===

impl Drone {
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
        let running = Arc::new(Running { shared: Arc::clone(&shared), serve });
        Ok(Self { shared, address, _running: running })
    }

    /// The base URL, without a slash at its end.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a repository; its id.
    pub fn add_repo(&self, repo: NewRepo) -> i64 {
        self.shared.lock().add_repo(repo)
    }

    /// Queues a build.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub fn submit(&self, build: NewBuild) -> Result<Submitted, SubmitError> {
        let submitted = self.shared.lock().submit(build);
        self.shared.changed.notify_waiters();
        submitted
    }

    /// Cancels a build, as a user does: whether anything was open. Those who watch right now are told.
    pub fn cancel(&self, build: i64) -> bool {
        let any = self.shared.lock().cancel(build);
        self.shared.changed.notify_waiters();
        any
    }

    /// One pass of the reaper, in which every stage that is pending or running counts as old enough: the builds it cancelled.
    pub fn reap(&self) -> Vec<i64> {
        let reaped = self.shared.lock().reap(|_| true);
        self.shared.changed.notify_waiters();
        reaped
    }

    /// Stops the hand-out, as an administrator can, or lets it go on.
    pub fn pause(&self, paused: bool) {
        self.shared.lock().paused = paused;
        self.shared.changed.notify_waiters();
    }

    // --- what it saw ---

    /// A copy of the record. [`Drone::read`] does without one.
    pub fn record(&self) -> Record {
        self.shared.lock().record.clone()
    }

    /// Looks at the record in place. The server stands still meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&self.shared.lock().record)
    }

    /// The status of a stage now.
    pub fn status(&self, stage: i64) -> Option<String> {
        self.read(|record| record.status(stage).map(str::to_owned))
    }

    /// The status of a build now.
    pub fn build_status(&self, build: i64) -> Option<String> {
        self.shared.lock().builds.get(&build).map(|row| row.build.status.clone())
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

    /// Forgets all faults and token refusals. What is held stays held by its gate.
    pub fn clear_faults(&self) {
        let mut script = self.shared.script();
        script.faults.clear();
        script.refuse_tokens = false;
    }

    /// Answers every token with 401, or checks them again.
    pub fn refuse_tokens(&self, refuse: bool) {
        self.shared.script().refuse_tokens = refuse;
    }

    /// Cuts the connections of all polls and watches that are held.
    pub fn cut_held(&self) {
        self.shared.cuts.fetch_add(1, Ordering::AcqRel);
        self.shared.changed.notify_waiters();
    }

    /// Goes down: what is held is cut, other connections break at their next call or answer, and new ones are hung up on. State
    /// stays, live logs do not.
    pub fn down(&self) {
        self.shared.down.store(true, Ordering::Release);
        self.shared.lock().live.clear();
        self.cut_held();
    }

    /// Comes back.
    pub fn up(&self) {
        self.shared.down.store(false, Ordering::Release);
    }
}

impl fmt::Debug for Drone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drone").field("address", &self.address).finish_non_exhaustive()
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        // Connections are tasks of their own and end at their next call.
        self.shared.down.store(true, Ordering::Release);
        self.serve.abort();
    }
}
