//! `dlite reports`: results that did not get to their upstream, in the operator's hands.

use dlite::doubles::manager::{Calls, Fault, Route};

use crate::{
    lab::{Lab, SOON},
    say::{json, say, text},
};

/// A task whose result the manager refuses for good; its id there.
pub async fn dead_letter(lab: &mut Lab) -> String {
    lab.manager.fault(Route::ResultA, Fault::Status(400, "{}".to_owned()), Calls::All);
    let id = lab.submit("DEV_WORK", 1);
    lab.status_when("a dead letter", |status| status.dead_letter_count == 1).await;
    lab.manager.clear_faults();
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_replay_brings_a_refused_result_to_its_manager_after_all() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    let id = dead_letter(&mut lab).await;
    assert!(lab.manager.read(|record| record.effective(&id).is_none()));
    let said = text(&lab, &["reports", "replay", &id]).await;
    assert!(said.contains("on its way"), "{said}");
    lab.manager_when("the result", |record| record.effective(&id).is_some(), SOON).await;
    lab.status_when("no dead letter", |status| status.dead_letter_count == 0 && status.unreported_result_count == 0)
        .await;
    assert_eq!(text(&lab, &["reports", "list"]).await, "every result is reported\n");
    let again = say(&lab, &["reports", "replay", &id]).await;
    assert!(again.code == Some(1) && again.err.contains("no unreported result"), "{}", again.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_inspect_shows_a_payload_only_on_request_and_that_it_did_is_on_record() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    let id = dead_letter(&mut lab).await;
    let shown = json(&lab, &["reports", "inspect", &id]).await;
    assert!(shown["payload_bytes"].as_u64().unwrap() > 0 && shown.get("payload").is_none(), "{shown:#}");
    let shown = json(&lab, &["reports", "inspect", &id, "--show-payload"]).await;
    assert!(shown["payload"].as_str().is_some_and(|payload| !payload.is_empty()), "{shown:#}");
    let audits = json(&lab, &["audit", "list"]).await;
    let audits = audits.as_array().unwrap();
    assert_eq!(audits.len(), 1, "the look without it is no deed");
    assert_eq!(audits[0]["action"], "reports inspect");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_drop_asks_first_and_gives_a_reason() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    let id = dead_letter(&mut lab).await;
    let unasked = say(&lab, &["reports", "drop", &id, "--reason", "no one waits"]).await;
    assert!(unasked.code == Some(2) && unasked.err.contains("--yes"), "{}", unasked.err);
    assert_eq!(say(&lab, &["reports", "drop", &id, "--yes"]).await.code, Some(2), "a reason is needed");
    text(&lab, &["reports", "drop", &id, "--reason", "no one waits", "--yes"]).await;
    lab.status_when("it is gone", |status| status.dead_letter_count == 0).await;
    let audits = json(&lab, &["audit", "tail", "-n", "1"]).await;
    assert_eq!((&audits[0]["action"], &audits[0]["outcome"]), (&"reports drop".into(), &"ok".into()));
    assert!(audits[0]["arguments"].as_str().unwrap().contains("no one waits"), "{audits:#}");
    assert!(lab.manager.read(|record| record.effective(&id).is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_list_has_the_reason_of_each_and_whether_it_can_be_replayed() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 1);
    let id = dead_letter(&mut lab).await;
    let listed = json(&lab, &["reports", "list"]).await;
    assert_eq!(
        (&listed[0]["external_id"], &listed[0]["state"], &listed[0]["replayable"]),
        (&id.as_str().into(), &"dead".into(), &true.into()),
        "{listed:#}"
    );
    assert!(listed[0]["reason"].as_str().unwrap().contains("RESULT_REFUSED"), "{listed:#}");
    let table = text(&lab, &["reports", "list"]).await;
    assert!(table.contains(&id) && table.contains("RESULT_REFUSED"), "{table}");
}
