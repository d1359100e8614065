//! Between a runner and the spool: what is masked stays masked over crashes, and what can't be kept is told.

use std::sync::Arc;

use bytes::Bytes;
use dlite::logs::{
    intake::{CUT, Intake, LINE_BYTES_MAX},
    mask::Patterns,
    record::{Gap, GapReason, Record},
    spool::{Limits, LineHead, Log, LogKey, Meta, Spool},
};
use tempfile::TempDir;

fn spool(directory: &TempDir) -> Spool {
    Spool::open(directory.path().join("logs"), Limits { free_bytes_min: 0, ..Limits::default() }).unwrap().0
}

fn intake(spool: &Spool, secrets: &[&str]) -> Intake {
    let key = LogKey { lease_id: "l".to_owned(), log_id: "log".to_owned() };
    let meta = Meta { key, task_id: "t".to_owned(), step_id: String::new(), destination: Vec::new() };
    let patterns = Patterns::new(secrets.iter().map(|secret| secret.as_bytes())).ok().map(|(patterns, _)| patterns);
    Intake::new(patterns.map(Arc::new), spool.open_log(meta).unwrap())
}

async fn give(intake: &mut Intake, first: u64, texts: &[&str]) {
    intake.lines(first, texts.iter().map(|text| (LineHead::default(), Bytes::from((*text).to_owned())))).await;
}

async fn durable(log: &Log, line: u64) {
    let reached = async { log.watch().wait_for(|progress| progress.next_line >= line).await.is_ok() };
    assert!(tokio::time::timeout(std::time::Duration::from_secs(20), reached).await.unwrap());
}

fn records(log: &Log) -> Vec<Record> {
    log.read_from(0).map(Result::unwrap).collect()
}

fn texts(log: &Log) -> Vec<String> {
    let text = |record| match record {
        Record::Line(line) => String::from_utf8_lossy(&line.text).into_owned(),
        Record::Gap(gap) => gap.to_string(),
    };
    records(log).into_iter().map(text).collect()
}

#[tokio::test]
async fn a_runner_may_forget_nothing_from_which_on_a_secret_may_have_begun() {
    let directory = tempfile::tempdir().unwrap();
    let spool = spool(&directory);
    let mut intake = intake(&spool, &["hunter22"]);
    give(&mut intake, 0, &["first", "my hun"]).await;
    assert_eq!(intake.sure(), 1);
    // It is shown after a while, and still not to be forgotten.
    intake.rest().await;
    durable(&intake.log(), 2).await;
    assert_eq!(intake.sure(), 1);
    give(&mut intake, 2, &["ger"]).await;
    assert_eq!(intake.sure(), 3);
}

#[tokio::test]
async fn the_rest_of_a_secret_is_hidden_although_a_crash_came_between() {
    let directory = tempfile::tempdir().unwrap();
    let before = spool(&directory);
    let mut first = intake(&before, &["hunter22"]);
    give(&mut first, 0, &["first", "my hun"]).await;
    first.rest().await;
    durable(&first.log(), 2).await;
    let mark = first.sure();
    drop(first);
    drop(before);
    let after = spool(&directory);
    let mut second = intake(&after, &["hunter22"]);
    // As the runner does: everything from the mark on.
    assert_eq!(mark, 1);
    give(&mut second, mark, &["my hun", "ter22 it is"]).await;
    let log = second.log();
    second.close(Some(3), false).await;
    durable(&log, 3).await;
    assert_eq!(texts(&log), ["first", "my hun", "****** it is"]);
}

#[tokio::test]
async fn a_long_line_is_cut_and_says_so_and_a_secret_across_the_cut_does_not_show() {
    let directory = tempfile::tempdir().unwrap();
    let spool = spool(&directory);
    let mut intake = intake(&spool, &["hunter22"]);
    let long = "x".repeat(LINE_BYTES_MAX - 3) + "hunter22" + &"y".repeat(100);
    give(&mut intake, 0, &[&long, &"z".repeat(LINE_BYTES_MAX)]).await;
    let log = intake.log();
    durable(&log, 2).await;
    let texts = texts(&log);
    assert!(
        texts[0].ends_with(&format!("x***{}", String::from_utf8_lossy(CUT))),
        "{}",
        &texts[0][LINE_BYTES_MAX - 9..]
    );
    assert_eq!(texts[1].len(), LINE_BYTES_MAX);
}

#[tokio::test]
async fn members_of_a_line_are_masked_too() {
    let directory = tempfile::tempdir().unwrap();
    let spool = spool(&directory);
    let mut intake = intake(&spool, &["hunter22"]);
    let args = [("user".to_owned(), "x:hunter22".to_owned())].into();
    intake.lines(0, [(LineHead { args, ..LineHead::default() }, Bytes::from_static(b"login"))]).await;
    let log = intake.log();
    durable(&log, 1).await;
    let Record::Line(line) = &records(&log)[0] else { panic!("a line") };
    assert_eq!(line.args["user"], "x:******");
}

#[tokio::test]
async fn with_more_secrets_than_can_be_masked_no_line_is_kept_and_the_log_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let spool = spool(&directory);
    let mut intake = intake(&spool, &["s3cret-".repeat(200_000).as_str()]);
    give(&mut intake, 0, &["a", "bc"]).await;
    give(&mut intake, 3, &["d"]).await;
    let log = intake.log();
    intake.close(Some(4), false).await;
    durable(&log, 4).await;
    assert_eq!(records(&log), [Record::Gap(Gap { first: 0, lines: 4, bytes: 4, reason: GapReason::Unmaskable })]);
}

#[tokio::test]
async fn what_is_missing_ends_what_has_begun() {
    let directory = tempfile::tempdir().unwrap();
    let spool = spool(&directory);
    let mut intake = intake(&spool, &["hunter22"]);
    give(&mut intake, 0, &["my hunt"]).await;
    give(&mut intake, 2, &["er22"]).await;
    let log = intake.log();
    intake.close(Some(3), false).await;
    durable(&log, 3).await;
    assert_eq!(texts(&log)[..2], ["my ******", "[1 line missing: the runner did not send them]"]);
}
