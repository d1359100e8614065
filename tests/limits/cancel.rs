//! Aborts were ignored, and a cancelled task could be acquired a second time; nobody but the upstream could stop one.

use std::time::{Duration, Instant};

use dlite::doubles::manager::NewTask;

use super::lab::{Lab, SOON, output, pause};

/// A delegate with a runner, and a task on it that does not heed a request to stop.
async fn stubborn(options: &[&str]) -> (Lab, String) {
    let mut lab = Lab::new().await;
    lab.start_delegate_with(options);
    lab.start_runner("r-1", 4);
    let data = r#"{"millis":600000,"stubborn":true}"#;
    let id = lab.manager.submit(NewTask::new("DEV_ONCE", data)).unwrap();
    let deadline = Instant::now() + SOON;
    while lab.starts().is_empty() {
        assert!(Instant::now() < deadline, "the task starts\n{}", lab.tail());
        pause().await;
    }
    (lab, id)
}

async fn operate(lab: &Lab, arguments: &[&str]) -> Option<i32> {
    let (config, arguments) = (lab.path("dlite.toml"), arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        output(&arguments, &config)
    };
    tokio::task::spawn_blocking(run).await.unwrap().status.code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_task_is_stopped_reported_once_and_never_acquired_again() {
    let (lab, id) = stubborn(&[]).await;
    assert!(lab.manager.abort(&id), "the manager tells its delegate");
    lab.manager_when("a result", |record| record.effective(&id).is_some(), SOON).await;
    let polls = lab.manager.read(|record| record.polls.total());
    lab.manager_when("five more polls", |record| record.polls.total() >= polls + 5, SOON).await;
    lab.manager.read(|record| {
        let task = record.task(&id).unwrap();
        assert_eq!((task.acquires.total(), task.repeats.total()), (1, 0));
        assert_eq!(task.effective.as_ref().unwrap().code, "FAILED");
    });
    assert_eq!(lab.starts().into_values().collect::<Vec<_>>(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_stops_a_task_within_the_grace_he_names() {
    let (lab, id) = stubborn(&["runners.cancel_grace=10m"]).await;
    let told = Instant::now();
    assert_eq!(
        operate(&lab, &["tasks", "cancel", &id, "--yes", "--grace", "100ms", "--reason", "wrong branch"]).await,
        Some(0)
    );
    lab.manager_when("a result", |record| record.effective(&id).is_some(), SOON).await;
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    let answer = lab.manager.effective(&id).unwrap();
    assert_eq!(answer.code, "FAILED");
    assert!(String::from_utf8_lossy(&answer.data).contains("wrong branch"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_who_insists_needs_no_runner() {
    let (lab, id) = stubborn(&["runners.revoke_margin=10m"]).await;
    // Its runner stands still, and its lease lives on for a second yet.
    lab.freeze_runner(0);
    assert_eq!(operate(&lab, &["tasks", "cancel", &id, "--yes", "--force", "--reason", "gone mad"]).await, Some(0));
    lab.manager_when("a result", |record| record.effective(&id).is_some(), SOON).await;
    assert!(String::from_utf8_lossy(&lab.manager.effective(&id).unwrap().data).contains("gone mad"));
    lab.thaw_runner(0);
    // What the runner still says is refused, and the manager hears nothing of it.
    lab.status_when("the slot came back", |status| status.runners.iter().all(|runner| runner.slots_used == 0)).await;
    assert_eq!(lab.manager.read(|record| record.totals().repeats), 0);
}
