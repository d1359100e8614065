//! Limit 3, "no shutdown hook": a stop cancelled all that ran and reported it as OK.

use std::time::{Duration, Instant};

use dlite::doubles::manager::{Calls, Fault, Gate, Route};

use super::lab::{Lab, SOON, output, pause};

const SECOND: Duration = Duration::from_secs(1);
const GRACE: &[&str] = &["drain.grace=30s"];

/// A delegate with these options and a runner, and a task on it that works for so long.
async fn running(options: &[&str], millis: u64) -> (Lab, String) {
    let mut lab = Lab::new().await;
    lab.start_delegate_with(options);
    lab.start_runner("r-1", 4);
    let id = lab.submit("DEV_ONCE", millis);
    let deadline = Instant::now() + SOON;
    while lab.starts().is_empty() {
        assert!(Instant::now() < deadline, "the task starts\n{}", lab.tail());
        pause().await;
    }
    (lab, id)
}

fn code(lab: &Lab, id: &str) -> Option<String> {
    lab.manager.effective(id).map(|answer| answer.code)
}

fn last_line(lab: &Lab) -> String {
    lab.delegate_log().lines().last().unwrap_or_default().to_owned()
}

/// What a command of the operator came to: exit code, and what it said.
async fn operate(lab: &Lab, arguments: &'static [&'static str]) -> (Option<i32>, String) {
    let config = lab.path("dlite.toml");
    let done = tokio::task::spawn_blocking(move || output(arguments, &config)).await.unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done.status.code(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_runs_when_the_delegate_is_told_to_stop_is_reported_as_success() {
    let (mut lab, id) = running(GRACE, 6_000).await;
    let told = Instant::now();
    lab.signal_delegate();
    lab.status_when("it drains", |status| status.state == "draining").await;
    let later = lab.submit("DEV_ONCE", 1);
    assert_eq!(lab.delegate_ended().await, Some(0), "{}", lab.tail());
    assert_eq!(code(&lab, &id).as_deref(), Some("OK"));
    assert_eq!(last_line(&lab), "dlite: drained: every task is finished and every result is reported");
    lab.manager.read(|record| {
        assert_eq!(record.task(&later).unwrap().acquires.total(), 0, "nothing is acquired while it drains");
        // The beats go on, and name the task, until it is reported.
        let reported = record.effective(&id).unwrap().at.mono;
        assert!(reported > told + 3 * SECOND);
        let named = |beat: &&dlite::doubles::manager::Heartbeat| {
            beat.body.currently_executing_delegate_tasks.as_ref().is_some_and(|tasks| tasks.contains(&id))
        };
        let beats = record.heartbeats.iter().filter(named).map(|beat| beat.at.mono).filter(|at| *at >= told);
        let moments: Vec<Instant> = [told].into_iter().chain(beats).chain([reported]).collect();
        let widest = moments.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).max().unwrap();
        assert!(widest < 2 * SECOND, "{widest:?} without a heartbeat at an interval of 200 ms");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_outlasts_the_grace_is_reported_as_cancelled_and_never_as_ok() {
    let (mut lab, id) = running(&["drain.grace=2s"], 6_000).await;
    lab.signal_delegate();
    assert_eq!(lab.delegate_ended().await, Some(5), "{}", lab.tail());
    let answer = lab.manager.effective(&id).expect("it is reported before the process ends");
    assert_eq!(answer.code, "FAILED");
    assert!(String::from_utf8_lossy(&answer.data).to_lowercase().contains("cancelled"), "{answer:?}");
    assert!(last_line(&lab).starts_with("dlite: drained, not without loss: 1 task cancelled; "), "{}", last_line(&lab));
    assert!(
        last_line(&lab).contains("0 open tasks, 0 unclear acquires, 0 open sessions and 0 unreported results"),
        "{}",
        last_line(&lab)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acquire_under_way_at_the_signal_is_awaited_and_its_task_is_run() {
    let mut lab = Lab::new().await;
    lab.start_delegate_with(GRACE);
    lab.start_runner("r-1", 4);
    lab.status_when("the runner attached", |status| status.runners.len() == 1).await;
    let gate = Gate::new();
    lab.manager.fault(Route::Acquire, Fault::Hold(gate.clone()), Calls::Next(1));
    let id = lab.submit("DEV_ONCE", 100);
    assert!(gate.arrived(1, SOON).await, "the manager assigned it\n{}", lab.tail());
    lab.signal_delegate();
    lab.status_when("it drains", |status| status.state == "draining").await;
    gate.open();
    assert_eq!(lab.delegate_ended().await, Some(0), "{}", lab.tail());
    assert_eq!(code(&lab, &id).as_deref(), Some("OK"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_waits_for_no_task_and_still_reports_it() {
    let (mut lab, id) = running(GRACE, 600_000).await;
    lab.signal_delegate();
    lab.status_when("it drains", |status| status.state == "draining").await;
    let told = Instant::now();
    lab.signal_delegate();
    assert_eq!(lab.delegate_ended().await, Some(5), "{}", lab.tail());
    assert!(told.elapsed() < 10 * SECOND, "{:?}", told.elapsed());
    assert_eq!(code(&lab, &id).as_deref(), Some("FAILED"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_reported_is_counted_in_the_last_line_and_reported_by_the_next_start() {
    let (mut lab, id) = running(GRACE, 300).await;
    lab.manager.down();
    lab.signal_delegate();
    lab.status_when("it is finished", |status| status.open_task_count == 0 && status.unreported_result_count == 1)
        .await;
    lab.signal_delegate();
    assert_eq!(lab.delegate_ended().await, Some(5), "{}", lab.tail());
    assert!(last_line(&lab).contains("0 tasks cancelled"), "{}", last_line(&lab));
    assert!(last_line(&lab).contains("1 unreported result for the next start"), "{}", last_line(&lab));
    lab.manager.up();
    lab.start_delegate();
    lab.manager_when("the result", |record| record.effective(&id).is_some(), SOON).await;
    assert_eq!(code(&lab, &id).as_deref(), Some("OK"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_signal_ends_the_process_at_once_and_loses_nothing() {
    let (mut lab, id) = running(GRACE, 300).await;
    lab.manager.down();
    lab.signal_delegate();
    lab.status_when("it is finished", |status| status.open_task_count == 0 && status.unreported_result_count == 1)
        .await;
    for said in ["SIGTERM again", "once more"] {
        lab.signal_delegate();
        let deadline = Instant::now() + SOON;
        while !lab.delegate_log().contains(said) {
            assert!(Instant::now() < deadline, "{said}\n{}", lab.tail());
            pause().await;
        }
    }
    assert_eq!(lab.delegate_ended().await, Some(5), "{}", lab.tail());
    assert!(last_line(&lab).starts_with("dlite: stopped by force: "), "{}", last_line(&lab));
    lab.manager.up();
    lab.start_delegate();
    lab.manager_when("the result", |record| record.effective(&id).is_some(), SOON).await;
    assert_eq!(code(&lab, &id).as_deref(), Some("OK"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_drains_watches_and_resumes() {
    let (mut lab, id) = running(GRACE, 1_500).await;
    let (exit, said) = operate(&lab, &["drain", "--reason", "kernel update", "--wait"]).await;
    assert_eq!(exit, Some(0), "{said}");
    assert!(said.contains("draining: 1 open task") && said.contains("drained: 0 open tasks"), "{said}");
    assert_eq!(code(&lab, &id).as_deref(), Some("OK"));

    let (_, status) = operate(&lab, &["status"]).await;
    assert!(status.contains("drained (kernel update)"), "{status}");
    let later = lab.submit("DEV_ONCE", 1);
    lab.manager_when("two listings", |record| record.task(&later).is_some_and(|task| task.listed >= 2), SOON).await;
    assert_eq!(lab.manager.read(|record| record.task(&later).unwrap().acquires.total()), 0);
    let (exit, said) = operate(&lab, &["drain", "--cancel", "--yes"]).await;
    assert_eq!(exit, Some(1), "{said}");
    assert!(said.contains("a drain is under way"), "{said}");

    assert_eq!(operate(&lab, &["resume"]).await.0, Some(0));
    lab.manager_when("the other's result", |record| record.effective(&later).is_some(), SOON).await;
    let (exit, said) = operate(&lab, &["resume"]).await;
    assert_eq!(exit, Some(1), "{said}");
    assert!(said.contains("no drain to take back"), "{said}");
    assert_eq!(lab.stop_delegate(), Some(0), "nothing is left to wait for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_learns_by_the_exit_code_that_the_grace_passed() {
    let (mut lab, id) = running(GRACE, 600_000).await;
    let (exit, said) = operate(&lab, &["drain", "--grace", "300ms", "--wait"]).await;
    assert_eq!(exit, Some(5), "{said}");
    assert!(said.contains("1 cancelled"), "{said}");
    assert_eq!(code(&lab, &id).as_deref(), Some("FAILED"));
    let told = Instant::now();
    assert_eq!(lab.stop_delegate(), Some(5), "it says so again when it ends");
    assert!(told.elapsed() < 10 * SECOND, "a drained delegate ends at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_leaves_finishes_what_it_has_and_gets_nothing_more() {
    let (mut lab, id) = running(GRACE, 1_500).await;
    lab.signal_runner(0);
    lab.status_when("it drains", |status| status.runners[0].state == "draining").await;
    lab.start_runner("r-2", 1);
    lab.status_when("both are attached", |status| status.runners.len() == 2).await;
    let more: Vec<String> = (0..4).map(|_| lab.submit("DEV_ONCE", 1)).collect();
    let all = |record: &dlite::doubles::manager::Record| more.iter().all(|id| record.effective(id).is_some());
    lab.manager_when("the others' results", all, SOON).await;
    assert_eq!(lab.runner_ended(0).await, Some(0), "{}", lab.tail());
    lab.manager_when("its own result", |record| record.effective(&id).is_some(), SOON).await;
    for id in more.iter().chain([&id]) {
        assert_eq!(code(&lab, id).as_deref(), Some("OK"));
    }
    // Each started once, and none was offered to the runner that left although it had more slots.
    assert!(lab.starts().into_values().all(|starts| starts == 1));
    assert!(!lab.delegate_log().contains("RUNNER_LEAVING"), "{}", lab.tail());
}
