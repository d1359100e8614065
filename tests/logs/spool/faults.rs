//! A disk that fails costs the log that it fails for, and time within bounds.

use std::{fs, os::unix::fs::symlink, time::Duration};

use dlite::logs::{
    record::{Gap, GapReason},
    spool::{Appender, Limits, Progress, Spool},
};

use super::place::{PATIENCE, Place, add, appears, contents, durable, limits, meta, text, until};

/// A log whose first file is `device`, which fails every write.
async fn on_device(place: &Place, spool: &Spool, name: &str, id: &str, device: &str) -> Appender {
    let log = spool.open_log(meta(name)).unwrap();
    appears(&place.path().join(id).join("meta.json")).await;
    symlink(device, place.path().join(id).join("00000000000000000000.seg")).unwrap();
    log
}

#[tokio::test]
async fn without_room_lines_wait_or_are_told_to_be_missing_and_it_goes_on_when_there_is_room() {
    let place = Place::new();
    let spool =
        place.open(Limits { back_pressure_max: Duration::from_millis(50), gap_interval: Duration::ZERO, ..limits() });
    let mut log = on_device(&place, &spool, "log", "0", "/dev/full").await;
    add(&mut log, 0..10);
    log.submit().await;
    let reader = log.log();
    // Another one fails later, for a reason that breaks a log off, and is broken off by now.
    let mut other = on_device(&place, &spool, "other", "1", "/proc/self/mem").await;
    add(&mut other, 0..10);
    other.submit().await;
    until(&other.log(), |progress| progress.is_broken).await;
    assert_eq!(reader.progress(), Progress::default());
    fs::remove_file(place.path().join("0/00000000000000000000.seg")).unwrap();
    durable(&reader, 10).await;
    add(&mut log, 10..20);
    log.close(None, false).await;
    until(&reader, |progress| progress.receipt.is_some()).await;
    let (lines, gaps) = contents(&reader);
    let missing: u64 = gaps.iter().map(|gap| gap.lines).sum();
    assert_eq!(lines[..10], (0..10).collect::<Vec<_>>());
    assert_eq!(lines.len() as u64 + missing, 20);
    assert!(gaps.iter().all(|gap| gap.reason == GapReason::DiskFull), "{gaps:?}");
}

#[tokio::test]
async fn too_little_free_space_is_a_gap_that_says_so() {
    let place = Place::new();
    let spool = place.open(Limits { free_bytes_min: u64::MAX, ..limits() });
    let mut log = spool.open_log(meta("log")).unwrap();
    add(&mut log, 0..10);
    let reader = log.log();
    log.close(None, false).await;
    until(&reader, |progress| progress.receipt.is_some()).await;
    let bytes = (0..10).map(|number| text(number).len() as u64).sum();
    assert_eq!(contents(&reader), (vec![], vec![Gap { first: 0, lines: 10, bytes, reason: GapReason::DiskFull }]));
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_broken_off_alone_and_can_be_opened_again() {
    let place = Place::new();
    let spool = place.open(limits());
    // Writing to the beginning of this process's memory is an I/O error.
    let mut bad = on_device(&place, &spool, "bad", "0", "/proc/self/mem").await;
    let mut good = spool.open_log(meta("good")).unwrap();
    add(&mut bad, 0..10);
    bad.submit().await;
    for number in 0..50 {
        add(&mut good, number..number + 1);
        good.submit().await;
        durable(&good.log(), number + 1).await;
    }
    let reader = bad.log();
    let progress = until(&reader, |progress| progress.is_broken).await;
    assert_eq!(progress.next_line, 0);
    // Who still holds it does no harm.
    add(&mut bad, 10..20);
    bad.submit().await;
    let mut again = spool.open_log(meta("bad")).unwrap();
    assert_eq!(again.next_line(), 0);
    drop(bad);
    fs::remove_file(place.path().join("0/00000000000000000000.seg")).unwrap();
    add(&mut again, 0..20);
    again.close(Some(20), false).await;
    until(&reader, |progress| progress.receipt.is_some()).await;
    assert_eq!(contents(&reader), ((0..20).collect(), vec![]));
    assert_eq!(contents(&good.log()), ((0..50).collect(), vec![]));
}

#[tokio::test]
async fn a_broken_log_keeps_what_is_durable_and_goes_on_behind_it() {
    let place = Place::new();
    let spool = place.open(Limits { segment_bytes: 100, ..limits() });
    let mut log = spool.open_log(meta("log")).unwrap();
    add(&mut log, 0..5);
    log.submit().await;
    let reader = log.log();
    durable(&reader, 5).await;
    // The next file can't be made where a directory stands.
    let next = place.path().join("0/00000000000000000005.seg");
    fs::create_dir(&next).unwrap();
    add(&mut log, 5..9);
    log.submit().await;
    until(&reader, |progress| progress.is_broken).await;
    assert_eq!(contents(&reader), ((0..5).collect(), vec![]));
    fs::remove_dir(&next).unwrap();
    drop(log);
    let mut log = spool.open_log(meta("log")).unwrap();
    assert_eq!(log.next_line(), 5);
    add(&mut log, 5..9);
    log.submit().await;
    durable(&reader, 9).await;
    assert_eq!(contents(&reader), ((0..9).collect(), vec![]));
}

#[tokio::test]
async fn a_spool_stops_in_bounded_time_while_a_log_fails() {
    let place = Place::new();
    let spool = place.open(limits());
    let mut log = on_device(&place, &spool, "log", "0", "/dev/full").await;
    add(&mut log, 0..10);
    log.submit().await;
    let stopped = tokio::task::spawn_blocking(move || drop((log, spool)));
    tokio::time::timeout(PATIENCE, stopped).await.unwrap().unwrap();
}
