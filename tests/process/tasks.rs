//! Truthful ends: failures, aborts, types that nobody handles, restarts.

use std::time::Duration;

use dlite::doubles::manager::NewTask;

use super::lab::{Lab, SOON};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_fails_is_reported_as_failed_in_both_dialects() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 4);
    for runner_response in [false, true] {
        let task = NewTask { runner_response, ..NewTask::new("DEV_WORK", r#"{"fail":"exit status 3"}"#) };
        let id = lab.manager.submit(task).unwrap();
        lab.manager_when("a result", |record| record.effective(&id).is_some(), SOON).await;
        let answer = lab.manager.effective(&id).unwrap();
        assert_eq!(answer.code, "FAILED", "{answer:?}");
        let data: serde_json::Value = serde_json::from_slice(&answer.data).unwrap();
        assert_eq!(data["command_execution_status"], "FAILURE");
        assert_eq!(data["error_message"], "exit status 3");
        if runner_response {
            assert!(answer.error.contains("exit status 3"), "{answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_reaches_the_handler_within_a_second_of_its_poll() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 4);
    let id = lab.submit("DEV_WORK", 600_000);
    while lab.starts().is_empty() {
        super::lab::pause().await;
    }
    assert!(lab.manager.abort(&id), "the manager tells its delegate");
    lab.manager_when("a result", |record| record.effective(&id).is_some(), SOON).await;
    let (told, answered) = lab.manager.read(|record| {
        let task = record.task(&id).unwrap();
        (task.abort.unwrap().listed_at.unwrap().mono, task.effective.as_ref().unwrap().at.mono)
    });
    let took = answered - told;
    println!("abort: {took:?} from the poll answer to the report");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(lab.manager.effective(&id).unwrap().code, "FAILED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_a_type_nobody_handles_stays_with_the_manager() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 4);
    let strange = NewTask { listed_to_all: true, ..NewTask::new("STRANGE", "{}") };
    let strange = lab.manager.submit(strange).unwrap();
    // Several polls list it, and work goes on beside it.
    lab.manager_when("five listings", |record| record.task(&strange).is_some_and(|task| task.listed >= 5), SOON).await;
    let other = lab.submit("DEV_WORK", 1);
    lab.manager_when("the other's result", |record| record.effective(&other).is_some(), SOON).await;
    assert_eq!(lab.manager.read(|record| record.task(&strange).unwrap().acquires.total()), 0);
    let tasks = lab.tasks().await;
    let listed = tasks.iter().find(|task| task.external_id == strange).expect("it is shown");
    assert_eq!(listed.state, "listed");
    assert!(listed.waiting_for.contains("NO_RUNNER"), "{listed:?}");
    let log = std::fs::read_to_string(lab.path("delegate.log")).unwrap();
    assert_eq!(log.matches("NO_RUNNER").count(), 1, "logged once, not at each poll:\n{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_and_a_start_take_up_what_runs() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 4);
    let id = lab.submit("DEV_ONCE", 1_500);
    while lab.starts().is_empty() {
        super::lab::pause().await;
    }
    assert_eq!(lab.stop_delegate(), Some(0), "{}", lab.tail());
    lab.start_delegate();
    lab.manager_when("the result", |record| record.effective(&id).is_some(), SOON).await;
    assert_eq!(lab.manager.effective(&id).unwrap().code, "OK");
    assert_eq!(lab.starts().into_values().collect::<Vec<_>>(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_unregisters_if_asked_to_and_only_with_nothing_left_behind() {
    let mut lab = Lab::new().await;
    lab.configure("unregister_on_stop = true");
    lab.start_delegate();
    lab.start_runner("r-1", 4);
    let long = lab.submit("DEV_ONCE", 1_000);
    lab.status_when("it runs", |status| status.open_task_count == 1).await;
    assert_eq!(lab.stop_delegate(), Some(0), "{}", lab.tail());
    assert_eq!(lab.manager.read(|record| record.totals().unregisters), 0, "it would fail the task that runs");

    lab.start_delegate();
    lab.manager_when("the result", |record| record.effective(&long).is_some(), SOON).await;
    lab.status_when("nothing is left", |status| status.unreported_result_count == 0).await;
    assert_eq!(lab.stop_delegate(), Some(0), "{}", lab.tail());
    assert_eq!(lab.manager.read(|record| record.totals().unregisters), 1);
    assert_eq!(lab.manager.effective(&long).unwrap().code, "OK");
}
