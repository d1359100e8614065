//! What the double saw and what it made of it: the facts that tests count.
//!
//! A stage's *effective* end is the first final state that a PUT gave it while it was open. A later final PUT that took hold is a
//! *repeat* if it says the same and a *conflict* if it does not; one that the version check refused is *stale*. A *violation* is
//! something that the server lets pass and no good client does.

use std::collections::BTreeMap;

use super::{
    calls::Route,
    wire::{Filter, Line, Stage, Step},
};
use crate::doubles::{at::At, recent::Recent};

/// Calls kept, of each kind.
pub const CALLS_KEPT_MAX: usize = 10_000;
/// Accepts and PUTs kept per stage or step; all are counted.
pub const SEEN_PER_ROW_MAX: usize = 64;
/// Live lines kept per step, as on the server.
pub const LIVE_LINES_MAX: usize = 5_000;

/// Everything seen since the start, within the bounds above.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub(super) calls: [u64; Route::ALL.len()],
    pub totals: Totals,
    pub stages: BTreeMap<i64, StageSeen>,
    pub steps: BTreeMap<i64, StepSeen>,
    /// Every call as it came in, faulted and refused ones included.
    pub arrivals: Recent<Arrival, CALLS_KEPT_MAX>,
    /// Polls that were answered.
    pub polls: Recent<Poll, CALLS_KEPT_MAX>,
    /// Calls that held the token in query or body.
    pub token_seen: Recent<Route, CALLS_KEPT_MAX>,
    pub violations: Recent<String, CALLS_KEPT_MAX>,
}

/// Numbers that cost nothing to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub submitted: u64,
    /// Stages with an effective end.
    pub effective: u64,
    pub repeats: u64,
    pub conflicts: u64,
    pub stale: u64,
    /// Stages that the server itself ended: cancelled, skipped.
    pub closed: u64,
    pub unauthorized: u64,
    pub hung_up: u64,
    /// Calls to no route, or by a wrong method.
    pub no_route: u64,
    /// Polls and watches that are held right now.
    pub polls_open: u64,
    pub watches_open: u64,
}

/// One stage, from submission on.
#[derive(Clone, Debug)]
pub struct StageSeen {
    /// As it is in the database now.
    pub row: Stage,
    pub submitted_at: At,
    /// Polls it was offered to.
    pub offered: u64,
    pub first_offered_at: Option<At>,
    pub accepts: Recent<Accept, SEEN_PER_ROW_MAX>,
    pub accepted_at: Option<At>,
    pub puts: Recent<Put, SEEN_PER_ROW_MAX>,
    pub effective: Option<End>,
    pub repeats: u64,
    pub conflicts: u64,
    pub stale: u64,
    pub cancelled_at: Option<At>,
    /// When a watch was first answered with the cancel.
    pub told_at: Option<At>,
}

/// One step, from its registration on.
#[derive(Clone, Debug)]
pub struct StepSeen {
    /// As it is in the database now.
    pub row: Step,
    pub puts: Recent<Put, SEEN_PER_ROW_MAX>,
    /// What its last live log held.
    pub live: Vec<Line>,
    /// The stored log, byte for byte.
    pub log: Option<bytes::Bytes>,
    pub uploads: u64,
    pub card: Option<bytes::Bytes>,
}

/// An attempt to take a stage.
#[derive(Clone, Debug)]
pub struct Accept {
    pub at: At,
    pub machine: String,
    pub won: bool,
}

/// A PUT of a stage or a step.
#[derive(Clone, Debug)]
pub struct Put {
    pub at: At,
    pub status: String,
    /// As the body named it.
    pub version: i64,
    /// False: the version check refused it.
    pub applied: bool,
}

/// The end that a PUT gave a stage.
#[derive(Clone, Debug)]
pub struct End {
    pub at: At,
    /// The body as it was read.
    pub stage: Stage,
}

/// A call came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub at: At,
    pub route: Route,
}

/// A poll, answered.
#[derive(Clone, Debug)]
pub struct Poll {
    pub at: At,
    pub filter: Filter,
    /// The stage offered, if any.
    pub stage: Option<i64>,
}

// === impl Record ===

impl Record {
    /// How often the route was called, faulted and refused calls included.
    pub fn calls(&self, route: Route) -> u64 {
        self.calls[route as usize]
    }

    /// The status of a stage now.
    pub fn status(&self, stage: i64) -> Option<&str> {
        Some(&self.stages.get(&stage)?.row.status)
    }

    /// The stage's effective end.
    pub fn effective(&self, stage: i64) -> Option<&End> {
        self.stages.get(&stage)?.effective.as_ref()
    }

    /// The steps of a stage, in order.
    pub fn steps_of(&self, stage: i64) -> impl Iterator<Item = &StepSeen> {
        self.steps.values().filter(move |step| step.row.step_id == stage)
    }
}

// === impl StageSeen ===

impl StageSeen {
    pub(super) fn new(row: Stage) -> Self {
        Self {
            row,
            submitted_at: At::now(),
            offered: 0,
            first_offered_at: None,
            accepts: Recent::default(),
            accepted_at: None,
            puts: Recent::default(),
            effective: None,
            repeats: 0,
            conflicts: 0,
            stale: 0,
            cancelled_at: None,
            told_at: None,
        }
    }
}

// === impl StepSeen ===

impl StepSeen {
    pub(super) fn new(row: Step) -> Self {
        Self { row, puts: Recent::default(), live: Vec::new(), log: None, uploads: 0, card: None }
    }

    /// The stored log as lines, if it is a list of lines; that of a step without output has none.
    pub fn stored_lines(&self) -> Option<Vec<Line>> {
        serde_json::from_slice::<Option<Vec<Line>>>(self.log.as_deref()?).ok().map(Option::unwrap_or_default)
    }
}
