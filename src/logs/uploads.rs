//! Brings logs to their sinks: live while they grow, whole once they are closed, and deletes them when the sink has all and the task
//! is over.
//!
//! ```text
//!  log begun ─► live batches ── closed ─► whole ─┬─ the sink has it ─► its lease is over ─► deleted
//!                  │ fails: later              ▲ └─ fails: later ─ for UPLOAD_AGE_MAX at most
//!                  └───────────────────────────┘
//! ```
//!
//! A sink that is down costs disk, not lines: what counts is the whole log, read from the spool. One log waits for no other one, but
//! for the few that are sent whole at once. After a start every log that is still there is sent again; that leaves the sink the same.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::Semaphore,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep},
};

use super::{
    desk::{Desk, Moments, SWEEP_INTERVAL, wall_now},
    record::Record,
    sink::{Delivery, Failure},
    spool::{Log, LogKey, Reader},
};
use crate::{
    core::time::Wall,
    telemetry::metrics::{LogUpload, Metrics},
};

/// Between two live batches of a log.
pub const LIVE_INTERVAL: Duration = Duration::from_secs(1);
/// Between two questions whether a log can be taken yet.
pub const EARLY_INTERVAL: Duration = Duration::from_millis(250);
/// Records and text bytes of a live batch.
pub const LIVE_RECORDS_MAX: usize = 1_000;
pub const LIVE_BYTES_MAX: usize = 1 << 20;
/// Lines that live batches may be behind; a log service shows no more of a log that grows. Older ones come with the whole.
pub const LIVE_BEHIND_MAX: u64 = 5_000;
/// Pause after a first failure; it grows by half with each further one, and is spread by as much.
pub const RETRY_MIN: Duration = Duration::from_millis(500);
pub const RETRY_MAX: Duration = Duration::from_secs(60);
/// How long after its last write a closed log is tried: a token of the log service lives as long.
pub const UPLOAD_AGE_MAX: Duration = Duration::from_secs(48 * 3600);
/// How long a log that goes nowhere is kept for `dlite tasks logs`.
pub const KEPT_WITHOUT_SINK: Duration = Duration::from_secs(3600);
/// Logs sent whole at the same time.
pub const WHOLE_MAX: usize = 4;

/// Sends logs until `stop`; what is not sent then is sent after the next start.
pub async fn run(desk: Desk, metrics: Metrics, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    let mut begun = desk.begun();
    let turns = Arc::new(Semaphore::new(WHOLE_MAX));
    let mut parts = JoinSet::new();
    let mut known: BTreeMap<LogKey, AbortHandle> = BTreeMap::new();
    begun.mark_changed();
    loop {
        tokio::select! {
            () = &mut stop => return,
            changed = begun.changed() => if changed.is_err() { return },
            Some(ended) = parts.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "the upload of a log panicked; it is tried again");
            },
        }
        known.retain(|_, part| !part.is_finished());
        for log in desk.spool().logs() {
            let key = log.meta().key.clone();
            known
                .entry(key)
                .or_insert_with(|| parts.spawn(ship(desk.clone(), log, Arc::clone(&turns), metrics.clone())));
        }
    }
}

/// One log's whole way.
async fn ship(desk: Desk, log: Log, turns: Arc<Semaphore>, metrics: Metrics) {
    // On record as soon as it is closed, however long its way to the sink is.
    tokio::join!(account(&desk, &log, &metrics), bring(&desk, &log, &turns, &metrics));
    // As long as its lease is in force, its runner may come back and must not find it gone.
    while !desk.is_over(&log.meta().key.lease_id).await {
        sleep(SWEEP_INTERVAL).await;
    }
    desk.spool().remove(&log);
}

async fn account(desk: &Desk, log: &Log, metrics: &Metrics) {
    // What an earlier process saw closed, it has counted.
    let is_news = log.progress().receipt.is_none();
    let Some(receipt) = log.closed().await else { return };
    for (reason, missing) in receipt.missing.iter().filter(|_| is_news) {
        metrics.lines_missing(*reason, missing.lines);
    }
    desk.account(log, &receipt).await;
}

/// To its sink, or as long as it is kept without one.
async fn bring(desk: &Desk, log: &Log, turns: &Semaphore, metrics: &Metrics) {
    let LogKey { lease_id, log_id } = &log.meta().key;
    let mut moments = Moments { began: wall_now(), first_batch: None, closed: None, tries: 0, given_up: false };
    let to = desk.address(log.meta()).map(|(sink, address)| (sink.deliver(&address.destination), address));
    let (mut delivery, address) = match to {
        Some((Ok(delivery), address)) => (delivery, address),
        Some((Err(reason), _)) => {
            tracing::error!(%lease_id, %log_id, %reason, "where a log goes can't be read, so it stays here for a while");
            return keep(log).await;
        }
        None => return keep(log).await,
    };
    moments.first_batch = live(log, &mut *delivery).await;
    let Some(receipt) = log.closed().await else { return };
    moments.closed = Some(wall_now());
    let brought = whole(desk, log, &mut *delivery, turns, metrics, &mut moments.tries).await;
    if let Err(reason) = &brought {
        metrics.log_sent(LogUpload::GivenUp);
        tracing::error!(%lease_id, %log_id, %reason, "a log did not get to its sink, and is given up");
    }
    log.settle();
    moments.given_up = brought.is_err();
    desk.tell_way(log, address, &receipt, moments).await;
}

/// One that goes nowhere.
async fn keep(log: &Log) {
    log.settle();
    log.closed().await;
    sleep(KEPT_WITHOUT_SINK.saturating_sub(age(log))).await;
}

/// Sends batches until the log is closed; when the first one arrived.
async fn live(log: &Log, delivery: &mut dyn Delivery) -> Option<Wall> {
    let mut first = None;
    let mut reader = log.read_from(log.progress().next_line.saturating_sub(LIVE_BEHIND_MAX));
    let mut failures = Failures::default();
    while log.progress().receipt.is_none() {
        tokio::select! {
            () = reader.wait() => {}
            _ = log.closed() => return first,
        }
        let next = log.progress().next_line;
        if next > reader.next_line() + LIVE_BEHIND_MAX {
            reader = log.read_from(next - LIVE_BEHIND_MAX);
        }
        let from = reader.next_line();
        let (records, after) = batch(reader).await;
        reader = after;
        let pause = match delivery.live(&records).await {
            Ok(()) => {
                first = first.or_else(|| Some(wall_now()));
                failures = Failures::default();
                LIVE_INTERVAL
            }
            Err(Failure::Early(_)) => {
                reader = log.read_from(from);
                EARLY_INTERVAL
            }
            Err(Failure::Again(reason)) => {
                failures.tell(log, &reason);
                // The whole log will have them; those who watch see on from what is new.
                failures.pause()
            }
            Err(Failure::Never(reason)) => {
                failures.tell(log, &reason);
                drop(log.closed().await);
                return first;
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            _ = log.closed() => return first,
        }
    }
    first
}

/// Up to a batch of records, without waiting for more.
async fn batch(mut reader: Reader) -> (Vec<Record>, Reader) {
    let from = reader.next_line();
    let log = reader.log();
    let read = tokio::task::spawn_blocking(move || {
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < LIVE_RECORDS_MAX && bytes < LIVE_BYTES_MAX {
            // What can't be read now may be read with the whole.
            let Some(Ok(record)) = reader.next() else { break };
            if let Record::Line(line) = &record {
                bytes += line.text.len();
            }
            records.push(record);
        }
        (records, reader)
    });
    read.await.unwrap_or_else(|_| (Vec::new(), log.read_from(from)))
}

/// Sends the whole log, again and again; the reason if it is given up.
async fn whole(
    desk: &Desk,
    log: &Log,
    delivery: &mut dyn Delivery,
    turns: &Semaphore,
    metrics: &Metrics,
    tries: &mut u32,
) -> Result<(), String> {
    let mut failures = Failures::default();
    loop {
        let siblings = if delivery.keeps_every_try() { (false, false) } else { desk.siblings(log) };
        match siblings {
            // A later try at the task has a log of its own for the same place.
            (_, true) => return Ok(()),
            // The log of an earlier try is on its way, and must not arrive behind this one.
            (true, false) => {
                sleep(SWEEP_INTERVAL).await;
                continue;
            }
            (false, false) => {}
        }
        let progress = log.progress();
        let Some(receipt) = progress.receipt.filter(|_| !progress.removed) else { return Ok(()) };
        let sent = {
            let _turn = turns.acquire().await;
            delivery.whole(log, &receipt).await
        };
        *tries += 1;
        match sent {
            Ok(()) => {
                metrics.log_sent(LogUpload::Delivered);
                let LogKey { lease_id, log_id } = &log.meta().key;
                let (lines, missing) = (receipt.lines, receipt.missing_lines());
                tracing::debug!(%lease_id, %log_id, lines, missing, "the sink has the log");
                return Ok(());
            }
            Err(Failure::Never(reason)) => return Err(reason),
            Err(Failure::Again(reason) | Failure::Early(reason)) if age(log) > UPLOAD_AGE_MAX => return Err(reason),
            Err(Failure::Early(_)) => sleep(EARLY_INTERVAL).await,
            Err(Failure::Again(reason)) => {
                metrics.log_sent(LogUpload::Failed);
                failures.tell(log, &reason);
                sleep(failures.pause()).await;
            }
        }
    }
}

/// How long ago it was written.
fn age(log: &Log) -> Duration {
    let written = log.written_at().and_then(|at| SystemTime::now().duration_since(at).ok());
    written.unwrap_or_default()
}

/// Failures one after the other.
#[derive(Default)]
struct Failures {
    count: u32,
    told_at: Option<Instant>,
}

// === impl Failures ===

impl Failures {
    /// At most a warning a minute for each log.
    fn tell(&mut self, log: &Log, reason: &str) {
        if self.told_at.is_none_or(|told_at| told_at.elapsed() >= RETRY_MAX) {
            self.told_at = Some(Instant::now());
            let LogKey { lease_id, log_id } = &log.meta().key;
            tracing::warn!(%lease_id, %log_id, %reason, "the sink does not take a log now; tried again");
        }
    }

    fn pause(&mut self) -> Duration {
        use std::hash::{BuildHasher as _, RandomState};
        // Each state is seeded anew, which is random enough to spread uploads: half to one and a half.
        let spread = RandomState::new().hash_one(0_u8) as f64 / u64::MAX as f64 + 0.5;
        let pause = RETRY_MIN.mul_f64(1.5_f64.powi(self.count.min(24) as i32)).min(RETRY_MAX);
        self.count += 1;
        pause.mul_f64(spread).min(RETRY_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        let mut failures = Failures::default();
        for count in 0..100 {
            let middle = RETRY_MIN.mul_f64(1.5_f64.powi(count.min(24))).min(RETRY_MAX);
            let pause = failures.pause();
            assert!(pause >= middle.mul_f64(0.5) && pause <= middle.mul_f64(1.5).min(RETRY_MAX), "{count}: {pause:?}");
        }
    }
}
