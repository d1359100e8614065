//! A step's log on its way to the server: live, whole before the step's end, and what happens when either side is slow, away or mute.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use dlite::{
    core::{
        input::ReportError,
        step::{Card, Step, StepState},
        task::Outcome,
    },
    doubles::drone::{Calls, Fault, Line, Route, StepSeen},
    logs::{
        record::{Record, Time},
        sink::{Delivery, Failure, Sink},
        spool::{Appender, Limits, LineHead, Log, LogKey, Meta, Spool},
    },
    upstreams::Upstream,
};
use tempfile::TempDir;

use crate::{
    steps::{Stage, step},
    support::SOON,
};

/// How long a step's end waits for its log here.
const LOG_WAIT: Duration = Duration::from_millis(300);
/// How long for a server that does not take it: long enough for ten tries without a pause.
const UPLOAD_WAIT: Duration = Duration::from_secs(2);
/// The steps begin then.
const STARTED: i64 = 1_738_660_006;

/// A stage with two steps, of which the first may have a log.
struct Place {
    stage: Stage,
    sink: Arc<dyn Sink>,
    spool: Spool,
    _directory: TempDir,
}

/// The log of the first step, as its runner writes it.
struct Written {
    appender: Appender,
    log: Log,
    delivery: Box<dyn Delivery>,
}

impl Place {
    async fn new() -> Self {
        Self::with(true).await
    }

    async fn with(cards: bool) -> Self {
        let stage = Stage::planned_with(
            |server| server.cards = cards,
            |options| {
                (options.pace.log_wait, options.pace.upload_wait_max) = (LOG_WAIT, UPLOAD_WAIT);
            },
        )
        .await;
        let directory = TempDir::new().unwrap();
        let (spool, _) = Spool::open(directory.path().join("spool"), Limits::default()).unwrap();
        let sink = stage.pair.adapter.log_sink().unwrap();
        Self { stage, sink, spool, _directory: directory }
    }

    /// Opens the first step's log.
    fn open(&self) -> Written {
        let destination = self.sink.destination(&self.stage.spec, "s1").unwrap();
        let key = LogKey { lease_id: "l".into(), log_id: "step-s1".into() };
        let meta = Meta { key, task_id: "t".into(), step_id: "s1".into(), destination: destination.clone() };
        let appender = self.spool.open_log(meta).unwrap();
        let log = appender.log();
        self.sink.begun(&destination, &log);
        Written { appender, log, delivery: self.sink.deliver(&destination).unwrap() }
    }

    async fn begin(&mut self) {
        self.stage.tell_all(&[step(1, StepState::Running), step(2, StepState::Pending)]).await;
    }

    fn seen(&self) -> StepSeen {
        self.stage.pair.server.read(|record| record.steps_of(self.stage.id()).next().unwrap().clone())
    }
}

impl Written {
    async fn line(&mut self, number: u64, text: &str) {
        let time = Time((STARTED + 2) * 1_000_000_000);
        self.appender.line(&LineHead { number, time, ..LineHead::default() }, text.as_bytes());
        self.appender.submit().await;
        let durable = |progress: &dlite::logs::spool::Progress| progress.next_line > number;
        self.log.watch().wait_for(durable).await.unwrap();
    }

    async fn live(&mut self) -> Result<(), Failure> {
        let records: Vec<Record> = self.log.read_from(0).map(Result::unwrap).collect();
        self.delivery.live(&records).await
    }

    async fn close(self, lines: u64) -> (Log, Box<dyn Delivery>) {
        self.appender.close(Some(lines), false).await;
        self.log.watch().wait_for(|progress| progress.receipt.is_some()).await.unwrap();
        (self.log, self.delivery)
    }
}

async fn whole(log: &Log, delivery: &mut dyn Delivery) -> Result<(), Failure> {
    let receipt = log.progress().receipt.unwrap();
    delivery.whole(log, &receipt).await
}

fn ended() -> [Step; 2] {
    [Step { has_log: true, ..step(1, StepState::Succeeded) }, step(2, StepState::Pending)]
}

fn line(pos: i64, out: &str) -> Line {
    Line { pos, out: out.to_owned(), time: 2 }
}

#[tokio::test]
async fn no_line_is_sent_before_the_server_was_told_that_the_step_runs() {
    let mut place = Place::new().await;
    let mut written = place.open();
    written.line(0, "hello").await;
    assert!(matches!(written.live().await, Err(Failure::Early(_))));
    let (log, mut delivery) = written.close(1).await;
    assert!(matches!(whole(&log, &mut *delivery).await, Err(Failure::Early(_))));
    assert_eq!(place.stage.pair.server.read(|record| record.calls(Route::Batch) + record.calls(Route::Upload)), 0);
    place.begin().await;
    whole(&log, &mut *delivery).await.unwrap();
    assert_eq!(place.seen().stored_lines().unwrap(), [line(0, "hello\n")]);
    assert!(place.stage.violations().is_empty(), "{:?}", place.stage.violations());
}

#[tokio::test]
async fn live_lines_and_the_whole_log_are_the_same_and_it_is_stored_once_before_the_steps_end() {
    let mut place = Place::new().await;
    place.begin().await;
    let mut written = place.open();
    written.line(0, "+ echo \"hello\"").await;
    written.line(1, "hello").await;
    written.live().await.unwrap();
    let (log, mut delivery) = written.close(2).await;
    place.stage.tell_all(&ended()).await;
    // The spool's own try finds it there.
    whole(&log, &mut *delivery).await.unwrap();
    let seen = place.seen();
    assert_eq!(seen.row.status, "success");
    assert_eq!(seen.stored_lines().unwrap(), [line(0, "+ echo \"hello\"\n"), line(1, "hello\n")]);
    assert_eq!((seen.live.clone(), seen.uploads), (seen.stored_lines().unwrap(), 1));
    assert!(place.stage.violations().is_empty(), "{:?}", place.stage.violations());
}

#[tokio::test]
async fn a_step_that_has_ended_gets_no_live_line_any_more() {
    let mut place = Place::new().await;
    place.begin().await;
    let mut written = place.open();
    written.line(0, "hello").await;
    place.stage.tell(&ended()).await.expect("it was never closed, and nobody waits for ever");
    assert!(matches!(written.live().await, Err(Failure::Early(_))));
    assert_eq!(place.stage.pair.server.read(|record| record.calls(Route::Batch)), 0);
}

#[tokio::test]
async fn a_live_log_that_the_server_lost_is_tried_again_and_costs_nothing() {
    let mut place = Place::new().await;
    place.begin().await;
    let mut written = place.open();
    written.line(0, "hello").await;
    // Its live logs are in memory.
    place.stage.pair.server.down();
    place.stage.pair.server.up();
    assert!(matches!(written.live().await, Err(Failure::Again(text)) if text.ends_with("logs/batch: 500")));
    written.close(1).await;
    place.stage.tell_all(&ended()).await;
    assert_eq!(place.seen().stored_lines().unwrap(), [line(0, "hello\n")]);
}

#[tokio::test]
async fn a_steps_end_waits_for_its_log_to_be_closed_and_not_for_ever() {
    // Closed while the end waits.
    let mut place = Place::new().await;
    place.begin().await;
    let mut written = place.open();
    written.line(0, "hello").await;
    let end = ended();
    let (told, (log, mut delivery)) = tokio::join!(place.stage.tell(&end), written.close(1));
    told.unwrap();
    assert_eq!(place.seen().stored_lines().unwrap(), [line(0, "hello\n")]);
    whole(&log, &mut *delivery).await.unwrap();
    // Never closed, and announced but never there: the end goes first.
    for is_open in [true, false] {
        let mut place = Place::new().await;
        place.begin().await;
        let written = is_open.then(|| place.open());
        let began = std::time::Instant::now();
        place.stage.tell(&ended()).await.unwrap();
        assert!(began.elapsed() >= LOG_WAIT, "{:?}", began.elapsed());
        let seen = place.seen();
        assert_eq!((seen.row.status.as_str(), seen.uploads), ("success", 0));
        // What comes late is stored all the same.
        let mut written = written.unwrap_or_else(|| place.open());
        written.line(0, "late").await;
        let (log, mut delivery) = written.close(1).await;
        whole(&log, &mut *delivery).await.unwrap();
        assert_eq!(place.seen().stored_lines().unwrap(), [line(0, "late\n")]);
    }
}

#[tokio::test]
async fn a_step_without_output_has_an_empty_log_and_one_that_was_skipped_has_none() {
    let mut place = Place::new().await;
    place.begin().await;
    place.stage.tell_all(&[step(1, StepState::Succeeded), step(2, StepState::Skipped)]).await;
    let logs: Vec<Option<Bytes>> =
        place.stage.pair.server.read(|record| record.steps_of(place.stage.id()).map(|step| step.log.clone()).collect());
    assert_eq!(logs, [Some(Bytes::from_static(b"null")), None]);
    // A log of which nobody had said a word comes too late, and that is not kept quiet.
    let (log, mut delivery) = place.open().close(0).await;
    assert!(matches!(whole(&log, &mut *delivery).await, Err(Failure::Never(text)) if text.contains("has_log")));
}

#[tokio::test]
async fn an_upload_whose_answer_was_lost_is_found_to_be_there() {
    let mut place = Place::new().await;
    place.begin().await;
    let mut written = place.open();
    written.line(0, "hello").await;
    written.close(1).await;
    place.stage.pair.server.fault(Route::Upload, Fault::CutBeforeAnswer, Calls::Next(1));
    assert!(matches!(place.stage.tell(&ended()).await, Err(ReportError::Unanswered(_))));
    // Any 500 says so then, whatever the database calls it.
    place.stage.pair.server.fault(Route::Upload, Fault::Status(500, "pq: oops".into()), Calls::Next(1));
    place.stage.tell_all(&ended()).await;
    let seen = place.seen();
    assert_eq!((seen.row.status.as_str(), seen.stored_lines().unwrap()), ("success", vec![line(0, "hello\n")]));
}

#[tokio::test]
async fn a_log_of_before_a_restart_that_is_there_is_no_obstacle() {
    let mut place = Place::new().await;
    place.begin().await;
    let mut written = place.open();
    written.line(0, "hello").await;
    let (log, mut delivery) = written.close(1).await;
    whole(&log, &mut *delivery).await.unwrap();
    place.stage.pair.restart();
    let sink = place.stage.pair.adapter.log_sink().unwrap();
    let destination = log.meta().destination.clone();
    sink.begun(&destination, &log);
    let mut again = sink.deliver(&destination).unwrap();
    assert!(matches!(whole(&log, &mut *again).await, Err(Failure::Early(_))), "the core has not told of it yet");
    place.stage.tell_all(&ended()).await;
    whole(&log, &mut *again).await.unwrap();
    assert_eq!((place.seen().row.status.as_str(), place.seen().uploads), ("success", 2));
}

#[tokio::test]
async fn a_server_that_stores_no_log_hears_of_the_end_all_the_same() {
    let mut place = Place::new().await;
    place.begin().await;
    let mut written = place.open();
    written.line(0, "hello").await;
    let (log, mut delivery) = written.close(1).await;
    place.stage.pair.server.fault(Route::Upload, Fault::Status(500, "disk full".into()), Calls::All);
    for _ in 0..3 {
        assert!(matches!(place.stage.tell(&ended()).await, Err(ReportError::Fault(_))));
    }
    place.stage.tell(&ended()).await.unwrap();
    assert_eq!(place.seen().row.status, "success");
    // It follows once there is room.
    assert!(matches!(whole(&log, &mut *delivery).await, Err(Failure::Again(_))));
    place.stage.pair.server.clear_faults();
    whole(&log, &mut *delivery).await.unwrap();
    assert_eq!(place.seen().stored_lines().unwrap(), [line(0, "hello\n")]);
}

#[tokio::test]
async fn a_server_that_is_away_gets_the_log_before_the_end_however_often_it_was_tried() {
    let mut place = Place::new().await;
    place.begin().await;
    let mut written = place.open();
    written.line(0, "hello").await;
    written.close(1).await;
    place.stage.pair.server.fault(Route::Upload, Fault::Status(502, "bad gateway".into()), Calls::Next(10));
    for _ in 0..10 {
        assert!(matches!(place.stage.tell(&ended()).await, Err(ReportError::Unanswered(_))));
    }
    place.stage.tell_all(&ended()).await;
    assert_eq!(place.seen().stored_lines().unwrap(), [line(0, "hello\n")]);
    assert!(place.stage.violations().is_empty(), "{:?}", place.stage.violations());
}

#[tokio::test]
async fn a_server_that_takes_no_log_for_too_long_hears_of_the_end_before_and_gets_it_later() {
    let mut place = Place::new().await;
    place.begin().await;
    let mut written = place.open();
    written.line(0, "hello").await;
    let (log, mut delivery) = written.close(1).await;
    place.stage.pair.server.fault(Route::Upload, Fault::Status(503, "away".into()), Calls::All);
    let began = std::time::Instant::now();
    while place.stage.tell(&ended()).await.is_err() {
        assert!(began.elapsed() < SOON, "the log blocks the end for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() >= UPLOAD_WAIT, "{:?}", began.elapsed());
    assert_eq!((place.seen().row.status.as_str(), place.seen().uploads), ("success", 0));
    place.stage.report(&ended(), Outcome::Succeeded).await.unwrap();
    place.stage.pair.server.clear_faults();
    whole(&log, &mut *delivery).await.unwrap();
    assert_eq!(place.seen().stored_lines().unwrap(), [line(0, "hello\n")]);
}

#[tokio::test]
async fn steps_that_end_with_their_stage_have_their_logs_first() {
    let mut place = Place::new().await;
    let running = [Step { detached: true, ..step(1, StepState::Running) }, step(2, StepState::Running)];
    place.stage.tell_all(&running).await;
    let mut written = place.open();
    written.line(0, "ready").await;
    written.close(1).await;
    place.stage.report(&running, Outcome::Failed).await.unwrap();
    place.stage.pair.server.read(|record| {
        let steps: Vec<_> = record.steps_of(place.stage.id()).collect();
        let rows: Vec<_> = steps.iter().map(|step| (step.row.status.as_str(), step.uploads)).collect();
        assert_eq!(rows, [("success", 1), ("error", 1)]);
        assert_eq!(steps[0].stored_lines().unwrap(), [line(0, "ready\n")]);
    });
}

#[tokio::test]
async fn a_log_of_no_step_and_of_none_of_the_plan_goes_nowhere() {
    let place = Place::new().await;
    assert_eq!(place.sink.destination(&place.stage.spec, ""), None);
    let destination = place.sink.destination(&place.stage.spec, "s9").unwrap();
    let mut delivery = place.sink.deliver(&destination).unwrap();
    assert!(matches!(delivery.live(&[]).await, Err(Failure::Early(_))), "a later plan may have it");
    place.stage.report(&[step(1, StepState::Pending), step(2, StepState::Pending)], Outcome::Succeeded).await.unwrap();
    assert!(matches!(delivery.live(&[]).await, Err(Failure::Never(_))));
    assert!(place.sink.deliver(b"{}").is_err());
}

fn carded() -> [Step; 2] {
    let data = Bytes::from_static(br#"{"passed":17,"failed":1}"#);
    let card = Card { schema_uri: "https://cards.example.test/tests.json".into(), data };
    [
        Step { card: Some(card.clone()), ..step(1, StepState::Succeeded) },
        Step { card: Some(card), ..step(2, StepState::Failed) },
    ]
}

#[tokio::test]
async fn a_card_comes_after_the_log_and_its_template_with_the_end() {
    let mut place = Place::new().await;
    place.stage.tell_all(&carded()).await;
    let seen = place.seen();
    assert_eq!(seen.row.schema, "https://cards.example.test/tests.json");
    let card = r#"{"schema":"https://cards.example.test/tests.json","data":{"passed":17,"failed":1}}"#;
    assert_eq!(seen.card.as_deref(), Some(card.as_bytes()));
    place.stage.report(&carded(), Outcome::Failed).await.unwrap();
    assert_eq!(place.seen().row.schema, "https://cards.example.test/tests.json", "the last PUT does not zero it");
}

#[tokio::test]
async fn a_server_without_cards_is_asked_once_and_one_that_fails_holds_nothing_up() {
    let mut place = Place::with(false).await;
    place.stage.tell_all(&carded()).await;
    assert_eq!(place.stage.pair.server.read(|record| record.calls(Route::Card)), 1);
    assert_eq!(place.seen().row.status, "success");
    for fault in [Fault::Status(500, "no".into()), Fault::CutBefore] {
        let mut place = Place::new().await;
        place.stage.pair.server.fault(Route::Card, fault, Calls::All);
        place.stage.tell_all(&carded()).await;
        assert_eq!((place.seen().row.status.as_str(), place.seen().card), ("success", None));
    }
}
