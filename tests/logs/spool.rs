//! The spool keeps whole records whatever interrupts it, says what is missing, and fails for one log at a time.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use dlite::logs::{
    record::{Gap, GapReason, Level, Line, Record, Source, Time},
    spool::{Appender, Error, Limits, LineHead, Log, LogKey, Meta, Progress, Spool},
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

// === helpers ===

/// Nothing here depends on the room of the machine's disk.
fn limits() -> Limits {
    Limits { free_bytes_min: 0, ..Limits::default() }
}

fn meta(log_id: &str) -> Meta {
    let key = LogKey { lease_id: "l-1".to_owned(), log_id: log_id.to_owned() };
    Meta { key, task_id: "t-1".to_owned(), step_id: String::new(), destination: b"there".to_vec() }
}

fn head(number: u64) -> LineHead {
    LineHead { number, time: Time(number as i64), ..LineHead::default() }
}

fn text(number: u64) -> String {
    format!("line {number} of the log, with \u{e4} and \x1b[1mcolour\x1b[0m")
}

fn add(log: &mut Appender, numbers: std::ops::Range<u64>) {
    for number in numbers {
        log.line(&head(number), text(number).as_bytes());
    }
}

async fn until(log: &Log, what: impl FnMut(&Progress) -> bool) -> Progress {
    let mut watch = log.watch();
    let reached = tokio::time::timeout(PATIENCE, watch.wait_for(what)).await;
    reached.unwrap_or_else(|_| panic!("never came about; it is at {:?}", log.progress())).unwrap().clone()
}

async fn durable(log: &Log, line: u64) {
    until(log, |progress| progress.next_line >= line).await;
}

fn records(log: &Log, from: u64) -> Vec<Record> {
    log.read_from(from).map(Result::unwrap).collect()
}

/// Numbers of its lines, whose texts are as they were written; and its gaps.
fn contents(log: &Log) -> (Vec<u64>, Vec<Gap>) {
    let (mut lines, mut gaps) = (Vec::new(), Vec::new());
    for record in records(log, 0) {
        match record {
            Record::Line(line) => {
                assert_eq!(line.text, text(line.number).into_bytes());
                lines.push(line.number);
            }
            Record::Gap(gap) => gaps.push(gap),
        }
    }
    (lines, gaps)
}

fn reopen(path: &Path) -> (Spool, Vec<Log>) {
    let (spool, recovered) = Spool::open(path, limits()).unwrap();
    assert!(recovered.unreadable.is_empty());
    (spool, recovered.logs)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Files of the first log, in order.
fn segments(spool: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(spool.join("0")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    files.sort();
    files
}

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("logs")
    }

    fn open(&self, limits: Limits) -> Spool {
        Spool::open(self.path(), limits).unwrap().0
    }
}

/// Waits for a file that the writer's thread makes.
async fn appears(path: &Path) {
    let seen = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("{} never appeared", path.display()));
}

// === what is kept ===

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

// === bounds ===

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

// === faults ===

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
    // Longer than a log may fail for another reason.
    tokio::time::sleep(dlite::logs::spool::BREAK_AFTER * 2).await;
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
