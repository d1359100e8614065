//! The whole delegate between servers and a runner of the SDK.

use std::{collections::BTreeMap, time::Duration};

use dlite::doubles::drone::{Calls, Drone, Fault, NewBuild, NewRepo, Record, Route};

use crate::{
    place::{Place, SECRET, build, check_logs},
    support::SOON,
};

#[tokio::test(flavor = "multi_thread")]
async fn each_stage_ends_at_its_own_server_although_their_ids_are_the_same() {
    let place = Place::new(2, 4).await;
    let mut stages = Vec::new();
    for nth in 0..20 {
        let (zero, one) = if nth % 2 == 0 { ("good", "bad") } else { ("bad", "good") };
        let zeroth = place.servers[0].submit(build(zero)).unwrap();
        assert_eq!(place.servers[1].submit(build(one)).unwrap(), zeroth, "the ids collide on purpose");
        stages.push((zeroth.stages[0], zero, one));
    }
    let status = |name: &str| if name == "good" { "success" } else { "failure" };
    for (stage, zero, one) in stages {
        assert_eq!(place.ended(0, stage).await, status(zero));
        assert_eq!(place.ended(1, stage).await, status(one));
    }
    for server in &place.servers {
        server.read(|record| {
            let totals = record.totals;
            assert_eq!((totals.effective, totals.repeats, totals.conflicts, totals.stale), (20, 0, 0, 0));
            assert_eq!((record.violations.total(), record.token_seen.total()), (0, 0));
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_whose_details_are_of_no_use_is_closed_as_an_error() {
    let place = Place::new(1, 1).await;
    for fault in [Fault::Status(500, "no forge today".to_owned()), Fault::Html, Fault::Malformed] {
        place.servers[0].fault(Route::Details, fault, Calls::All);
        let stage = place.servers[0].submit(build("good")).unwrap().stages[0];
        assert_eq!(place.ended(0, stage).await, "error");
        place.servers[0].read(|record| {
            let end = &record.effective(stage).unwrap().stage;
            assert!(end.exit_code == 255 && end.error.contains("details"), "{}", end.error);
        });
        place.servers[0].clear_faults();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_build_frees_its_slot() {
    let place = Place::new(1, 1).await;
    let server = &place.servers[0];
    let submitted = server.submit(build("long")).unwrap();
    let stage = submitted.stages[0];
    let accepted = |record: &Record| record.stages[&stage].accepted_at.is_some() && record.totals.watches_open > 0;
    server.wait_until(accepted, SOON).await.unwrap();
    assert!(server.cancel(submitted.build));
    // The only slot is free again once the handler has stopped.
    let next = server.submit(build("good")).unwrap().stages[0];
    assert_eq!(place.ended(0, next).await, "success");
    assert_eq!(server.read(|record| record.totals.conflicts), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_and_a_restart_leave_one_true_end() {
    let mut place = Place::new(1, 2).await;
    for route in [Route::Accept, Route::UpdateStage] {
        place.servers[0].fault(route, Fault::CutBeforeAnswer, Calls::Next(1));
    }
    let good = place.servers[0].submit(build("good")).unwrap().stages[0];
    assert_eq!(place.ended(0, good).await, "success");
    let long = place.servers[0].submit(build("long")).unwrap();
    let watched = |record: &Record| record.totals.watches_open > 0;
    place.servers[0].wait_until(watched, SOON).await.unwrap();
    place.stop().await;
    place.servers[0].wait_until(|record| record.totals.watches_open == 0, SOON).await.unwrap();
    place.start().await;
    place.servers[0].wait_until(watched, SOON).await.unwrap();
    assert!(place.servers[0].cancel(long.build));
    let next = place.servers[0].submit(build("good")).unwrap().stages[0];
    assert_eq!(place.ended(0, next).await, "success");
    place.servers[0].read(|record| {
        assert_eq!((record.totals.repeats, record.totals.conflicts), (0, 0));
        assert_eq!(record.violations.total(), 0);
    });
}

/// Of each step: its name, how it ended, its code, and how often each PUT took hold.
fn ends(server: &Drone, stage: i64) -> Vec<(String, String, i64, Vec<String>)> {
    server.read(|record| {
        let steps = record.steps_of(stage).map(|step| {
            let puts = step.puts.iter().filter(|put| put.applied).map(|put| put.status.clone()).collect();
            (step.row.name.clone(), step.row.status.clone(), step.row.exit_code, puts)
        });
        steps.collect()
    })
}

fn ends_due() -> Vec<(String, String, i64, Vec<String>)> {
    let due = |name: &str, status: &str, code, puts: &[&str]| {
        (name.to_owned(), status.to_owned(), code, puts.iter().map(|put| (*put).to_owned()).collect())
    };
    vec![
        due("clone", "success", 0, &["running", "success"]),
        // Its end comes with the stage's.
        due("database", "success", 0, &["running"]),
        due("lint", "failure", 3, &["running", "failure"]),
        due("test", "success", 0, &["running", "success"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn four_steps_reach_the_server_each_as_it_went() {
    let place = Place::new(1, 1).await;
    let server = &place.servers[0];
    let submitted = server.submit(build("steps")).unwrap();
    let stage = submitted.stages[0];
    assert_eq!(place.ended(0, stage).await, "success");
    assert_eq!(ends(server, stage), ends_due());
    assert_eq!(server.build_status(submitted.build).as_deref(), Some("success"));
    server.read(|record| {
        let rows: Vec<_> = record.steps_of(stage).map(|step| &step.row).collect();
        assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!((rows[3].depends_on.as_slice(), rows[3].image.as_str()), (&["lint".to_owned()][..], "alpine:3.20"));
        assert!(rows[2].errignore && rows[1].detached);
        assert!(rows.iter().all(|row| row.started > 0 && row.stopped >= row.started && row.step_id == stage));
        let puts: Vec<_> = record.stages[&stage].puts.iter().map(|put| put.status.as_str()).collect();
        assert_eq!(puts, ["running", "success"]);
        assert!(record.steps_of(stage).all(|step| step.uploads == 1));
    });
    check_logs(server, stage);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_in_mid_stage_loses_no_state_of_a_step_and_no_log_line() {
    let outage = std::env::var("DLITE_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let place = Place::new(1, 1).await;
    let server = &place.servers[0];
    let stage = server.submit(build("slow-steps")).unwrap().stages[0];
    let running = |record: &Record| record.steps_of(stage).any(|step| step.row.status == "success");
    server.wait_until(running, SOON).await.unwrap();
    server.down();
    // The outage is what is tested, and outlasts the stage.
    tokio::time::sleep(Duration::from_secs(outage)).await;
    assert_eq!(server.status(stage).as_deref(), Some("running"));
    server.up();
    assert_eq!(place.ended(0, stage).await, "success");
    assert_eq!(ends(server, stage), ends_due());
    server.read(|record| assert_eq!((record.totals.conflicts, record.totals.repeats), (0, 0)));
    check_logs(server, stage);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegate_that_is_replaced_in_mid_stage_goes_on_where_the_last_one_was() {
    let mut place = Place::new(1, 1).await;
    let stage = place.servers[0].submit(build("slow-steps")).unwrap().stages[0];
    let running = |record: &Record| record.steps_of(stage).any(|step| step.row.status == "success");
    place.servers[0].wait_until(running, SOON).await.unwrap();
    place.stop().await;
    place.start().await;
    assert_eq!(place.ended(0, stage).await, "success");
    assert_eq!(ends(&place.servers[0], stage), ends_due());
    check_logs(&place.servers[0], stage);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_an_outage_loses_no_state_of_a_step_and_no_log_line() {
    let mut place = Place::new(1, 1).await;
    let server = place.servers[0].clone();
    let stage = server.submit(build("slow-steps")).unwrap().stages[0];
    let running = |record: &Record| record.steps_of(stage).any(|step| step.row.status == "success");
    server.wait_until(running, SOON).await.unwrap();
    server.down();
    place.stop().await;
    place.start().await;
    // The runner has done its part, unheard.
    tokio::time::timeout(SOON, place.stops.recv()).await.expect("the stage goes on without its server");
    assert_eq!(server.status(stage).as_deref(), Some("running"));
    server.up();
    assert_eq!(place.ended(0, stage).await, "success");
    assert_eq!(ends(&server, stage), ends_due());
    check_logs(&server, stage);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_the_repository_is_in_no_log_of_a_step() {
    let place = Place::new(1, 1).await;
    let server = &place.servers[0];
    let secrets = BTreeMap::from([("pw".to_owned(), SECRET.to_owned())]);
    let repo = server.add_repo(NewRepo { secrets, ..NewRepo::new("acme/lamp") });
    let stage = server.submit(NewBuild { repo: Some(repo), ..build("secret") }).unwrap().stages[0];
    assert_eq!(place.ended(0, stage).await, "success");
    server.read(|record| {
        let lines = record.steps_of(stage).next().unwrap().stored_lines().unwrap();
        assert!(lines.len() == 1 && lines[0].out.starts_with("the password is "), "{lines:?}");
        assert!(!lines[0].out.contains(SECRET), "{lines:?}");
    });
}
