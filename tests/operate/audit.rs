//! `dlite audit`: who did what, across restarts.

use crate::{
    lab::Lab,
    say::{json, say, text},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_list_names_user_process_deed_and_outcome_and_survives_a_kill() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    let id = lab.submit("DEV_WORK", 60_000);
    lab.status_when("a task is open", |status| status.open_task_count == 1).await;
    assert_eq!(text(&lab, &["audit", "list"]).await, "nothing was done yet\n");
    text(&lab, &["tasks", "cancel", &id, "--reason", "wrong branch", "--force", "--yes"]).await;
    text(&lab, &["drain"]).await;
    assert_eq!(say(&lab, &["drain"]).await.code, Some(1));
    text(&lab, &["resume"]).await;
    text(&lab, &["reload"]).await;
    let deeds = |audits: &serde_json::Value| {
        let audits = audits.as_array().unwrap().iter();
        audits.map(|audit| format!("{} {}", audit["action"], audit["outcome"]).replace('"', "")).collect::<Vec<_>>()
    };
    let wanted = ["tasks cancel ok", "drain ok", "drain ALREADY_DRAINING", "resume ok", "reload ok"];
    let audits = json(&lab, &["audit", "list"]).await;
    assert_eq!(deeds(&audits), wanted);
    let first = &audits[0];
    assert_eq!(first["uid"], rustix::process::getuid().as_raw());
    assert!(first["pid"].as_u64().is_some_and(|pid| pid > 0) && first["via"] == "admin socket", "{first:#}");
    assert!(first["arguments"].as_str().unwrap().contains("wrong branch"), "{first:#}");

    lab.kill_delegate();
    lab.start_delegate();
    lab.status().await;
    assert_eq!(deeds(&json(&lab, &["audit", "list"]).await), wanted, "{}", lab.tail());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_tail_shows_the_newest_with_their_age() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    for words in [&["drain"][..], &["resume"], &["reload"]] {
        text(&lab, words).await;
    }
    let table = text(&lab, &["audit", "tail", "-n", "2"]).await;
    assert!(table.contains("reload") && !table.contains("drain") && table.contains(" ago"), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_is_refused_is_on_record_too() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.status().await;
    lab.configure("poll_intervall = \"1s\"");
    assert_eq!(say(&lab, &["reload", "--admin-socket", &lab.path("a.sock").display().to_string()]).await.code, Some(1));
    lab.configure("");
    let audits = json(&lab, &["audit", "list"]).await;
    assert_eq!(audits[0]["outcome"], "CONFIG_REJECTED", "{audits:#}");
}
