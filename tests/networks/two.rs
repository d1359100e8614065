//! Accounts side by side in one process.

use std::time::{Duration, Instant};

use dlite::doubles::manager::{Calls, Fault, Gate, Manager, Route};

use crate::lab::{ACCOUNT, Desk, SOON, manager, task, upstream};

const OTHER_ACCOUNT: &str = "acctEXAMPLE0000000002";
const SAMPLES: usize = 15;
/// Slots of the one runner that both accounts share.
const SLOTS: u32 = 4;

/// Time from submission to the acquire of each of these tasks, one after the other; the median.
async fn pick_up(manager: &Manager, ids: impl Iterator<Item = String>) -> Duration {
    let mut times = Vec::new();
    for id in ids {
        let submitted = Instant::now();
        manager.submit(task(Some(&id))).unwrap();
        let taken = |record: &dlite::doubles::manager::Record| {
            record.task(&id).is_some_and(|task| task.first_assigned_at.is_some())
        };
        manager.wait_until(taken, SOON).await.unwrap_or_else(|error| panic!("{id} is not picked up: {error:?}"));
        times.push(submitted.elapsed());
        manager.wait_for(&id, SOON).await.unwrap();
    }
    times.sort();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_hangs_leaves_the_others_pick_up_time_as_it_was() {
    let (a, b) = (manager(ACCOUNT).await, manager(OTHER_ACCOUNT).await);
    let desk = Desk::new();
    let second = upstream("b", &b.endpoint(), "").replace(ACCOUNT, OTHER_ACCOUNT);
    desk.configure(&format!("{}{second}", upstream("a", &a.endpoint(), "")));
    let lab = desk.start(SLOTS, Duration::from_millis(5)).await;

    let ids = |run: &'static str| (0..SAMPLES).map(move |n| format!("task-{run}-{n}"));
    let alone = pick_up(&b, ids("alone")).await;

    // The same ids as the other account's, more of them than there are slots, and no answer to any acquire.
    let gate = Gate::new();
    a.fault(Route::Acquire, Fault::Hold(gate.clone()), Calls::All);
    let colliding: Vec<_> = ids("both").collect();
    for id in &colliding {
        a.submit(task(Some(id))).unwrap();
    }
    a.wait_until(|record| record.arrivals.iter().any(|arrival| arrival.route == Route::Acquire), SOON).await.unwrap();
    let beside = pick_up(&b, ids("both")).await;
    let ratio = beside.as_secs_f64() / alone.as_secs_f64();
    println!("pick-up time alone {alone:?}, beside a manager that hangs {beside:?}: ratio {ratio:.2}");
    // A poll interval of 50 ms, and what a loaded machine adds.
    assert!(beside < alone * 2 + Duration::from_millis(100), "{alone:?} became {beside:?}");

    // Nobody was confused by the ids: each manager has its own results, one a task.
    gate.open();
    a.clear_faults();
    for id in &colliding {
        a.wait_for(id, SOON).await.unwrap();
    }
    for (manager, tasks) in [(&a, SAMPLES), (&b, 2 * SAMPLES)] {
        let totals = manager.read(|record| record.totals());
        assert_eq!((totals.effective, totals.conflicts), (u64::try_from(tasks).unwrap(), 0));
    }
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_is_down_leaves_the_other_alone() {
    let (a, b) = (manager(ACCOUNT).await, manager(OTHER_ACCOUNT).await);
    a.down();
    let desk = Desk::new();
    let second = upstream("b", &b.endpoint(), "").replace(ACCOUNT, OTHER_ACCOUNT);
    desk.configure(&format!("{}{second}", upstream("a", &a.endpoint(), "")));
    let lab = desk.start(SLOTS, Duration::from_millis(5)).await;
    let median = pick_up(&b, (0..SAMPLES).map(|n| format!("task-{n}"))).await;
    println!("pick-up time beside a manager that is down: {median:?}");
    a.up();
    a.submit(task(Some("task-0"))).unwrap();
    a.wait_for("task-0", SOON).await.unwrap();
    lab.stop().await;
}
