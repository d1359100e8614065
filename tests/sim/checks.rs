//! The invariants, stated over values: what was said to whom, against what is durable and what the manager was told.
//!
//! Each violation carries the name of the promise it breaks; the first one ends the history.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    admission::Admission,
    core::{
        Core,
        effect::{Answerable, Call, Decision, Effect, NotAcquired, Note, Order},
        id::{ExternalId, LeaseId, LinkId, SessionId, SlotClass, TaskId, UpstreamName},
        input::{AcquireError, Answer, Frame, Input, ReportError},
        session::{Session, StateUpdate},
        task::{Finish, Kind, Retry, State},
    },
    facts::Facts,
    plan::{Plan, Profile},
    queue::At,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub promise: &'static str,
    pub detail: String,
}

#[derive(Debug, Default)]
pub struct Checks {
    pub violation: Option<Violation>,
    pub facts: Facts,
    /// Counted frames the core took in and did not acknowledge yet, by stream.
    heard: BTreeMap<LinkId, VecDeque<(u64, Heard)>>,
    /// Leases that use a slot, by stream, as the protocol counts them.
    outstanding: BTreeMap<LinkId, BTreeMap<LeaseId, (SlotClass, Kind)>>,
    admission: Admission,
    /// Tasks whose handler must not start any more.
    started_for_good: BTreeSet<TaskId>,
    running: BTreeMap<TaskId, BTreeSet<LeaseId>>,
    posts: BTreeMap<TaskId, Posts>,
    /// Aborts the core was told, not yet durable: the process, and the newest record of that moment.
    aborts: Vec<(ExternalId, u32, u64)>,
    aborted: BTreeSet<TaskId>,
    aborting: BTreeMap<ExternalId, TaskId>,
    pub acquired: u64,
    /// The newest state of each session whose change was acknowledged.
    acknowledged_states: BTreeMap<SessionId, usize>,
}

/// One counted frame; `None`: it was refused.
type Heard = Option<Said>;

#[derive(Debug)]
enum Said {
    Accepted(LeaseId),
    Rejected(LeaseId),
    Update(LeaseId, u64),
    State(LeaseId, u64, Box<StateUpdate>),
    Result(LeaseId, Box<Finish>, Option<Box<StateUpdate>>),
}

/// What was sent up for one acquisition.
#[derive(Debug, Default)]
struct Posts {
    first: Option<std::sync::Arc<Answerable>>,
    /// The process that has one under way.
    under_way: Option<u32>,
    /// The process that was told of the 2xx.
    confirmed: Option<u32>,
    refused: bool,
    faults: u32,
    handed_back: bool,
}

// === impl Checks ===

impl Checks {
    pub fn violated(&mut self, promise: &'static str, detail: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { promise, detail: detail() });
        }
    }

    fn demand(&mut self, holds: bool, promise: &'static str, detail: impl FnOnce() -> String) {
        if !holds {
            self.violated(promise, detail);
        }
    }

    // === handlers ===

    /// A handler starts.
    pub fn started(&mut self, task: TaskId, lease: LeaseId, idempotent: bool, sloppy: bool) {
        let durable = self.facts.accepted.contains(&lease);
        self.demand(durable, "a handler starts after its accept is durable", || format!("{task} under {lease}"));
        let withdrawn = self.facts.withdrawn.contains(&lease);
        self.demand(!withdrawn, "a withdrawn assignment never starts", || format!("{task} under {lease}"));
        let again = self.started_for_good.contains(&task);
        self.demand(!again, "a handler that is not idempotent starts at most once", || format!("{task} under {lease}"));
        let aborted = self.aborted.contains(&task);
        self.demand(!aborted, "an aborted task does not start", || format!("{task} under {lease}"));
        if !idempotent {
            self.started_for_good.insert(task);
        }
        if !sloppy {
            let running = self.running.entry(task).or_default();
            running.insert(lease);
            let alone = running.len() == 1;
            self.demand(alone, "two attempts never run at once", || format!("{task} under {lease}"));
        }
    }

    /// A handler ended or was stopped.
    pub fn stopped(&mut self, task: TaskId, lease: LeaseId) {
        if let Some(running) = self.running.get_mut(&task) {
            running.remove(&lease);
        }
    }

    /// A handler said that it left nothing behind, so another may start.
    pub fn had_no_effect(&mut self, task: TaskId) {
        self.started_for_good.remove(&task);
    }

    // === what the core is told ===

    /// A task is on offer.
    pub fn offered(&mut self, id: &ExternalId, kind: Kind) {
        self.admission.offered(id, kind);
    }

    /// What a task that is or was on offer is.
    pub fn kind(&self, id: &ExternalId) -> Kind {
        self.admission.kind(id)
    }

    /// A record was made just now.
    pub fn decided(&mut self, now: At, plan: &Plan, body: &[u8]) {
        if let Err((promise, detail)) = self.admission.decided(now, plan, body) {
            self.violated(promise, || detail);
        }
    }

    /// Before the core sees `input`.
    pub fn hears(&mut self, process: u32, input: &Input) {
        self.admission.hears(process, input);
        match input {
            Input::Received { link, sequence, frame } if frame.is_counted() => {
                let said = match frame {
                    Frame::Accepted { lease } => Said::Accepted(*lease),
                    Frame::Rejected { lease, .. } => Said::Rejected(*lease),
                    Frame::Started { lease, number }
                    | Frame::Outputs { lease, number, .. }
                    | Frame::Plan { lease, number, .. }
                    | Frame::Step { lease, number, .. } => Said::Update(*lease, *number),
                    Frame::State { lease, number, update } => Said::State(*lease, *number, update.clone()),
                    Frame::Result { lease, finish, state } => Said::Result(*lease, finish.clone(), state.clone()),
                    _ => return,
                };
                if let (Said::Rejected(lease) | Said::Result(lease, ..), Some(leases)) =
                    (&said, self.outstanding.get_mut(link))
                {
                    leases.remove(lease);
                }
                self.heard.entry(*link).or_default().push_back((*sequence, Some(said)));
            }
            Input::Detached { link } => {
                self.heard.remove(link);
                self.outstanding.remove(link);
            }
            Input::Answered { answer: Answer::Report { task, result }, .. } => {
                let posts = self.posts.entry(*task).or_default();
                posts.under_way = None;
                match result {
                    Ok(()) => posts.confirmed = Some(process),
                    Err(ReportError::Refused(_)) => posts.refused = true,
                    Err(ReportError::Fault(_)) => posts.faults += 1,
                    Err(_) => {}
                }
            }
            Input::Answered {
                answer: Answer::Acquire { result: Ok(_) | Err(AcquireError::Unassigned), .. }, ..
            } => {
                self.acquired += 1;
            }
            _ => {}
        }
    }

    /// After the core took in an abort: if no handler can have started, none may start once this is durable.
    pub fn abort_taken(&mut self, core: &Core, process: u32, last: u64, upstream: &UpstreamName, id: &ExternalId) {
        let Some(task) = core.ledger().open(upstream, id) else { return };
        let startable = match core.ledger().task(task).map(|task| &task.state) {
            None | Some(State::Waiting { .. } | State::Assigned(_)) => false,
            Some(State::Accepted(_) | State::Finished { .. }) => return,
        };
        if !startable {
            self.aborts.push((id.clone(), process, last));
            self.aborting.insert(id.clone(), task);
        }
    }

    /// The journal of `process` is durable up to `last`.
    pub fn durable(&mut self, process: u32, last: u64) {
        let (aborting, aborted) = (&self.aborting, &mut self.aborted);
        self.aborts.retain(|(id, by, mark)| {
            let firm = *by == process && *mark <= last;
            if firm && let Some(task) = aborting.get(id) {
                aborted.insert(*task);
            }
            !firm && *by == process
        });
    }

    /// After the core took in a heartbeat: what it does not name and nobody has a lease for uses no slot.
    pub fn beat_taken(&mut self, core: &Core, link: LinkId, named: &[LeaseId]) {
        if let Some(leases) = self.outstanding.get_mut(&link) {
            let accepted = &self.facts.accepted;
            leases.retain(|lease, _| {
                named.contains(lease) || core.ledger().task_of(*lease).is_some() || !accepted.contains(lease)
            });
        }
    }

    // === what the core says ===

    /// At the moment `effect` leaves.
    pub fn leaves(&mut self, process: u32, effect: &Effect, profile: Option<&Profile>) {
        match effect {
            Effect::Call { call: Call::Acquire { task, .. }, .. } => {
                let durable = self.facts.intentions.contains(task);
                self.demand(durable, "no acquire before its intention is durable", || task.to_string());
            }
            Effect::Call { call: Call::Report { task, report }, .. } => self.posted(process, *task, report),
            Effect::Send { link, order } => self.ordered(*link, order, profile),
            Effect::Note(Note::NotAcquired { external_id, reason, .. }) => {
                let refused = matches!(reason, NotAcquired::Admission(_) | NotAcquired::StartRate { .. });
                let cleanup = self.admission.kind(external_id) == Kind::SessionCleanup;
                self.demand(!(refused && cleanup), "admission never refuses a cleanup", || {
                    format!("{external_id}: {reason}")
                });
            }
            Effect::Note(Note::SessionClosed { session, left_behind: Some(_), .. }) => {
                if let Some(stage) = self.facts.sessions.get_mut(session) {
                    stage.left_behind = true;
                }
            }
            Effect::Note(Note::Reported(summary)) => {
                let durable = self.facts.ended.contains(&summary.task) || self.facts.minimized.contains(&summary.task);
                self.demand(durable, "reported means durable", || summary.task.to_string());
            }
            _ => {}
        }
    }

    fn posted(&mut self, process: u32, task: TaskId, report: &std::sync::Arc<Answerable>) {
        let Some((_, finish)) = self.facts.finished.get(&task) else {
            return self.violated("no report before its result is durable", || task.to_string());
        };
        let same = **finish == *report.finish;
        self.demand(same, "what is durable is what is reported", || format!("{task}: {:?}", report.finish));
        let over = self.facts.ended.contains(&task);
        self.demand(!over, "nothing is reported after its 2xx is durable", || task.to_string());
        let posts = self.posts.entry(task).or_default();
        let minimal = report.refusal.is_some();
        let justified = posts.refused || posts.faults >= 5;
        let doubled = posts.under_way == Some(process);
        let confirmed = posts.confirmed == Some(process);
        let first = posts.first.get_or_insert_with(|| report.clone());
        let agrees = first.finish == report.finish && first.external_id == report.external_id;
        let again = report.hand_back && posts.handed_back;
        let both = !report.hand_back && posts.handed_back && !posts.refused;
        posts.handed_back |= report.hand_back;
        let intended = !report.hand_back || self.facts.handed_back.contains(&task);
        posts.under_way = Some(process);
        self.demand(intended, "no hand-back before its intent is durable", || task.to_string());
        self.demand(!again, "a task is handed back at most once", || task.to_string());
        self.demand(!both, "what was handed back is not answered, too", || task.to_string());
        self.demand(!minimal || justified, "a body is replaced only after a refusal", || task.to_string());
        self.demand(!doubled, "one report of a task at a time", || task.to_string());
        self.demand(!confirmed, "no repeat without a kill, a lost answer or a failure", || task.to_string());
        self.demand(agrees, "all reports of a task say the same", || task.to_string());
    }

    /// Whether this result was sent up for this task; each that was sent equals the durable one, and that the acknowledged one.
    pub fn was_reported(&self, id: &ExternalId, finish: &Finish) -> bool {
        let mut posts = self.posts.values().filter_map(|posts| posts.first.as_ref());
        posts.any(|report| report.external_id == *id && *report.finish == *finish)
    }

    fn ordered(&mut self, link: LinkId, order: &Order, profile: Option<&Profile>) {
        match order {
            Order::Welcome { decisions } => {
                for (lease, decision) in decisions {
                    let kept = match decision {
                        Decision::Keep => self.facts.accepted.contains(lease),
                        Decision::Acknowledged => self.facts.is_over(*lease),
                        _ => true,
                    };
                    self.demand(kept, "a welcome promises what is durable", || format!("{lease} {decision:?}"));
                }
            }
            Order::Session(session) => self.session_told(session),
            Order::Assign(assignment) => {
                if let Some(session) = &assignment.session {
                    self.session_told(session);
                }
                let lease = assignment.lease;
                let durable = self.facts.cut.get(&lease) == Some(&assignment.task);
                self.demand(durable, "no assignment before its lease is durable", || lease.to_string());
                let Some(profile) = profile else { return };
                let Some(handler) = profile.handler(&assignment.spec.task_type, &assignment.spec.labels) else {
                    return;
                };
                let leases = self.outstanding.entry(link).or_default();
                leases.insert(lease, (handler.class.clone(), assignment.spec.kind));
                let others = |kind: &Kind| *kind != Kind::SessionCleanup;
                let of_class = leases.values().filter(|(class, _)| *class == handler.class);
                let used = of_class.clone().count();
                let by_others = of_class.filter(|(_, kind)| others(kind)).count();
                let kept = profile.kept_for_cleanups(&handler.class) as usize;
                let most = profile.slots.get(&handler.class).copied().unwrap_or(0) as usize;
                self.demand(used <= most, "credits bound what is outstanding", || {
                    format!("{link}: {used} of {most} slots of class {}", handler.class)
                });
                let stays_free = !others(&assignment.spec.kind) || by_others + kept <= most;
                self.demand(stays_free, "slots are kept for cleanups", || {
                    format!("{link}: {by_others} of {most} slots of class {}, {kept} are kept", handler.class)
                });
            }
            Order::Refuse { sequence, lease, .. } => {
                let frames = self.heard.entry(link).or_default();
                for frame in frames.iter_mut().filter(|(heard, _)| heard == sequence) {
                    frame.1 = None;
                }
                if let (Some(lease), Some(leases)) = (lease, self.outstanding.get_mut(&link)) {
                    leases.remove(lease);
                }
            }
            Order::Acknowledge { sequence } => {
                while let Some(frames) = self.heard.get_mut(&link)
                    && frames.front().is_some_and(|(heard, _)| heard <= sequence)
                    && let Some((_, said)) = frames.pop_front()
                {
                    if let Some(said) = said {
                        self.acknowledged(said);
                    }
                }
            }
            _ => {}
        }
    }

    /// A change of a session's state is acknowledged: it follows the one it was made from, word for word.
    fn state_acknowledged(&mut self, lease: LeaseId, update: &StateUpdate) {
        let facts = &self.facts;
        let Some(session) = facts.cut.get(&lease).and_then(|task| facts.joined.get(task)).copied() else { return };
        let Some(stage) = facts.sessions.get(&session).filter(|stage| !stage.ended) else { return };
        // The first state is that of etag 1, so the one after etag n stands at n.
        let at: usize = update.expected.parse().unwrap_or(0);
        let holds = stage.states.get(at) == Some(&update.state);
        self.demand(holds, "a change of a state follows the one it was made from", || {
            format!("{session} after etag {at}, by {lease}")
        });
        let newest = self.acknowledged_states.entry(session).or_default();
        *newest = at.max(*newest);
    }

    /// What a task is told of its session is durable, word for word, and no older than what was acknowledged.
    fn session_told(&mut self, session: &Session) {
        let at = usize::try_from(session.version).unwrap_or(0).wrapping_sub(1);
        let durable = self.facts.sessions.get(&session.id).and_then(|stage| stage.states.get(at));
        let holds = durable == Some(&session.state);
        let newest = self.acknowledged_states.get(&session.id).copied().unwrap_or(0);
        self.demand(holds, "the state a task sees is durable", || format!("{} at etag {}", session.id, session.etag()));
        self.demand(at >= newest, "the state a task sees is the last acknowledged one", || {
            format!("{} at etag {}, acknowledged {newest}", session.id, session.etag())
        });
    }

    /// A frame is acknowledged: what it said is durable, word for word.
    fn acknowledged(&mut self, said: Said) {
        const PROMISE: &str = "what is acknowledged is durable";
        let facts = &self.facts;
        match said {
            Said::Accepted(lease) => {
                let holds = facts.accepted.contains(&lease);
                self.demand(holds, PROMISE, || format!("the accept of {lease}"));
            }
            Said::Rejected(lease) => {
                let holds = facts.withdrawn.contains(&lease);
                self.demand(holds, PROMISE, || format!("the rejection of {lease}"));
            }
            Said::Update(lease, number) => {
                let holds = facts.updates.get(&lease).is_some_and(|newest| *newest >= number);
                self.demand(holds, PROMISE, || format!("update {number} of {lease}"));
            }
            Said::State(lease, number, update) => {
                let holds = facts.updates.get(&lease).is_some_and(|newest| *newest >= number);
                self.demand(holds, PROMISE, || format!("update {number} of {lease}"));
                self.state_acknowledged(lease, &update);
            }
            Said::Result(lease, finish, state) => {
                let by = facts.cut.get(&lease).and_then(|task| facts.finished.get(task));
                let retried = facts.attempts_ended.contains(&lease)
                    && finish
                        .error
                        .as_ref()
                        .is_some_and(|error| matches!(error.retry, Retry::SameRunner | Retry::OtherRunner));
                let holds = match by {
                    Some((Some(by), journalled)) if *by == lease => **journalled == *finish,
                    _ => retried,
                };
                self.demand(holds, PROMISE, || format!("the result of {lease}"));
                if let Some(update) = state {
                    self.state_acknowledged(lease, &update);
                }
            }
        }
    }
}
