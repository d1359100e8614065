//! A task's timeout was not used: what ran for ever, ran for ever.

use std::time::{Duration, Instant};

use dlite::doubles::manager::NewTask;

use super::lab::{Lab, SOON};

/// Works for ten minutes and does not heed a request to stop. In dialect B, which has a word for a time-out.
fn endless() -> NewTask {
    NewTask { runner_response: true, ..NewTask::new("DEV_ONCE", r#"{"millis":600000,"stubborn":true}"#) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_ignores_the_configured_limit_is_reported_as_timed_out() {
    let mut lab = Lab::new().await;
    lab.start_delegate_with(&["runners.run_time_max=500ms"]);
    lab.start_runner("r-1", 4);
    let id = lab.manager.submit(endless()).unwrap();
    lab.manager_when("a result", |record| record.effective(&id).is_some(), SOON).await;
    let answer = lab.manager.effective(&id).unwrap();
    assert_eq!(answer.code, "TIMEOUT", "{answer:?}");
    let acquired = lab.manager.read(|record| record.task(&id).unwrap().first_assigned_at.unwrap().mono);
    let took = answer.at.mono - acquired;
    // The limit, the grace and the margin are 1.3 s.
    assert!(took > Duration::from_millis(500) && took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tasks_own_timeout_stops_it_and_frees_its_slot() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    let started = Instant::now();
    let id = lab.manager.submit(NewTask { timeout: Duration::from_secs(1), ..endless() }).unwrap();
    // The manager gives it up after the same time, so that the answer may come too late; there is one all the same.
    let code = |record: &dlite::doubles::manager::Record| {
        let task = record.task(&id)?;
        task.effective.as_ref().or(task.late.iter().next()).map(|answer| answer.code.clone())
    };
    lab.manager_when("an answer", |record| code(record).is_some(), SOON).await;
    assert_eq!(lab.manager.read(code).as_deref(), Some("TIMEOUT"));
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    let next = lab.submit("DEV_ONCE", 1);
    lab.manager_when("the next one's result", |record| record.effective(&next).is_some(), SOON).await;
}
