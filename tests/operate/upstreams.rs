//! Pausing one upstream: nothing new comes from it, what is here goes on, over restarts.

use dlite::{
    core::{command::Refusal, task::Kind},
    proto::admin::v1::{PauseUpstreamRequest, ResumeUpstreamRequest},
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

async fn pause(daemon: &Running, upstream: &str) -> Result<(), tonic::Status> {
    let request = PauseUpstreamRequest { upstream: upstream.to_owned(), reason: "a move".to_owned() };
    patiently(daemon.admin().await.pause_upstream(request)).await.map(drop)
}

async fn resume(daemon: &Running, upstream: &str) -> Result<(), tonic::Status> {
    let request = ResumeUpstreamRequest { upstream: upstream.to_owned() };
    patiently(daemon.admin().await.resume_upstream(request)).await.map(drop)
}

#[tokio::test]
async fn a_pause_holds_over_a_restart_and_aborts_and_reports_go_on_meanwhile() {
    let place = Place::new();
    let stub = Stub::new();
    let daemon = place.start_with(&stub).await;
    let mut peer = daemon.attach("vm-1", "WORK", 4).await;
    stub.offer("a", "WORK");
    stub.offer("b", "WORK");
    let first = peer.start().await;
    let second = peer.start().await;
    pause(&daemon, "stub").await.unwrap();
    let up = daemon.status().await.upstreams.remove(0);
    assert_eq!((&*up.state, &*up.pause.expect("a pause").reason), ("paused", "a move"));
    stub.offer("c", "WORK");
    waits(&daemon, "c", "upstream_paused").await;

    // What is here ends and is reported; an abort still reaches its task.
    peer.succeed(&first).await;
    stub.until(|book| (!book.reports.is_empty()).then_some(())).await;
    let left = if stub.read(|book| book.reports_of("a").next().is_some()) { "b" } else { "a" };
    stub.abort(left);
    assert_eq!(peer.cancellation().await.lease_id, second);
    peer.succeed(&second).await;
    stub.report(left).await;
    daemon.stop().await;

    let daemon = place.start_with(&stub).await;
    let mut peer = daemon.attach("vm-1", "WORK", 4).await;
    waits(&daemon, "c", "upstream_paused").await;
    assert_eq!(stub.read(|book| book.acquires), 2, "nothing but the first two was acquired");
    resume(&daemon, "stub").await.unwrap();
    let lease = peer.start().await;
    peer.succeed(&lease).await;
    stub.report("c").await;
    assert_eq!(daemon.status().await.upstreams[0].state, "registered");
}

#[tokio::test]
async fn the_steps_of_a_stage_that_is_open_are_taken_from_a_paused_upstream() {
    let daemon = Place::new().start().await;
    let mut peer = attach(&daemon, "vm-1").await;
    daemon.stub.offer_spec("setup", staged(SETUP, Kind::SessionSetup));
    let lease = peer.start().await;
    peer.succeed(&lease).await;
    daemon.stub.report("setup").await;
    pause(&daemon, "stub").await.unwrap();
    daemon.stub.offer_spec("other", staged(SETUP, Kind::SessionSetup));
    daemon.stub.offer_spec("step", staged(STEP, Kind::SessionExecute));
    let lease = peer.start().await;
    peer.succeed(&lease).await;
    daemon.stub.report("step").await;
    waits(&daemon, "other", "upstream_paused").await;
}

#[tokio::test]
async fn a_pause_that_can_t_be_says_why() {
    let daemon = Place::new().start().await;
    let said = pause(&daemon, "nowhere").await.unwrap_err();
    assert_eq!((said.code(), said.message()), (Code::NotFound, &*Refusal::UpstreamUnknown.to_string()));
    let said = resume(&daemon, "stub").await.unwrap_err();
    assert_eq!((said.code(), said.message()), (Code::FailedPrecondition, &*Refusal::UpstreamNotPaused.to_string()));
    pause(&daemon, "stub").await.unwrap();
    let said = pause(&daemon, "stub").await.unwrap_err();
    assert_eq!((said.code(), said.message()), (Code::FailedPrecondition, &*Refusal::UpstreamPaused.to_string()));
    let said = pause(&daemon, "").await.unwrap_err();
    assert_eq!((said.code(), said.message()), (Code::InvalidArgument, "upstream: needed"));
}
