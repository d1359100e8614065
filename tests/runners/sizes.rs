//! Frames and payloads above their bounds, either way.

use dlite::{
    core::task::{Blame, Outcome, Secret},
    proto::runner::v1::{Output, OutputSet, TaskOutcome, TaskResult, attach_request::Frame, task_update::Update},
};
use tonic::Code;

use crate::support::{
    neighbour::Neighbour,
    peer::{hello, reason, result_with, update},
    place::Place,
    stub::spec,
};

const PAYLOAD_BYTES_MAX: usize = 3_670_016;
const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_result_that_is_too_large_leaves_the_lease_open_for_one_that_fits() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let mut peer = daemon.attach("large", "LARGE", 1).await;
    daemon.stub.offer("a", "LARGE");
    let lease = peer.start().await;
    // One byte above the payload's bound, and one whose frame is above the frame's.
    for bytes in [PAYLOAD_BYTES_MAX + 1, 5 * MIB] {
        let frame = result_with(&lease, TaskOutcome::Succeeded, vec![b'x'; bytes]);
        let sequence = peer.say_counted(frame).await;
        let refused = peer.refused(sequence, "result", Code::ResourceExhausted, "RESULT_TOO_LARGE").await;
        assert_eq!(refused.lease_id, lease);
        peer.acknowledged(sequence).await;
        peer.heartbeat(&[&lease]).await;
        assert!(peer.heartbeat_ack().await.lost.is_empty());
    }
    let fitting = vec![b'y'; PAYLOAD_BYTES_MAX];
    let sequence = peer.say_counted(result_with(&lease, TaskOutcome::Succeeded, fitting.clone())).await;
    peer.acknowledged(sequence).await;
    let report = daemon.stub.report("a").await;
    assert!(report.finish.payload.as_ref().expect("a payload").content == fitting);
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn an_oversized_frame_is_refused_by_name_and_one_beyond_decoding_ends_its_stream_alone() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let mut peer = daemon.attach("large", "LARGE", 1).await;
    let progress = dlite::proto::runner::v1::Progress { message: "x".repeat(5 * MIB), ..Default::default() };
    peer.say(update("l-1", 0, Update::Progress(progress))).await;
    let refused = peer.refused(0, "update", Code::InvalidArgument, "FRAME_INVALID").await;
    assert!(refused.status.expect("a status").message.contains("4194304 may be sent"));

    // A second stream on the same connection, to see that it lives on.
    let channel = daemon.channel().await;
    let mut huge = crate::support::peer::Peer::open(channel.clone(), None).await.expect("a stream");
    huge.introduce(hello("huge", "instance-1", "HUGE", 1)).await;
    let mut beside = crate::support::peer::Peer::open(channel, None).await.expect("a stream");
    beside.introduce(hello("beside", "instance-1", "BESIDE", 1)).await;
    huge.say_counted(result_with("l-1", TaskOutcome::Succeeded, vec![b'x'; 17 * MIB])).await;
    let status = huge.ended().await;
    assert_eq!(reason(&status), (Code::OutOfRange, String::new()), "{status:?}");
    daemon.stub.offer("a", "BESIDE");
    let lease = beside.start().await;
    beside.succeed(&lease).await;
    daemon.stub.report("a").await;
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn an_oversized_hello_is_refused() {
    let daemon = Place::new().start().await;
    let mut large = hello("large", "instance-1", "LARGE", 1);
    large.info = Some(dlite::proto::runner::v1::RunnerInfo { hostname: "x".repeat(5 * MIB), ..Default::default() });
    let mut peer = daemon.open().await;
    peer.say(Frame::Hello(large)).await;
    let status = peer.ended().await;
    assert_eq!(reason(&status), (Code::InvalidArgument, "HELLO_INVALID".to_owned()));
    assert!(status.message().starts_with("hello: "), "{status:?}");
}

#[tokio::test]
async fn a_task_that_no_frame_can_carry_is_reported_failed_and_never_assigned() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let mut peer = daemon.attach("large", "LARGE", 3).await;
    daemon.stub.offer_spec("payload", spec("LARGE", &vec![b'x'; PAYLOAD_BYTES_MAX + 1]));
    let mut secretive = spec("LARGE", &vec![b'x'; PAYLOAD_BYTES_MAX]);
    let secret = |n: usize| Secret { name: n.to_string().into(), value: vec![b's'; 60 << 10].into(), mask_only: true };
    secretive.secrets = (0..9).map(secret).collect();
    daemon.stub.offer_spec("secrets", secretive);
    for external_id in ["payload", "secrets"] {
        let report = daemon.stub.report(external_id).await;
        let error = report.finish.error.as_ref().expect("an error");
        let found = (report.finish.outcome, &*error.reason, error.blame);
        assert_eq!(found, (Outcome::Failed, "PAYLOAD_TOO_LARGE", Blame::TaskSpec), "{error:?}");
    }

    // One at the bound goes through, byte for byte, and it is the first that the runner sees.
    let content: Vec<u8> = (0..PAYLOAD_BYTES_MAX).map(|n| (n % 251) as u8).collect();
    daemon.stub.offer_spec("fitting", spec("LARGE", &content));
    let assignment = peer.assignment().await;
    let task = assignment.task.expect("a task");
    assert_eq!(task.origin.expect("an origin").external_id, "fitting");
    assert!(task.payload.expect("a payload").inline == content);
    peer.accept(&assignment.lease_id).await;
    peer.succeed(&assignment.lease_id).await;
    daemon.stub.report("fitting").await;
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn outputs_beyond_the_bound_of_a_task_are_refused_and_those_within_count() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("prolific", "LARGE", 1).await;
    daemon.stub.offer("a", "LARGE");
    let lease = peer.start().await;
    let outputs = |names: std::ops::Range<usize>| {
        let output = |n: usize| Output { name: n.to_string(), ..Output::default() };
        OutputSet { outputs: names.map(output).collect() }
    };
    let first = peer.say_counted(update(&lease, 1, Update::Outputs(outputs(0..200)))).await;
    peer.acknowledged(first).await;
    // Too many in one frame, and too many in all.
    for (names, field) in [(0..257, "update.outputs.outputs"), (200..257, "update.outputs")] {
        let sequence = peer.say_counted(update(&lease, 2, Update::Outputs(outputs(names)))).await;
        let refused = peer.refused(sequence, "update", Code::InvalidArgument, "FRAME_INVALID").await;
        assert!(refused.status.expect("a status").message.starts_with(&format!("{field}: ")));
    }
    let result = |names| TaskResult {
        lease_id: lease.clone(),
        outcome: TaskOutcome::Succeeded as i32,
        outputs: outputs(names).outputs,
        ..TaskResult::default()
    };
    let sequence = peer.say_counted(Frame::Result(result(200..257))).await;
    peer.refused(sequence, "result", Code::InvalidArgument, "FRAME_INVALID").await;
    assert_eq!(daemon.task("a").await.expect("open").state, "running");
    let sequence = peer.say_counted(Frame::Result(result(100..256))).await;
    peer.acknowledged(sequence).await;
    daemon.stub.report("a").await;
}
