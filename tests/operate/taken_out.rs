//! Commands that take one upstream or one runner out and back in, by name, and those that ask before they end somebody's work.

use crate::{
    lab::{Lab, SOON},
    say::{json, say, text},
};

async fn lab() -> Lab {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 2);
    lab.status_when("a runner", |status| status.runners.iter().any(|runner| runner.state == "attached")).await;
    lab
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_list_shows_who_is_attached_and_what_each_can_do() {
    let lab = lab().await;
    let table = text(&lab, &["runners", "list"]).await;
    assert!(table.contains("RUNNER") && table.contains("r-1") && table.contains("DEV_WORK"), "{table}");
    let list = json(&lab, &["runners", "list"]).await;
    assert_eq!((&list[0]["runner_id"], &list[0]["state"]), (&"r-1".into(), &"attached".into()), "{list:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_get_shows_one_whole_and_names_the_others_for_an_unknown_one() {
    let lab = lab().await;
    let shown = text(&lab, &["runners", "get", "r-1"]).await;
    assert!(shown.contains("slots        default 0/2") && shown.contains("handler      DEV_WORK"), "{shown}");
    let unknown = say(&lab, &["runners", "get", "r-9"]).await;
    assert!(unknown.code == Some(1) && unknown.err.contains("there are r-1"), "{}", unknown.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_drain_takes_one_out_and_asks_before_it_ends_its_work() {
    let lab = lab().await;
    let unasked = say(&lab, &["runners", "drain", "r-1", "--grace", "20m"]).await;
    assert!(unasked.code == Some(2) && unasked.err.contains("say --yes"), "{}", unasked.err);
    text(&lab, &["runners", "drain", "r-1", "--grace", "20m", "--yes", "--reason", "a new disk"]).await;
    let list = json(&lab, &["runners", "list"]).await;
    assert_eq!((&list[0]["state"], &list[0]["drain"]["reason"]), (&"drained".into(), &"a new disk".into()), "{list:#}");
    assert!(list[0]["drain"]["end_time"].is_string(), "{list:#}");
    let shown = text(&lab, &["runners", "get", "r-1"]).await;
    assert!(shown.contains("r-1 (drained)") && shown.contains("(a new disk), grace until "), "{shown}");
    let deeds = text(&lab, &["audit", "list"]).await;
    assert!(deeds.contains("runners drain") && deeds.contains("a new disk"), "{deeds}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_resume_gives_a_drained_one_work_again() {
    let lab = lab().await;
    text(&lab, &["runners", "drain", "r-1"]).await;
    let id = lab.submit("DEV_ONCE", 1);
    lab.manager_when("two listings", |record| record.task(&id).is_some_and(|task| task.listed >= 2), SOON).await;
    assert_eq!(lab.manager.read(|record| record.task(&id).unwrap().acquires.total()), 0);
    text(&lab, &["runners", "resume", "r-1"]).await;
    lab.manager_when("its result", |record| record.effective(&id).is_some(), SOON).await;
    assert_eq!(json(&lab, &["runners", "get", "r-1"]).await["state"], "attached");
    let again = say(&lab, &["runners", "resume", "r-1"]).await;
    assert!(again.code == Some(1) && again.err.contains("is not drained"), "{}", again.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_pause_shows_in_list_and_status_and_nothing_new_is_taken() {
    let mut lab = lab().await;
    text(&lab, &["upstreams", "pause", "m", "--reason", "a move"]).await;
    let list = json(&lab, &["upstreams", "list"]).await;
    assert_eq!((&list[0]["state"], &list[0]["pause"]["reason"]), (&"paused".into(), &"a move".into()), "{list:#}");
    let status = text(&lab, &["status"]).await;
    assert!(status.contains("paused") && status.contains("(a move)"), "{status}");
    let id = lab.submit("DEV_ONCE", 1);
    lab.manager_when("two listings", |record| record.task(&id).is_some_and(|task| task.listed >= 2), SOON).await;
    assert_eq!(lab.manager.read(|record| record.task(&id).unwrap().acquires.total()), 0);
    lab.stop_delegate();
    let list = text(&lab, &["upstreams", "list"]).await;
    assert!(list.contains("no delegate runs that could tell"), "{list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_resume_takes_what_is_on_offer_at_once() {
    let lab = lab().await;
    text(&lab, &["upstreams", "pause", "m"]).await;
    let id = lab.submit("DEV_ONCE", 1);
    lab.manager_when("two listings", |record| record.task(&id).is_some_and(|task| task.listed >= 2), SOON).await;
    text(&lab, &["upstreams", "resume", "m"]).await;
    lab.manager_when("its result", |record| record.effective(&id).is_some(), SOON).await;
    let table = text(&lab, &["upstreams", "list"]).await;
    assert!(table.contains("STATE") && table.contains("registered"), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_closed_and_a_drain_cancels_only_on_purpose() {
    let lab = lab().await;
    assert_eq!(text(&lab, &["sessions", "list", "--older-than", "6h"]).await, "no open session\n");
    let unasked = say(&lab, &["sessions", "close", "stage-1", "--force"]).await;
    assert!(unasked.code == Some(2) && unasked.err.contains("forget session stage-1?"), "{}", unasked.err);
    let unasked = say(&lab, &["drain", "--cancel"]).await;
    assert!(unasked.code == Some(2) && unasked.err.contains("say --yes"), "{}", unasked.err);
    assert_eq!(lab.status().await.state, "serving");
    text(&lab, &["drain", "--cancel", "--yes"]).await;
    lab.status_when("it is drained", |status| status.state == "drained").await;
}
