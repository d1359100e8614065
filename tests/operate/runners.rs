//! Draining one runner: it gets nothing new, its sessions end on it, others go on, over restarts.

use std::time::Duration;

use dlite::{
    core::task::Kind,
    proto::admin::v1::{DrainRunnerRequest, ResumeRunnerRequest, Runner},
};
use tonic::Code;

use crate::{
    explain_stages::{SETUP, STEP, attach, staged},
    operator::waits,
    support::{
        patiently,
        place::{Place, Running},
        stub::Stub,
    },
};

async fn drain(daemon: &Running, runner: &str, grace: Option<Duration>) -> Result<(), tonic::Status> {
    let request = DrainRunnerRequest {
        runner_id: runner.to_owned(),
        grace_period: grace.map(|grace| grace.try_into().unwrap()),
        reason: "a new disk".to_owned(),
    };
    patiently(daemon.admin().await.drain_runner(request)).await.map(drop)
}

async fn resume(daemon: &Running, runner: &str) -> Result<(), tonic::Status> {
    let request = ResumeRunnerRequest { runner_id: runner.to_owned() };
    patiently(daemon.admin().await.resume_runner(request)).await.map(drop)
}

async fn runner(daemon: &Running, id: &str) -> Runner {
    daemon.status().await.runners.into_iter().find(|runner| runner.runner_id == id).expect("the runner is shown")
}

#[tokio::test]
async fn a_drained_runner_ends_its_sessions_and_others_get_what_is_new() {
    let daemon = Place::new().start().await;
    let mut first = attach(&daemon, "vm-1").await;
    daemon.stub.offer_spec("setup", staged(SETUP, Kind::SessionSetup));
    let lease = first.start().await;
    first.succeed(&lease).await;
    daemon.stub.report("setup").await;
    drain(&daemon, "vm-1", None).await.unwrap();
    let shown = runner(&daemon, "vm-1").await;
    assert_eq!((&*shown.state, &*shown.drain.clone().expect("a drain").reason), ("drained", "a new disk"));
    assert_eq!(shown.session_ids.len(), 1);

    // Nobody else is here for something new; the session goes on.
    daemon.stub.offer_spec(
        "new",
        dlite::core::task::Spec { session: Some("stage-2".into()), ..staged(SETUP, Kind::SessionSetup) },
    );
    let why = waits(&daemon, "new", "runner_idle").await;
    assert!(why.sentence.contains("runner vm-1 has a handler for this type and is drained"), "{}", why.sentence);
    assert!(why.sentence.contains("until `dlite runners resume vm-1`, or another runner"), "{}", why.sentence);
    daemon.stub.offer_spec("step", staged(STEP, Kind::SessionExecute));
    let lease = first.start().await;
    first.succeed(&lease).await;
    daemon.stub.report("step").await;

    let mut second = attach(&daemon, "vm-2").await;
    let lease = second.start().await;
    second.succeed(&lease).await;
    daemon.stub.report("new").await;
}

#[tokio::test]
async fn a_drain_of_a_runner_holds_over_a_restart_until_it_is_resumed() {
    let place = Place::new();
    let stub = Stub::new();
    let daemon = place.start_with(&stub).await;
    let peer = daemon.attach("vm-1", "WORK", 1).await;
    drain(&daemon, "vm-1", None).await.unwrap();
    drop(peer);
    daemon.stop().await;

    let daemon = place.start_with(&stub).await;
    assert_eq!(runner(&daemon, "vm-1").await.state, "detached", "it is shown, so that it can be resumed");
    let mut peer = daemon.attach("vm-1", "WORK", 1).await;
    stub.offer("a", "WORK");
    waits(&daemon, "a", "runner_idle").await;
    assert_eq!(stub.read(|book| book.acquires), 0);
    resume(&daemon, "vm-1").await.unwrap();
    let lease = peer.start().await;
    peer.succeed(&lease).await;
    stub.report("a").await;
    assert_eq!(runner(&daemon, "vm-1").await.state, "attached");
}

#[tokio::test]
async fn what_a_drained_runner_still_does_after_its_grace_is_cancelled() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("vm-1", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.start().await;
    drain(&daemon, "vm-1", Some(Duration::from_millis(50))).await.unwrap();
    let cancellation = peer.cancellation().await;
    assert_eq!((cancellation.lease_id, &*cancellation.message), (lease.clone(), "a new disk"));
    assert_eq!(waits(&daemon, "a", "cancel_grace").await.detail("message"), "a new disk");
    peer.say_counted(crate::support::peer::result(&lease, dlite::proto::runner::v1::TaskOutcome::Cancelled)).await;
    daemon.stub.report("a").await;
}

#[tokio::test]
async fn a_runner_that_can_t_be_drained_or_resumed_says_why() {
    let daemon = Place::new().start().await;
    let _peer = daemon.attach("vm-1", "WORK", 1).await;
    for (said, code, text) in [
        (drain(&daemon, "vm-9", None).await, Code::NotFound, "no runner of this id"),
        (resume(&daemon, "vm-9").await, Code::NotFound, "no runner of this id"),
        (resume(&daemon, "vm-1").await, Code::FailedPrecondition, "is not drained"),
        (drain(&daemon, "", None).await, Code::InvalidArgument, "runner_id: needed"),
    ] {
        let said = said.unwrap_err();
        assert!(said.code() == code && said.message().contains(text), "{said:?}");
    }
    drain(&daemon, "vm-1", None).await.unwrap();
    let again = drain(&daemon, "vm-1", None).await.unwrap_err();
    assert!(again.code() == Code::FailedPrecondition && again.message().contains("drained already"), "{again:?}");
}
