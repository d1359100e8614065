//! A cancel at the server reaches the step at the runner, whatever becomes of the watches.

use std::time::Duration;

use dlite::doubles::drone::{At, Calls, Fault, Gate, Record, Route, Submitted};

use crate::{
    place::{Place, build},
    support::SOON,
};

/// Between the server's answer and the request to stop in the step.
const CANCEL_MAX: Duration = Duration::from_secs(1);

/// A stage with a step that runs until it is asked to stop, and whose build is watched.
async fn running_step(place: &Place) -> (Submitted, i64) {
    let server = &place.servers[0];
    let submitted = server.submit(build("step")).unwrap();
    let stage = submitted.stages[0];
    let runs = |record: &Record| {
        record.totals.watches_open >= 1 && record.steps_of(stage).any(|step| step.row.status == "running")
    };
    server.wait_until(runs, SOON).await.unwrap();
    (submitted, stage)
}

/// Waits until the step has been asked to stop, and checks how long after the server's answer that was.
async fn stops_in_time(place: &mut Place, stage: i64, answered: impl Fn(&Record) -> Option<At>) {
    let heard = tokio::time::timeout(SOON, place.stops.recv()).await.expect("the step is never asked to stop").unwrap();
    let server = &place.servers[0];
    server.read(|record| {
        let answered = answered(record).expect("the server has answered").mono;
        assert!(heard.saturating_duration_since(answered) < CANCEL_MAX, "{:?}", heard - answered);
    });
    let closed = |record: &Record| record.stages[&stage].row.status == "killed";
    server.wait_until(closed, SOON).await.unwrap();
    assert_eq!(server.read(|record| record.totals.conflicts), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_the_step_within_a_second_of_a_watchs_answer() {
    // Both watches are open, or one has just been cut.
    for cuts in [0, 1] {
        let mut place = Place::held(1, 1, SOON).await;
        place.servers[0].fault(Route::Watch, Fault::CutBefore, Calls::Next(cuts));
        let server = place.servers[0].clone();
        let submitted = server.submit(build("step")).unwrap();
        let stage = submitted.stages[0];
        let runs = |record: &Record| {
            record.calls(Route::Watch) > u64::from(cuts)
                && record.totals.watches_open >= 1
                && record.steps_of(stage).any(|step| step.row.status == "running")
        };
        server.wait_until(runs, SOON).await.unwrap();
        assert!(server.cancel(submitted.build));
        stops_in_time(&mut place, stage, |record| record.stages[&stage].told_at).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_while_all_watches_are_cut_reaches_the_step_within_a_second_of_the_details() {
    let mut place = Place::held(1, 1, SOON).await;
    let (submitted, stage) = running_step(&place).await;
    let server = place.servers[0].clone();
    server.cut_held();
    assert!(server.cancel(submitted.build));
    let details =
        |record: &Record| record.arrivals.iter().rfind(|call| call.route == Route::Details).map(|call| call.at);
    stops_in_time(&mut place, stage, details).await;
    assert!(server.read(|record| record.stages[&stage].told_at.is_none()), "no watch heard of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_no_watch_hears_stops_the_stage_at_its_next_put() {
    let mut place = Place::held(1, 1, Duration::from_secs(60)).await;
    let gate = Gate::new();
    place.servers[0].fault(Route::Watch, Fault::Hold(gate.clone()), Calls::All);
    let server = place.servers[0].clone();
    let submitted = server.submit(build("steps-for-ever")).unwrap();
    let stage = submitted.stages[0];
    let runs = |record: &Record| record.steps_of(stage).any(|step| step.row.status == "running");
    server.wait_until(runs, SOON).await.unwrap();
    assert!(server.cancel(submitted.build));
    let refused = |record: &Record| {
        let puts = record.steps_of(stage).flat_map(|step| step.puts.iter());
        puts.filter(|put| !put.applied).map(|put| put.at).next()
    };
    stops_in_time(&mut place, stage, refused).await;
    gate.open();
}
