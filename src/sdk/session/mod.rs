//! The runner's side of the protocol as one synchronous value: what is held, what is unacknowledged, what each frame means.
//!
//! It is told frames, handlers' ends and the time; it answers with frames ([`Session::poll_frame`]) and with [`Effect`]s for
//! the driver. It never waits, reads no clock and touches no socket. After every call: perform all effects, send the frames,
//! and call [`Session::handle_timeout`] at [`Session::poll_timeout`].

mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use prost::Message as _;
use tonic::Code;

use super::{
    context::{Cancellation, OutputError},
    holdings::{Ending, Held, LeaseId, Phase, Rule, Run},
    outcome, reason,
    stream::{Outgoing, Stream},
};
use crate::proto::runner::v1::{
    CancelReason, Capacity, Handler, OutputSet, Progress, RunnerInfo, Started, TaskAssignment, TaskOutcome, TaskResult,
    TaskUpdate, Welcome, task_update::Update,
};

/// Updates that may be unacknowledged, over all leases; the next one waits. From the protocol.
pub(crate) const UPDATES_UNACKNOWLEDGED_MAX: usize = 1024;

/// Grace of a cancellation when neither it nor the task says one. From the protocol.
const CANCEL_GRACE_DEFAULT: Duration = Duration::from_secs(30);

/// What the runner says of itself on every stream.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub runner_id: String,
    pub instance_id: String,
    pub info: RunnerInfo,
    pub handlers: Vec<Handler>,
    pub capacity: Capacity,
}

/// The delegate's terms, from the newest Welcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    pub heartbeat_interval: Duration,
    pub lease_ttl: Duration,
    pub frame_bytes_max: u64,
    pub payload_bytes_max: u64,
}

/// What the driver has to do.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Start the handler; `deadline` is the end of its time.
    Start { lease_id: LeaseId, assignment: Box<TaskAssignment>, deadline: Option<Instant> },
    /// Ask the handler to stop.
    Ask { lease_id: LeaseId, cancellation: Cancellation },
    /// Drop the handler, then say [`Session::stopped`], or [`Session::finished`] if it was faster.
    Kill { lease_id: LeaseId },
    /// The updates of this ticket are kept until acknowledged, or refused.
    Taken { ticket: u64, outcome: Result<(), OutputError> },
    /// The stream is of no use any more (the session has forgotten it): attach again.
    EndLink(LinkEnd),
}

/// Why a stream was given up from this side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkEnd {
    /// Three heartbeat intervals without any frame.
    Silence,
    /// The delegate broke the protocol; says how.
    Violation(String),
    /// The delegate asked for it.
    Reconnect { target: String, delay: Duration },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    profile: Profile,
    rules: HashMap<String, Arc<Rule>>,
    terms: Terms,
    stream: Option<Stream>,
    held: BTreeMap<LeaseId, Held>,
    /// Outputs beyond the bound, oldest first.
    waiting: VecDeque<WaitingOutput>,
    updates_unacknowledged: usize,
    /// The runner wants to go.
    leaving: bool,
    /// The delegate hands out nothing.
    draining: bool,
    effects: VecDeque<Effect>,
}

#[derive(Debug)]
struct WaitingOutput {
    ticket: u64,
    lease_id: LeaseId,
    outputs: OutputSet,
}

// === impl Session ===

impl Session {
    pub fn new(profile: Profile) -> Self {
        let rules =
            profile.handlers.iter().map(|handler| (handler.task_type.clone(), Arc::new(Rule::of(handler)))).collect();
        Self {
            profile,
            rules,
            terms: Terms::of(&Welcome::default()),
            stream: None,
            held: BTreeMap::new(),
            waiting: VecDeque::new(),
            updates_unacknowledged: 0,
            leaving: false,
            draining: false,
            effects: VecDeque::new(),
        }
    }

    /// A stream is open: Hello goes out.
    pub fn connected(&mut self, now: Instant) {
        self.disconnected();
        self.stream = Some(Stream::new(now));
    }

    /// The stream is gone. What it did not acknowledge goes out again on the next one.
    pub fn disconnected(&mut self) {
        self.stream = None;
        self.draining = false;
        for held in self.held.values_mut() {
            held.result_sent = false;
            held.progress = None;
        }
    }

    /// The handler ended with `result`, whose lease id is set here.
    pub fn finished(&mut self, now: Instant, lease_id: &LeaseId, mut result: TaskResult) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        let Phase::Running(run) = &held.phase else { return };
        match &run.ending {
            Ending::Discarded => return self.discarded(now, lease_id),
            Ending::Cancelled { reason: CancelReason::Deadline, .. } if result.outcome() == TaskOutcome::Cancelled => {
                result.set_outcome(TaskOutcome::TimedOut);
            }
            Ending::Own | Ending::Cancelled { .. } => {}
        }
        self.finish(lease_id, result);
    }

    /// The handler was dropped before it ended.
    pub fn stopped(&mut self, now: Instant, lease_id: &LeaseId) {
        let Some(held) = self.held.get(lease_id) else { return };
        let Phase::Running(run) = &held.phase else { return };
        match run.ending.clone() {
            Ending::Discarded => self.discarded(now, lease_id),
            Ending::Cancelled { reason, message } => self.finish(lease_id, outcome::stopped(reason, &message)),
            Ending::Own => {
                let failure =
                    outcome::Failure::errored("HANDLER_STOPPED", "the handler was dropped by its own runtime");
                self.finish(lease_id, failure.into_result());
            }
        }
    }

    /// News for people; the latest wins.
    pub fn progress(&mut self, lease_id: &LeaseId, progress: Progress) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.welcomed) else { return };
        if matches!(held.phase, Phase::Running(_)) && held.progress.replace(progress).is_none() {
            stream.queue.push_back(Outgoing::Progress(lease_id.clone()));
        }
    }

    /// Outputs of a running handler; answered by [`Effect::Taken`], which waits while too many are unacknowledged.
    pub fn output(&mut self, lease_id: &LeaseId, ticket: u64, outputs: OutputSet) {
        self.waiting.push_back(WaitingOutput { ticket, lease_id: lease_id.clone(), outputs });
        self.admit_outputs();
    }

    /// The runner wants to go: no more work, and [`Session::is_done`] once all it holds is acknowledged.
    pub fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true)
            && let Some(stream) = self.stream.as_mut().filter(|stream| stream.welcomed)
        {
            stream.queue.push_back(Outgoing::Drain);
        }
    }

    /// Asks every running handler to stop, since the runner can't wait any longer.
    pub fn cancel_all(&mut self, now: Instant, message: &str) {
        for lease_id in self.held.keys().cloned().collect::<Vec<_>>() {
            self.cancel(now, &lease_id, CancelReason::Drain, message.to_owned(), None);
        }
    }

    /// The runner leaves, and nothing it holds or owes is left.
    pub fn is_done(&self) -> bool {
        self.leaving && self.held.is_empty() && !self.has_frame()
    }

    /// Assignments whose end is not acknowledged.
    pub fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Hello was answered on the present stream.
    pub fn is_welcomed(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.welcomed)
    }

    /// The next thing for the driver to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`Session::handle_timeout`]; ask again after every other call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let link = self.stream.iter().flat_map(|stream| {
            let silent_at = stream.silent_at(self.terms.heartbeat_interval);
            stream.next_heartbeat.into_iter().chain([silent_at])
        });
        link.chain(self.held.values().filter_map(|held| held.next_timeout(self.terms.lease_ttl))).min()
    }

    /// Does what is due: heartbeats, silence, deadlines, the end of grace, leases that nobody renewed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.watch_link(now);
        let lease_ttl = self.terms.lease_ttl;
        let due = |held: &Held| held.next_timeout(lease_ttl).is_some_and(|at| at <= now);
        let due: Vec<LeaseId> =
            self.held.iter().filter(|(_, held)| due(held)).map(|(lease_id, _)| lease_id.clone()).collect();
        for lease_id in due {
            self.handle_held_timeout(now, &lease_id);
        }
    }

    fn watch_link(&mut self, now: Instant) {
        let Some(stream) = &mut self.stream else { return };
        if stream.silent_at(self.terms.heartbeat_interval) <= now {
            return self.end_link(LinkEnd::Silence);
        }
        if stream.next_heartbeat.is_some_and(|at| at <= now) {
            stream.push_once(Outgoing::Heartbeat);
            stream.next_heartbeat = Some(now + self.terms.heartbeat_interval);
        }
    }

    fn handle_held_timeout(&mut self, now: Instant, lease_id: &LeaseId) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        if held.expires_at(self.terms.lease_ttl).is_some_and(|at| at <= now) {
            return self.lose(lease_id);
        }
        let Phase::Running(run) = &mut held.phase else { return };
        match run.ending {
            Ending::Own => {
                self.cancel(now, lease_id, CancelReason::Deadline, "the task's time is over".to_owned(), None)
            }
            Ending::Cancelled { .. } | Ending::Discarded => {
                run.kill();
                self.effects.push_back(Effect::Kill { lease_id: lease_id.clone() });
            }
        }
    }

    fn end_link(&mut self, end: LinkEnd) {
        self.disconnected();
        self.effects.push_back(Effect::EndLink(end));
    }

    /// Starts a handler whose accept is durable, unless its task still runs under a lost lease, its time is over, or its lease
    /// has to be renewed first.
    fn start_if_ready(&mut self, now: Instant, lease_id: &LeaseId) {
        let Some(held) = self.held.get(lease_id) else { return };
        let fresh = held.expires_at(self.terms.lease_ttl).is_none_or(|at| now < at);
        let runs_elsewhere = || self.held.values().any(|other| other.is_discarded() && other.task_id == held.task_id);
        if !held.accept_acknowledged || !fresh || !matches!(held.phase, Phase::Accepted(_)) || runs_elsewhere() {
            return;
        }
        if held.deadline.is_some_and(|at| at <= now) {
            let message = "the task's time was over before it started";
            return self.finish(lease_id, outcome::stopped(CancelReason::Deadline, message));
        }
        self.start(now, lease_id);
    }

    fn start(&mut self, now: Instant, lease_id: &LeaseId) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        let Phase::Accepted(assignment) = &mut held.phase else { return };
        let assignment = std::mem::take(assignment);
        let task = assignment.task.as_ref();
        let grace = task.and_then(|task| span(task.cancel_grace_period.as_ref())).unwrap_or(CANCEL_GRACE_DEFAULT);
        let own_timeout = task.and_then(|task| span(task.execution_timeout.as_ref()));
        let timeouts = own_timeout.into_iter().chain(held.rule.default_timeout).map(|timeout| now + timeout);
        held.deadline = held.deadline.into_iter().chain(timeouts).min();
        held.phase = Phase::Running(Run { grace, ending: Ending::Own, kill_at: None, killed: false });
        let deadline = held.deadline;
        self.effects.push_back(Effect::Start { lease_id: lease_id.clone(), assignment, deadline });
        // A result without it is fine, so that it never takes the last place from an output.
        if self.updates_unacknowledged < UPDATES_UNACKNOWLEDGED_MAX {
            self.keep_update(lease_id, Update::Started(Started::default()));
        }
    }

    /// Stops the work under a lease on request; the first reason counts, a later request can only shorten the grace.
    fn cancel(
        &mut self,
        now: Instant,
        lease_id: &LeaseId,
        reason: CancelReason,
        message: String,
        grace: Option<Duration>,
    ) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        let lease_lost = reason == CancelReason::LeaseLost;
        match &mut held.phase {
            Phase::Accepted(_) if lease_lost => self.forget(lease_id),
            Phase::Accepted(_) => self.finish(lease_id, outcome::stopped(reason, &message)),
            Phase::Finished(_) if lease_lost => self.forget(lease_id),
            Phase::Running(run) if !run.killed => {
                let grace = grace.unwrap_or(run.grace);
                let kill_at = run.kill_at.map_or(now + grace, |at| at.min(now + grace));
                run.kill_at = Some(kill_at);
                if run.ending == Ending::Own {
                    let (lease_id, grace) = (lease_id.clone(), kill_at - now);
                    run.ending = Ending::Cancelled { reason, message: message.clone() };
                    self.effects
                        .push_back(Effect::Ask { lease_id, cancellation: Cancellation { reason, message, grace } });
                }
                if lease_lost {
                    run.ending = Ending::Discarded;
                }
                if kill_at <= now {
                    run.kill();
                    self.effects.push_back(Effect::Kill { lease_id: lease_id.clone() });
                }
            }
            Phase::Running(_) | Phase::Rejected(_) | Phase::Finished(_) => {}
        }
    }

    /// The lease is gone: never start it, or stop without grace; no result.
    fn lose(&mut self, lease_id: &LeaseId) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        let Phase::Running(run) = &mut held.phase else { return self.forget(lease_id) };
        if !run.killed {
            self.effects.push_back(Effect::Kill { lease_id: lease_id.clone() });
        }
        run.kill();
        run.ending = Ending::Discarded;
        self.updates_unacknowledged -= std::mem::take(&mut held.updates).len();
        self.drop_waiting(lease_id);
        self.admit_outputs();
    }

    fn finish(&mut self, lease_id: &LeaseId, mut result: TaskResult) {
        self.drop_waiting(lease_id);
        let Some(held) = self.held.get_mut(lease_id) else { return };
        result.lease_id = lease_id.to_string();
        held.phase = Phase::Finished(Box::new(result));
        held.result_sent = false;
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.welcomed) {
            stream.queue.push_back(Outgoing::Result(lease_id.clone()));
        }
    }

    /// Removes the lease; frames of it that still wait to go out are skipped then.
    fn forget(&mut self, lease_id: &LeaseId) {
        self.drop_waiting(lease_id);
        let Some(held) = self.held.remove(lease_id) else { return };
        self.updates_unacknowledged -= held.updates.len();
        self.admit_outputs();
    }

    /// The lost work has stopped; what waited for that, a new attempt of the same task, starts.
    fn discarded(&mut self, now: Instant, lease_id: &LeaseId) {
        self.forget(lease_id);
        let waits = |held: &Held| held.accept_acknowledged && matches!(held.phase, Phase::Accepted(_));
        let waiting: Vec<LeaseId> =
            self.held.iter().filter(|(_, held)| waits(held)).map(|(lease_id, _)| lease_id.clone()).collect();
        for lease_id in waiting {
            self.start_if_ready(now, &lease_id);
        }
    }

    fn keep_update(&mut self, lease_id: &LeaseId, update: Update) {
        let Some(held) = self.held.get_mut(lease_id) else { return };
        held.last_number += 1;
        let number = held.last_number;
        let update = TaskUpdate { lease_id: lease_id.to_string(), number, event_time: None, update: Some(update) };
        held.updates.insert(number, update);
        self.updates_unacknowledged += 1;
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.welcomed) {
            stream.queue.push_back(Outgoing::Update(lease_id.clone(), number));
        }
    }

    fn admit_outputs(&mut self) {
        while self.updates_unacknowledged < UPDATES_UNACKNOWLEDGED_MAX {
            let Some(WaitingOutput { ticket, lease_id, outputs }) = self.waiting.pop_front() else { return };
            let running =
                matches!(self.held.get(&lease_id), Some(Held { phase: Phase::Running(run), .. }) if !run.killed);
            let bytes = outputs.encoded_len() as u64 + send::ENVELOPE_BYTES_MAX;
            let outcome = if !running {
                Err(OutputError::TaskEnded)
            } else if bytes > self.terms.frame_bytes_max {
                Err(OutputError::TooLarge { bytes, bytes_max: self.terms.frame_bytes_max })
            } else {
                self.keep_update(&lease_id, Update::Outputs(outputs));
                Ok(())
            };
            self.effects.push_back(Effect::Taken { ticket, outcome });
        }
    }

    fn drop_waiting(&mut self, lease_id: &LeaseId) {
        let (dropped, kept) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.lease_id == *lease_id);
        self.waiting = kept;
        for waiting in VecDeque::<WaitingOutput>::into_iter(dropped) {
            self.effects.push_back(Effect::Taken { ticket: waiting.ticket, outcome: Err(OutputError::TaskEnded) });
        }
    }
}

// === impl Terms ===

impl Terms {
    /// With the protocol's defaults for what the delegate leaves out.
    pub fn of(welcome: &Welcome) -> Self {
        let positive = |duration: Option<&prost_types::Duration>| span(duration).filter(|span| !span.is_zero());
        let or = |value: u64, default: u64| if value == 0 { default } else { value };
        Self {
            heartbeat_interval: positive(welcome.heartbeat_interval.as_ref()).unwrap_or(Duration::from_secs(10)),
            lease_ttl: positive(welcome.lease_ttl.as_ref()).unwrap_or(Duration::from_secs(60)),
            frame_bytes_max: or(welcome.frame_bytes_max, 4 * 1024 * 1024),
            payload_bytes_max: or(welcome.payload_bytes_max, 3_670_016),
        }
    }
}

// === impl Run ===

impl Run {
    fn kill(&mut self) {
        self.killed = true;
        self.kill_at = None;
    }
}

// === impl Rule ===

impl Rule {
    fn of(handler: &Handler) -> Self {
        let slot_class = if handler.slot_class.is_empty() { "default" } else { &handler.slot_class };
        Self {
            slot_class: slot_class.to_owned(),
            idempotent: handler.idempotent,
            default_timeout: span(handler.default_timeout.as_ref()),
        }
    }
}

/// A bound on spans from the wire, so that adding one to an instant can't overflow; a century is as good as never.
const SPAN_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A span from the wire; absent and negative ones are `None`.
fn span(duration: Option<&prost_types::Duration>) -> Option<Duration> {
    duration.and_then(|duration| Duration::try_from(*duration).ok()).map(|span| span.min(SPAN_MAX))
}

/// A failure in place of a result the delegate can't take.
fn too_large(message: String) -> TaskResult {
    let failure = outcome::Failure::errored(reason::RESULT_TOO_LARGE, message).code(Code::OutOfRange);
    failure.into_result()
}
