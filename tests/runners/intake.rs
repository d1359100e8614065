//! What is acquired and when, as an upstream and a runner see it.

use std::time::{Duration, Instant};

use dlite::{
    core::{
        effect::{NotAcquired, Note},
        task::Outcome,
    },
    proto::runner::v1::{
        CancelReason, Handler, Heartbeat, HostUsage, TaskError, TaskOutcome, TaskResult, attach_request::Frame,
    },
};
use tonic::Code;

use crate::support::{
    neighbour::Neighbour,
    peer::{hello, result},
    place::{POLL_INTERVAL, Place},
    stub::KNOWN_CLEANUP,
};

#[tokio::test]
async fn a_handler_that_fails_is_reported_failed_with_what_it_said() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("runner", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.start().await;
    let failed = TaskResult {
        lease_id: lease,
        outcome: TaskOutcome::Failed as i32,
        exit_code: Some(3),
        error: Some(TaskError {
            status: Some(tonic_types::Status { code: 9, message: "tests failed".to_owned(), details: Vec::new() }),
            ..TaskError::default()
        }),
        ..TaskResult::default()
    };
    peer.say_counted(Frame::Result(failed)).await;
    let report = daemon.stub.report("a").await;
    assert_eq!((report.finish.outcome, report.finish.exit_code), (Outcome::Failed, Some(3)));
    assert_eq!(&*report.finish.error.as_ref().expect("an error").message, "tests failed");
}

#[tokio::test]
async fn a_reload_keeps_what_upstreams_know_of_task_types() {
    let place = Place::new();
    let daemon = place.start().await;
    daemon.reload(&place.config).await;
    // Of two slots one is kept for cleanups, which only the upstream knows to be some.
    let mut hello = hello("runner", "instance-1", "WORK", 2);
    hello.handlers.push(Handler { task_type: KNOWN_CLEANUP.to_owned(), ..Handler::default() });
    let mut peer = daemon.attach_as(hello).await;
    daemon.stub.offer("a", "WORK");
    peer.start().await;
    daemon.stub.offer("b", "WORK");
    let is_left = |note: &Note| matches!(note, Note::NotAcquired { external_id, reason: NotAcquired::NoSlot { .. }, .. } if external_id.as_str() == "b");
    daemon.noted(|note| is_left(note).then_some(())).await;
}

#[tokio::test]
async fn an_abort_reaches_the_runner_within_a_second_of_the_listing_that_tells_it() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let mut peer = daemon.attach("runner", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.start().await;
    daemon.stub.abort("a");
    let cancellation = peer.cancellation().await;
    let told = daemon.stub.read(|book| book.told["a"]);
    assert!(told.elapsed() < Duration::from_secs(1), "{:?}", told.elapsed());
    assert_eq!((cancellation.lease_id.as_str(), cancellation.reason()), (lease.as_str(), CancelReason::User));
    peer.say_counted(result(&lease, TaskOutcome::Cancelled)).await;
    assert_eq!(daemon.stub.report("a").await.finish.outcome, Outcome::Cancelled);
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn an_abort_before_the_accept_ends_the_task_and_refuses_the_accept() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("runner", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.assignment().await.lease_id;
    daemon.stub.abort("a");
    assert_eq!(daemon.stub.report("a").await.finish.outcome, Outcome::Cancelled);
    let sequence = peer.accept(&lease).await;
    peer.refused(sequence, "decision", Code::FailedPrecondition, "ASSIGNMENT_WITHDRAWN").await;
    assert_eq!(daemon.status().await.runners[0].slots_used, 0);
}

#[tokio::test]
async fn an_abort_while_the_acquire_is_under_way_ends_the_task_before_anyone_sees_it() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("runner", "WORK", 1).await;
    daemon.stub.hold_acquires(true);
    daemon.stub.offer("a", "WORK");
    daemon.task_in("a", "acquiring").await;
    daemon.stub.abort("a");
    daemon.noted(|note| matches!(note, Note::AbortNoted { .. }).then_some(())).await;
    daemon.stub.hold_acquires(false);
    assert_eq!(daemon.stub.report("a").await.finish.outcome, Outcome::Cancelled);
    daemon.stub.offer("b", "WORK");
    let assignment = peer.assignment().await;
    assert_eq!(assignment.task.expect("a task").origin.expect("an origin").external_id, "b");
}

#[tokio::test]
async fn a_task_of_a_type_that_nobody_handles_stays_with_the_upstream_and_is_noted_once() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    daemon.stub.offer("exotic", "EXOTIC");
    daemon.stub.polls(10).await;
    let listed = daemon.task("exotic").await.expect("it is shown");
    assert_eq!((listed.state.as_str(), listed.task_id.as_str()), ("listed", ""));
    assert!(listed.waiting_for.starts_with("NO_RUNNER: "), "{listed:?}");
    let noted = |note: &Note| {
        matches!(note, Note::NotAcquired { external_id, reason: NotAcquired::NoRunner, .. }
            if external_id.as_str() == "exotic")
    };
    assert_eq!(daemon.count_notes(noted), 1);
    neighbour.ends_unhurt().await;
    assert_eq!(daemon.count_notes(noted), 1);
    assert!(daemon.stub.read(|book| !book.acquired.contains(&"exotic".to_owned())));
}

#[tokio::test]
async fn with_every_slot_busy_polls_and_heartbeats_keep_their_cadence() {
    const INTERVALS: u32 = 25;
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("busy", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.start().await;
    daemon.stub.offer("b", "WORK");
    daemon.task_in("b", "listed").await;

    let count = || daemon.stub.read(|book| (book.polls, book.heartbeats));
    let (begin, before) = (Instant::now(), count());
    daemon.stub.polls(INTERVALS as usize).await;
    daemon.stub.until(|book| (book.heartbeats >= before.1 + 5).then_some(())).await;
    let (polls, heartbeats) = (count().0 - before.0, count().1 - before.1);
    let elapsed = begin.elapsed();
    // Neither stops, and neither is called more often than its interval, 10 % less at the least, allows.
    let most = |interval: Duration| (elapsed.as_secs_f64() / (interval.as_secs_f64() * 0.9)) as usize + 2;
    assert!(polls <= most(POLL_INTERVAL), "{polls} polls in {elapsed:?}");
    assert!(heartbeats <= most(daemon.config.upstreams[0].heartbeat_interval), "{heartbeats} in {elapsed:?}");
    assert_eq!(daemon.stub.read(|book| book.acquires), 1, "only the first one");
    assert!(daemon.task("b").await.expect("listed").waiting_for.starts_with("NO_SLOT: "));
    assert!(daemon.stub.read(|book| book.running.contains("a")));

    peer.succeed(&lease).await;
    assert_eq!(peer.assignment().await.task.expect("a task").origin.expect("an origin").external_id, "b");
}

#[tokio::test]
async fn a_freed_slot_takes_the_next_listed_task_at_once() {
    // There is one poll in this test: the first.
    let place = Place::with(|config| config.upstreams[0].poll_interval = Duration::from_secs(3_600));
    let stub = crate::support::stub::Stub::new();
    for external_id in ["a", "b", "c"] {
        stub.offer(external_id, "WORK");
    }
    let daemon = place.start_with(&stub).await;
    stub.until(|book| (book.polls == 1).then_some(())).await;
    // A new runner is a freed slot, too.
    let mut peer = daemon.attach("runner", "WORK", 1).await;
    for external_id in ["a", "b", "c"] {
        let lease = peer.start().await;
        peer.succeed(&lease).await;
        stub.report(external_id).await;
    }
    assert_eq!(stub.read(|book| book.polls), 1);
}

#[tokio::test]
async fn a_runner_whose_host_is_full_gets_nothing_new_until_it_is_not() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("runner", "WORK", 4).await;
    let says = |heartbeat_id, memory_fraction| {
        let usage = Some(HostUsage { memory_fraction: Some(memory_fraction), ..HostUsage::default() });
        Frame::Heartbeat(Heartbeat { heartbeat_id, usage, ..Heartbeat::default() })
    };
    let is_refusal = |reason: &NotAcquired| reason.to_string() == "admission: memory 95 % > 90 %";
    peer.say(says(1, 0.95)).await;
    peer.heartbeat_ack().await;
    daemon.stub.offer("a", "WORK");
    daemon
        .noted(|note| match note {
            Note::NotAcquired { reason, .. } if is_refusal(reason) => Some(()),
            _ => None,
        })
        .await;
    daemon.stub.polls(3).await;
    assert_eq!(daemon.stub.read(|book| book.acquires), 0);
    // What is no share says nothing, so that nothing is known of the host any more.
    peer.say(says(2, f32::NAN)).await;
    peer.heartbeat_ack().await;
    assert_eq!(peer.assignment().await.task.expect("a task").payload.expect("a payload").inline, b"a"[..]);
    daemon.stop().await;
}
