//! An upstream in process: it offers tasks on demand, and keeps a book of all it was asked and told.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::Arc,
    time::Instant,
};

use dlite::{
    core::{
        effect::{Answerable, Call},
        id::{TaskType, UpstreamName},
        input::{AcquireError, Answer, CallError, Listed, Listing, Registered, ReportError, Standing, Told},
        record::Host,
        task::{Kind, Payload, Spec},
    },
    upstreams::Upstream,
};
use tokio::sync::watch;

use super::patiently;

/// Its name in the configuration.
pub const NAME: &str = "stub";
/// A task type that it knows for cleanups, whatever its handler says.
pub const KNOWN_CLEANUP: &str = "STUB_CLEANUP";

pub struct Stub {
    book: watch::Sender<Book>,
}

/// All that happened, and what is to be answered.
#[derive(Default)]
pub struct Book {
    /// On offer, by external id.
    offers: BTreeMap<String, Spec>,
    /// Aborts to tell in the next listing.
    aborts: Vec<String>,
    /// What reports are answered with while it is set.
    report_error: Option<ReportError>,
    /// Polls and heartbeats fail while it is set.
    is_down: bool,
    /// Acquires get no answer while it is set.
    acquires_held: bool,
    pub registrations: usize,
    pub polls: usize,
    pub heartbeats: usize,
    /// Running tasks as the last heartbeat named them.
    pub running: BTreeSet<String>,
    /// Successful acquires, in order.
    pub acquired: Vec<String>,
    /// All acquires, refused ones too.
    pub acquires: usize,
    /// Reports that were answered well, in order.
    pub reports: Vec<Arc<Answerable>>,
    /// Reports that failed.
    pub failed_reports: usize,
    /// When the listing left that told an abort.
    pub told: BTreeMap<String, Instant>,
}

// === impl Stub ===

impl Stub {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { book: watch::Sender::new(Book::default()) })
    }

    /// The adapters of a daemon whose one upstream this is.
    pub fn as_upstreams(self: &Arc<Self>) -> BTreeMap<UpstreamName, Arc<dyn Upstream>> {
        BTreeMap::from([(NAME.into(), self.clone() as Arc<dyn Upstream>)])
    }

    /// Lists a task from now on until it is acquired.
    pub fn offer(&self, external_id: &str, task_type: &str) {
        self.offer_spec(external_id, spec(task_type, external_id.as_bytes()));
    }

    pub fn offer_spec(&self, external_id: &str, spec: Spec) {
        self.book.send_modify(|book| drop(book.offers.insert(external_id.to_owned(), spec)));
    }

    /// Lists it no more.
    pub fn withdraw(&self, external_id: &str) {
        self.book.send_modify(|book| drop(book.offers.remove(external_id)));
    }

    /// Tells the abort in the next listing, once.
    pub fn abort(&self, external_id: &str) {
        self.book.send_modify(|book| book.aborts.push(external_id.to_owned()));
    }

    /// Reports get no answer while it is deaf.
    pub fn deafen(&self, deaf: bool) {
        self.fail_reports(deaf.then(|| ReportError::Unanswered("deaf".into())));
    }

    pub fn fail_reports(&self, error: Option<ReportError>) {
        self.book.send_modify(|book| book.report_error = error);
    }

    /// Polls and heartbeats fail while it is down.
    pub fn take_down(&self, is_down: bool) {
        self.book.send_modify(|book| book.is_down = is_down);
    }

    /// Acquires are not answered while they are held.
    pub fn hold_acquires(&self, held: bool) {
        self.book.send_modify(|book| book.acquires_held = held);
    }

    /// A look at the book.
    pub fn read<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.book.borrow())
    }

    /// Waits until the book shows something.
    #[track_caller]
    pub fn until<T>(&self, mut look: impl FnMut(&Book) -> Option<T>) -> impl Future<Output = T> {
        let mut book = self.book.subscribe();
        let found = async move {
            let mut found = None;
            let waited = book.wait_for(|book| {
                found = look(book);
                found.is_some()
            });
            waited.await.expect("the stub lives");
            found.expect("it was waited for")
        };
        patiently(found)
    }

    #[track_caller]
    pub fn acquired(&self, external_id: &str) -> impl Future<Output = ()> {
        let external_id = external_id.to_owned();
        self.until(move |book| book.acquired.contains(&external_id).then_some(()))
    }

    /// The first report of a task that was answered.
    #[track_caller]
    pub fn report(&self, external_id: &str) -> impl Future<Output = Arc<Answerable>> {
        let external_id = external_id.to_owned();
        self.until(move |book| book.reports_of(&external_id).next().cloned())
    }

    /// Waits for so many more polls, the last of which was sent and answered after this call.
    #[track_caller]
    pub fn polls(&self, more: usize) -> impl Future<Output = ()> {
        let enough = self.read(|book| book.polls) + more;
        self.until(move |book| (book.polls >= enough).then_some(()))
    }

    fn answer(&self, call: Call) -> Answer {
        let mut answer = None;
        self.book.send_modify(|book| answer = Some(book.answer(call)));
        answer.expect("the closure ran")
    }
}

impl Upstream for Stub {
    fn kind(&self) -> &'static str {
        "stub"
    }

    fn known_kinds(&self) -> Vec<(TaskType, Kind)> {
        vec![(KNOWN_CLEANUP.into(), Kind::SessionCleanup)]
    }

    fn perform(&self, call: Call) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        Box::pin(async move {
            if matches!(call, Call::Acquire { .. }) {
                // The stub goes only with the daemon that waits here.
                let _ = self.book.subscribe().wait_for(|book| !book.acquires_held).await;
            }
            self.answer(call)
        })
    }
}

// === impl Book ===

impl Book {
    pub fn reports_of<'a>(&'a self, external_id: &'a str) -> impl Iterator<Item = &'a Arc<Answerable>> {
        self.reports.iter().filter(move |report| report.external_id.as_str() == external_id)
    }

    fn answer(&mut self, call: Call) -> Answer {
        match call {
            Call::Register { .. } => {
                self.registrations += 1;
                let host = Host { name: "host".into(), ip: "127.0.0.1".into() };
                Answer::Register(Ok(Registered { delegate_id: "stub-delegate".into(), host, moved_to: None }))
            }
            Call::Heartbeat { .. } if self.is_down => Answer::Heartbeat(Err(CallError::Failed("down".into()))),
            Call::Poll { .. } if self.is_down => Answer::Poll(Err(CallError::Failed("down".into()))),
            Call::Heartbeat { running, .. } => {
                self.heartbeats += 1;
                self.running = running.iter().map(|id| id.as_str().to_owned()).collect();
                Answer::Heartbeat(Ok(Standing::Known))
            }
            Call::Poll { .. } => {
                self.polls += 1;
                let aborts = std::mem::take(&mut self.aborts);
                self.told.extend(aborts.iter().map(|id| (id.clone(), Instant::now())));
                let tasks = self.offers.iter().map(|(external_id, spec)| Listed {
                    external_id: external_id.as_str().into(),
                    task_type: spec.task_type.clone(),
                    kind: spec.kind,
                    labels: None,
                    unsupported: false,
                });
                let aborts = aborts.iter().map(|id| id.as_str().into()).collect();
                Answer::Poll(Ok(Listing { tasks: tasks.collect(), aborts, quiet: false }))
            }
            Call::Acquire { task, external_id, .. } => {
                self.acquires += 1;
                let result = match self.offers.remove(external_id.as_str()) {
                    Some(spec) => {
                        self.acquired.push(external_id.as_str().to_owned());
                        Ok(Box::new(spec))
                    }
                    None => Err(AcquireError::Refused("not on offer".into())),
                };
                Answer::Acquire { task, result }
            }
            Call::Tell { task, .. } => Answer::Tell { task, result: Ok(Told::default()) },
            Call::Report { task, report } => {
                let result = self.report_error.clone().map_or(Ok(()), Err);
                match &result {
                    Ok(()) => self.reports.push(report),
                    Err(_) => self.failed_reports += 1,
                }
                Answer::Report { task, result }
            }
        }
    }
}

/// A plain task of a type, its content as given.
pub fn spec(task_type: &str, content: &[u8]) -> Spec {
    Spec {
        payload: Some(Payload { content_type: "text/plain".into(), content: content.to_vec().into() }),
        ..Spec::new(task_type.into(), dlite::core::task::Kind::default())
    }
}
