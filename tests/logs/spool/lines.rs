//! Lines come back as they were written, for whoever reads them, until the sink has them.

use std::fs;

use dlite::logs::{
    record::{Gap, GapReason, Level, Line, Record, Source, Time},
    spool::{Appender, Error, Limits, LineHead},
};

use super::place::{PATIENCE, Place, add, contents, durable, head, limits, meta, records, reopen, segments, until};

#[tokio::test]
async fn lines_come_back_as_they_were_written_from_any_number_on() {
    let place = Place::new();
    let spool = place.open(Limits { segment_bytes: 2_000, ..limits() });
    let mut log = spool.open_log(meta("log")).unwrap();
    let bytes = b"\xff\0 not text \r";
    let odd = LineHead { time: Time(-7), source: Source::Stderr, level: Level::Error, ..head(0) };
    log.line(&LineHead { args: [("k".to_owned(), "v".to_owned())].into(), ..odd.clone() }, bytes);
    for number in 1..200 {
        add(&mut log, number..number + 1);
        log.submit().await;
    }
    let reader = log.log();
    durable(&reader, 200).await;
    assert!(segments(&place.path()).len() > 3, "the log has several files");
    let all = records(&reader, 0);
    let args = [("k".to_owned(), "v".to_owned())].into();
    let (source, level, text) = (Source::Stderr, Level::Error, bytes.to_vec().into());
    assert_eq!(all[0], Record::Line(Line { number: 0, time: Time(-7), source, level, args, text }));
    assert_eq!(all.len(), 200);
    for from in 0..200 {
        assert_eq!(records(&reader, from), all[usize::try_from(from).unwrap()..], "from {from}");
    }
}

#[tokio::test]
async fn repeated_lines_fall_and_skipped_ones_are_a_gap() {
    let place = Place::new();
    let spool = place.open(limits());
    let mut log = spool.open_log(meta("log")).unwrap();
    add(&mut log, 0..3);
    add(&mut log, 1..5);
    add(&mut log, 7..9);
    let reader = log.log();
    let receipt = log.close(Some(12), true).await;
    until(&reader, |progress| progress.receipt.is_some()).await;
    let gap = |first, lines| Gap { first, lines, bytes: 0, reason: GapReason::NotReceived };
    assert_eq!(contents(&reader), (vec![0, 1, 2, 3, 4, 7, 8], vec![gap(5, 2), gap(9, 3)]));
    assert_eq!((receipt.lines, receipt.next_line, receipt.truncated), (7, 12, true));
    assert_eq!(receipt.missing[&GapReason::NotReceived].lines, 5);
}

#[tokio::test]
async fn a_closed_log_stays_closed_and_its_receipt_survives() {
    let place = Place::new();
    let spool = place.open(limits());
    let mut log = spool.open_log(meta("log")).unwrap();
    add(&mut log, 0..3);
    let reader = log.log();
    let receipt = log.close(None, false).await;
    // From the very moment on, durable or not.
    assert!(spool.open_log(meta("log")).is_err());
    until(&reader, |progress| progress.receipt.is_some()).await;
    assert!(matches!(spool.open_log(meta("log")), Err(Error::Closed { .. })));
    drop((reader, spool));
    let (spool, logs) = reopen(&place.path());
    assert_eq!(logs[0].progress().receipt.as_deref(), Some(&receipt));
    assert_eq!(*logs[0].meta(), meta("log"));
    assert!(matches!(spool.open_log(meta("log")), Err(Error::Closed { .. })));
}

#[tokio::test]
async fn one_appender_a_log_and_the_next_goes_on_where_it_was() {
    let place = Place::new();
    let spool = place.open(limits());
    let mut first = spool.open_log(meta("log")).unwrap();
    assert!(matches!(spool.open_log(meta("log")), Err(Error::InUse { .. })));
    add(&mut first, 0..3);
    first.submit().await;
    // Not submitted, so nobody was told of it.
    add(&mut first, 3..5);
    drop(first);
    let mut second = spool.open_log(meta("log")).unwrap();
    assert_eq!(second.next_line(), 3);
    add(&mut second, 3..6);
    second.submit().await;
    durable(&second.log(), 6).await;
    assert_eq!(contents(&second.log()), ((0..6).collect(), vec![]));
}

#[tokio::test]
async fn a_reader_follows_the_log_to_its_end() {
    let place = Place::new();
    let spool = place.open(limits());
    let mut log = spool.open_log(meta("log")).unwrap();
    let mut reader = log.log().read_from(0);
    let following = tokio::spawn(async move {
        let mut numbers = Vec::new();
        while !reader.is_at_end() {
            reader.wait().await;
            numbers.extend(reader.by_ref().map(|record| record.unwrap().first()));
        }
        numbers
    });
    for number in 0..100 {
        add(&mut log, number..number + 1);
        log.submit().await;
    }
    log.close(None, false).await;
    let numbers = tokio::time::timeout(PATIENCE, following).await.unwrap().unwrap();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn many_logs_are_synced_together() {
    let place = Place::new();
    let spool = place.open(limits());
    let mut logs: Vec<Appender> = (0..64).map(|n| spool.open_log(meta(&format!("log-{n}"))).unwrap()).collect();
    for round in 0..20 {
        for log in &mut logs {
            add(log, round * 10..round * 10 + 10);
            log.submit().await;
        }
    }
    for log in &logs {
        durable(&log.log(), 200).await;
        assert_eq!(contents(&log.log()), ((0..200).collect(), vec![]));
    }
    drop(logs);
    drop(spool);
    let (_spool, logs) = reopen(&place.path());
    assert_eq!(logs.len(), 64);
    assert!(logs.iter().all(|log| log.progress().next_line == 200));
}

#[tokio::test]
async fn a_removed_log_leaves_nothing_behind_and_its_readers_are_at_their_end() {
    let place = Place::new();
    let spool = place.open(limits());
    let mut log = spool.open_log(meta("log")).unwrap();
    add(&mut log, 0..100);
    let reader = log.log();
    log.close(None, false).await;
    until(&reader, |progress| progress.receipt.is_some()).await;
    assert!(spool.used_bytes() > 1000);
    spool.remove(&reader);
    until(&reader, |progress| progress.removed).await;
    assert_eq!((spool.used_bytes(), spool.logs().len()), (0, 0));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    assert!(reader.read_from(100).is_at_end());
    // The same name may be used for another log.
    assert_eq!(spool.open_log(meta("log")).unwrap().next_line(), 0);
}
