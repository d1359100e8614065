//! Leases: lost, abandoned, run out.

use std::time::Duration;

use dlite::{
    proto::runner::v1::{
        CancelReason, HeartbeatAck, HeldTaskDisposition, LostLease, Reconnect, Welcome, attach_response::Frame,
    },
    sdk::{Payload, Runner},
};
use tonic::Status;

use crate::{
    delegate::{Delegate, terms},
    handlers::Steps,
};

#[tokio::test]
async fn an_abandoned_task_is_stopped_without_grace_and_leaves_no_result() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "STEP").await;
    let mut step = steps.next().await;
    link.end(Status::unavailable("cut")).await;

    let mut link = delegate.link().await;
    link.hello().await;
    link.welcome([("lease-1", HeldTaskDisposition::Abandon)]).await;
    step.dropped().await;
    let seen = step.context.cancellation().expect("what it spawned can see it");
    assert_eq!((seen.reason, seen.grace), (CancelReason::LeaseLost, Duration::ZERO));
    // The slot is free, and no frame about the old lease comes before the new accept.
    link.start("lease-2", "STEP").await;
    assert_eq!(steps.next().await.context.lease_id(), "lease-2");
}

#[tokio::test]
async fn a_lease_lost_in_a_heartbeats_answer_stops_its_task() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "STEP").await;
    let mut step = steps.next().await;
    link.update().await;
    let next = link.heartbeat().await.heartbeat_id + 1;
    let lost = vec![LostLease { lease_id: "lease-1".to_owned(), reason: None }];
    // An answer to a heartbeat not yet sent is ignored; the one to the next heartbeat counts.
    link.say(Frame::HeartbeatAck(HeartbeatAck { heartbeat_id: next + 100, lost: lost.clone() })).await;
    let heartbeat = link.heartbeat_unanswered().await;
    assert_eq!((heartbeat.heartbeat_id, heartbeat.lease_ids), (next, vec!["lease-1".to_owned()]));
    assert_eq!(steps.starts(), 1);
    link.say(Frame::HeartbeatAck(HeartbeatAck { heartbeat_id: next, lost })).await;
    step.dropped().await;
    assert_eq!(link.heartbeat().await.lease_ids, [""; 0]);
}

#[tokio::test]
async fn an_idempotent_handler_stops_when_nobody_renews_its_lease() {
    let mut delegate = Delegate::listen().await;
    let (step, mut steps) = Steps::handler();
    let running = delegate.run(Runner::new("runner-1").handler(step.idempotent()));
    let mut link = delegate.link().await;
    link.hello().await;
    let lease_ttl = prost_types::Duration::try_from(Duration::from_secs(1)).ok();
    link.welcome_with(Welcome { lease_ttl, ..terms() }).await;
    link.start("lease-1", "STEP").await;
    let mut started = steps.next().await;
    link.end(Status::unavailable("cut")).await;
    // Nobody answers the next stream, so that no renewal arrives.
    let _silent = delegate.link().await;
    started.dropped().await;
    drop(running);
}

#[tokio::test]
async fn any_other_handler_works_on_without_renewals() {
    let mut delegate = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let _running = delegate.run(runner);
    let mut link = delegate.link().await;
    link.hello().await;
    let lease_ttl = prost_types::Duration::try_from(Duration::from_millis(1)).ok();
    link.welcome_with(Welcome { lease_ttl, ..terms() }).await;
    link.start("lease-1", "STEP").await;
    let mut step = steps.next().await;
    // Two intervals: far past the lease.
    link.heartbeat_skipping_updates().await;
    link.heartbeat_skipping_updates().await;
    step.finish(Ok(Payload::text("still here")));
    assert_eq!(link.result().await.1.payload, Some(Payload::text("still here")));
}

#[tokio::test]
async fn a_silent_link_is_given_up_and_replaced() {
    let mut delegate = Delegate::listen().await;
    let (runner, _steps) = Steps::runner(1);
    let _running = delegate.run(runner);
    let mut silent = delegate.link().await;
    silent.hello().await;
    silent.welcome([]).await;
    // It hears nothing for three intervals; the delegate still holds the stream open.
    let mut link = delegate.link().await;
    link.hello().await;
}

#[tokio::test]
async fn a_reconnect_is_followed_at_once_to_another_socket() {
    let mut delegate = Delegate::listen().await;
    let mut other = Delegate::listen().await;
    let (runner, mut steps) = Steps::runner(1);
    let (_running, mut link) = delegate.welcome(runner).await;
    link.start("lease-1", "STEP").await;
    let mut step = steps.next().await;
    link.say(Frame::Reconnect(Reconnect { target: other.target(), delay: None })).await;
    let mut link = other.link().await;
    assert_eq!(link.hello().await.held_tasks.len(), 1);
    link.welcome([("lease-1", HeldTaskDisposition::Keep)]).await;
    step.finish(Ok(Payload::text("moved")));
    assert_eq!(link.result().await.1.payload, Some(Payload::text("moved")));
}
