//! Whatever a crash or somebody else left on the disk: whole records, and a gap where some are damaged.

use std::{fs, path::Path};

use dlite::logs::{
    record::{Gap, GapReason},
    spool::{Limits, Spool},
};

use super::place::{Place, add, appears, contents, copy, durable, limits, meta, reopen, segments, until};

#[tokio::test]
async fn a_line_counts_as_durable_only_once_a_crash_could_not_lose_it() {
    let place = Place::new();
    let spool = place.open(limits());
    let mut log = spool.open_log(meta("log")).unwrap();
    for number in 0..50 {
        add(&mut log, number..number + 1);
        log.submit().await;
        durable(&log.log(), number + 1).await;
        // What is on disk now is what a crash would leave.
        let copied = Place::new();
        copy(&place.path(), &copied.path());
        let (_spool, logs) = reopen(&copied.path());
        assert_eq!(contents(&logs[0]), ((0..=number).collect(), vec![]));
    }
}

#[tokio::test]
async fn a_log_cut_at_any_byte_keeps_every_whole_record_and_goes_on_behind_them() {
    let place = Place::new();
    let spool = place.open(limits());
    let mut log = spool.open_log(meta("log")).unwrap();
    log.miss(Gap { first: 0, lines: 2, bytes: 9, reason: GapReason::DiskSlow });
    add(&mut log, 2..6);
    log.submit().await;
    durable(&log.log(), 6).await;
    let file = segments(&place.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    // Ends of the records, from their own lengths: eight bytes, of which the last four are the length.
    let mut ends = vec![8];
    while let Some(length) = whole.get(ends[ends.len() - 1] + 4..).and_then(|rest| rest.first_chunk()) {
        ends.push(ends[ends.len() - 1] + 8 + u32::from_le_bytes(*length) as usize);
    }
    assert_eq!(*ends.last().unwrap(), whole.len());
    for cut in 0..=whole.len() {
        let copied = Place::new();
        copy(&place.path(), &copied.path());
        let file = copied.path().join("0").join(file.file_name().unwrap());
        fs::write(&file, &whole[..cut]).unwrap();
        let kept = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1) as u64;
        // The gap is one record that stands for two lines.
        let next = if kept == 0 { 0 } else { kept + 1 };
        let (spool, logs) = reopen(&copied.path());
        assert_eq!(logs[0].progress().next_line, next, "cut at {cut}");
        let mut log = spool.open_log(meta("log")).unwrap();
        assert_eq!(log.next_line(), next);
        // The runner sends all that was not durable again.
        if next == 0 {
            log.miss(Gap { first: 0, lines: 2, bytes: 9, reason: GapReason::DiskSlow });
        }
        add(&mut log, 2..8);
        let reader = log.log();
        let receipt = log.close(Some(8), false).await;
        until(&reader, |progress| progress.receipt.is_some()).await;
        let (lines, gaps) = contents(&reader);
        assert_eq!(lines, [2, 3, 4, 5, 6, 7], "cut at {cut}");
        assert_eq!(gaps, [Gap { first: 0, lines: 2, bytes: 9, reason: GapReason::DiskSlow }]);
        assert_eq!((receipt.lines, receipt.next_line, receipt.missing_lines()), (6, 8, 2));
    }
}

#[tokio::test]
async fn garbage_and_zeros_behind_the_last_record_are_cut() {
    for tail in [vec![0; 5000], vec![0xff; 5000], b"dlitelg1dlitelg1".to_vec()] {
        let place = Place::new();
        let spool = place.open(limits());
        let mut log = spool.open_log(meta("log")).unwrap();
        add(&mut log, 0..10);
        log.submit().await;
        drop(log);
        drop(spool);
        let file = segments(&place.path()).remove(0);
        let mut bytes = fs::read(&file).unwrap();
        let length = bytes.len();
        bytes.extend(tail);
        fs::write(&file, bytes).unwrap();
        let (_spool, logs) = reopen(&place.path());
        assert_eq!(contents(&logs[0]), ((0..10).collect(), vec![]));
        assert_eq!(fs::metadata(&file).unwrap().len(), length as u64);
    }
}

#[tokio::test]
async fn what_is_damaged_is_a_gap_and_the_rest_can_be_read() {
    let place = Place::new();
    let spool = place.open(Limits { segment_bytes: 500, ..limits() });
    let mut log = spool.open_log(meta("log")).unwrap();
    for number in 0..40 {
        add(&mut log, number..number + 1);
        log.submit().await;
        durable(&log.log(), number + 1).await;
    }
    let reader = log.log();
    log.close(None, false).await;
    until(&reader, |progress| progress.receipt.is_some()).await;
    drop((reader, spool));
    let files = segments(&place.path());
    // A flipped bit in the text of the first line of the first file; the whole third file.
    let mut bytes = fs::read(&files[0]).unwrap();
    bytes[8 + 8 + 30] ^= 1;
    fs::write(&files[0], bytes).unwrap();
    let number = |path: &Path| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    let (third, fourth) = (number(&files[2]), number(&files[3]));
    fs::remove_file(&files[2]).unwrap();
    let (_spool, logs) = reopen(&place.path());
    let (lines, gaps) = contents(&logs[0]);
    let damaged = |first, lines| Gap { first, lines, bytes: 0, reason: GapReason::Damaged };
    assert_eq!(gaps, [damaged(0, 1), damaged(third, fourth - third)]);
    assert_eq!(lines, (1..third).chain(fourth..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_crash_in_the_midst_of_deleting_or_making_a_log_leaves_none() {
    let place = Place::new();
    drop(place.open(limits()));
    for (id, files) in
        [("0.gone", &["meta.json", "00000000000000000000.seg"][..]), ("1", &["meta.json.draft"]), ("2", &[])]
    {
        fs::create_dir(place.path().join(id)).unwrap();
        for file in files {
            fs::write(place.path().join(id).join(file), b"half").unwrap();
        }
    }
    let (spool, logs) = reopen(&place.path());
    assert!(logs.is_empty());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    assert_eq!(spool.used_bytes(), 0);
}

#[tokio::test]
async fn what_nobody_understands_is_left_alone_and_hurts_no_other_log() {
    let place = Place::new();
    let spool = place.open(limits());
    for name in ["a", "b", "c"] {
        let mut log = spool.open_log(meta(name)).unwrap();
        add(&mut log, 0..5);
        log.submit().await;
        durable(&log.log(), 5).await;
    }
    drop(spool);
    fs::write(place.path().join("1/meta.json"), b"{}").unwrap();
    fs::write(place.path().join("notes.txt"), b"a person's").unwrap();
    let (spool, recovered) = Spool::open(place.path(), limits()).unwrap();
    assert_eq!(recovered.unreadable, [place.path().join("1")]);
    assert_eq!(recovered.logs.len(), 2);
    for log in &recovered.logs {
        assert_eq!(contents(log), ((0..5).collect(), vec![]));
    }
    assert!(place.path().join("notes.txt").exists() && place.path().join("1/meta.json").exists());
    // Its number is not used again.
    spool.open_log(meta("d")).unwrap();
    appears(&place.path().join("3/meta.json")).await;
}

#[test]
fn a_directory_that_others_can_read_is_refused_with_the_cure() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    fs::create_dir(place.path()).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let error = Spool::open(place.path(), limits()).err().unwrap().to_string();
    assert!(error.contains("chmod 700"), "{error}");
}
