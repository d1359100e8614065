//! `explain` names what a task waits for of its stage.

use std::time::Duration;

use dlite::{
    core::task::{Kind, Spec},
    proto::runner::v1::{Handler, Hello},
};

use crate::{
    operator::waits,
    support::{
        peer::{Peer, hello},
        place::{Place, Running},
        stub::spec,
    },
};

pub const SETUP: &str = "STAGE_SETUP";
pub const STEP: &str = "STAGE_STEP";

/// Of the one stage of these tests.
pub fn staged(task_type: &str, kind: Kind) -> Spec {
    Spec { kind, session: Some("stage-1".into()), ..spec(task_type, b"work") }
}

/// A runner for the whole stage.
pub async fn attach(daemon: &Running, runner: &str) -> Peer {
    let handlers =
        [SETUP, STEP].map(|task_type| Handler { task_type: task_type.to_owned(), ..Handler::default() }).to_vec();
    daemon.attach_as(Hello { handlers, ..hello(runner, "instance-1", SETUP, 4) }).await
}

#[tokio::test]
async fn a_session_whose_runner_is_away_is_named_with_when_it_is_orphaned() {
    let daemon = Place::with(|config| config.runners.lease_ttl = Duration::from_secs(60)).start().await;
    let mut peer = attach(&daemon, "vm-1").await;
    daemon.stub.offer_spec("setup", staged(SETUP, Kind::SessionSetup));
    let lease = peer.start().await;

    // A step that came too early waits for the setup.
    daemon.stub.offer_spec("early", staged(STEP, Kind::SessionExecute));
    let why = waits(&daemon, "early", "session_setup").await;
    assert!(why.sentence.contains("is acquired and waits for the setup of session stage-1"), "{}", why.sentence);
    peer.succeed(&lease).await;
    let lease = peer.start().await;
    peer.succeed(&lease).await;
    daemon.stub.report("early").await;

    // Another runner could take a step of any other stage.
    let _other = attach(&daemon, "vm-2").await;
    drop(peer);
    daemon.stub.offer_spec("step", staged(STEP, Kind::SessionExecute));
    let why = waits(&daemon, "step", "session_orphaned").await;
    assert_eq!((why.detail("session"), why.detail("runner")), ("stage-1", "vm-1"));
    assert!((30.0..=60.0).contains(&why.seconds_left()), "{}", why.seconds_left());
    assert!(
        why.sentence.contains("runner vm-1 to come back: it holds session stage-1 (given up in "),
        "{}",
        why.sentence
    );
    assert!(why.sentence.ends_with("and its steps fail."), "{}", why.sentence);
}
