//! Stages taken and answered, and every answer that can be lost on the way.

use std::collections::BTreeMap;

use dlite::{
    core::{
        input::{AcquireError, ReportError},
        task::Outcome,
    },
    doubles::drone::{Calls, Fault, NewBuild, NewRepo, NewStage, Route},
    upstreams::drone::CONTENT_TYPE,
};

use crate::support::{Pair, SOON, TOKEN, ended, external, succeeded};

#[tokio::test]
async fn a_stage_is_taken_with_its_details_and_ends_as_its_handler_did() {
    let pair = Pair::new().await;
    let secrets = BTreeMap::from([("pw".to_owned(), "hunter2".to_owned())]);
    let repo = pair.server.add_repo(NewRepo { secrets, timeout: 5, ..NewRepo::new("acme/lamp") });
    let build = NewBuild { repo: Some(repo), ..NewBuild::new(vec![NewStage::new("unit", "docker")]) };
    let submitted = pair.server.submit(build).unwrap();
    let (id, stage) = (external(&submitted), submitted.stages[0]);

    let spec = pair.acquire(&id).await.unwrap();
    let payload = spec.payload.as_ref().unwrap();
    assert_eq!(&*payload.content_type, CONTENT_TYPE);
    let details: serde_json::Value = serde_json::from_slice(&payload.content).unwrap();
    assert_eq!(details["repository"]["slug"], "acme/lamp");
    assert!(payload.content.ends_with(b"}\n"), "byte for byte, the encoder's newline included");
    assert!(spec.secrets.iter().all(|secret| secret.mask_only));
    assert!(spec.secrets.iter().any(|secret| &secret.value[..] == b"hunter2"));
    assert_eq!(spec.timeout.unwrap().as_secs(), 300);

    assert_eq!(pair.report(&id, &spec, succeeded()).await, Ok(()));
    pair.server.read(|record| {
        let end = record.effective(stage).unwrap();
        assert_eq!((&*end.stage.status, end.stage.exit_code), ("success", 0));
        assert_eq!((end.stage.started, end.stage.stopped), (1_738_660_005, 1_738_660_031));
        assert_eq!(end.stage.machine, &*pair.host.name);
        assert_eq!((record.violations.total(), record.token_seen.total()), (0, 0));
    });
    assert_eq!(pair.server.build_status(submitted.build).as_deref(), Some("success"));
}

#[tokio::test]
async fn every_outcome_has_its_status_code_and_text() {
    let pair = Pair::new().await;
    let long = "é".repeat(400);
    for (finish, status, exit_code, error) in [
        (ended(Outcome::Failed, "", "two tests failed"), "failure", 0, "two tests failed"),
        (ended(Outcome::Errored, "LEASE_LOST", "the runner is gone"), "error", 255, "LEASE_LOST: the runner is gone"),
        (
            ended(Outcome::TimedOut, "DEADLINE", "the task's time is over"),
            "killed",
            137,
            "DEADLINE: the task's time is over",
        ),
        (ended(Outcome::Cancelled, "CANCELLED", "aborted by the upstream"), "killed", 137, ""),
        (ended(Outcome::Skipped, "", ""), "skipped", 0, ""),
        (ended(Outcome::Errored, "", &long), "error", 255, &long[..500]),
    ] {
        let (submitted, spec) = pair.taken().await;
        assert_eq!(pair.report(&external(&submitted), &spec, finish).await, Ok(()));
        let end = pair.server.read(|record| record.effective(submitted.stages[0]).unwrap().stage.clone());
        assert_eq!((&*end.status, end.exit_code, &*end.error), (status, exit_code, error));
    }
    assert_eq!(pair.server.read(|record| record.violations.total()), 0);
}

#[tokio::test]
async fn a_lost_race_is_refused_and_costs_details_only_the_second_time() {
    let pair = Pair::new().await;
    let rival = Pair { server: pair.server.clone(), ..Pair::new().await };
    let rival = {
        let adapter = crate::support::adapter(&pair.server, |_| ());
        Pair { adapter, ..rival }
    };
    let submitted = pair.submit();
    let id = external(&submitted);
    rival.acquire(&id).await.unwrap();
    let details = |pair: &Pair| pair.server.read(|record| record.calls(Route::Details));
    let before = details(&pair);
    assert!(matches!(pair.acquire(&id).await, Err(AcquireError::Refused(_))));
    assert_eq!(details(&pair), before);
    assert!(matches!(pair.acquire(&id).await, Err(AcquireError::Refused(_))));
    assert_eq!(details(&pair), before + 1);
}

#[tokio::test]
async fn an_accept_whose_answer_was_lost_is_found_to_be_ours() {
    let pair = Pair::new().await;
    pair.server.fault(Route::Accept, Fault::CutBeforeAnswer, Calls::Next(1));
    let (submitted, spec) = pair.taken().await;
    let accepts = pair.server.read(|record| record.stages[&submitted.stages[0]].accepts.total());
    assert_eq!(accepts, 1);
    assert_eq!(pair.report(&external(&submitted), &spec, succeeded()).await, Ok(()));
}

#[tokio::test]
async fn an_accept_that_a_dead_process_made_is_found_to_be_ours() {
    let mut pair = Pair::new().await;
    let (submitted, _) = pair.taken().await;
    pair.restart();
    let id = external(&submitted);
    // As in any lost race; the core asks a second time before it gives up.
    assert!(matches!(pair.acquire(&id).await, Err(AcquireError::Refused(_))));
    let spec = pair.acquire(&id).await.unwrap();
    assert_eq!(pair.report(&id, &spec, succeeded()).await, Ok(()));
}

#[tokio::test]
async fn an_accept_that_never_arrived_is_in_doubt_until_it_is_made_again() {
    let pair = Pair::new().await;
    let submitted = pair.submit();
    pair.server.fault(Route::Accept, Fault::CutBefore, Calls::Next(1));
    assert!(matches!(pair.acquire(&external(&submitted)).await, Err(AcquireError::Unanswered(_))));
    assert!(pair.acquire(&external(&submitted)).await.is_ok());
}

#[tokio::test]
async fn details_that_the_server_does_not_have_close_the_stage_as_an_error() {
    let pair = Pair::new().await;
    pair.server.fault(Route::Details, Fault::Status(500, "no forge today".into()), Calls::All);
    let (submitted, spec) = pair.taken().await;
    assert!(spec.unsupported.as_deref().unwrap().contains("no forge today"));
    let finish = ended(Outcome::Errored, "UNSUPPORTED_REQUEST", "this delegate does not support it");
    assert_eq!(pair.report(&external(&submitted), &spec, finish).await, Ok(()));
    let end = pair.server.read(|record| record.effective(submitted.stages[0]).unwrap().stage.clone());
    assert_eq!((&*end.status, end.exit_code), ("error", 255));
    assert!(end.error.contains("no forge today"), "{}", end.error);
}

#[tokio::test]
async fn a_final_put_whose_answer_was_lost_is_reported_and_not_sent_twice() {
    let pair = Pair::new().await;
    for fault in [Fault::CutBeforeAnswer, Fault::Malformed] {
        let (submitted, spec) = pair.taken().await;
        pair.server.fault(Route::UpdateStage, fault, Calls::Next(1));
        assert_eq!(pair.report(&external(&submitted), &spec, succeeded()).await, Ok(()));
        // The core repeats a report after a crash.
        assert_eq!(pair.report(&external(&submitted), &spec, succeeded()).await, Ok(()));
        pair.server.read(|record| {
            let seen = &record.stages[&submitted.stages[0]];
            assert_eq!((seen.row.status.as_str(), seen.repeats, seen.conflicts, seen.stale), ("success", 0, 0, 1));
        });
    }
}

#[tokio::test]
async fn a_final_put_that_lost_the_race_for_the_row_goes_out_again_at_the_fresh_version() {
    let pair = Pair::new().await;
    for status in [409, 500] {
        let (submitted, spec) = pair.taken().await;
        let text = "1 error occurred:\n\t* Optimistic Lock Error\n".to_owned();
        pair.server.fault(Route::UpdateStage, Fault::Status(status, text), Calls::Next(1));
        assert_eq!(pair.report(&external(&submitted), &spec, succeeded()).await, Ok(()));
        let puts = pair.server.read(|record| record.stages[&submitted.stages[0]].puts.total());
        assert_eq!(puts, 1, "the first was not processed");
        assert_eq!(pair.server.status(submitted.stages[0]).as_deref(), Some("success"));
    }
    assert_eq!(pair.server.read(|record| record.violations.total()), 0);
}

#[tokio::test]
async fn a_stage_that_the_server_ended_is_gone_unless_we_say_the_same() {
    let pair = Pair::new().await;
    let (submitted, spec) = pair.taken().await;
    assert!(pair.server.cancel(submitted.build));
    let late = pair.report(&external(&submitted), &spec, succeeded()).await;
    assert!(matches!(late, Err(ReportError::Gone(_))), "{late:?}");
    let cancelled = ended(Outcome::Cancelled, "CANCELLED", "aborted by the upstream");
    assert_eq!(pair.report(&external(&submitted), &spec, cancelled).await, Ok(()));
    assert_eq!(pair.server.read(|record| record.totals.conflicts), 0);
}

#[tokio::test]
async fn a_server_that_is_down_gets_the_report_when_it_is_back() {
    let pair = Pair::new().await;
    let (submitted, spec) = pair.taken().await;
    pair.server.down();
    let lost = pair.report(&external(&submitted), &spec, succeeded()).await;
    assert!(matches!(lost, Err(ReportError::Unanswered(_) | ReportError::Unsent(_))), "{lost:?}");
    pair.server.up();
    assert_eq!(pair.report(&external(&submitted), &spec, succeeded()).await, Ok(()));
    pair.server.wait_until(|record| record.totals.effective == 1, SOON).await.unwrap();
}

#[tokio::test]
async fn errors_do_not_repeat_the_token() {
    let pair = Pair::new().await;
    let (submitted, spec) = pair.taken().await;
    pair.server.fault(Route::UpdateStage, Fault::Status(500, format!("bad header {TOKEN}")), Calls::Next(1));
    let error = pair.report(&external(&submitted), &spec, succeeded()).await.unwrap_err();
    assert!(!format!("{error:?} {:?}", pair.adapter).contains(TOKEN), "{error:?}");
}
