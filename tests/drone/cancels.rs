//! A cancel reaches the core whatever becomes of the watches.

use std::time::{Duration, Instant};

use dlite::doubles::drone::{Calls, Fault, Route};

use crate::support::{HOLD, Pair, SOON, ended, external};

const QUICKLY: Duration = Duration::from_secs(1);

async fn heard(pair: &Pair, id: &str) -> Duration {
    let began = Instant::now();
    let listing = pair.poll_until(&[], |listing| !listing.aborts.is_empty()).await;
    assert_eq!(listing.aborts.iter().map(|id| id.as_str()).collect::<Vec<_>>(), [id]);
    began.elapsed()
}

#[tokio::test]
async fn a_cancel_is_heard_by_a_watch_and_told_once() {
    let pair = Pair::with(|server| server.hold = SOON, |_| ()).await;
    let (submitted, _) = pair.taken().await;
    pair.server.wait_until(|record| record.totals.watches_open >= 1, SOON).await.unwrap();
    assert!(pair.server.cancel(submitted.build));
    assert!(heard(&pair, &external(&submitted)).await < QUICKLY);
    assert!(pair.poll(&[]).await.unwrap().aborts.is_empty());
    assert!(pair.server.read(|record| record.stages[&submitted.stages[0]].told_at.is_some()));
}

#[tokio::test]
async fn two_watches_overlap_so_that_one_is_always_open() {
    let pair = Pair::new().await;
    let (submitted, _) = pair.taken().await;
    pair.server.wait_until(|record| record.totals.watches_open == 2, SOON).await.unwrap();
    let mut fewest = u64::MAX;
    let several = |record: &dlite::doubles::drone::Record| {
        fewest = fewest.min(record.totals.watches_open);
        record.calls(Route::Watch) >= 8
    };
    pair.server.wait_until(several, SOON).await.unwrap();
    assert!(fewest >= 1, "a cancel at that moment would have been lost");
    assert!(pair.server.cancel(submitted.build));
    assert!(heard(&pair, &external(&submitted)).await < QUICKLY);
}

#[tokio::test]
async fn a_cancel_is_heard_although_one_watch_was_cut() {
    let pair = Pair::with(|server| server.hold = SOON, |_| ()).await;
    pair.server.fault(Route::Watch, Fault::CutBefore, Calls::Next(1));
    let (submitted, _) = pair.taken().await;
    pair.server.wait_until(|record| record.totals.watches_open >= 1, SOON).await.unwrap();
    assert!(pair.server.cancel(submitted.build));
    assert!(heard(&pair, &external(&submitted)).await < QUICKLY);
}

#[tokio::test]
async fn a_cancel_that_fell_between_two_cut_watches_is_found_by_the_details() {
    let pair = Pair::with(|server| server.hold = SOON, |_| ()).await;
    let (submitted, _) = pair.taken().await;
    pair.server.wait_until(|record| record.totals.watches_open == 2, SOON).await.unwrap();
    // Nobody is told: those who watched are cut off, and whoever watches later is too late.
    pair.server.cut_held();
    assert!(pair.server.cancel(submitted.build));
    assert!(heard(&pair, &external(&submitted)).await < QUICKLY);
}

#[tokio::test]
async fn watches_that_time_out_with_an_error_go_on() {
    let pair = Pair::with(|server| server.redis = true, |_| ()).await;
    let (submitted, _) = pair.taken().await;
    pair.server.wait_until(|record| record.calls(Route::Watch) >= 4, SOON).await.unwrap();
    assert!(pair.poll(&[]).await.unwrap().aborts.is_empty());
    assert!(pair.server.cancel(submitted.build));
    assert!(heard(&pair, &external(&submitted)).await < QUICKLY + HOLD);
}

#[tokio::test]
async fn a_page_from_somebody_on_the_way_is_no_cancel() {
    let pair = Pair::with(|server| server.hold = SOON, |_| ()).await;
    pair.server.fault(Route::Watch, Fault::Html, Calls::Next(3));
    pair.taken().await;
    let watches = |record: &dlite::doubles::drone::Record| record.calls(Route::Watch) >= 4;
    pair.server.wait_until(watches, SOON).await.unwrap();
    assert!(pair.poll(&[]).await.unwrap().aborts.is_empty());
}

#[tokio::test]
async fn a_stage_cancelled_between_offer_and_accept_is_stopped_at_once() {
    let pair = Pair::new().await;
    let submitted = pair.submit();
    assert!(pair.server.cancel(submitted.build));
    let spec = pair.acquire(&external(&submitted)).await.unwrap();
    assert_eq!(pair.server.status(submitted.stages[0]).as_deref(), Some("pending"), "the accept revived it");
    heard(&pair, &external(&submitted)).await;
    let finish = ended(dlite::core::task::Outcome::Cancelled, "CANCELLED", "");
    assert_eq!(pair.report(&external(&submitted), &spec, finish).await, Ok(()));
    assert_eq!(pair.server.status(submitted.stages[0]).as_deref(), Some("killed"));
}

#[tokio::test]
async fn after_a_restart_what_runs_is_watched_and_what_is_reported_is_not() {
    let mut pair = Pair::with(|server| server.hold = SOON, |_| ()).await;
    let (submitted, spec) = pair.taken().await;
    pair.restart();
    pair.server.wait_until(|record| record.totals.watches_open == 0, SOON).await.unwrap();
    let id = external(&submitted);
    pair.heartbeat(&[&id]).await.unwrap();
    pair.server.wait_until(|record| record.totals.watches_open >= 1, SOON).await.unwrap();
    pair.report(&id, &spec, crate::support::succeeded()).await.unwrap();
    pair.server.wait_until(|record| record.totals.watches_open == 0, SOON).await.unwrap();
}
