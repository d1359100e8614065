//! Frames that nobody knows, frames out of order, and numbers that don't count.

use dlite::proto::runner::v1::{
    AssignmentDecision, TaskOutcome, TaskUpdate, attach_request::Frame, task_update::Update,
};
use tonic::Code;

use crate::support::{
    neighbour::Neighbour,
    peer::{accept, hello, reason, result, started, update},
    place::Place,
};

/// An envelope whose frame is field 99, which no version knows yet.
fn frame_of_the_future(sequence: u8) -> bytes::Bytes {
    let number: &[u8] = if sequence == 0 { &[] } else { &[0x08, sequence] };
    [number, &[0x9a, 0x06, 0x02, b'h', b'i']].concat().into()
}

#[tokio::test]
async fn an_unknown_frame_is_refused_by_name_and_its_stream_goes_on() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let mut peer = daemon.attach("odd", "ODD", 1).await;

    peer.say_bytes(frame_of_the_future(0)).await;
    peer.refused(0, "", Code::Unimplemented, "FRAME_UNKNOWN").await;
    // One that counts is acknowledged, too: it was received.
    peer.say_bytes(frame_of_the_future(1)).await;
    peer.refused(1, "", Code::Unimplemented, "FRAME_UNKNOWN").await;
    peer.acknowledged(1).await;
    peer.sequence = 1;

    daemon.stub.offer("a", "ODD");
    let lease = peer.start().await;
    let number =
        peer.say_counted(Frame::Update(TaskUpdate { lease_id: lease.clone(), number: 1, ..Default::default() }));
    let sequence = number.await;
    let refused = peer.refused(sequence, "update", Code::Unimplemented, "FRAME_UNKNOWN").await;
    assert_eq!(refused.lease_id, lease);
    peer.succeed(&lease).await;
    daemon.stub.report("a").await;
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn a_decision_that_decides_nothing_leaves_the_assignment_undecided() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("odd", "ODD", 1).await;
    daemon.stub.offer("a", "ODD");
    let lease = peer.assignment().await.lease_id;
    let nothing = AssignmentDecision { lease_id: lease.clone(), decision: None };
    let sequence = peer.say_counted(Frame::Decision(nothing)).await;
    let refused = peer.refused(sequence, "decision", Code::InvalidArgument, "FRAME_INVALID").await;
    assert!(refused.status.expect("a status").message.contains("decision.decision"));
    assert_eq!(daemon.task("a").await.expect("open").state, "assigned");
    peer.accept(&lease).await;
    peer.succeed(&lease).await;
    daemon.stub.report("a").await;
}

#[tokio::test]
async fn a_stream_that_does_not_begin_with_hello_ends() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    for first in [result("l-1", TaskOutcome::Succeeded), accept("l-1"), started("l-1", 1)] {
        let mut peer = daemon.open().await;
        peer.say_as(1, first).await;
        let status = peer.ended().await;
        assert_eq!(reason(&status), (Code::InvalidArgument, "HELLO_INVALID".to_owned()));
        assert_eq!(status.message(), "frame: the first frame must be hello");
    }
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn a_second_hello_is_refused_and_changes_nothing() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let mut peer = daemon.attach("twice", "ODD", 1).await;
    peer.say(Frame::Hello(hello("neighbour", "usurper", "NEIGHBOUR", 10))).await;
    peer.refused(0, "hello", Code::InvalidArgument, "FRAME_INVALID").await;
    daemon.stub.offer("a", "ODD");
    let lease = peer.start().await;
    peer.succeed(&lease).await;
    daemon.stub.report("a").await;
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn bytes_that_are_no_frame_end_their_stream_alone() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    // A hello that says to be longer than it is, first as the first frame, then as a later one.
    let broken = bytes::Bytes::from_static(&[0x1a, 0x7f, 0x00]);
    let mut first = daemon.open().await;
    first.say_bytes(broken.clone()).await;
    assert_eq!(reason(&first.ended().await), (Code::InvalidArgument, "FRAME_INVALID".to_owned()));
    let mut later = daemon.attach("odd", "ODD", 1).await;
    later.say_bytes(broken).await;
    assert_eq!(reason(&later.ended().await), (Code::InvalidArgument, "FRAME_INVALID".to_owned()));
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn a_gap_or_a_repeat_in_the_sequence_is_refused_and_the_next_one_counts() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let mut peer = daemon.attach("odd", "ODD", 1).await;
    daemon.stub.offer("a", "ODD");
    let lease = peer.start().await;

    peer.say_as(5, started(&lease, 1)).await;
    let refused = peer.refused(5, "update", Code::InvalidArgument, "SEQUENCE_INVALID").await;
    assert_eq!(refused.lease_id, lease);
    peer.acknowledged(5).await;
    for repeated in [5, 1] {
        peer.say_as(repeated, started(&lease, 1)).await;
        peer.refused(repeated, "update", Code::InvalidArgument, "SEQUENCE_INVALID").await;
    }
    peer.sequence = 5;
    peer.started(&lease, 1).await;
    peer.succeed(&lease).await;
    peer.acknowledged(7).await;
    daemon.stub.report("a").await;
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn the_largest_sequence_there_is_ends_the_counting_and_nothing_else() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let mut peer = daemon.attach("odd", "ODD", 1).await;
    for sequence in [u64::MAX, u64::MAX, 0, 1] {
        peer.say_as(sequence, started("l-1", 1)).await;
        peer.refused(sequence, "update", Code::InvalidArgument, "SEQUENCE_INVALID").await;
    }
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn a_number_on_a_frame_that_is_not_counted_and_none_on_one_that_is_are_refused() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let mut peer = daemon.attach("odd", "ODD", 1).await;
    daemon.stub.offer("a", "ODD");
    let lease = peer.start().await;

    peer.say_as(9, Frame::Heartbeat(Default::default())).await;
    peer.refused(9, "heartbeat", Code::InvalidArgument, "SEQUENCE_INVALID").await;
    peer.say_as(9, update(&lease, 0, Update::Progress(Default::default()))).await;
    peer.refused(9, "update", Code::InvalidArgument, "SEQUENCE_INVALID").await;
    peer.say_as(0, result(&lease, TaskOutcome::Succeeded)).await;
    peer.refused(0, "result", Code::InvalidArgument, "SEQUENCE_INVALID").await;

    // None of it was taken for a result, and none of it moved the counting.
    assert_eq!(daemon.task("a").await.expect("open").state, "running");
    let sequence = peer.succeed(&lease).await;
    peer.acknowledged(sequence).await;
    daemon.stub.report("a").await;
    // Nor does any of it keep the last acknowledgement waiting.
    peer.close_half();
    assert_eq!(peer.ended().await.code(), Code::Ok);
    neighbour.ends_unhurt().await;
}
