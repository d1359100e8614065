//! How streams end, and how the daemon stops and comes back.

use std::time::Duration;

use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use dlite::{core::task::Outcome, proto::runner::v1::HeldTaskDisposition};

use crate::support::{
    neighbour::Neighbour,
    patiently,
    peer::{decision, held, hello_holding, reason},
    place::Place,
};

#[tokio::test]
async fn a_half_closed_stream_ends_once_the_last_frame_is_acknowledged() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let mut peer = daemon.attach("polite", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.start().await;
    let last = peer.succeed(&lease).await;
    peer.close_half();
    let status = peer.ended().await;
    assert_eq!(reason(&status), (Code::Ok, String::new()), "{status:?}");
    assert_eq!(peer.acknowledged, last);
    daemon.stub.report("a").await;
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn three_silent_heartbeat_intervals_end_the_link_and_its_lease_lives_on() {
    let place = Place::with(|config| config.runners.heartbeat_interval = Duration::from_millis(250));
    let daemon = place.start().await;
    let mut peer = daemon.attach("silent", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.start().await;
    assert_eq!(reason(&peer.ended().await), (Code::Unavailable, "SILENT".to_owned()));
    assert_eq!(daemon.status().await.runners[0].state, "detached");
    let mut peer = daemon.attach_as(hello_holding("silent", "WORK", held(&lease))).await;
    assert_eq!(decision(&peer), (lease.clone(), HeldTaskDisposition::Keep));
    peer.succeed(&lease).await;
    assert_eq!(daemon.stub.report("a").await.finish.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn a_stop_tells_the_runners_and_a_start_takes_up_what_they_run() {
    let place = Place::new();
    let daemon = place.start().await;
    let stub = daemon.stub.clone();
    let mut peer = daemon.attach("steady", "WORK", 1).await;
    stub.offer("a", "WORK");
    let lease = peer.start().await;
    daemon.stop().await;
    assert_eq!(reason(&peer.ended().await), (Code::Unavailable, "SHUTDOWN".to_owned()));
    assert!(!place.config.runners.socket.exists(), "the socket goes with the daemon");

    let daemon = place.start_with(&stub).await;
    assert_eq!(daemon.task("a").await.expect("open").state, "running");
    let mut peer = daemon.attach_as(hello_holding("steady", "WORK", held(&lease))).await;
    assert_eq!(decision(&peer), (lease.clone(), HeldTaskDisposition::Keep));
    peer.succeed(&lease).await;
    assert_eq!(stub.report("a").await.finish.outcome, Outcome::Succeeded);
    assert_eq!(stub.read(|book| (book.acquired.len(), book.reports.len())), (1, 1));
}

#[tokio::test]
async fn nobody_holds_up_a_stop() {
    let daemon = Place::new().start().await;
    // A stream without hello, a connection without a stream, and one that watches for ever.
    let mut mute = daemon.open().await;
    let _idle = tokio::net::UnixStream::connect(daemon.socket()).await.expect("a connection");
    let mut health = HealthClient::new(daemon.channel().await);
    let watch = patiently(health.watch(HealthCheckRequest::default())).await.expect("a watch");
    daemon.stop().await;
    assert_eq!(reason(&mute.ended().await), (Code::Unavailable, "SHUTDOWN".to_owned()));
    drop(watch);
}
