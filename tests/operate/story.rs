//! The whole story of one task, and stopping one, with the real binary.

use crate::{
    lab::{Lab, SOON},
    say::{json, say, text},
};

async fn running() -> (Lab, String) {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    let id = lab.submit("DEV_WORK", 600_000);
    lab.status_when("it has a runner", |status| status.runners.iter().any(|runner| runner.slots_used == 1)).await;
    (lab, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_explain_says_why_a_task_is_stuck_and_it_is_stopped_in_three_commands() {
    let (lab, id) = running().await;
    let second = lab.submit("DEV_WORK", 1);
    let listed = |record: &dlite::doubles::manager::Record| record.task(&second).is_some_and(|task| task.listed >= 2);
    lab.manager_when("it is listed", listed, SOON).await;

    let oldest = text(&lab, &["tasks", "list", "--state", "running,assigned", "--sort", "age"]).await;
    assert!(oldest.contains(&id) && !oldest.contains(&second), "{oldest}");
    let queued = json(&lab, &["tasks", "list", "--state", "queued", "--sort=-age"]).await;
    let names: Vec<&str> = queued.as_array().unwrap().iter().filter_map(|task| task["wait"]["name"].as_str()).collect();
    assert!(names.contains(&"slot"), "{queued:#}");

    let sentence = text(&lab, &["tasks", "explain", &second]).await;
    assert!(sentence.contains("all slots of class default are in use (1/1)"), "{sentence}");
    let explained = json(&lab, &["tasks", "explain", &id]).await;
    assert_eq!(explained[0]["task"]["wait"]["details"]["runner"], "r-1", "{explained:#}");

    // Nobody can answer here, so nothing is stopped without a word for it.
    let said = say(&lab, &["tasks", "cancel", &id]).await;
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("say --yes"), "{}", said.err);
    text(&lab, &["tasks", "cancel", &id, "--yes", "--force", "--reason", "it hangs"]).await;
    lab.manager_when("its result", |record| record.effective(&id).is_some(), SOON).await;
    let gone = text(&lab, &["tasks", "explain", &id]).await;
    assert!(gone.contains("is not here any more") && gone.contains("cancelled"), "{gone}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_of_a_task_has_its_tries_leases_and_waits_in_order() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    // An idempotent handler, whose runner is lost once.
    lab.start_runner("r-1", 1);
    let id = lab.submit("DEV_WORK", 600_000);
    lab.status_when("it has a runner", |status| status.runners.iter().any(|runner| runner.slots_used == 1)).await;
    let get = async || json(&lab, &["tasks", "get", &id]).await;
    let first = loop {
        let story = get().await;
        if story["events"].as_array().unwrap().iter().any(|event| event["what"] == "started") {
            break story;
        }
    };
    let events: Vec<&str> =
        first["events"].as_array().unwrap().iter().filter_map(|event| event["what"].as_str()).collect();
    let wanted = ["listed", "acquire_intended", "acquired", "assigned", "accepted", "started"];
    let told: Vec<&str> = events.iter().copied().filter(|event| *event != "waits").collect();
    assert_eq!(told, wanted, "{first:#}");
    let lease = first["events"].as_array().unwrap().iter().find(|event| event["what"] == "assigned").unwrap();
    assert!(lease["lease_id"].as_str().unwrap().starts_with("l-") && lease["attempt"] == 1, "{lease}");
    assert_eq!(first["trace_id"].as_str().unwrap().len(), 32);

    let text = text(&lab, &["tasks", "get", &id, "--events"]).await;
    assert!(text.contains("EVENT") && text.contains("acquire_intended") && text.contains(" ago"), "{text}");
    assert!(text.contains("until") && text.contains("the handler has ended"), "{text}");
}
