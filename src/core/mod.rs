//! The core: every decision of the delegate, as one synchronous value.
//!
//! It owns tasks, leases, credits, waits and the order of records and effects. It never reads a clock, opens a channel, does
//! I/O or waits: it is told what happened (`Input`) and when (`Now`), changes durable state only through
//! [`ledger::Ledger::apply`], and answers with records for the journal and effects for the shells.
//!
//! ```text
//!  Input ─► handle(now) ─┐            ┌─► next_entry()   records, in order, to the journal
//!  deadline ─► handle_timeout(now) ─► ┤
//!  journal: Durable(n) ─► handle ─────┴─► next_effect()  what needed no record, or whose record is durable
//! ```
//!
//! Architecture invariant: nothing in this module uses `tokio`, `std::{fs, net, thread, sync::mpsc}` or reads a clock; the lint
//! settings below and the crate's `clippy.toml` refuse it.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod admission;
pub mod audit;
pub mod command;
pub mod config;
pub mod drain;
pub mod effect;
pub mod explain;
pub mod gauges;
pub mod id;
pub mod input;
pub mod ledger;
pub mod life;
pub mod logs;
pub mod record;
pub mod session;
pub mod status;
pub mod step;
pub mod task;
pub mod time;
pub mod trace;
pub mod wait;

mod acquire;
mod aside;
mod cancel;
mod finish;
mod hand_back;
mod intake;
mod link;
mod offers;
mod outbox;
pub mod past;
pub mod planted;
mod random;
mod report;
mod roster;
mod schedule;
mod sessions;
mod share;
mod standing;
mod tell;
mod timer;
pub mod unreported;
mod upstream;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use self::{
    admission::{Gate, Ramp},
    config::Config,
    drain::Drain,
    effect::{Effect, Note, Order, Wake},
    explain::Waited,
    id::{DelegateId, Ids, LeaseId, LinkId, TaskId, UpstreamName},
    input::Input,
    ledger::{Ledger, Misfit},
    outbox::Outbox,
    past::Pasts,
    planted::planted,
    random::Random,
    record::{Entry, Record},
    roster::Roster,
    share::Shares,
    task::{Kind, Report, State},
    time::{Mono, Now, Wall},
    timer::{Timer, Timers},
    upstream::Upstream,
    waiting::Waiting,
};

/// The delegate's whole mind.
#[derive(Debug)]
pub struct Core {
    config: Config,
    ledger: Ledger,
    ids: Ids,
    random: Random,
    timers: Timers,
    outbox: Outbox,
    upstreams: BTreeMap<UpstreamName, Upstream>,
    roster: Roster,
    waiting: Waiting,
    /// How full this host is.
    gate: Gate,
    ramp: Ramp,
    /// Who acquires next when slots are scarce: upstreams by weight, and within one the parts of a stage alike.
    shares: Shares<UpstreamName>,
    part_shares: Shares<(UpstreamName, Kind)>,
    /// Number of the next offer that is listed for the first time.
    next_offer: u64,
    /// The latest word of a handler, per lease; never journalled.
    progress: BTreeMap<LeaseId, Arc<str>>,
    /// What open tasks waited for, as far as this process saw it.
    waits: BTreeMap<TaskId, Vec<Waited>>,
    /// What became of tasks that are not here any more.
    pasts: Pasts,
    /// Logs that are open, by the lease they were opened under; gone with the process.
    open_logs: BTreeMap<TaskId, BTreeSet<(LeaseId, Arc<str>)>>,
    /// Leases whose result is in the journal, or was until it was reported: a runner that missed the acknowledgement is told
    /// so. Those reported before this process started are not known any more.
    answered: BTreeSet<LeaseId>,
    /// Why nothing is taken; absent: the journal writes.
    store_failing: Option<Arc<str>>,
    /// Why nothing new is taken; absent: serving.
    drain: Option<Drain>,
    last_turn: Mono,
    started: Wall,
}

/// A journal that is no journal of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// A row is no record of this version.
    Undecodable {
        scope: u64,
        number: u32,
    },
    Misfit(Misfit),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Undecodable { scope, number } => {
                write!(f, "row {number} of scope {scope} is no record of this version")
            }
            Self::Misfit(Misfit { scope, what }) => write!(f, "scope {scope} holds {what}"),
        }
    }
}

/// Rebuilds the durable state from the journal's rows, which come by scope and number.
///
/// # Errors
/// If a row is not a record, or can't follow the ones before it.
pub fn rebuild<'a>(rows: impl IntoIterator<Item = (u64, u32, &'a [u8])>) -> Result<Ledger, LoadError> {
    let mut ledger = Ledger::default();
    for (scope, number, body) in rows {
        let record = Record::decode(body).map_err(|_| LoadError::Undecodable { scope, number })?;
        ledger.apply(scope, &record).map_err(LoadError::Misfit)?;
    }
    Ok(ledger)
}

// === impl Core ===

impl Core {
    /// Takes up where `ledger` left off. `entropy` seeds the jitter and, at the very first start, is the delegate's id.
    pub fn new(config: Config, ledger: Ledger, now: Now, entropy: u128) -> Self {
        let ids = Ids::resume(ledger.unreserved());
        let upstreams = config.upstreams.iter().map(|up| (up.name.clone(), Upstream::new(up.clone()))).collect();
        let mut core = Self {
            config,
            ledger,
            ids,
            random: Random::new(u64::try_from(entropy & u128::from(u64::MAX)).unwrap_or_default()),
            timers: Timers::default(),
            outbox: Outbox::new(),
            upstreams,
            roster: Roster::default(),
            waiting: Waiting::default(),
            gate: Gate::default(),
            ramp: Ramp::default(),
            shares: Shares::default(),
            part_shares: Shares::default(),
            next_offer: 0,
            progress: BTreeMap::new(),
            waits: BTreeMap::new(),
            pasts: Pasts::default(),
            open_logs: BTreeMap::new(),
            answered: BTreeSet::new(),
            store_failing: None,
            drain: None,
            last_turn: now.mono,
            started: now.wall,
        };
        if core.ledger.delegate().is_none() {
            let scope = core.allot();
            core.record(scope, Record::DelegateCreated { delegate: DelegateId(entropy) });
        }
        core.resume(now);
        core
    }

    /// Arms what the journal says is under way. Every lease gets a full ttl from here.
    fn resume(&mut self, now: Now) {
        for name in self.upstreams.keys().cloned().collect::<Vec<_>>() {
            self.resume_upstream(now, &name);
        }
        self.resume_sessions(now);
        self.resume_runner_drains(now);
        let tasks: Vec<_> = self.ledger.tasks().map(|task| (task.id, task.is_finished())).collect();
        self.waiting.unfinished = tasks.iter().filter(|(_, finished)| !finished).count();
        for (id, finished) in tasks {
            self.resume_news(id);
            // One that ended just now, with the setup of its stage, is seen to already.
            let Some(task) = self.ledger.task(id).filter(|task| task.is_finished() == finished) else { continue };
            match &task.state {
                State::Waiting { .. } => {
                    self.arm_deadline(now, id);
                    self.wait(now, id);
                }
                State::Assigned(lease) => {
                    let lease = lease.id;
                    self.timers.set(Timer::AcceptExpiry(lease), now.mono + self.config.accept_timeout);
                    self.arm_deadline(now, id);
                }
                State::Accepted(lease) => {
                    let (lease, idempotent, cancelled) = (lease.id, lease.idempotent, task.cancel.is_some());
                    self.renew(now, lease, idempotent);
                    self.arm_deadline(now, id);
                    if cancelled {
                        self.arm_cancel_expiry(now, id);
                    }
                }
                // Whoever read the answer is gone.
                State::Finished { lease, report: Report::HandBack { sent: true }, .. } => {
                    let lease = *lease;
                    self.answered.extend(lease);
                    self.handed_back(now, id, "the delegate ended before the answer", false);
                }
                State::Finished { lease, report, .. } => {
                    let (lease, owed) = (*lease, !matches!(report, Report::Dead { .. }));
                    self.answered.extend(lease);
                    if owed {
                        self.owe(now, id);
                    }
                }
            }
        }
        for name in self.upstreams.keys().cloned().collect::<Vec<_>>() {
            self.send_reports(&name);
        }
    }

    /// Takes in one fact. Afterwards call [`next_entry`](Self::next_entry) and [`next_effect`](Self::next_effect) until both
    /// are empty, and [`poll_timeout`](Self::poll_timeout) for the next deadline.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.begin_turn(now);
        match input {
            Input::Answered { upstream, answer } => self.answered(now, &upstream, answer),
            Input::Attached { link, hello, peer } => self.attached(now, link, hello, peer),
            Input::Received { link, sequence, frame } => self.received(now, link, sequence, frame),
            Input::Detached { link } => self.detached(now, link),
            Input::Commanded { request, command } => self.commanded(now, request, command),
            Input::LogOpened { lease, log_id } => self.log_opened(lease, log_id),
            Input::LogClosed { task, log } => self.log_closed(task, *log),
            Input::Durable(lsn) => self.outbox.durable(lsn),
            Input::Pressure(usage) => self.pressure_read(now, usage),
            Input::StoreFailing { reason } => {
                if self.store_failing.is_none() {
                    self.note(Note::StoreFailing { reason: reason.clone() });
                }
                self.store_failing = Some(reason);
            }
            Input::StoreRecovered => {
                if self.store_failing.take().is_some() {
                    self.note(Note::StoreRecovered);
                    self.assign_waiting(now);
                }
            }
        }
        self.end_turn(now);
    }

    /// Fires what is due. Call it when [`poll_timeout`](Self::poll_timeout) has passed and every input that arrived before is
    /// handled: a frame that is here already beats the timer it would have stopped.
    pub fn handle_timeout(&mut self, now: Now) {
        self.begin_turn(now);
        while let Some(timer) = self.timers.expired(now.mono) {
            self.fire(now, timer);
        }
        self.end_turn(now);
    }

    /// When the next timer is due; changes with every turn.
    pub fn poll_timeout(&self) -> Wake {
        self.timers.next()
    }

    /// The next record for the journal, in order.
    pub fn next_entry(&mut self) -> Option<Entry> {
        self.outbox.next_entry()
    }

    /// The next effect that may leave.
    pub fn next_effect(&mut self) -> Option<Effect> {
        let effect = self.outbox.next_effect();
        if let Some(Effect::Send { link, order: Order::Acknowledge { sequence } }) = &effect
            && let Some(link) = self.roster.get_mut(*link)
        {
            link.acknowledged = link.acknowledged.max(*sequence);
        }
        effect
    }

    /// The registrations to end now that the process stops: those of upstreams that asked for it and have nothing left here. An
    /// upstream fails the tasks of a delegate that unregisters, so one open task or unreported result keeps the registration.
    pub fn farewells(&self) -> Vec<(UpstreamName, Arc<str>, record::Host)> {
        let idle = |name: &UpstreamName| {
            let dead = self.ledger.dead_letters();
            !self.ledger.tasks().any(|task| task.upstream == *name && !dead.contains(&task.id))
                && !self.ledger.intentions().any(|(_, intention)| intention.upstream == *name)
        };
        let leaving = self.upstreams.iter().filter(|(name, up)| {
            up.config.unregister_on_stop && up.standing == upstream::Standing::Registered && idle(name)
        });
        leaving
            .filter_map(|(name, _)| {
                let (_, id, host) = self.ledger.registration(name)?;
                Some((name.clone(), id.clone(), host.clone()))
            })
            .collect()
    }

    /// Whether every upstream has deleted this delegate for good, and nothing is left to finish or report.
    pub fn is_deleted(&self) -> bool {
        self.upstreams.values().all(|up| up.standing == upstream::Standing::Deleted && up.reports.is_empty())
            && self.waiting.unfinished == 0
            && !self.upstreams.is_empty()
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Named so that every text id a peer sees is unique over state directories.
    pub fn delegate(&self) -> DelegateId {
        self.ledger.delegate().expect("the constructor made sure of it")
    }

    fn fire(&mut self, now: Now, timer: Timer) {
        match timer {
            Timer::AcceptExpiry(lease) => self.accept_expired(now, lease),
            Timer::LeaseExpiry(lease) => self.lease_expired(now, lease),
            Timer::Deadline(task) => self.deadline_passed(now, task),
            Timer::CancelExpiry(task) => self.cancel_expired(now, task),
            Timer::RunnerExpiry(task) => self.runner_expired(now, task),
            Timer::SessionOrphan(session) => self.session_runner_gone(now, session),
            Timer::SessionExpiry(session) => self.session_expired(now, session),
            Timer::Retry(task) => drop(self.assign(now, task)),
            Timer::Tell(task) => self.tell_due(task),
            Timer::LogWait(task) => self.logs_awaited(task),
            Timer::Report(task) => self.report_due(task),
            Timer::AcquireSilence(task) => self.acquire_silent(now, task),
            Timer::IntentionExpiry(task) => self.intention_expired(now, task),
            Timer::Drain => self.drain_due(now),
            Timer::RunnerDrain(runner) => self.runner_drain_due(now, &runner),
            Timer::Silence(link) => self.fell_silent(now, link),
            Timer::Register(upstream) => self.register(&upstream),
            Timer::Heartbeat(upstream) => self.heartbeat(now, &upstream),
            Timer::Poll(upstream) => self.poll(now, &upstream),
            Timer::Ramp => self.take_listed(now),
            Timer::Tick => {}
        }
    }

    /// A gap between two turns while leases are open means that the process stood still; the runners did not, and their
    /// renewals are still unread.
    fn begin_turn(&mut self, now: Now) {
        let gap = now.mono.since(self.last_turn);
        if gap > self.config.heartbeat_interval && self.ledger.has_leases() {
            self.timers.extend_leases(gap);
        }
        self.last_turn = now.mono;
    }

    fn end_turn(&mut self, now: Now) {
        self.follow_drain(now);
        if !self.ledger.has_leases() {
            self.timers.clear(&Timer::Tick);
        } else if self.timers.get(&Timer::Tick).is_none() {
            self.timers.set(Timer::Tick, now.mono + self.config.heartbeat_interval / 2);
        }
    }

    // === records and effects ===

    /// A number that no process of this state directory has used. Whatever carries it leaves after the record behind it, and so
    /// after the reservation.
    fn allot(&mut self) -> u64 {
        if self.ids.is_used_up() {
            let before = self.ledger.reservation();
            let (scope, below) = self.ids.reserve();
            self.record(scope, Record::NumbersReserved { below });
            if let Some(before) = before {
                self.record(before, Record::ScopeEnded);
            }
        }
        self.ids.allot()
    }

    /// Makes a fact part of the state and queues it for the journal.
    fn record(&mut self, scope: u64, record: Record) {
        let ended = matches!(record, Record::ScopeEnded);
        let number = self.ledger.rows(scope);
        if let Err(misfit) = self.ledger.apply(scope, &record) {
            panic!("the core made a record that does not fit its own state: {misfit:?}");
        }
        if ended {
            self.waits.remove(&TaskId(scope));
        }
        self.outbox.append(scope, number, (!ended).then(|| record.encode()));
    }

    /// An effect that leaves once all records made so far are durable.
    fn promise(&mut self, effect: Effect) {
        if planted!(self, AcknowledgeBeforeSync) {
            return self.outbox.now(effect);
        }
        self.outbox.hold(self.outbox.last(), effect);
    }

    /// An order to a runner that leaves once all records made so far are durable.
    fn send(&mut self, link: LinkId, order: Order) {
        self.promise(Effect::Send { link, order });
    }

    fn note(&mut self, note: Note) {
        self.outbox.now(Effect::Note(note));
    }

    /// What is left of a span that began at `from` by the wall clock; never more than the span, whatever the clock did.
    fn remaining(now: Now, from: Wall, span: Duration) -> Duration {
        if now.wall < from {
            return span;
        }
        span.saturating_sub(now.wall.since(from))
    }
}
