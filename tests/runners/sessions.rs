//! What runners say about sessions, over a real stream: changes that lost the race, are too large, or are nobody's to make.

use dlite::{
    core::task::{Kind, Outcome, Spec},
    proto::runner::v1::{
        Handler, Hello, Payload, Session, SessionStateUpdate, TaskAssignment, TaskOutcome, TaskResult, attach_request,
        attach_response::Frame, task_update::Update,
    },
};
use tonic::Code;

use crate::support::{
    peer::{Peer, hello, result, update},
    place::{Place, Running},
    stub::spec,
};

const SETUP: &str = "STAGE_SETUP";
const STEP: &str = "STAGE_STEP";
const STAGE: &str = "stage-1";
/// State and sensitive state, each and together.
const STATE_BYTES_MAX: usize = 192 << 10;

fn staged(task_type: &str, kind: Kind, tenant: &str) -> Spec {
    Spec { kind, session: Some(STAGE.into()), tenant: tenant.into(), ..spec(task_type, b"work") }
}

async fn attach(daemon: &Running) -> Peer {
    let handlers =
        [SETUP, STEP].map(|task_type| Handler { task_type: task_type.to_owned(), ..Handler::default() }).to_vec();
    daemon.attach_as(Hello { handlers, ..hello("host", "instance-1", SETUP, 4) }).await
}

fn payload(content: &[u8]) -> Payload {
    Payload { content_type: "text/plain".to_owned(), inline: content.to_vec().into() }
}

fn change(etag: &str, state: &[u8]) -> SessionStateUpdate {
    SessionStateUpdate {
        expected_etag: etag.to_owned(),
        state: Some(payload(state)),
        sensitive_state: None,
        extend_ttl: None,
    }
}

fn says(lease: &str, number: u64, change: SessionStateUpdate) -> attach_request::Frame {
    update(lease, number, Update::SessionState(change))
}

/// Takes the next assignment and accepts it.
async fn take(peer: &mut Peer) -> TaskAssignment {
    let assignment = peer.assignment().await;
    let accepted = peer.accept(&assignment.lease_id).await;
    peer.acknowledged(accepted).await;
    assignment
}

async fn session(peer: &mut Peer) -> Session {
    match peer.next().await {
        Frame::Session(session) => session,
        other => panic!("wanted a session, got {other:?}"),
    }
}

/// A stage that is set up with `state`, under the empty tenant; what its setup was told of it.
async fn set_up(daemon: &Running, peer: &mut Peer, state: &[u8]) -> Session {
    daemon.stub.offer_spec("setup", staged(SETUP, Kind::SessionSetup, ""));
    let assignment = take(peer).await;
    let held = assignment.session.expect("a setup has a session");
    let done = TaskResult {
        lease_id: assignment.lease_id,
        outcome: TaskOutcome::Succeeded as i32,
        session_state: Some(change(&held.etag, state)),
        ..TaskResult::default()
    };
    peer.say_counted(attach_request::Frame::Result(done)).await;
    assert_eq!(daemon.stub.report("setup").await.finish.outcome, Outcome::Succeeded);
    held
}

/// A step of the stage that has been accepted: its lease, and its session.
async fn step(daemon: &Running, peer: &mut Peer, external_id: &str) -> (String, Session) {
    daemon.stub.offer_spec(external_id, staged(STEP, Kind::SessionExecute, ""));
    let assignment = take(peer).await;
    (assignment.lease_id, assignment.session.expect("a step of a stage has a session"))
}

#[tokio::test]
async fn of_two_changes_from_one_etag_the_second_is_refused_and_told_what_is_in_force() {
    let daemon = Place::new().start().await;
    let mut peer = attach(&daemon).await;
    set_up(&daemon, &mut peer, b"vm-7").await;
    let (one, seen) = step(&daemon, &mut peer, "one").await;
    let (other, same) = step(&daemon, &mut peer, "other").await;
    assert_eq!((&seen.etag, seen.state), (&same.etag, Some(payload(b"vm-7"))));

    peer.say_counted(says(&one, 1, change(&seen.etag, b"one was here"))).await;
    let told = session(&mut peer).await;
    assert_ne!(told.etag, seen.etag);
    let late = peer.say_counted(says(&other, 1, change(&seen.etag, b"other was here"))).await;
    let refused = peer.refused(late, "update", Code::Aborted, "SESSION_ETAG_STALE").await;
    assert_eq!(refused.lease_id, other);
    let in_force = session(&mut peer).await;
    assert_eq!((&in_force.etag, &in_force.state), (&told.etag, &Some(payload(b"one was here"))));

    // From there it works, and the next task sees it.
    peer.say_counted(says(&other, 2, change(&in_force.etag, b"both were here"))).await;
    assert_eq!(session(&mut peer).await.state, Some(payload(b"both were here")));
    let (_, seen) = step(&daemon, &mut peer, "next").await;
    assert_eq!(seen.state, Some(payload(b"both were here")));
}

#[tokio::test]
async fn a_result_with_an_old_etag_is_refused_and_its_lease_stays_open() {
    let daemon = Place::new().start().await;
    let mut peer = attach(&daemon).await;
    let before = set_up(&daemon, &mut peer, b"vm-7").await;
    let (lease, seen) = step(&daemon, &mut peer, "step").await;
    let done = |etag: &str| {
        attach_request::Frame::Result(TaskResult {
            lease_id: lease.clone(),
            outcome: TaskOutcome::Succeeded as i32,
            session_state: Some(change(etag, b"used")),
            ..TaskResult::default()
        })
    };
    let late = peer.say_counted(done(&before.etag)).await;
    peer.refused(late, "result", Code::Aborted, "SESSION_ETAG_STALE").await;
    assert_eq!(session(&mut peer).await.etag, seen.etag);
    peer.heartbeat(&[&lease]).await;
    assert!(peer.heartbeat_ack().await.lost.is_empty());
    peer.say_counted(done(&seen.etag)).await;
    assert_eq!(daemon.stub.report("step").await.finish.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn a_change_beyond_its_bounds_is_refused_by_the_name_of_the_field() {
    let daemon = Place::new().start().await;
    let mut peer = attach(&daemon).await;
    set_up(&daemon, &mut peer, b"vm-7").await;
    let (lease, seen) = step(&daemon, &mut peer, "step").await;
    let large = vec![b'x'; STATE_BYTES_MAX + 1];
    let sensitive = |content: &[u8]| SessionStateUpdate {
        state: None,
        sensitive_state: Some(payload(content)),
        ..change(&seen.etag, b"")
    };
    let together = SessionStateUpdate {
        state: Some(payload(&large[..STATE_BYTES_MAX / 2])),
        ..sensitive(&large[..STATE_BYTES_MAX / 2])
    };
    let wrong = [
        (change("", b"vm-8"), "update.session_state.expected_etag: "),
        (change(&seen.etag, &large), "update.session_state.state: "),
        (sensitive(&large), "update.session_state.sensitive_state: "),
        (together, "update.session_state: state and sensitive_state would have "),
    ];
    for (number, (change, text)) in (1..).zip(wrong) {
        let sequence = peer.say_counted(says(&lease, number, change)).await;
        let refused = peer.refused(sequence, "update", Code::InvalidArgument, "FRAME_INVALID").await;
        let said = refused.status.expect("a status").message;
        assert!(said.starts_with(text), "{said}");
    }
    // None of them was taken, and the task goes on.
    peer.say_counted(says(&lease, 9, change(&seen.etag, b"vm-8"))).await;
    assert_eq!(session(&mut peer).await.state, Some(payload(b"vm-8")));
    peer.succeed(&lease).await;
    assert_eq!(daemon.stub.report("step").await.finish.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn the_state_of_another_tenants_stage_of_the_same_name_is_out_of_reach() {
    let daemon = Place::new().start().await;
    let mut peer = attach(&daemon).await;
    set_up(&daemon, &mut peer, b"vm-7").await;
    let (ours, seen) = step(&daemon, &mut peer, "ours").await;
    daemon.stub.offer_spec("theirs", staged(STEP, Kind::SessionExecute, "another"));
    let assignment = take(&mut peer).await;
    let (theirs, other) = (assignment.lease_id, assignment.session.expect("a session"));
    assert_eq!((other.external_id.as_str(), other.state), (STAGE, None));
    assert_ne!(other.session_id, seen.session_id);
    // A lease reaches its own session only, whatever etag is said with it.
    let sequence = peer.say_counted(says(&theirs, 1, change(&seen.etag, b"mine now"))).await;
    peer.refused(sequence, "update", Code::Aborted, "SESSION_ETAG_STALE").await;
    let told = session(&mut peer).await;
    assert_eq!((told.session_id, told.state), (other.session_id.clone(), None));
    peer.say_counted(says(&theirs, 2, change(&other.etag, b"their own"))).await;
    let told = session(&mut peer).await;
    assert_eq!((told.session_id, told.state), (other.session_id, Some(payload(b"their own"))));

    peer.succeed(&ours).await;
    daemon.stub.report("ours").await;
    let (_, now) = step(&daemon, &mut peer, "ours again").await;
    assert_eq!((now.etag, now.state), (seen.etag, Some(payload(b"vm-7"))));
}

#[tokio::test]
async fn a_change_by_a_task_without_a_session_is_refused_and_the_task_goes_on() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("host", "ALONE", 1).await;
    daemon.stub.offer("alone", "ALONE");
    let assignment = take(&mut peer).await;
    assert!(assignment.session.is_none());
    let lease = assignment.lease_id;
    let sequence = peer.say_counted(says(&lease, 1, change("1", b"whose?"))).await;
    let refused = peer.refused(sequence, "update", Code::FailedPrecondition, "SESSION_NONE").await;
    assert_eq!(refused.status.expect("a status").message, "update.session_state: the task belongs to no session");
    peer.say_counted(result(&lease, TaskOutcome::Succeeded)).await;
    assert_eq!(daemon.stub.report("alone").await.finish.outcome, Outcome::Succeeded);
}
