//! A kill between an acquire and its answer, and one between the answer and the journal: the task runs and is reported once.

use std::time::Duration;

use dlite::doubles::manager::{Calls, Fault, Gate, Route};

use super::lab::{Lab, SOON};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_an_acquire_and_its_answer_loses_nothing() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 4);
    lab.status_when("the runner is attached", |status| status.runners.len() == 1).await;
    let gate = Gate::new();
    lab.manager.fault(Route::Acquire, Fault::Hold(gate.clone()), Calls::Next(1));
    let task = lab.submit("DEV_ONCE", 10);
    assert!(gate.arrived(1, SOON).await, "the acquire was not processed");
    lab.kill_delegate();
    gate.open();
    lab.start_delegate();
    lab.manager_when("the result", |record| record.effective(&task).is_some(), SOON).await;
    let starts = lab.starts();
    assert_eq!(starts.values().copied().collect::<Vec<_>>(), [1], "{starts:?}");
    let totals = lab.manager.read(|record| record.totals());
    assert_eq!((totals.effective, totals.repeats), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_between_the_answer_of_an_acquire_and_the_journal_lose_nothing() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 4);
    let rounds = 12;
    let mut tasks = Vec::new();
    for round in 0..rounds {
        lab.status_when("the runner is attached", |status| status.runners.len() == 1).await;
        let gate = Gate::new();
        lab.manager.fault(Route::Acquire, Fault::Hold(gate.clone()), Calls::Next(1));
        tasks.push(lab.submit("DEV_ONCE", 5));
        assert!(gate.arrived(1, SOON).await, "the acquire was not processed");
        // The answer leaves, and the process ends before, while or just after its record is written.
        gate.open();
        tokio::time::sleep(Duration::from_micros(round * 150)).await;
        lab.kill_delegate();
        lab.start_delegate();
    }
    let all = |record: &dlite::doubles::manager::Record| tasks.iter().all(|task| record.effective(task).is_some());
    lab.manager_when("every result", all, SOON).await;
    let twice: Vec<_> = lab.starts().into_iter().filter(|(_, starts)| *starts > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let totals = lab.manager.read(|record| record.totals());
    assert_eq!((totals.effective, totals.conflicts), (rounds, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acquires_whose_answers_are_lost_are_asked_again_under_the_same_ids() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 4);
    lab.status_when("the runner is attached", |status| status.runners.len() == 1).await;
    lab.manager.fault(Route::Acquire, Fault::CutBeforeAnswer, Calls::Next(3));
    let tasks: Vec<_> = (0..10).map(|_| lab.submit("DEV_WORK", 5)).collect();
    let all = |record: &dlite::doubles::manager::Record| tasks.iter().all(|task| record.effective(task).is_some());
    lab.manager_when("every result", all, SOON).await;
    let totals = lab.manager.read(|record| record.totals());
    assert_eq!((totals.effective, totals.repeats, totals.conflicts), (10, 0, 0));
}
