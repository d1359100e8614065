//! The operator's service shows what is true, state by state.

use dlite::{
    core::{effect::Note, input::ReportError},
    proto::runner::v1::{
        AssignmentDecision, Progress, Rejected, TaskOutcome, assignment_decision::Decision, attach_request::Frame,
        task_update::Update,
    },
};

use crate::support::{
    peer::{held, hello_holding, result, update},
    place::Place,
};

#[tokio::test]
async fn the_task_list_follows_a_task_through_its_states() {
    let daemon = Place::new().start().await;
    let stub = &daemon.stub;
    stub.offer("a", "WORK");
    let listed = daemon.task_in("a", "listed").await;
    assert_eq!(listed.waiting_for, "NO_RUNNER: no attached runner has a handler for this type");
    assert!(listed.waiting_since.is_some() && listed.age.is_none() && listed.runner_id.is_empty());

    stub.hold_acquires(true);
    let mut peer = daemon.attach("runner", "WORK", 1).await;
    let acquiring = daemon.task_in("a", "acquiring").await;
    assert_eq!(acquiring.waiting_for, "a clear answer to the acquire");
    assert!(!acquiring.task_id.is_empty());
    stub.hold_acquires(false);

    let assignment = peer.assignment().await;
    let assigned = daemon.task("a").await.expect("open");
    assert_eq!((assigned.state.as_str(), assigned.runner_id.as_str()), ("assigned", "runner"));
    assert_eq!(assigned.waiting_for, "runner runner to accept it");
    let task = assignment.task.expect("a task");
    assert_eq!((&assigned.task_id, assigned.task_type.as_str(), assigned.attempt), (&task.task_id, "WORK", 1));
    let trace = assignment.trace.expect("a trace").traceparent;
    assert_eq!(trace.split('-').nth(1), Some(assigned.trace_id.as_str()));

    // Said no: it waits for another try.
    let rejected = Some(Decision::Rejected(Rejected::default()));
    let no = AssignmentDecision { lease_id: assignment.lease_id, decision: rejected };
    peer.say_counted(Frame::Decision(no)).await;
    let waiting = daemon.task_in("a", "waiting").await;
    assert!(waiting.waiting_for.starts_with("another try in "), "{waiting:?}");
    assert_eq!(waiting.runner_id, "");

    let lease = peer.start().await;
    assert_eq!(daemon.task("a").await.expect("open").waiting_for, "runner runner to finish it");
    let progress =
        Progress { phase: "test".to_owned(), message: "7 of 9".to_owned(), fraction: Some(0.78), ..Default::default() };
    peer.say(update(&lease, 0, Update::Progress(progress))).await;
    peer.heartbeat(&[&lease]).await;
    peer.heartbeat_ack().await;
    let running = daemon.task("a").await.expect("open");
    assert_eq!((running.state.as_str(), running.waiting_for.as_str()), ("running", "runner runner: test 78 % 7 of 9"));

    drop(peer);
    daemon.noted(|note| matches!(note, Note::RunnerDetached { .. }).then_some(())).await;
    let alone = daemon.task("a").await.expect("open");
    assert!(alone.waiting_for.starts_with("runner runner to come back (lease ends in "), "{alone:?}");
    let mut peer = daemon.attach_as(hello_holding("runner", "WORK", held(&lease))).await;

    stub.abort("a");
    peer.cancellation().await;
    let stopping = daemon.task("a").await.expect("open");
    assert_eq!(stopping.waiting_for, "runner runner to stop it (aborted by the upstream)");

    stub.deafen(true);
    let sequence = peer.say_counted(result(&lease, TaskOutcome::Cancelled)).await;
    peer.acknowledged(sequence).await;
    stub.until(|book| (book.failed_reports > 0).then_some(())).await;
    let reporting = daemon.task_in("a", "reporting").await;
    assert!(reporting.waiting_for.starts_with("upstream stub to "), "{reporting:?}");
    assert_eq!(daemon.status().await.upstreams[0].state, "unreachable");

    stub.fail_reports(Some(ReportError::Gone("never heard of it".into())));
    let dead = daemon.task_in("a", "dead").await;
    assert_eq!(dead.waiting_for, "the operator: TASK_GONE: never heard of it");
}

#[tokio::test]
async fn the_status_counts_what_there_is() {
    let daemon = Place::new().start().await;
    let stub = &daemon.stub;
    stub.until(|book| (book.polls > 0).then_some(())).await;
    let status = daemon.status().await;
    assert_eq!((status.state.as_str(), status.state_reason.as_str()), ("serving", ""));
    assert!(status.start_time.is_some() && status.delegate_id.len() == 36);
    let upstream = &status.upstreams[0];
    assert_eq!((upstream.name.as_str(), upstream.kind.as_str()), ("stub", "stub"));
    assert_eq!((upstream.state.as_str(), upstream.registered_id.as_str()), ("registered", "stub-delegate"));
    assert!(upstream.last_success_time.is_some() && upstream.last_error.is_empty());
    assert!(status.runners.is_empty());

    let mut peer = daemon.attach("runner", "WORK", 2).await;
    stub.offer("a", "WORK");
    let lease = peer.start().await;
    let status = daemon.status().await;
    let runner = &status.runners[0];
    assert_eq!((runner.runner_id.as_str(), runner.instance_id.as_str()), ("runner", "instance-1"));
    assert_eq!((runner.state.as_str(), runner.slots_used, runner.slots_total), ("attached", 1, 2));
    assert_eq!(runner.task_types, ["WORK"]);
    assert_eq!((status.open_task_count, status.unreported_result_count, status.dead_letter_count), (1, 0, 0));

    stub.deafen(true);
    let sequence = peer.succeed(&lease).await;
    peer.acknowledged(sequence).await;
    let status = daemon.status().await;
    assert_eq!((status.open_task_count, status.unreported_result_count, status.dead_letter_count), (0, 1, 0));
    assert_eq!(status.runners[0].slots_used, 0, "a result that is owed holds no slot");

    stub.fail_reports(Some(ReportError::Gone("never heard of it".into())));
    daemon.task_in("a", "dead").await;
    let status = daemon.status().await;
    assert_eq!((status.open_task_count, status.unreported_result_count, status.dead_letter_count), (0, 0, 1));
    drop(peer);
    daemon.noted(|note| matches!(note, Note::RunnerDetached { .. }).then_some(())).await;
    assert!(daemon.status().await.runners.is_empty(), "it left nothing behind");
}
