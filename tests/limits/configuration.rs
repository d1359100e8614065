//! Limit 7: one typed, validated configuration, its sources known, replaced as a whole while the process runs.

use std::{path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use super::lab::{Lab, SOON, output, pause};

/// A delegate that polls once an hour and is registered; its file says `interval` now.
async fn rarely_polling() -> Lab {
    let mut lab = Lab::new().await;
    rewrite(&lab.path("dlite.toml"), "poll_interval = \"50ms\"", "poll_interval = \"1h\"");
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    lab.manager_when("the first poll", |record| record.polls.total() > 0, SOON).await;
    lab
}

fn rewrite(file: &Path, old: &str, new: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(old), "{text}");
    std::fs::write(file, text.replace(old, new)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_changes_the_poll_interval_without_a_restart() {
    let lab = rarely_polling().await;
    let (config, pid) = (lab.path("dlite.toml"), lab.delegate_pid());
    let task = lab.submit("DEV_WORK", 1);
    rewrite(&config, "poll_interval = \"1h\"", "poll_interval = \"50ms\"");
    let done = output(&["reload"], &config);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(said, "in force now: upstreams[m].poll_interval\n");
    lab.manager.wait_for(&task, SOON).await.expect("the task is polled, run and reported");
    assert_eq!(lab.delegate_pid(), pid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_reloads_as_the_command_does() {
    let lab = rarely_polling().await;
    let task = lab.submit("DEV_WORK", 1);
    rewrite(&lab.path("dlite.toml"), "poll_interval = \"1h\"", "poll_interval = \"50ms\"");
    let pid = Pid::from_raw(i32::try_from(lab.delegate_pid()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    lab.manager.wait_for(&task, SOON).await.expect("the task is polled, run and reported");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_file_changes_nothing_and_each_mistake_is_named() {
    let lab = rarely_polling().await;
    let config = lab.path("dlite.toml");
    rewrite(&config, "poll_interval = \"1h\"", "poll_interval = \"50ms\"");
    rewrite(&config, "lease_ttl = \"1s\"", "lease_ttl = \"soon\"");
    rewrite(&config, "request_timeout", "request_timeuot");
    let polls = lab.manager.read(|record| record.polls.total());
    let done = output(&["reload"], &config);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("lease_ttl") && said.contains("request_timeout"), "{said}");
    // Twenty of the intervals that the rejected file asks for.
    let until = std::time::Instant::now() + Duration::from_secs(1);
    while std::time::Instant::now() < until {
        assert_eq!(lab.manager.read(|record| record.polls.total()), polls, "the old interval stays in force");
        pause().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_restart_is_said_and_does_not_change() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    let config = lab.path("dlite.toml");
    rewrite(&config, "socket = \"r.sock\"", "socket = \"other.sock\"\nattempts_max = 7");
    let done = output(&["reload"], &config);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(said, "in force now: runners.attempts_max\nwaits for a restart: runners.socket\n");
    assert!(lab.path("r.sock").exists() && !lab.path("other.sock").exists());
    // What is written is compared with what is in force, so that saying it again changes nothing.
    let done = output(&["reload"], &config);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(said, "nothing changed\nwaits for a restart: runners.socket\n");
}
