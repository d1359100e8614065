//! The loop that owns the core: the first event, then whatever else is there, then records to the journal and effects to the
//! shells.
//!
//! It never decides and never waits for a shell. Order within a turn: what arrived, then timers, so that a frame that is here
//! already beats the timer it would have stopped.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    core::{
        Core,
        command::Refusal,
        drain::Departure,
        effect::{Close, Effect, Note, Order},
        id::{LinkId, Lsn, RequestId, UpstreamName},
        input::Input,
        time::{Mono, Now, Wall},
    },
    health::{PULSE_INTERVAL, Vitals},
    inbox::{Event, Explanation, Question},
    journal::{self, Batch, Change, Writer},
    runners::{ids::Ids, link::Orders},
    telemetry::metrics::Metrics,
    upstreams::Upstream,
};

/// Events taken in before records and effects go out.
const TURN_EVENTS_MAX: usize = 256;

/// How long events that keep coming may put off a timer; an inbox is worked off in a fraction of it.
const TIMER_PATIENCE: Duration = Duration::from_millis(100);

/// How long one upstream may take to hear that the delegate goes.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// What the journal's thread last said; level-triggered, so that nothing queues.
#[derive(Clone, Debug, Default)]
pub struct JournalNews {
    durable: u64,
    /// Commits fail.
    failing: Option<Arc<str>>,
    /// Room runs out.
    full: Option<Arc<str>>,
}

/// Reads both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

/// Is told every note, in order, and how to write its ids; must not wait.
pub type Observer = Box<dyn FnMut(&Ids, &Note) + Send>;

/// The one owner of the core.
pub struct Driver {
    core: Core,
    clock: Clock,
    writer: Writer,
    inbox: mpsc::Receiver<Event>,
    /// For the answers of upstreams.
    sender: mpsc::Sender<Event>,
    news: watch::Receiver<JournalNews>,
    /// Why nothing is taken, as last told to the core.
    failing: Option<Arc<str>>,
    links: HashMap<LinkId, Orders>,
    upstreams: BTreeMap<UpstreamName, Arc<dyn Upstream>>,
    observer: Observer,
    /// Whether anybody is attached, so that a look at the host is of use.
    attached: watch::Sender<bool>,
    metrics: Metrics,
    /// Where it leaves signs of life.
    vitals: Vitals,
    /// As runners and operators read them.
    ids: Ids,
    /// Orders given so far.
    requests: u64,
    /// Operators that wait for the answer to an order.
    ordered: HashMap<RequestId, oneshot::Sender<Result<(), Refusal>>>,
}

/// All a driver is made from.
pub struct Parts {
    pub core: Core,
    pub clock: Clock,
    pub writer: Writer,
    pub news: watch::Receiver<JournalNews>,
    pub inbox: mpsc::Receiver<Event>,
    pub sender: mpsc::Sender<Event>,
    pub upstreams: BTreeMap<UpstreamName, Arc<dyn Upstream>>,
    pub observer: Observer,
    /// Is told whether anybody is attached.
    pub attached: watch::Sender<bool>,
    pub metrics: Metrics,
    pub vitals: Vitals,
}

/// Why the driver ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the journal's thread stopped; nothing more can be made durable")]
    Journal(#[from] journal::Stopped),
    #[error(
        "DELEGATE_DELETED: every upstream has deleted this delegate and refuses a new registration, and nothing is left to \
         finish or report; see what the upstream's operator did before starting it again"
    )]
    Deleted,
}

// === impl Clock ===

impl Clock {
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now {
            // Not zero, so that "before everything" can be told from the first moment.
            mono: Mono(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_add(1)),
            wall: Wall(i64::try_from(wall.as_micros()).unwrap_or(i64::MAX)),
        }
    }

    fn instant(&self, at: Mono) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.origin + Duration::from_micros(at.0.saturating_sub(1)))
    }
}

// === impl JournalNews ===

/// The callback for [`Writer::start`] and where its news arrive.
pub fn journal_news() -> (impl FnMut(journal::Event) + Send + 'static, watch::Receiver<JournalNews>) {
    let (sender, receiver) = watch::channel(JournalNews::default());
    let tell = move |event| {
        sender.send_modify(|news| match event {
            journal::Event::Durable(last) => news.durable = last,
            journal::Event::Failing { reason } => news.failing = Some(reason.into()),
            journal::Event::Recovered => news.failing = None,
            journal::Event::SpaceLow { free_bytes } => {
                news.full = Some(format!("{} MiB left on the journal's disk", free_bytes >> 20).into());
            }
            journal::Event::SpaceOk => news.full = None,
        });
    };
    (tell, receiver)
}

// === impl Driver ===

impl Driver {
    pub fn new(parts: Parts) -> Self {
        let Parts { core, clock, writer, news, inbox, sender, upstreams, observer, attached, metrics, vitals } = parts;
        let ids = Ids::of(core.delegate());
        let (failing, links) = (None, HashMap::new());
        let (requests, ordered) = (0, HashMap::new());
        let driver = Self {
            core,
            clock,
            writer,
            inbox,
            sender,
            news,
            failing,
            links,
            upstreams,
            observer,
            attached,
            metrics,
            vitals,
            ids,
            requests,
            ordered,
        };
        // Its first turn is due at once.
        driver.live();
        driver
    }

    /// Runs until `stop` turns true, or a drain that ends the process is over, which says what is left. Then closes every link and
    /// makes durable what is recorded.
    ///
    /// # Errors
    /// If the journal's thread died, or no upstream wants this delegate any more.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<Option<Departure>, Error> {
        self.flush()?;
        let mut departure = None;
        while departure.is_none() && !*stop.borrow_and_update() {
            let wake = self.core.poll_timeout().map(|at| self.clock.instant(at));
            tokio::select! {
                biased;
                changed = stop.changed() => if changed.is_err() { break },
                changed = self.news.changed() => if changed.is_err() { return Err(journal::Stopped.into()) },
                event = self.inbox.recv() => if let Some(event) = event { self.take(event) },
                () = sleep_until(wake) => {}
                () = tokio::time::sleep(PULSE_INTERVAL) => {}
            }
            self.live();
            self.turn();
            self.flush()?;
            let wanted = self.core.wants_pressure();
            self.attached.send_if_modified(|attached| std::mem::replace(attached, wanted) != wanted);
            if self.core.is_deleted() {
                return Err(Error::Deleted);
            }
            departure = self.core.departure();
        }
        for (_, orders) in self.links.drain() {
            orders.shut_down();
        }
        self.say_farewell().await;
        if let Err(unwritten) = self.writer.stop() {
            tracing::error!(%unwritten, "stopped with records that are not durable; none of them was acknowledged");
        }
        Ok(departure)
    }

    /// Ends the registrations that are to end, each within its bound; nothing depends on the answers.
    async fn say_farewell(&mut self) {
        for (name, delegate_id, host) in self.core.farewells() {
            let Some(upstream) = self.upstreams.get(&name) else { continue };
            match tokio::time::timeout(FAREWELL_TIMEOUT, upstream.unregister(&delegate_id, &host)).await {
                Ok(Ok(())) => tracing::info!(upstream = %name, %delegate_id, "unregistered"),
                Ok(Err(reason)) => tracing::warn!(upstream = %name, %reason, "not unregistered"),
                Err(_) => tracing::warn!(upstream = %name, "not unregistered: no answer within {FAREWELL_TIMEOUT:?}"),
            }
        }
    }

    /// Leaves the signs of life that others look at.
    fn live(&self) {
        self.vitals.beat();
        if self.vitals.wants_reading() {
            self.vitals.leave(self.core.gauges(self.clock.now()));
        }
    }

    /// Everything else that is here, then what is due. While more keeps coming, a timer waits its patience and no longer: what
    /// was here when it fell due is handled by then.
    fn turn(&mut self) {
        self.take_news();
        let mut more = TURN_EVENTS_MAX;
        while more > 0
            && let Ok(event) = self.inbox.try_recv()
        {
            self.take(event);
            more -= 1;
        }
        let now = self.clock.now();
        let patience = if more > 0 { Duration::ZERO } else { TIMER_PATIENCE };
        if self.core.poll_timeout().is_some_and(|at| at + patience <= now.mono) {
            self.core.handle_timeout(now);
        }
    }

    fn take(&mut self, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Input(input) => {
                self.metrics.told(&input);
                if let Input::Detached { link } = &input {
                    self.links.remove(link);
                }
                self.core.handle(now, input);
            }
            Event::Attach { link, hello, peer, orders } => {
                self.links.insert(link, orders);
                self.core.handle(now, Input::Attached { link, hello, peer });
            }
            Event::Note(note) => self.perform(Effect::Note(note)),
            // Whoever asked may be gone.
            Event::Ask(Question::Leavings(answer)) => drop(answer.send(self.core.leavings())),
            Event::Ask(Question::Holding(lease, answer)) => drop(answer.send(self.core.holding(lease))),
            Event::Ask(Question::Status(answer)) => drop(answer.send(self.core.status())),
            Event::Ask(Question::Tasks(answer)) => drop(answer.send(self.core.task_list(now))),
            Event::Ask(Question::Sessions(answer)) => drop(answer.send(self.core.session_list())),
            Event::Ask(Question::Task(name, answer)) => drop(answer.send(self.core.find_task(now, &name))),
            Event::Ask(Question::Explain(name, answer)) => {
                let found = self.core.explain(now, &name);
                drop(answer.send(Explanation { now, found, cut_off: self.core.cut_off_upstreams() }));
            }
            Event::Ask(Question::Reports(answer)) => drop(answer.send(self.core.report_list(now))),
            Event::Ask(Question::Report(name, answer)) => drop(answer.send(self.core.find_report(now, &name))),
            Event::Ask(Question::Audits(limit, answer)) => drop(answer.send(self.core.audit_list(limit))),
            Event::Order(command, answer) => {
                self.requests += 1;
                let request = RequestId(self.requests);
                self.ordered.retain(|_, answer| !answer.is_closed());
                self.ordered.insert(request, answer);
                self.core.handle(now, Input::Commanded { request, command });
            }
        }
    }

    fn take_news(&mut self) {
        let news = self.news.borrow_and_update().clone();
        let now = self.clock.now();
        self.core.handle(now, Input::Durable(Lsn(news.durable)));
        let failing = news.failing.or(news.full);
        if failing.is_some() != self.failing.is_some() {
            let input = match &failing {
                Some(reason) => Input::StoreFailing { reason: reason.clone() },
                None => Input::StoreRecovered,
            };
            self.core.handle(now, input);
        }
        self.failing = failing;
    }

    /// Hands out what the turn brought: records first, so that the disk works while effects leave.
    fn flush(&mut self) -> Result<(), Error> {
        let mut changes = Vec::new();
        let mut last = 0;
        while let Some(entry) = self.core.next_entry() {
            last = entry.lsn.0;
            changes.push(match entry.body {
                Some(body) => Change::Append { scope: entry.scope, number: entry.number, body },
                None => Change::End { scope: entry.scope },
            });
        }
        if !changes.is_empty() {
            self.writer.submit(Batch { changes, last })?;
        }
        while let Some(effect) = self.core.next_effect() {
            self.perform(effect);
        }
        Ok(())
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Call { upstream: name, call } => {
                let Some(upstream) = self.upstreams.get(&name).cloned() else { return };
                let (sender, metrics) = (self.sender.clone(), self.metrics.clone());
                tokio::spawn(async move {
                    let timing = metrics.call(&call);
                    let answer = upstream.perform(call).await;
                    metrics.answered(&timing, &name, &answer);
                    // The driver is gone when the process stops; the journal knows what was under way.
                    let _ = sender.send(Event::Input(Input::Answered { upstream: name, answer })).await;
                });
            }
            Effect::Send { link, order } => self.send(link, order),
            Effect::Answer { request, answer } => {
                if let Some(asker) = self.ordered.remove(&request) {
                    // Whoever ordered it may be gone; it is done all the same.
                    let _ = asker.send(answer);
                }
            }
            Effect::Note(note) => {
                self.metrics.note(&note);
                (self.observer)(&self.ids, &note);
            }
        }
    }

    fn send(&mut self, link: LinkId, order: Order) {
        if let Order::Close(close) = order {
            if let Some(orders) = self.links.remove(&link) {
                orders.cut(&close);
            }
        } else if self.links.get(&link).is_some_and(|orders| !orders.give(order)) {
            // It does not read: the link goes, its leases stay.
            if let Some(orders) = self.links.remove(&link) {
                orders.cut(&Close::Overrun);
            }
            self.core.handle(self.clock.now(), Input::Detached { link });
        }
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
