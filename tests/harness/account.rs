//! What becomes of the account: moved, deleted, its secret revoked.

use dlite::{
    core::input::CallError,
    doubles::manager::{Calls, RegisterAnswer, Route},
};

use crate::{
    lab::{Lab, SOON},
    support::{Pair, adapter, register, start},
};

#[tokio::test]
async fn a_moved_account_is_followed_by_every_call() {
    let (old, new) = (start().await, start().await);
    old.refuse_registers(RegisterAnswer::Migrate(format!("{}/", new.endpoint())), Calls::All);
    let harness = adapter(&old.endpoint(), |options| options.capacity = Some(6));
    let registered = register(&harness, None).await.unwrap();
    assert_eq!(registered.moved_to.as_deref(), Some(&*new.endpoint()));
    assert_eq!(new.record().totals().capacities, 1);
    // The second registration goes there at once.
    register(&harness, Some(registered.host)).await.unwrap();
    assert_eq!((old.record().registers.total(), new.record().registers.total()), (1, 2));
}

#[tokio::test]
async fn a_move_that_leads_nowhere_is_not_followed_and_told() {
    let pair = Pair::new().await;
    let to = |url: &str| RegisterAnswer::Migrate(url.to_owned());
    for (url, word) in [
        // Whoever asked for no TLS has loaded no certificates for it, and the other way round.
        ("https://new.example.test".to_owned(), "scheme"),
        ("not a url".to_owned(), "no base url"),
        // To itself, for ever.
        (pair.manager.endpoint(), "more than 3 times"),
    ] {
        pair.manager.refuse_registers(to(&url), Calls::Next(4));
        let error = register(&pair.harness, None).await.unwrap_err();
        let CallError::Failed(text) = &error else { panic!("{error:?}") };
        assert!(text.contains(word) && text.contains(&format!("set the endpoint to {url}")), "{text}");
        pair.manager.clear_faults();
    }
    assert!(register(&pair.harness, None).await.unwrap().moved_to.is_none());
}

#[tokio::test]
async fn capacity_is_announced_only_if_it_is_configured() {
    let silent = Pair::new().await;
    assert_eq!(silent.manager.record().calls(Route::Capacity), 0);
    let pair = Pair::with(|options| options.capacity = Some(6)).await;
    assert_eq!(pair.manager.record().totals().capacities, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_secret_stops_the_taking_and_loses_no_result() {
    let mut lab = Lab::new().await;
    lab.start_delegate();
    lab.start_runner("r-1", 4);
    let running = lab.submit("DEV_WORK", 500);
    lab.manager_when("it is taken", |record| record.task(&running).unwrap().acquires.total() == 1, SOON).await;
    lab.manager.refuse_tokens(Some("REVOKED_TOKEN"));
    let status = lab.status_when("the state is named", |status| status.upstreams[0].state == "token_revoked").await;
    assert!(status.upstreams[0].last_error.contains("REVOKED_TOKEN"), "{}", status.upstreams[0].last_error);
    let later = lab.submit("DEV_WORK", 1);
    lab.status_when("its result waits", |status| status.unreported_result_count == 1).await;
    assert_eq!(lab.manager.task(&later).unwrap().acquires.total(), 0);
    lab.manager.refuse_tokens(None);
    let both =
        |record: &dlite::doubles::manager::Record| record.effective(&running).and(record.effective(&later)).is_some();
    lab.manager_when("both results", both, SOON).await;
    lab.status_when("all is well", |status| status.upstreams[0].state == "registered").await;
    assert!(lab.tail().contains("UPSTREAM_TOKEN_REVOKED"));
}
