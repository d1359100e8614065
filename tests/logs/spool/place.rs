//! A spool on a directory of its own, and what is looked at there.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use dlite::logs::{
    record::{Gap, Record, Time},
    spool::{Appender, Limits, LineHead, Log, LogKey, Meta, Progress, Spool},
};
use tempfile::TempDir;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// Nothing here depends on the room of the machine's disk.
pub fn limits() -> Limits {
    Limits { free_bytes_min: 0, ..Limits::default() }
}

pub fn meta(log_id: &str) -> Meta {
    let key = LogKey { lease_id: "l-1".to_owned(), log_id: log_id.to_owned() };
    Meta { key, task_id: "t-1".to_owned(), step_id: String::new(), destination: b"there".to_vec() }
}

pub fn head(number: u64) -> LineHead {
    LineHead { number, time: Time(number as i64), ..LineHead::default() }
}

pub fn text(number: u64) -> String {
    format!("line {number} of the log, with \u{e4} and \x1b[1mcolour\x1b[0m")
}

pub fn add(log: &mut Appender, numbers: std::ops::Range<u64>) {
    for number in numbers {
        log.line(&head(number), text(number).as_bytes());
    }
}

pub async fn until(log: &Log, what: impl FnMut(&Progress) -> bool) -> Progress {
    let mut watch = log.watch();
    let reached = tokio::time::timeout(PATIENCE, watch.wait_for(what)).await;
    reached.unwrap_or_else(|_| panic!("never came about; it is at {:?}", log.progress())).unwrap().clone()
}

pub async fn durable(log: &Log, line: u64) {
    until(log, |progress| progress.next_line >= line).await;
}

pub fn records(log: &Log, from: u64) -> Vec<Record> {
    log.read_from(from).map(Result::unwrap).collect()
}

/// Numbers of its lines, whose texts are as they were written; and its gaps.
pub fn contents(log: &Log) -> (Vec<u64>, Vec<Gap>) {
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

pub fn reopen(path: &Path) -> (Spool, Vec<Log>) {
    let (spool, recovered) = Spool::open(path, limits()).unwrap();
    assert!(recovered.unreadable.is_empty());
    (spool, recovered.logs)
}

pub fn copy(from: &Path, to: &Path) {
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
pub fn segments(spool: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(spool.join("0")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    files.sort();
    files
}

pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("logs")
    }

    pub fn open(&self, limits: Limits) -> Spool {
        Spool::open(self.path(), limits).unwrap().0
    }
}

/// Waits for a file that the writer's thread makes.
pub async fn appears(path: &Path) {
    let seen = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("{} never appeared", path.display()));
}
