//! Commands about runners, upstreams and sessions by name, against the running binary.

use crate::{
    lab::{Lab, SOON, binary},
    operator::{ask, ask_json, operate},
};

async fn lab() -> Lab {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 2);
    lab.status_when("a runner", |status| status.runners.iter().any(|runner| runner.state == "attached")).await;
    lab
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_are_listed_shown_drained_and_resumed() {
    let lab = lab().await;
    let table = ask(&lab, &["runners", "list"]).await;
    assert!(table.contains("RUNNER") && table.contains("r-1") && table.contains("attached"), "{table}");
    let shown = ask(&lab, &["runners", "get", "r-1"]).await;
    assert!(shown.contains("slots        default 0/2") && shown.contains("handler      DEV_WORK"), "{shown}");
    let unknown = operate(&lab, &["runners", "get", "r-9"]).await;
    assert!(unknown.code == Some(1) && unknown.stderr.contains("there are r-1"), "{}", unknown.stderr);

    let ended = operate(&lab, &["runners", "drain", "r-1", "--grace", "20m"]).await;
    assert!(ended.code == Some(2) && ended.stderr.contains("say --yes"), "{}", ended.stderr);
    ask(&lab, &["runners", "drain", "r-1", "--grace", "20m", "--yes", "--reason", "a new disk"]).await;
    let list = ask_json(&lab, &["runners", "list"]).await;
    assert_eq!((&list[0]["state"], &list[0]["drain"]["reason"]), (&"drained".into(), &"a new disk".into()), "{list:#}");
    assert!(list[0]["drain"]["end_time"].is_string(), "{list:#}");
    let shown = ask(&lab, &["runners", "get", "r-1"]).await;
    assert!(shown.contains("r-1 (drained)") && shown.contains("(a new disk), grace until "), "{shown}");
    ask(&lab, &["runners", "resume", "r-1"]).await;
    assert_eq!(ask_json(&lab, &["runners", "get", "r-1"]).await["state"], "attached");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_are_listed_with_their_state_paused_and_resumed() {
    let mut lab = lab().await;
    let table = ask(&lab, &["upstreams", "list"]).await;
    assert!(table.contains("STATE") && table.contains("registered"), "{table}");
    ask(&lab, &["upstreams", "pause", "m", "--reason", "a move"]).await;
    let list = ask_json(&lab, &["upstreams", "list"]).await;
    assert_eq!((&list[0]["state"], &list[0]["pause"]["reason"]), (&"paused".into(), &"a move".into()), "{list:#}");
    let status = ask(&lab, &["status"]).await;
    assert!(status.contains("paused") && status.contains("(a move)"), "{status}");
    let id = lab.submit("DEV_ONCE", 1);
    lab.manager_when("two listings", |record| record.task(&id).is_some_and(|task| task.listed >= 2), SOON).await;
    assert_eq!(lab.manager.read(|record| record.task(&id).unwrap().acquires.total()), 0);
    ask(&lab, &["upstreams", "resume", "m"]).await;
    lab.manager_when("its result", |record| record.effective(&id).is_some(), SOON).await;
    lab.stop_delegate();
    let list = ask(&lab, &["upstreams", "list"]).await;
    assert!(list.contains("no delegate runs that could tell"), "{list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_listed_by_age_and_closed_only_on_purpose() {
    let lab = lab().await;
    assert_eq!(ask(&lab, &["sessions", "list", "--older-than", "6h"]).await, "no open session\n");
    let refused = operate(&lab, &["sessions", "close", "stage-1", "--force"]).await;
    assert!(refused.code == Some(2) && refused.stderr.contains("forget session stage-1?"), "{}", refused.stderr);
    let unknown = operate(&lab, &["sessions", "close", "stage-1", "--yes"]).await;
    assert!(unknown.code == Some(1) && unknown.stderr.contains("no open session stage-1"), "{}", unknown.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_cancels_is_not_done_without_a_word_for_it() {
    let lab = lab().await;
    let refused = operate(&lab, &["drain", "--cancel"]).await;
    assert!(refused.code == Some(2) && refused.stderr.contains("say --yes"), "{}", refused.stderr);
    assert_eq!(lab.status().await.state, "serving");
    ask(&lab, &["drain", "--cancel", "--yes"]).await;
    lab.status_when("it is drained", |status| status.state == "drained").await;
}

#[test]
fn help_teaches_each_of_these_commands() {
    for command in [
        &["runners"][..],
        &["runners", "list"],
        &["runners", "get"],
        &["runners", "drain"],
        &["runners", "resume"],
        &["upstreams"],
        &["upstreams", "list"],
        &["upstreams", "pause"],
        &["upstreams", "resume"],
        &["tasks", "explain"],
        &["tasks", "cancel"],
        &["tasks", "get"],
        &["tasks", "list"],
        &["sessions", "list"],
        &["sessions", "close"],
    ] {
        let done = binary().args(command).arg("--help").stdout(std::process::Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success() && said.contains("Usage: dlite ") && said.len() > 300, "{command:?}: {said}");
    }
}
