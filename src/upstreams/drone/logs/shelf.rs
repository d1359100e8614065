//! What is known of each step that has, or may have, a log: which step of the server it is, and how far its log has come.
//!
//! ```text
//!  spool: a log begins, or is found after a start ─┐
//!  core: the steps' news, with the server's ids ───┼─► Place ◄─ Delivery: live batches, the whole
//!  core: the stage has ended ──────────────────────┘         ◄─ tell, report: the whole, before the step's last PUT
//! ```
//!
//! It lives in memory: after a start the spool tells again of its logs, and the core of its steps.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::super::{known::Known, wire::STATUS_PENDING};
use crate::{
    core::{step::Step, time::Wall},
    logs::spool::Log,
};

/// All places.
#[derive(Default)]
pub(in super::super) struct Shelf {
    stages: Mutex<BTreeMap<i64, Stage>>,
    /// Grows with every change.
    changes: watch::Sender<u64>,
}

/// A stage of ours, by its id.
#[derive(Default)]
struct Stage {
    /// By the runner's ids.
    steps: BTreeMap<Arc<str>, Place>,
    /// The core has told of it since the start.
    is_claimed: bool,
    /// The server was told of its steps.
    is_registered: bool,
    /// The answer that named them is lost.
    is_lost: bool,
    /// It has been reported: nothing more comes from the core.
    is_over: bool,
}

#[derive(Default)]
struct Place {
    server: Option<OnServer>,
    /// The newest log.
    log: Option<Log>,
    /// Deliveries that hold this place, and whether there was one.
    deliveries: u32,
    was_delivered: bool,
    ending_since: Option<Instant>,
    upload: Arc<tokio::sync::Mutex<Upload>>,
}

/// A step as the server has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OnServer {
    pub id: i64,
    /// It takes lines only once it has run.
    pub has_begun: bool,
    pub started: Wall,
}

/// How far a log has come. Whoever sends anything of it holds the lock meanwhile.
#[derive(Debug, Default)]
pub(super) struct Upload {
    /// The step's last PUT is due: no live line may follow.
    pub is_ending: bool,
    pub is_stored: bool,
    /// It was stored as that of a step without lines.
    pub is_empty: bool,
    /// An answer is missing, so it may be stored.
    pub is_unsure: bool,
    /// Answers that said no.
    pub faults: u32,
    pub tried_since: Option<Instant>,
}

/// What stands in the way of a step's log, or nothing does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    Open(OnServer),
    /// The server is not told yet that it runs.
    Early,
    /// The core has not told of its stage, or not of the step.
    Unknown,
    Never(&'static str),
}

// === impl Shelf ===

impl Shelf {
    /// A log of this step is in the spool.
    pub fn begun(&self, stage: i64, step: &str, log: &Log) {
        self.change(stage, |stage| {
            let place = stage.place(step);
            if place.log.as_ref().is_none_or(|known| known.ordinal() <= log.ordinal()) {
                place.log = Some(log.clone());
            }
        });
    }

    /// The stage is ours, and its steps are on their way to the server.
    pub fn claim(&self, stage: i64) {
        self.change(stage, |stage| (stage.is_claimed, stage.is_over) = (true, false));
    }

    /// What the server knows of the stage's steps.
    pub fn learn(&self, stage: i64, known: &Known, steps: &[Step]) {
        self.change(stage, |stage| {
            (stage.is_registered, stage.is_lost) = (true, known.lost);
            for known in &known.steps {
                let Some(step) = steps.iter().find(|step| step.number == known.number) else { continue };
                let has_begun = known.status != STATUS_PENDING;
                let started = step.started.or(step.ended).unwrap_or(Wall(0));
                stage.place(&step.id).server = Some(OnServer { id: known.id, has_begun, started });
            }
        });
    }

    /// The stage has been reported. What logs are still on their way keep their places.
    pub fn leave(&self, stage: i64) {
        let mut stages = self.lock();
        if let Some(left) = stages.get_mut(&stage) {
            left.is_over = true;
            left.tidy();
            if left.steps.is_empty() {
                stages.remove(&stage);
            }
        }
        drop(stages);
        self.changes.send_modify(|changes| *changes += 1);
    }

    pub(super) fn arrive(&self, stage: i64, step: &str) {
        let mut stages = self.lock();
        let place = stages.entry(stage).or_default().place(step);
        (place.deliveries, place.was_delivered) = (place.deliveries + 1, true);
    }

    pub(super) fn depart(&self, stage: i64, step: &str) {
        let mut stages = self.lock();
        let Some(left) = stages.get_mut(&stage) else { return };
        if let Some(place) = left.steps.get_mut(step) {
            place.deliveries = place.deliveries.saturating_sub(1);
        }
        // One that the core has not told of since the start may be from long ago.
        if left.is_over || !left.is_claimed {
            left.tidy();
            if left.steps.is_empty() {
                stages.remove(&stage);
            }
        }
    }

    /// Whether lines of the step may be sent.
    pub(super) fn way(&self, stage: i64, step: &str) -> Way {
        let stages = self.lock();
        let Some(stage) = stages.get(&stage) else { return Way::Unknown };
        let server = stage.steps.get(step).and_then(|place| place.server);
        match server {
            _ if stage.is_lost => Way::Never("the answer that named the stage's steps is lost"),
            Some(server) if server.has_begun || stage.is_over => Way::Open(server),
            Some(_) => Way::Early,
            None if stage.is_over => Way::Never("the stage has ended without the step"),
            // A step that is none of the plan, unless a later plan has it.
            None if stage.is_registered => Way::Unknown,
            None if stage.is_claimed => Way::Early,
            None => Way::Unknown,
        }
    }

    /// The same, once it is not too early or `patience` is over.
    pub(super) async fn way_within(&self, stage: i64, step: &str, patience: Duration) -> Way {
        let mut changes = self.changes.subscribe();
        let until = Instant::now() + patience;
        loop {
            let way = self.way(stage, step);
            let may_change = matches!(way, Way::Early | Way::Unknown);
            if !may_change || tokio::time::timeout_at(until, changes.changed()).await.is_err() {
                return way;
            }
        }
    }

    pub(super) fn upload(&self, stage: i64, step: &str) -> Arc<tokio::sync::Mutex<Upload>> {
        self.lock().entry(stage).or_default().place(step).upload.clone()
    }

    /// Since when the ends of these steps are due at the server.
    pub fn ending<'a>(&self, stage: i64, steps: impl IntoIterator<Item = &'a str>) {
        let now = Instant::now();
        let mut stages = self.lock();
        let stage = stages.entry(stage).or_default();
        for step in steps {
            stage.place(step).ending_since.get_or_insert(now);
        }
    }

    /// The step's log once nobody writes to it any more, for as long as `patience` since its end was due. `None`: it has none.
    ///
    /// # Errors
    /// [`StillOpen`].
    pub(super) async fn closed(&self, stage: i64, step: &Step, patience: Duration) -> Result<Option<Log>, StillOpen> {
        self.ending(stage, [&*step.id]);
        let mut changes = self.changes.subscribe();
        loop {
            let (log, since) = {
                let stages = self.lock();
                let place = stages.get(&stage).and_then(|stage| stage.steps.get(&step.id));
                (place.and_then(|place| place.log.clone()), place.and_then(|place| place.ending_since))
            };
            let until = since.unwrap_or_else(Instant::now) + patience;
            let closed = async {
                match &log {
                    // The sender lives in the log.
                    Some(log) => {
                        drop(log.watch().wait_for(|progress| progress.receipt.is_some() || progress.removed).await);
                    }
                    None if step.has_log => std::future::pending().await,
                    None => {}
                }
            };
            tokio::select! {
                biased;
                () = closed => return Ok(log),
                // There may be a newer one.
                changed = changes.changed() => if changed.is_err() { return Err(StillOpen) },
                () = tokio::time::sleep_until(until) => return Err(StillOpen),
            }
        }
    }

    fn change(&self, stage: i64, change: impl FnOnce(&mut Stage)) {
        change(self.lock().entry(stage).or_default());
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, Stage>> {
        // Nothing that is done under the lock stops half-way.
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log of a step that has ended is still written, or has not come, and nobody waits for it any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StillOpen;

// === impl Stage ===

impl Stage {
    fn place(&mut self, step: &str) -> &mut Place {
        if !self.steps.contains_key(step) {
            self.steps.insert(step.into(), Place::default());
        }
        self.steps.get_mut(step).expect("it was put there if it was not")
    }

    /// Forgets the steps whose logs are not on their way.
    fn tidy(&mut self) {
        self.steps.retain(|_, place| place.deliveries > 0 || (place.log.is_some() && !place.was_delivered));
    }
}
