//! Exit codes, signals, time limits, cancellation: outcome and reason are right, and nothing is left.

use std::time::Duration;

use dlite::proto::runner::v1::{CancelReason, RetryDisposition, TaskCancellation, TaskOutcome};

use crate::{
    delegate::task,
    lab::{self, Lab},
};

/// Ignores SIGTERM, and has children that do too: one in its group, one that left group and session.
const STUBBORN: &str = r#"
trap '' TERM
sh -c "trap '' TERM; echo \$\$ > $0.child; while :; do sleep 1; done" &
setsid sh -c "trap '' TERM; echo \$\$ > $0.daemon; while :; do sleep 1; done" &
while [ ! -s $0.child ] || [ ! -s $0.daemon ]; do sleep 0.01; done
echo "all started" >&2
echo $$ > $0.ready
while :; do sleep 1; done
"#;

fn cancellation(grace: Duration) -> TaskCancellation {
    TaskCancellation {
        lease_id: "lease-1".to_owned(),
        reason: CancelReason::User as i32,
        message: "ann pressed stop".to_owned(),
        grace_period: prost_types::Duration::try_from(grace).ok(),
    }
}

/// The three processes of [`STUBBORN`].
async fn stubborn(lab: &Lab) -> Vec<u32> {
    let mut pids = Vec::new();
    for name in ["run.sh.ready", "run.sh.child", "run.sh.daemon"] {
        pids.push(lab.wrote(name).await.parse().unwrap());
    }
    pids
}

#[tokio::test]
async fn every_documented_exit_code_has_its_outcome_and_reason() {
    let (lab, mut link) =
        Lab::with_script("read code; echo \"ends with $code\" >&2; exit $code", "skip_exit_code = 78").await;
    use TaskOutcome::{Errored, Failed, Skipped, Succeeded, TimedOut};
    for (code, outcome, reason) in [
        (0, Succeeded, ""),
        (1, Failed, "TASK_FAILED"),
        (64, Errored, "TASK_INVALID"),
        (65, Errored, "TASK_INVALID"),
        (69, Errored, "UNAVAILABLE"),
        (75, Errored, "TEMPORARY_FAILURE"),
        (77, Errored, "PERMISSION_DENIED"),
        (78, Skipped, "TASK_SKIPPED"),
        (124, TimedOut, "DEADLINE_EXCEEDED"),
        (137, Errored, "KILLED_BY_SIGNAL"),
        (255, Failed, "TASK_FAILED"),
    ] {
        let told = lab::run_with(&mut link, &format!("lease-{code}"), format!("{code}\n")).await;
        assert_eq!((told.outcome(), told.reason().as_str(), told.code()), (outcome, reason, Some(code)), "{told:?}");
        let is_retryable =
            told.result.error.as_ref().is_some_and(|error| error.retry() == RetryDisposition::SameRunner);
        assert_eq!(is_retryable, matches!(code, 69 | 75), "{told:?}");
        if code != 0 {
            assert_eq!(told.tail(), format!("ends with {code}"));
        }
        assert_eq!(lab.log_lines(&format!("task-of-lease-{code}")), [format!("ends with {code}")]);
        lab.assert_nothing_left();
    }
}

#[tokio::test]
async fn the_code_78_is_an_ordinary_failure_unless_it_is_configured() {
    let (lab, mut link) = Lab::with_script("exit 78", "").await;
    let told = lab::run(&mut link, "lease-1").await;
    assert_eq!((told.outcome(), told.reason().as_str()), (TaskOutcome::Failed, "TASK_FAILED"));
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_script_killed_by_a_signal_is_told_so_with_its_number() {
    let (lab, mut link) = Lab::with_script("echo before >&2; kill -SEGV $$; echo after >&2", "").await;
    let told = lab::run(&mut link, "lease-1").await;
    assert_eq!((told.outcome(), told.reason().as_str()), (TaskOutcome::Errored, "KILLED_BY_SIGNAL"));
    assert_eq!((told.code(), told.message().as_str()), (Some(139), "killed by signal 11 (SIGSEGV)"));
    assert_eq!((told.tail().as_str(), lab.log_lines("task-of-lease-1")), ("before", vec!["before".to_owned()]));
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_script_that_outlasts_the_routes_time_limit_is_timed_out_with_all_its_children() {
    let (lab, mut link) = Lab::with_script(STUBBORN, "timeout = \"3s\"\ngrace = \"200ms\"").await;
    let told = lab::run(&mut link, "lease-1").await;
    assert_eq!((told.outcome(), told.reason().as_str()), (TaskOutcome::TimedOut, "DEADLINE_EXCEEDED"), "{told:?}");
    assert_eq!((told.code(), told.tail().as_str()), (Some(137), "all started"));
    for pid in stubborn(&lab).await {
        assert!(lab::is_gone(pid), "{pid} lives");
    }
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_cancelled_script_whose_children_ignore_sigterm_dies_with_all_of_them() {
    let (lab, mut link) = Lab::with_script(STUBBORN, "").await;
    lab::begin(&mut link, "lease-1", task("lease-1", "RUN")).await;
    let pids = stubborn(&lab).await;
    assert!(pids.iter().all(|pid| !lab::is_gone(*pid)), "they live until they are cancelled");
    link.cancel(cancellation(Duration::from_secs(1))).await;
    let told = lab::end(&mut link).await;
    assert_eq!((told.outcome(), told.reason().as_str()), (TaskOutcome::Cancelled, "TASK_CANCELLED"));
    assert_eq!((told.code(), told.tail().as_str()), (Some(137), "all started"));
    assert!(pids.iter().all(|pid| lab::is_gone(*pid)), "{pids:?}");
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_script_whose_lease_is_lost_is_killed_at_once() {
    let (lab, mut link) = Lab::with_script(STUBBORN, "").await;
    lab::begin(&mut link, "lease-1", task("lease-1", "RUN")).await;
    let pids = stubborn(&lab).await;
    let reason = CancelReason::LeaseLost as i32;
    link.cancel(TaskCancellation { reason, ..cancellation(Duration::ZERO) }).await;
    lab::until(|| pids.iter().all(|pid| lab::is_gone(*pid))).await;
    lab::until(|| std::fs::read_dir(lab.path("state/rooms")).unwrap().count() == 0).await;
    // Nobody waits for a result here, so the keeper may be on its way out.
    lab::until(|| lab.left_behind().is_empty()).await;
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_script_that_heeds_sigterm_has_its_grace_to_clean_up() {
    let body = "trap 'echo cleaned up >&2; echo \"{\\\"cleaned\\\":true}\" > $DLITE_RESULT_FILE; exit 3' TERM\n\
                echo $$ > $0.ready\nwhile :; do sleep 0.02; done";
    let (lab, mut link) = Lab::with_script(body, "").await;
    lab::begin(&mut link, "lease-1", task("lease-1", "RUN")).await;
    lab.wrote("run.sh.ready").await;
    link.cancel(cancellation(Duration::from_secs(60))).await;
    let told = lab::end(&mut link).await;
    assert_eq!((told.outcome(), told.code()), (TaskOutcome::Cancelled, Some(3)));
    // Before that, the shell may tell the end of its sleep.
    assert!(told.tail().ends_with("cleaned up"), "{}", told.tail());
    assert_eq!(told.text(), "{\"cleaned\":true}\n");
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_process_left_running_at_an_ordinary_end_is_killed_and_does_not_delay_it() {
    let body = "setsid sh -c \"echo \\$\\$ > $0.daemon; exec sleep 1000\" &\n\
                while [ ! -s $0.daemon ]; do sleep 0.01; done\necho done";
    let (lab, mut link) = Lab::with_script(body, "").await;
    let told = lab::run(&mut link, "lease-1").await;
    assert_eq!((told.outcome(), told.text()), (TaskOutcome::Succeeded, "done\n"));
    let daemon = lab.wrote("run.sh.daemon").await.parse().unwrap();
    assert!(lab::is_gone(daemon));
    assert!(lab.log().contains("the script left processes running"));
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_command_that_is_not_there_errors_by_name_and_may_go_elsewhere() {
    let (lab, mut link) = Lab::with_script("exit 0", "").await;
    std::fs::remove_file(lab.path("run.sh")).unwrap();
    let told = lab::run(&mut link, "lease-1").await;
    assert_eq!(
        (told.outcome(), told.reason().as_str(), told.code()),
        (TaskOutcome::Errored, "COMMAND_NOT_STARTED", None)
    );
    assert!(told.message().contains("run.sh can't be started: No such file"), "{}", told.message());
    let error = told.result.error.as_ref().unwrap();
    assert_eq!((error.side_effects_possible, error.retry()), (Some(false), RetryDisposition::OtherRunner));
    lab.assert_nothing_left();
}
