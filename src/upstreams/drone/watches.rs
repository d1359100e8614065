//! The builds that are watched, and the cancels that were heard.
//!
//! The server tells a cancel to whoever watches at that moment, and to nobody later. So two watches of a build overlap: the second
//! is armed when the first is half a hold old, and whichever ends, the other is still open.
//!
//! ```text
//!  first   ├──────────── 30 s ───────────┤ ├──────────── …
//!  second           ├──────────── 30 s ───────────┤ ├─── …      an answer of 200: cancelled
//!                                                              an error: armed again, then the details are read once
//! ```
//!
//! Whoever watches a build that was cancelled unheard finds out by those details, or by the next PUT.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
};

use super::{
    classify::{self, Watched},
    client::Client,
    request::Request,
    stage_id::StageId,
    wire::{Build, Details, STATUS_KILLED, is_open},
};

/// Between arming a watch after an error and reading the details, so that a cancel in between is heard by either.
const CHECK_AFTER: Duration = Duration::from_millis(200);
/// How long a stage is watched although the core does not name it: it may be on its way into the journal.
const UNNAMED_FOR: Duration = Duration::from_secs(60);

pub(super) struct Watches {
    shared: Arc<Shared>,
}

struct Shared {
    client: Arc<Client>,
    /// Rings when a cancel was heard.
    news: Arc<Notify>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    builds: BTreeMap<i64, Watch>,
    /// Not yet told to the core.
    cancelled: BTreeSet<StageId>,
}

/// One build with stages of ours.
struct Watch {
    machine: Arc<str>,
    stages: BTreeMap<i64, Instant>,
    task: AbortHandle,
}

/// What a watching task waits for.
enum Event {
    Ended {
        watched: Watched,
        lasted: Duration,
    },
    /// Stages of ours that the server has ended, or given away.
    Checked(Vec<StageId>),
}

// === impl Watches ===

impl Watches {
    pub fn new(client: Arc<Client>, news: Arc<Notify>) -> Self {
        Self { shared: Arc::new(Shared { client, news, state: Mutex::default() }) }
    }

    /// The stage is ours: its build is watched from now on.
    pub fn begin(&self, machine: &Arc<str>, id: StageId) {
        let mut state = self.shared.lock();
        let watch = state.builds.entry(id.build).or_insert_with(|| Watch {
            machine: machine.clone(),
            stages: BTreeMap::new(),
            task: tokio::spawn(run(self.shared.clone(), id.build)).abort_handle(),
        });
        watch.stages.entry(id.stage).or_insert_with(Instant::now);
    }

    /// The stage is over.
    pub fn end(&self, id: StageId) {
        let mut state = self.shared.lock();
        state.cancelled.remove(&id);
        let Some(watch) = state.builds.get_mut(&id.build) else { return };
        watch.stages.remove(&id.stage);
        if watch.stages.is_empty() {
            watch.task.abort();
            state.builds.remove(&id.build);
        }
    }

    /// Watches what runs and nothing else: after a start, the core is the one that knows.
    pub fn keep(&self, machine: &Arc<str>, running: BTreeSet<StageId>) {
        let over: Vec<StageId> = {
            let state = self.shared.lock();
            let watched = state.builds.iter().flat_map(|(build, watch)| {
                watch.stages.iter().map(|(stage, since)| (StageId { build: *build, stage: *stage }, *since))
            });
            watched
                .filter(|(id, since)| !running.contains(id) && since.elapsed() > UNNAMED_FOR)
                .map(|(id, _)| id)
                .collect()
        };
        over.into_iter().for_each(|id| self.end(id));
        running.into_iter().for_each(|id| self.begin(machine, id));
    }

    /// The stage was cancelled, whoever found out.
    pub fn cancel(&self, id: StageId) {
        self.shared.cancelled([id]);
    }

    /// Each cancel once.
    pub fn take_cancelled(&self) -> Vec<StageId> {
        std::mem::take(&mut self.shared.lock().cancelled).into_iter().collect()
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        // The tasks hold what this one shares with them.
        self.shared.lock().builds.values().for_each(|watch| watch.task.abort());
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock stops half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stages(&self, build: i64) -> Option<(Arc<str>, Vec<StageId>)> {
        let state = self.lock();
        let watch = state.builds.get(&build)?;
        Some((watch.machine.clone(), watch.stages.keys().map(|stage| StageId { build, stage: *stage }).collect()))
    }

    fn cancelled(&self, ids: impl IntoIterator<Item = StageId>) {
        self.lock().cancelled.extend(ids);
        self.news.notify_waiters();
    }

    /// Stages of ours that the details of one show to be over; none if there are no details.
    async fn check(&self, build: i64) -> Vec<StageId> {
        let Some((machine, stages)) = self.stages(build) else { return Vec::new() };
        let Some(first) = stages.first() else { return Vec::new() };
        let Ok(details) = self.client.details(*first).await else { return Vec::new() };
        let details: Option<Details<'_>> = serde_json::from_slice(&details).ok();
        let Some(build) = details.and_then(|details| details.build) else { return Vec::new() };
        stages.into_iter().filter(|id| is_over(&build, *id, &machine)).collect()
    }
}

/// Whether the server has taken the stage away.
fn is_over(build: &Build, id: StageId, machine: &str) -> bool {
    let stage = build.stages.iter().find(|stage| stage.id == id.stage);
    build.status == STATUS_KILLED || stage.is_some_and(|stage| !is_open(&stage.status) || stage.machine != machine)
}

/// Watches one build until it is cancelled, or this task is aborted.
async fn run(shared: Arc<Shared>, build: i64) {
    let pace = shared.client.options.pace;
    let mut events = JoinSet::new();
    let (mut open, mut checking, mut tries) = (0_u32, false, 0_u32);
    let mut arm_at = Some(tokio::time::Instant::now());
    let mut check_at: Option<tokio::time::Instant> = None;
    loop {
        tokio::select! {
            biased;
            Some(event) = events.join_next() => match event {
                Ok(Event::Ended { watched: Watched::Cancelled, .. }) => {
                    let stages = shared.stages(build).map(|(_, stages)| stages).unwrap_or_default();
                    return shared.cancelled(stages);
                }
                Ok(Event::Ended { watched, lasted }) => {
                    open -= 1;
                    let now = tokio::time::Instant::now();
                    tries = if lasted >= pace.watch_overlap || watched == Watched::Nothing { 0 } else { tries + 1 };
                    let soonest = now + pace.pause(tries.saturating_sub(1));
                    // While the other is open there is time; if there is none, every moment counts.
                    arm_at = Some(if open == 0 { soonest } else { arm_at.map_or(soonest, |at| at.max(soonest)) });
                    if watched == Watched::Unclear {
                        check_at = Some(soonest + CHECK_AFTER);
                    }
                }
                Ok(Event::Checked(over)) => {
                    checking = false;
                    if !over.is_empty() {
                        shared.cancelled(over);
                    }
                }
                // Only a panic of this module's own could be one.
                Err(_) => return,
            },
            () = at(arm_at) => {
                open += 1;
                arm_at = (open < 2).then(|| tokio::time::Instant::now() + pace.watch_overlap);
                let client = shared.client.clone();
                events.spawn(async move {
                    let began = Instant::now();
                    let request = Request::watch(build, client.options.pace.hold_timeout);
                    let watched = classify::watch(&client.send(&request).await);
                    Event::Ended { watched, lasted: began.elapsed() }
                });
            }
            () = at(check_at.filter(|_| !checking)) => {
                (check_at, checking) = (None, true);
                let shared = shared.clone();
                events.spawn(async move { Event::Checked(shared.check(build).await) });
            }
        }
    }
}

async fn at(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
