//! `explain` names what a task waits for at its upstream: polls, acquires, reports, a pause.

use std::time::Duration;

use dlite::proto::admin::v1::PauseUpstreamRequest;

use crate::{operator::waits, support::place::Place};

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_named_with_the_next_try() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("vm-1", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    peer.start().await;
    daemon.stub.offer("b", "WORK");
    waits(&daemon, "b", "slot").await;
    daemon.stub.take_down(true);
    let why = waits(&daemon, "b", "upstream_unreachable").await;
    assert_eq!((why.detail("upstream"), why.detail("error")), ("stub", "down"));
    assert!(why.sentence.contains("upstream stub to answer (try "), "{}", why.sentence);
    assert!(why.sentence.contains("`dlite upstreams check stub`"), "{}", why.sentence);
    daemon.stub.take_down(false);
    waits(&daemon, "b", "slot").await;
}

#[tokio::test]
async fn an_acquire_without_a_clear_answer_is_named_with_the_end_of_its_recovery() {
    let place = Place::with(|config| config.upstreams[0].acquire_recovery_max = Duration::from_secs(300));
    let daemon = place.start().await;
    daemon.stub.hold_acquires(true);
    let _peer = daemon.attach("vm-1", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    assert_eq!(waits(&daemon, "a", "acquire").await.task.state, "acquiring");
    let why = waits(&daemon, "a", "acquire_recovery").await;
    assert_eq!(why.detail("upstream"), "stub");
    assert!((250.0..=300.0).contains(&why.seconds_left()), "{}", why.seconds_left());
    assert!(why.sentence.contains("is being acquired and waits for a clear answer"), "{}", why.sentence);
}

#[tokio::test]
async fn a_report_that_is_not_taken_is_named_with_its_tries_and_the_last_error() {
    let place = Place::with(|config| {
        config.upstreams[0].report_retry_min = Duration::from_secs(60);
        config.upstreams[0].report_retry_max = Duration::from_secs(60);
    });
    let daemon = place.start().await;
    let mut peer = daemon.attach("vm-1", "WORK", 1).await;
    daemon.stub.deafen(true);
    daemon.stub.offer("a", "WORK");
    let lease = peer.start().await;
    peer.succeed(&lease).await;
    let why = waits(&daemon, "a", "report_retry").await;
    assert_eq!((why.detail("upstream"), why.detail("tries"), why.detail("error")), ("stub", "1", "deaf"));
    assert!(why.seconds_left() <= 60.0, "{}", why.seconds_left());
    assert!(
        why.sentence.contains("is finished and waits for upstream stub to take the result (try 2 in "),
        "{}",
        why.sentence
    );
    assert!(why.sentence.contains("last: deaf"), "{}", why.sentence);
}

#[tokio::test]
async fn a_pause_is_named_with_how_to_take_it_back() {
    let daemon = Place::new().start().await;
    let _peer = daemon.attach("vm-1", "WORK", 1).await;
    let pause = PauseUpstreamRequest { upstream: "stub".to_owned(), reason: "a move".to_owned() };
    daemon.admin().await.pause_upstream(pause).await.unwrap();
    daemon.stub.offer("a", "WORK");
    let why = waits(&daemon, "a", "upstream_paused").await;
    assert_eq!(why.detail("reason"), "UPSTREAM_PAUSED");
    assert!(why.sentence.contains("the upstream is paused by the operator"), "{}", why.sentence);
    assert!(
        why.sentence.ends_with("until `dlite upstreams resume`, or another delegate takes it."),
        "{}",
        why.sentence
    );
}
