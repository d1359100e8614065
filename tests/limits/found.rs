//! What is on nobody's list of limits and was found all the same.

use dlite::doubles::manager::{Calls, Fault, Gate, NewTask, Route};

use super::lab::{Lab, SOON};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_a_type_nobody_handles_is_not_acquired_and_has_a_reason() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 4);
    let id = lab.manager.submit(NewTask { listed_to_all: true, ..NewTask::new("STRANGE", "{}") }).unwrap();
    lab.manager_when("five listings", |record| record.task(&id).is_some_and(|task| task.listed >= 5), SOON).await;
    assert_eq!(lab.manager.read(|record| record.task(&id).unwrap().acquires.total()), 0);
    let tasks = lab.tasks().await;
    let waits = tasks.iter().find(|task| task.external_id == id).map(|task| task.waiting_for.clone());
    assert!(waits.as_deref().is_some_and(|text| text.starts_with("NO_RUNNER")), "{waits:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_handler_has_left_goes_back_once_for_another_delegate() {
    let mut lab = Lab::new().await;
    lab.start_delegate_with(&["runners.no_runner_timeout=300ms"]);
    lab.start_runner("r-1", 4);
    lab.status_when("the runner attached", |status| status.runners.len() == 1).await;
    let gate = Gate::new();
    lab.manager.fault(Route::Acquire, Fault::Hold(gate.clone()), Calls::Next(1));
    let id = lab.submit("DEV_ONCE", 1);
    assert!(gate.arrived(1, SOON).await, "{}", lab.tail());
    lab.signal_runner(0);
    assert_eq!(lab.runner_ended(0).await, Some(0));
    gate.open();
    // There is no other delegate at this manager, so that the answer counts.
    lab.manager_when("an answer", |record| record.effective(&id).is_some(), SOON).await;
    let answer = lab.manager.effective(&id).unwrap();
    assert_eq!(answer.code, "RETRY_ON_OTHER_DELEGATE", "{answer:?}");
    let polls = lab.manager.read(|record| record.polls.total());
    lab.manager_when("five more polls", |record| record.polls.total() >= polls + 5, SOON).await;
    assert_eq!(lab.manager.read(|record| record.totals().repeats), 0);
}
