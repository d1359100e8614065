//! The commands an operator types, by their exit codes and words.

use super::lab::{Lab, SOON, binary, output};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_and_tasks_show_what_runs_and_what_waits() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    let running = lab.submit("DEV_WORK", 60_000);
    lab.manager_when(
        "it is acquired",
        |record| record.task(&running).is_some_and(|task| task.first_assigned_at.is_some()),
        SOON,
    )
    .await;
    lab.status_when("it runs", |status| status.open_task_count == 1).await;
    let config = lab.path("dlite.toml");
    let text = |arguments: &[&str]| {
        let done = output(arguments, &config);
        assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let status = text(&["status"]);
    assert!(status.contains("serving") && status.contains("r-1") && status.contains("registered"), "{status}");
    let tasks = text(&["tasks", "list"]);
    assert!(tasks.contains(&running) && tasks.contains("WAITS FOR"), "{tasks}");
    let json: serde_json::Value = serde_json::from_str(&text(&["tasks", "list", "-o", "json"])).unwrap();
    assert_eq!(json[0]["external_id"], running);
    let json: serde_json::Value = serde_json::from_str(&text(&["status", "-o", "json"])).unwrap();
    assert_eq!(json["open_task_count"], 1);
}

#[tokio::test]
async fn without_a_delegate_the_commands_exit_with_3_and_say_where_they_looked() {
    let lab = Lab::new().await;
    for arguments in [&["status"][..], &["tasks", "list"]] {
        let done = output(arguments, &lab.path("dlite.toml"));
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(3), "{said}");
        assert!(said.contains("a.sock"), "{said}");
    }
}

#[tokio::test]
async fn config_check_tells_all_mistakes_at_once_and_run_refuses_the_same() {
    let lab = Lab::new().await;
    let config = lab.path("dlite.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let broken = text
        .replace("poll_interval = \"50ms\"", "poll_intervall = \"50ms\"")
        .replace("lease_ttl = \"1s\"", "lease_ttl = \"soon\"")
        .replace("account_id = \"acctLAB0000000000001\"", "account_id = 7");
    std::fs::write(&config, broken).unwrap();
    for arguments in [&["config", "check"][..], &["run"]] {
        let done = output(arguments, &config);
        let said = String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
        assert_eq!(done.status.code(), Some(4), "{said}");
        for word in ["poll_interval", "lease_ttl", "account_id"] {
            assert!(said.contains(word), "{word} is missing in:\n{said}");
        }
    }
}

#[test]
fn help_teaches_every_command() {
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["config", "show", "--help"],
        &["dev", "--help"],
        &["tasks", "list", "--help"],
    ] {
        let done = binary().args(arguments).stdout(std::process::Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{arguments:?}");
        assert!(said.len() > 200, "{said}");
    }
}

#[test]
fn the_show_ends_with_its_summary_and_exit_code_0() {
    let done = binary().args(["dev", "--tasks", "40"]).stdout(std::process::Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(0), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    let last = said.trim_end().lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("45 tasks, 45 effective results, 43 ok, 2 failed as they should, 0 repeats, "), "{said}");
    // 40 tasks of the batch and 4 scripts.
    assert!(last.contains(" 44 logs of 804 lines stored as written"), "{said}");
    for label in ["pipeline: setup", "pipeline: test", "batch 40/40", "aborted"] {
        assert!(said.contains(label), "{label} is missing in:\n{said}");
    }
}
