//! Registration, long polls, heartbeats, and what a broken or stalled server does to them.

use dlite::{
    core::input::{CallError, Denial, Standing},
    doubles::drone::{Calls, Fault, Gate, NewBuild, NewStage, Route},
};

use crate::support::{HOLD, Pair, SOON, TYPE, external, register, wanted};

#[tokio::test]
async fn a_machine_is_made_once_and_given_back_ever_after() {
    let pair = Pair::new().await;
    assert!(pair.host.name.starts_with("m1-"));
    assert_eq!(pair.identity.delegate_id, pair.host.name);
    let again = register(&pair.adapter, Some(pair.host.clone())).await.unwrap();
    assert_eq!((again.delegate_id, again.host), (pair.host.name.clone(), pair.host.clone()));
    let other = register(&pair.adapter, None).await.unwrap();
    assert_ne!(other.host, pair.host, "two state directories would share their stages");
}

#[tokio::test]
async fn an_offer_is_listed_with_its_labels_as_soon_as_it_is_there() {
    let pair = Pair::new().await;
    let docker = [wanted(TYPE, &[("os", "linux"), ("arch", "amd64")])];
    assert!(pair.poll(&docker).await.unwrap().quiet, "nothing is on offer and the hold has begun");
    let submitted = pair.submit();
    let listing = pair.poll_until(&docker, |listing| !listing.tasks.is_empty()).await;
    assert_eq!(listing.tasks[0].external_id.as_str(), external(&submitted));
    assert_eq!(listing.tasks[0].task_type.as_str(), TYPE);
    assert_eq!(listing.tasks[0].labels.as_ref().unwrap()["arch"], "amd64");
    assert_eq!(pair.server.read(|record| record.calls(Route::Request)), 1, "one poll was held all along");
}

#[tokio::test]
async fn one_poll_is_open_for_each_filter_and_none_without_a_free_slot() {
    let pair = Pair::with(|server| server.hold = SOON, |_| ()).await;
    assert!(pair.poll(&[]).await.unwrap().quiet);
    assert_eq!(pair.server.read(|record| record.calls(Route::Request)), 0);
    let filters =
        [wanted(TYPE, &[]), wanted("drone.stage.exec", &[("node.zone", "north")]), wanted("NOT_A_STAGE", &[])];
    for _ in 0..3 {
        assert!(pair.poll(&filters).await.unwrap().quiet);
    }
    pair.server.wait_until(|record| record.totals.polls_open == 2, SOON).await.unwrap();
    let mut north = NewStage::new("north", "exec");
    north.labels.insert("zone".to_owned(), "north".to_owned());
    let submitted = pair.server.submit(NewBuild::new(vec![north])).unwrap();
    let listing = pair.poll_until(&filters, |listing| !listing.tasks.is_empty()).await;
    assert_eq!(listing.tasks[0].external_id.as_str(), external(&submitted));
    assert_eq!(listing.tasks[0].labels.as_ref().unwrap()["node.zone"], "north");
    // Nobody accepts, so the server would offer it again at once.
    assert!(pair.poll(&filters).await.unwrap().quiet);
    assert_eq!(pair.server.read(|record| record.calls(Route::Request)), 2);
}

#[tokio::test]
async fn after_a_hold_without_an_offer_the_next_poll_is_open_at_once() {
    let pair = Pair::new().await;
    let docker = [wanted(TYPE, &[])];
    let heard = pair.poll_until(&docker, |listing| !listing.quiet).await;
    assert!(heard.tasks.is_empty());
    pair.poll(&docker).await.unwrap();
    pair.server.wait_until(|record| record.calls(Route::Request) >= 2, HOLD).await.unwrap();
}

#[tokio::test]
async fn a_server_that_fails_polls_is_asked_again_after_pauses_that_grow() {
    let pair = Pair::new().await;
    pair.server.fault(Route::Request, Fault::Status(500, "database is locked".into()), Calls::All);
    let docker = [wanted(TYPE, &[])];
    let began = std::time::Instant::now();
    let mut failures = 0;
    while began.elapsed() < HOLD * 2 {
        match pair.poll(&docker).await {
            Err(CallError::Failed(text)) => {
                assert_eq!(&*text, "POST /rpc/v2/stage: 500: database is locked");
                failures += 1;
            }
            other => assert!(other.unwrap().quiet),
        }
    }
    assert!((2..=12).contains(&failures), "{failures}");
    pair.server.clear_faults();
    let submitted = pair.submit();
    let listing = pair.poll_until(&docker, |listing| !listing.tasks.is_empty()).await;
    assert_eq!(listing.tasks[0].external_id.as_str(), external(&submitted));
}

#[tokio::test]
async fn a_refused_token_is_a_denial_and_its_end_is_seen() {
    let pair = Pair::new().await;
    pair.server.refuse_tokens(true);
    assert!(matches!(pair.heartbeat(&[]).await, Err(CallError::Denied(Denial::Credentials, _))));
    pair.server.clear_faults();
    assert_eq!(pair.heartbeat(&[]).await, Ok(Standing::Known));
}

#[tokio::test]
async fn a_stalled_server_is_said_to_say_nothing_and_its_pings_to_fail() {
    let pair = Pair::with(|_| (), |options| options.request_timeout = HOLD).await;
    let gate = Gate::new();
    pair.server.fault(Route::Request, Fault::Hold(gate.clone()), Calls::All);
    pair.server.fault(Route::Ping, Fault::Hold(gate.clone()), Calls::All);
    let docker = [wanted(TYPE, &[])];
    for _ in 0..3 {
        assert!(pair.poll(&docker).await.unwrap().quiet);
    }
    assert!(matches!(pair.heartbeat(&[]).await, Err(CallError::Failed(_))));
    assert_eq!(pair.server.read(|record| record.calls(Route::Request)), 1);
    gate.open();
    pair.server.clear_faults();
    assert_eq!(pair.heartbeat(&[]).await, Ok(Standing::Known));
}
