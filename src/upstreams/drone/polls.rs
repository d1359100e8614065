//! The long polls that are open: one a filter, begun when a slot waits for such a stage, and heard whenever it ends.
//!
//! ```text
//!  wanted ─► open ─ offer ──► heard ─► taken; opened again once the stage's accept is over
//!                 ├ nothing ► heard ─► taken; opened again at once
//!                 └ failed ─► heard ─► taken; opened again after a pause that grows
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::AbortHandle};

use super::{classify, client::Client, request::Request, stage_id::StageId, wire};
use crate::core::input::CallError;

/// How long a filter is not polled for after an offer that nobody accepts: the server would offer the same stage again at once.
const OFFER_RESTS_FOR: Duration = Duration::from_secs(2);

/// Between two calls for offers. The server holds the polls, so there is nothing to space out; and what is heard between two calls
/// waits no longer than this.
pub const POLL_PAUSE: Duration = Duration::from_millis(5);

type Heard = Result<Option<wire::Stage>, CallError>;

pub(super) struct Polls {
    client: Arc<Client>,
    by_filter: Arc<Mutex<BTreeMap<wire::Filter, Poll>>>,
    /// Rings when something was heard, or a poll may be opened again.
    news: Arc<Notify>,
    /// An accept is over since the last call for offers: what is wanted may be another now.
    settled: AtomicBool,
}

/// What is known of one filter.
#[derive(Default)]
struct Poll {
    /// Set: a request is under way.
    open: Option<AbortHandle>,
    heard: Option<Heard>,
    /// Failures in a row.
    tries: u32,
    not_before: Option<Instant>,
    offered: Option<(wire::Stage, Instant)>,
}

// === impl Poll ===

impl Poll {
    /// The offer that is fresh enough to be taken.
    fn offer(&self, now: Instant) -> Option<&wire::Stage> {
        self.offered.as_ref().filter(|(_, at)| now.duration_since(*at) < OFFER_RESTS_FOR).map(|(stage, _)| stage)
    }
}

// === impl Polls ===

impl Polls {
    pub fn new(client: Arc<Client>, news: Arc<Notify>) -> Self {
        Self { client, by_filter: Arc::default(), news, settled: AtomicBool::new(false) }
    }

    /// Opens what is wanted and not open. What is open and not wanted any more is left to end.
    pub fn want(&self, filters: BTreeSet<wire::Filter>) {
        let now = Instant::now();
        let mut by_filter = lock(&self.by_filter);
        by_filter.retain(|filter, poll| filters.contains(filter) || poll.open.is_some() || poll.heard.is_some());
        for filter in filters {
            let poll = by_filter.entry(filter.clone()).or_default();
            let rests = poll.offer(now).is_some() || poll.not_before.is_some_and(|at| at > now);
            if poll.open.is_none() && poll.heard.is_none() && !rests {
                let run = run(self.client.clone(), self.by_filter.clone(), self.news.clone(), filter);
                poll.open = Some(tokio::spawn(run).abort_handle());
            }
        }
    }

    /// What ended since the last time, and beside it the offers of other filters that still stand; empty: nothing ended.
    pub fn take_heard(&self) -> Vec<Heard> {
        let now = Instant::now();
        let mut by_filter = lock(&self.by_filter);
        if by_filter.values().all(|poll| poll.heard.is_none()) {
            return Vec::new();
        }
        let standing = |poll: &Poll| poll.offer(now).map(|stage| Ok(Some(stage.clone())));
        by_filter.values_mut().filter_map(|poll| poll.heard.take().or_else(|| standing(poll))).collect()
    }

    /// Whether an accept is over since the last time.
    pub fn take_settled(&self) -> bool {
        self.settled.swap(false, Ordering::AcqRel)
    }

    /// The stage's accept is over: filters that brought it may be polled for again.
    pub fn settled(&self, id: StageId) {
        for poll in lock(&self.by_filter).values_mut() {
            poll.offered = poll.offered.take().filter(|(offered, _)| offered.id() != id);
        }
        self.settled.store(true, Ordering::Release);
        self.news.notify_waiters();
    }
}

impl Drop for Polls {
    fn drop(&mut self) {
        lock(&self.by_filter).values().filter_map(|poll| poll.open.as_ref()).for_each(AbortHandle::abort);
    }
}

async fn run(
    client: Arc<Client>,
    by_filter: Arc<Mutex<BTreeMap<wire::Filter, Poll>>>,
    news: Arc<Notify>,
    filter: wire::Filter,
) {
    let began = Instant::now();
    let pace = client.options.pace;
    let request = Request::poll(&filter, pace.hold_timeout);
    let outcome = client.send(&request).await;
    let heard = classify::poll(&request, &outcome);
    // Nothing, and at once, is no hold: asking again at once would go round and round.
    let failed = match &heard {
        Ok(Some(_)) => false,
        Ok(None) => began.elapsed() < pace.retry_min,
        Err(_) => true,
    };
    if let Some(poll) = lock(&by_filter).get_mut(&filter) {
        let now = Instant::now();
        poll.open = None;
        poll.tries = if failed { poll.tries.saturating_add(1) } else { 0 };
        poll.not_before = failed.then(|| now + pace.pause(poll.tries));
        poll.offered = heard.as_ref().ok().and_then(Option::as_ref).map(|stage| (stage.clone(), now));
        poll.heard = Some(heard);
    }
    news.notify_waiters();
}

fn lock(by_filter: &Mutex<BTreeMap<wire::Filter, Poll>>) -> MutexGuard<'_, BTreeMap<wire::Filter, Poll>> {
    // Nothing that is done under the lock stops half-way.
    by_filter.lock().unwrap_or_else(PoisonError::into_inner)
}
