//! Who holds a runner id.

use std::time::Duration;

use dlite::proto::runner::v1::attach_request::Frame;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{
    neighbour::Neighbour,
    peer::{hello, reason},
    place::{Place, Running},
};

async fn turned_away(daemon: &Running, instance: &str) -> Status {
    let mut peer = daemon.open().await;
    peer.say(Frame::Hello(hello("one", instance, "WORK", 1))).await;
    peer.ended().await
}

#[tokio::test]
async fn the_newer_instance_wins_and_the_replaced_one_stays_away() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let mut old = daemon.attach_as(hello("one", "old", "WORK", 1)).await;
    let mut new = daemon.attach_as(hello("one", "new", "WORK", 1)).await;
    assert_eq!(reason(&old.ended().await), (Code::FailedPrecondition, "REPLACED".to_owned()));
    let again = turned_away(&daemon, "old").await;
    assert_eq!(reason(&again), (Code::FailedPrecondition, "REPLACED".to_owned()));

    daemon.stub.offer("a", "WORK");
    let lease = new.start().await;
    new.succeed(&lease).await;
    daemon.stub.report("a").await;
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn after_three_replacements_in_a_minute_newcomers_wait_and_the_holder_works_on() {
    let place = Place::with(|config| config.runners.lease_ttl = Duration::from_secs(45));
    let daemon = place.start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let mut holder = daemon.attach_as(hello("one", "instance-0", "WORK", 1)).await;
    for n in 1..=3 {
        let next = daemon.attach_as(hello("one", &format!("instance-{n}"), "WORK", 1)).await;
        assert_eq!(reason(&holder.ended().await).1, "REPLACED");
        holder = next;
    }
    let status = turned_away(&daemon, "instance-4").await;
    assert_eq!(reason(&status), (Code::AlreadyExists, "RUNNER_ID_IN_USE".to_owned()));
    let retry = status.get_details_retry_info().expect("a time to wait");
    assert_eq!(retry.retry_delay, Some(Duration::from_secs(45)));
    // Holder and newcomer are both in this process, so both are named by its pid.
    let named = format!("pid {}", std::process::id());
    assert_eq!(status.message().matches(&named).count(), 2, "{status:?}");

    daemon.stub.offer("a", "WORK");
    let lease = holder.start().await;
    holder.succeed(&lease).await;
    daemon.stub.report("a").await;
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn a_second_stream_of_one_instance_takes_over_from_the_first() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let mut first = daemon.attach("one", "WORK", 1).await;
    let mut second = daemon.attach("one", "WORK", 1).await;
    assert_eq!(reason(&first.ended().await), (Code::Unavailable, "SUPERSEDED".to_owned()));
    daemon.stub.offer("a", "WORK");
    let lease = second.start().await;
    second.succeed(&lease).await;
    daemon.stub.report("a").await;
    assert_eq!(daemon.status().await.runners.len(), 2, "the neighbour and the second stream");
    neighbour.ends_unhurt().await;
}
