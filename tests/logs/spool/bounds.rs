//! What does not fit is told, and room that comes free is used.

use std::time::Duration;

use dlite::logs::{
    record::{Gap, GapReason},
    spool::{Error, Limits},
};

use super::place::{Place, add, contents, durable, limits, meta, reopen, text, until};

#[tokio::test]
async fn a_full_log_says_how_much_is_missing_and_others_go_on() {
    let place = Place::new();
    let spool = place.open(Limits { log_bytes_max: 10_000, gap_interval: Duration::ZERO, ..limits() });
    let mut log = spool.open_log(meta("log")).unwrap();
    add(&mut log, 0..1000);
    log.submit().await;
    let reader = log.log();
    let receipt = log.close(None, false).await;
    until(&reader, |progress| progress.receipt.is_some()).await;
    let (lines, gaps) = contents(&reader);
    let kept = lines.len() as u64;
    assert!(kept > 50 && kept < 200, "{kept}");
    let bytes = (kept..1000).map(|number| text(number).len() as u64).sum();
    assert_eq!(gaps, [Gap { first: kept, lines: 1000 - kept, bytes, reason: GapReason::LogFull }]);
    assert_eq!((receipt.lines, receipt.missing_lines()), (kept, 1000 - kept));
    let mut other = spool.open_log(meta("other")).unwrap();
    add(&mut other, 0..10);
    other.submit().await;
    durable(&other.log(), 10).await;
    assert_eq!(contents(&other.log()).1, []);
}

#[tokio::test]
async fn all_logs_together_stay_within_their_bound_and_room_that_comes_free_is_used() {
    let place = Place::new();
    let spool = place.open(Limits { all_bytes_max: 50_000, gap_interval: Duration::ZERO, ..limits() });
    let mut first = spool.open_log(meta("first")).unwrap();
    add(&mut first, 0..600);
    let first_log = first.log();
    first.close(None, false).await;
    let mut second = spool.open_log(meta("second")).unwrap();
    add(&mut second, 0..600);
    second.submit().await;
    until(&second.log(), |progress| progress.next_line > 0).await;
    assert!(spool.used_bytes() <= 50_000 + 1_000);
    until(&first_log, |progress| progress.receipt.is_some()).await;
    spool.remove(&first_log);
    until(&first_log, |progress| progress.removed).await;
    add(&mut second, 600..700);
    let log = second.log();
    second.close(None, false).await;
    until(&log, |progress| progress.receipt.is_some()).await;
    let (lines, gaps) = contents(&log);
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].reason, GapReason::SpoolFull);
    assert_eq!(lines.len() as u64 + gaps[0].lines, 700);
    assert!(lines.ends_with(&(600..700).collect::<Vec<_>>()));
}

#[tokio::test]
async fn a_spool_knows_after_a_restart_how_full_it_is() {
    let place = Place::new();
    let spool = place.open(limits());
    let mut log = spool.open_log(meta("log")).unwrap();
    add(&mut log, 0..500);
    log.submit().await;
    durable(&log.log(), 500).await;
    let used = spool.used_bytes();
    drop(log);
    drop(spool);
    let (spool, logs) = reopen(&place.path());
    // The head of the file counts, too, where files are looked at.
    assert!(spool.used_bytes().abs_diff(used) <= 64, "{} and {used}", spool.used_bytes());
    assert_eq!(logs.len(), 1);
}

#[tokio::test]
async fn there_are_not_more_logs_than_allowed() {
    let place = Place::new();
    let spool = place.open(Limits { logs_max: 2, ..limits() });
    let _logs = [spool.open_log(meta("a")).unwrap(), spool.open_log(meta("b")).unwrap()];
    assert!(matches!(spool.open_log(meta("c")), Err(Error::TooMany { max: 2 })));
}
