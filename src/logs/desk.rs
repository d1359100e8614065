//! Which logs are open, and what they need to know of their task.
//!
//! A log begins while its lease is in force. Once open it may outlive that, and its stream; but who comes back for one whose lease is
//! over and whose masker is gone is turned away, since its secrets are not known any more. Logs that nobody comes back for are closed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    files::Files,
    intake::Intake,
    mask::Patterns,
    receipt::{Missing, Receipt},
    record::GapReason,
    seal::Seal,
    sink::Sink,
    spool::{self, Log, LogKey, Meta, Spool},
};
use crate::{
    core::{
        effect::Note,
        id::{LeaseId, TraceId, UpstreamName},
        input::Input,
        logs::{LogGap, LogReceipt, LogWay},
        status::Holding,
        time::Wall,
        trace::TraceParent,
    },
    inbox::{Event, Question},
    runners::ids::Ids,
};

/// How often it is looked whether logs without a runner are over.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(2);
/// Logs of one lease, so that no runner takes the room of all.
pub const LEASE_LOGS_MAX: usize = 256;
/// In an address: the log goes to a directory. Upstreams have names that are not empty.
const FILES: &str = "";
/// How long the driver may take to say whose lease it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The open logs of a delegate. Clones are the same one.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    spool: Spool,
    seal: Seal,
    sinks: BTreeMap<UpstreamName, Arc<dyn Sink>>,
    /// Where the logs go that begin from now on; none: to their upstream's sink.
    files: Mutex<Option<Files>>,
    ids: Ids,
    driver: mpsc::Sender<Event>,
    open: Mutex<BTreeMap<LogKey, Arc<Open>>>,
    /// Logs begun so far, for those who wait for new ones.
    begun: watch::Sender<u64>,
    stopping: watch::Sender<bool>,
}

/// A log that runners write. None once it is closed.
type Shared = tokio::sync::Mutex<Option<Intake>>;

struct Open {
    intake: Shared,
    /// Streams on it.
    streams: AtomicUsize,
}

/// One stream's hold on an open log.
pub struct Held {
    open: Arc<Open>,
    log: Log,
}

/// What there is under a name.
pub enum Found {
    Open(Held),
    /// It is closed, and this is what it came to.
    Closed(Arc<Receipt>),
}

/// Where the log of a task goes, as it stands sealed on disk.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Address {
    /// Empty: [`Files`].
    pub upstream: String,
    /// In the sink's words.
    pub destination: Vec<u8>,
    /// Trace of the task, and the span it came with.
    pub trace_id: TraceId,
    pub parent: Option<TraceParent>,
}

/// What a log's trace shows of its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    pub began: Wall,
    pub first_batch: Option<Wall>,
    pub closed: Option<Wall>,
    pub tries: u32,
    pub given_up: bool,
}

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("lease {lease_id} is not in force, and log {log_id} is not open from before")]
    LeaseLost { lease_id: String, log_id: String },
    /// Both would go to the same place.
    #[error(
        "open.step_id: log {log_id} is that of step {step_id:?} already; give each log of a task a step of its own"
    )]
    StepTaken { step_id: String, log_id: String },
    #[error("lease {lease_id} has {LEASE_LOGS_MAX} logs already, which is the most there may be")]
    TooMany { lease_id: String },
    #[error(transparent)]
    Spool(#[from] spool::Error),
    #[error("the delegate stops or does not answer; open the log again")]
    NoAnswer,
    #[error(transparent)]
    NoRandom(#[from] super::seal::NoRandom),
}

// === impl Desk ===

impl Desk {
    /// `driver` is asked whose lease it is.
    pub fn new(
        spool: Spool,
        seal: Seal,
        sinks: BTreeMap<UpstreamName, Arc<dyn Sink>>,
        ids: Ids,
        driver: mpsc::Sender<Event>,
    ) -> Self {
        let begun = watch::Sender::new(0);
        let (files, open, stopping) = (Mutex::default(), Mutex::default(), watch::Sender::new(false));
        let desk = Self(Arc::new(Inner { spool, seal, sinks, files, ids, driver, open, begun, stopping }));
        desk.spool().logs().iter().for_each(|log| desk.announce(log));
        desk
    }

    pub fn spool(&self) -> &Spool {
        &self.0.spool
    }

    /// Ends when the delegate stops: streams of runners are to end then, who come back to the next process.
    pub async fn stopped(&self) {
        let mut stopping = self.0.stopping.subscribe();
        // The sender is here.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Changes whenever a log begins.
    pub fn begun(&self) -> watch::Receiver<u64> {
        self.0.begun.subscribe()
    }

    /// Opens a log, or finds it.
    ///
    /// # Errors
    /// Any [`Refusal`].
    pub async fn open(&self, key: LogKey, step_id: String) -> Result<Found, Refusal> {
        if let Some(held) = self.held(&key) {
            return Ok(Found::Open(held));
        }
        if let Some(receipt) = self.0.spool.log(&key).and_then(|log| log.progress().receipt) {
            return Ok(Found::Closed(receipt));
        }
        let Some(holding) = self.holding(&key.lease_id).await? else {
            return Err(Refusal::LeaseLost { lease_id: key.lease_id, log_id: key.log_id });
        };
        // A step's secrets are often those of its setup.
        let secrets: BTreeSet<&[u8]> = holding.secrets().collect();
        let patterns = match Patterns::new(secrets) {
            Ok((patterns, warnings)) => {
                for warning in warnings {
                    tracing::warn!(lease = %key.lease_id, log = %key.log_id, %warning, "a secret is not masked in full");
                }
                Some(Arc::new(patterns))
            }
            Err(error) => {
                tracing::error!(lease = %key.lease_id, log = %key.log_id, %error, "no line of this log is kept");
                None
            }
        };
        let destination = match self.destination(&holding, &step_id) {
            Some(address) => self.sealed(&address)?,
            None => Vec::new(),
        };
        let meta = Meta { key: key.clone(), task_id: self.0.ids.task(holding.task), step_id, destination };
        let mut others = self.0.spool.logs();
        others.retain(|log| log.meta().key.lease_id == key.lease_id && log.meta().key.log_id != key.log_id);
        if let Some(other) = others.iter().find(|log| log.meta().step_id == meta.step_id) {
            let log_id = other.meta().key.log_id.clone();
            return Err(Refusal::StepTaken { step_id: meta.step_id, log_id });
        }
        if others.len() >= LEASE_LOGS_MAX {
            return Err(Refusal::TooMany { lease_id: key.lease_id });
        }
        let held = self.begin(meta, patterns)?;
        // Before the runner hears of it, and so before the result that may have to wait for it.
        self.tell(Input::LogOpened { lease: self.lease(&key.lease_id), log_id: key.log_id.as_str().into() }).await;
        Ok(Found::Open(held))
    }

    fn begin(&self, meta: Meta, patterns: Option<Arc<Patterns>>) -> Result<Held, Refusal> {
        let key = meta.key.clone();
        // Two streams at once: one makes it, the other finds it.
        let mut logs = self.logs();
        if let Some(open) = logs.get(&key).filter(|open| is_of_use(open)) {
            return self.hold(open, &key);
        }
        let intake = Intake::new(patterns, self.0.spool.open_log(meta)?);
        self.announce(&intake.log());
        let open = Arc::new(Open { intake: Shared::new(Some(intake)), streams: AtomicUsize::new(0) });
        logs.insert(key.clone(), Arc::clone(&open));
        drop(logs);
        self.0.begun.send_modify(|begun| *begun += 1);
        self.hold(&open, &key)
    }

    /// Has it put on record what a closed log came to. What was told before counts for nothing.
    pub(super) async fn account(&self, log: &Log, receipt: &Receipt) {
        let Meta { key, task_id, step_id, .. } = log.meta();
        let Some(task) = self.0.ids.parse_task(task_id) else { return };
        let lease = self.lease(&key.lease_id);
        let gap = |(reason, missing): (&GapReason, &Missing)| LogGap {
            reason: reason.word().into(),
            lines: missing.lines,
            bytes: missing.bytes,
        };
        let log = LogReceipt {
            lease,
            log_id: key.log_id.as_str().into(),
            step_id: step_id.as_str().into(),
            lines: receipt.lines,
            bytes: receipt.bytes,
            digest: receipt.digest.as_str().into(),
            gaps: receipt.missing.iter().map(gap).collect(),
            truncated: receipt.truncated,
        };
        self.tell(Input::LogClosed { task, log: Box::new(log) }).await;
    }

    /// The way of a log is over.
    pub(super) async fn tell_way(&self, log: &Log, address: Address, receipt: &Receipt, moments: Moments) {
        let Meta { key, task_id, .. } = log.meta();
        let Some(task) = self.0.ids.parse_task(task_id) else { return };
        let Moments { began, first_batch, closed, tries, given_up } = moments;
        let way = LogWay {
            task,
            lease: self.lease(&key.lease_id),
            log_id: key.log_id.as_str().into(),
            upstream: address.upstream.as_str().into(),
            trace_id: address.trace_id,
            parent: address.parent,
            began,
            first_batch,
            closed: closed.unwrap_or(began),
            ended: wall_now(),
            lines: receipt.lines,
            bytes: receipt.bytes,
            missing_lines: receipt.missing_lines(),
            tries,
            given_up,
        };
        let _ = self.0.driver.send(Event::Note(Note::LogEnded(Box::new(way)))).await;
    }

    /// A driver that is gone needs no news.
    async fn tell(&self, input: Input) {
        let _ = self.0.driver.send(Event::Input(input)).await;
    }

    fn lease(&self, lease_id: &str) -> LeaseId {
        self.0.ids.for_link().parse_lease(lease_id)
    }

    fn held(&self, key: &LogKey) -> Option<Held> {
        let open = self.logs().get(key).filter(|open| is_of_use(open)).cloned()?;
        self.hold(&open, key).ok().filter(|held| !held.log.progress().is_broken)
    }

    fn hold(&self, open: &Arc<Open>, key: &LogKey) -> Result<Held, Refusal> {
        let log = self.0.spool.log(key).ok_or(Refusal::NoAnswer)?;
        open.streams.fetch_add(1, Ordering::AcqRel);
        Ok(Held { open: Arc::clone(open), log })
    }

    fn destination(&self, holding: &Holding, step_id: &str) -> Option<Address> {
        let (upstream, destination) = match &*self.files() {
            Some(files) => (FILES.to_owned(), files.destination(&holding.spec, step_id)?),
            None => {
                let sink = self.0.sinks.get(&holding.upstream)?;
                (holding.upstream.to_string(), sink.destination(&holding.spec, step_id)?)
            }
        };
        Some(Address { upstream, destination, trace_id: holding.trace_id, parent: holding.spec.trace_parent.clone() })
    }

    /// Logs that begin from now on go to this directory, or to their upstreams' sinks. Others stay on their way.
    pub fn send_to(&self, files: Option<Files>) {
        *self.files() = files;
    }

    fn files(&self) -> MutexGuard<'_, Option<Files>> {
        // Only ever replaced as a whole.
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sealed(&self, address: &Address) -> Result<Vec<u8>, Refusal> {
        // An address is a text and bytes: there is nothing that can't be encoded.
        let plain = postcard::to_allocvec(address).unwrap_or_default();
        Ok(self.0.seal.seal(&plain)?)
    }

    /// Its sink is told of a log that is in the spool.
    fn announce(&self, log: &Log) {
        if let Some((sink, address)) = self.address(log.meta()) {
            sink.begun(&address.destination, log);
        }
    }

    /// Where a log goes; none: nowhere, or it was sealed by another state directory.
    pub(super) fn address(&self, meta: &Meta) -> Option<(Arc<dyn Sink>, Address)> {
        let plain = self.0.seal.open(&meta.destination)?;
        let address: Address = postcard::from_bytes(&plain).ok()?;
        if address.upstream == FILES {
            return Some((Arc::new(Files::of_destination(&address.destination)), address));
        }
        let sink = self.0.sinks.get(&UpstreamName::from(address.upstream.as_str()))?;
        Some((Arc::clone(sink), address))
    }

    /// Whose lease in force it is.
    async fn holding(&self, lease_id: &str) -> Result<Option<Holding>, Refusal> {
        let lease = self.0.ids.for_link().parse_lease(lease_id);
        let (sender, answer) = oneshot::channel();
        let asked = async {
            self.0.driver.send(Event::Ask(Question::Holding(lease, sender))).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(ANSWER_TIMEOUT, asked).await.ok().flatten().ok_or(Refusal::NoAnswer)
    }

    /// Whether the lease of a log is over, for sure.
    pub(super) async fn is_over(&self, lease_id: &str) -> bool {
        matches!(self.holding(lease_id).await, Ok(None))
    }

    /// Whether there are other logs with the same way to their sink, earlier and later ones: those of other tries at the task.
    pub(super) fn siblings(&self, log: &Log) -> (bool, bool) {
        let (task_id, step_id) = (&log.meta().task_id, &log.meta().step_id);
        let all = self.0.spool.logs();
        let mut others =
            all.iter().filter(|other| other.meta().task_id == *task_id && other.meta().step_id == *step_id);
        let earlier = others.clone().any(|other| other.ordinal() < log.ordinal());
        (earlier, others.any(|other| other.ordinal() > log.ordinal()))
    }

    /// Closes logs that nobody writes and whose lease is over, until the delegate stops.
    pub async fn sweep(&self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => {
                    self.0.stopping.send_replace(true);
                    return;
                }
                () = tokio::time::sleep(SWEEP_INTERVAL) => {}
            }
            for log in self.0.spool.logs() {
                let key = &log.meta().key;
                if log.progress().receipt.is_none() && self.is_abandoned(key) && self.is_over(&key.lease_id).await {
                    self.close_abandoned(&log).await;
                }
            }
            self.logs().retain(|_, open| is_of_use(open));
        }
    }

    fn is_abandoned(&self, key: &LogKey) -> bool {
        self.logs().get(key).is_none_or(|open| open.streams.load(Ordering::Acquire) == 0)
    }

    async fn close_abandoned(&self, log: &Log) {
        let key = &log.meta().key;
        let open = self.logs().remove(key);
        let intake = match open {
            Some(open) => open.intake.lock().await.take(),
            None => self.0.spool.open_log(log.meta().clone()).ok().map(|appender| Intake::new(None, appender)),
        };
        if let Some(intake) = intake {
            tracing::warn!(lease = %key.lease_id, log = %key.log_id, "a log is closed without its runner's word");
            intake.close(None, true).await;
        }
    }

    fn logs(&self) -> MutexGuard<'_, BTreeMap<LogKey, Arc<Open>>> {
        // Changes are single inserts and removes.
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn wall_now() -> Wall {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// Not closed, or in the midst of something.
fn is_of_use(open: &Open) -> bool {
    open.intake
        .try_lock()
        .map_or(true, |intake| intake.as_ref().is_some_and(|intake| !intake.log().progress().is_broken))
}

// === impl Held ===

impl Held {
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The log to write to; none once it is closed.
    pub async fn intake(&self) -> tokio::sync::MutexGuard<'_, Option<Intake>> {
        self.open.intake.lock().await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.open.streams.fetch_sub(1, Ordering::AcqRel);
    }
}
