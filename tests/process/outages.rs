//! The manager away: results wait in the journal, slots do not.

use std::time::{Duration, Instant};

use super::lab::{Lab, SOON};

/// How long the manager stays away; a minute by `DLITE_OUTAGE_SECONDS=60`.
fn outage() -> Duration {
    let seconds = std::env::var("DLITE_OUTAGE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tasks_that_end_while_the_manager_is_down_are_all_reported_and_hold_no_slot() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 100);
    for _ in 0..100 {
        lab.submit("DEV_WORK", 3_000);
    }
    // By the delegate's own word: at the manager a task counts as assigned before its answer has arrived.
    lab.status_when("all acquired", |status| status.open_task_count == 100).await;
    lab.manager.down();
    let down = Instant::now();
    let status = lab
        .status_when("all done and none reported", |status| {
            status.unreported_result_count == 100 && status.open_task_count == 0
        })
        .await;
    assert_eq!(status.runners[0].slots_used, 0, "a result that can't be reported holds a slot");
    assert_eq!(status.upstreams[0].state, "unreachable");
    assert!(!status.upstreams[0].last_error.is_empty());
    tokio::time::sleep(outage().saturating_sub(down.elapsed())).await;
    assert_eq!(lab.manager.read(|record| record.totals().effective), 0);
    lab.manager.up();
    let up = Instant::now();
    lab.manager_when("all reported", |record| record.totals().effective == 100, SOON).await;
    println!("outage: {:?} down, all reported {:?} after", outage(), up.elapsed());
    lab.status_when("the journal is empty", |status| status.unreported_result_count == 0).await;
    let totals = lab.manager.read(|record| record.totals());
    assert_eq!((totals.effective, totals.conflicts), (100, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_slot_busy_polls_and_heartbeats_keep_their_cadence() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 2);
    for _ in 0..6 {
        lab.submit("DEV_WORK", 60_000);
    }
    let assigned = |record: &dlite::doubles::manager::Record| {
        record.tasks().filter(|task| task.first_assigned_at.is_some()).count() == 2
    };
    lab.manager_when("both slots taken", assigned, SOON).await;
    let counts = || lab.manager.read(|record| (record.polls.total(), record.heartbeats.total()));
    let (polls, heartbeats) = counts();
    let watched = Instant::now();
    let more = |record: &dlite::doubles::manager::Record| record.heartbeats.total() >= heartbeats + 10;
    lab.manager_when("ten more heartbeats", more, SOON).await;
    let took = watched.elapsed();
    let (polls_after, _) = counts();
    // Intervals of 50 and 200 ms; a loaded machine may be slow, never fast.
    assert!(took >= Duration::from_millis(1_500), "ten heartbeats in {took:?}");
    let polled = f64::from(u32::try_from(polls_after - polls).unwrap()) / took.as_secs_f64();
    assert!((5.0..=25.0).contains(&polled), "{polled:.1} polls a second at an interval of 50 ms");
    assert!(lab.manager.read(assigned), "more than the slots were acquired");
    let listed = lab.tasks().await;
    let waits = listed.iter().filter(|task| task.state == "listed" && task.waiting_for.contains("NO_SLOT")).count();
    assert_eq!(waits, 4, "{listed:#?}");
    let running = lab
        .manager
        .read(|record| record.heartbeats.last().map(|heartbeat| format!("{:?}", heartbeat.body)).unwrap_or_default());
    assert!(running.contains("currently"), "heartbeats list the running tasks: {running}");
}
