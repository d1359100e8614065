//! Runner and keeper killed or told to stop: nothing of a task outlives them.

use std::fs;

use dlite::proto::runner::v1::TaskOutcome;

use crate::{
    delegate::{Link, task},
    lab::{self, Lab, signal},
};

/// Tells its pid and that of a child in a session of its own, and goes on.
const LASTING: &str = "trap '' TERM\nsetsid sh -c \"trap '' TERM; echo \\$\\$ > $0.daemon; while :; do sleep 1; done\" &\n\
                       while [ ! -s $0.daemon ]; do sleep 0.01; done\n\
                       echo $PPID > $0.keeper\necho $$ > $0.ready\nwhile [ ! -e $0.finish ]; do sleep 0.05; done\necho finished";

async fn lasting() -> (Lab, Link, Vec<u32>, u32) {
    let (lab, mut link) = Lab::with_script(LASTING, "").await;
    lab::begin(&mut link, "lease-1", task("lease-1", "RUN")).await;
    let mut pids = Vec::new();
    for name in ["run.sh.ready", "run.sh.daemon"] {
        pids.push(lab.wrote(name).await.parse().unwrap());
    }
    let keeper = lab.wrote("run.sh.keeper").await.parse().unwrap();
    assert!(pids.iter().all(|pid| !lab::is_gone(*pid)));
    (lab, link, pids, keeper)
}

fn rooms(lab: &Lab) -> usize {
    fs::read_dir(lab.path("state/rooms")).unwrap().count()
}

#[tokio::test]
async fn a_killed_runner_takes_its_scripts_along_at_once() {
    let (mut lab, _link, pids, keeper) = lasting().await;
    lab.kill_runner();
    lab::until(|| pids.iter().all(|pid| lab::is_gone(*pid)) && lab::is_gone(keeper)).await;
    lab::until(|| rooms(&lab) == 0).await;
    lab.assert_nothing_left();
}

#[tokio::test]
async fn what_a_killed_runner_and_a_killed_keeper_left_is_ended_by_the_next_runner() {
    let (mut lab, link, pids, keeper) = lasting().await;
    drop(link);
    // Stopped first, so that the keeper does not see the runner's end before its own.
    signal(keeper, "STOP");
    lab.kill_runner();
    signal(keeper, "KILL");
    lab::until(|| lab::is_gone(keeper)).await;
    assert!(pids.iter().all(|pid| !lab::is_gone(*pid)), "orphans live");
    assert_eq!(rooms(&lab), 1);
    let mut link = lab.start().await;
    // It sweeps before it attaches.
    assert!(pids.iter().all(|pid| lab::is_gone(*pid)), "orphans were left alone");
    assert!(lab.log().contains("a task of an earlier runner still ran and was killed"));
    lab.assert_nothing_left();
    fs::write(lab.path("run.sh.finish"), "").unwrap();
    assert_eq!(lab::run(&mut link, "lease-2").await.text(), "finished\n");
}

#[tokio::test]
async fn a_process_whose_pid_a_stale_record_names_is_left_alone() {
    let (mut lab, link) = Lab::with_script("echo ok", "").await;
    drop(link);
    lab.kill_runner();
    let mut bystander = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let stale = format!(
        r#"{{"boot_id":"{}","keeper":{{"pid":{pid},"started":1}},"leader":{{"pid":{pid},"started":1}},"cgroups":null}}"#,
        boot_id.trim(),
        pid = bystander.id()
    );
    fs::create_dir_all(lab.path("state/rooms/stale")).unwrap();
    fs::write(lab.path("state/rooms/stale/record.json"), stale).unwrap();
    let mut link = lab.start().await;
    assert_eq!(rooms(&lab), 0);
    assert_eq!(bystander.try_wait().unwrap(), None, "it lives");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    assert_eq!(lab::run(&mut link, "lease-1").await.text(), "ok\n");
}

#[tokio::test]
async fn a_killed_keeper_is_an_error_by_name_and_its_script_dies() {
    let (lab, mut link, pids, keeper) = lasting().await;
    signal(keeper, "KILL");
    let told = lab::end(&mut link).await;
    assert_eq!((told.outcome(), told.reason().as_str()), (TaskOutcome::Errored, "KEEPER_LOST"));
    assert!(pids.iter().all(|pid| lab::is_gone(*pid)));
    lab.assert_nothing_left();
}

#[tokio::test]
async fn at_sigterm_the_runner_takes_no_more_and_finishes_what_runs() {
    let (mut lab, mut link, _pids, _keeper) = lasting().await;
    lab.signal_runner("TERM");
    link.drain_notice().await;
    fs::write(lab.path("run.sh.finish"), "").unwrap();
    let told = lab::end(&mut link).await;
    assert_eq!((told.outcome(), told.text()), (TaskOutcome::Succeeded, "finished\n"));
    link.closed().await;
    assert!(lab.runner_ended().await.success());
    lab.assert_nothing_left();
}

#[tokio::test]
async fn at_the_second_signal_everything_is_killed() {
    let (mut lab, mut link, pids, keeper) = lasting().await;
    lab.signal_runner("TERM");
    link.drain_notice().await;
    lab.signal_runner("TERM");
    assert_eq!(lab.runner_ended().await.code(), Some(1));
    lab::until(|| pids.iter().all(|pid| lab::is_gone(*pid)) && lab::is_gone(keeper)).await;
    lab::until(|| rooms(&lab) == 0).await;
    lab.assert_nothing_left();
}

#[tokio::test]
async fn two_runners_never_share_a_state_directory() {
    let (lab, mut link) = Lab::with_script("echo ok", "").await;
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_dlite"))
        .args(["runner", "exec", "--config"])
        .arg(lab.path("exec.toml"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("is in use by") && said.contains(&lab.runner_pid().to_string()), "{said}");
    assert_eq!(lab::run(&mut link, "lease-1").await.text(), "ok\n");
}
