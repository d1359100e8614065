//! Frames about leases that are not the speaker's, not accepted, not in force any more, or said twice.

use std::time::Duration;

use dlite::{
    core::{effect::Note, task::Outcome},
    proto::runner::v1::{
        Output, OutputSet, Rejected, TaskOutcome, assignment_decision::Decision, attach_request::Frame, output,
        task_update::Update,
    },
};
use tonic::Code;

use crate::support::{
    neighbour::Neighbour,
    peer::{accept, hello, result, started, update},
    place::Place,
};

#[tokio::test]
async fn a_second_accept_is_acknowledged_and_starts_nothing_anew() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("runner", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.start().await;
    let again = peer.accept(&lease).await;
    peer.acknowledged(again).await;
    let sequence = peer.succeed(&lease).await;
    peer.acknowledged(sequence).await;
    daemon.stub.report("a").await;
    assert_eq!(daemon.count_notes(|note| matches!(note, Note::FrameRefused { .. })), 0);
}

#[tokio::test]
async fn frames_about_a_lease_that_nobody_cut_are_refused_and_name_it_as_the_runner_did() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let mut peer = daemon.attach("runner", "WORK", 1).await;
    for lease in ["l-00000000-1", "of another delegate".replace(' ', "-").as_str(), "l-"] {
        let sequence = peer.accept(lease).await;
        let refused = peer.refused(sequence, "decision", Code::FailedPrecondition, "ASSIGNMENT_WITHDRAWN").await;
        assert_eq!(refused.lease_id, lease);
        let sequence = peer.started(lease, 1).await;
        let refused = peer.refused(sequence, "update", Code::FailedPrecondition, "LEASE_LOST").await;
        assert_eq!(refused.lease_id, lease);
        let sequence = peer.succeed(lease).await;
        let refused = peer.refused(sequence, "result", Code::FailedPrecondition, "LEASE_LOST").await;
        assert_eq!(refused.lease_id, lease);
        peer.acknowledged(sequence).await;
    }
    for lease in ["", "with space"] {
        let sequence = peer.accept(lease).await;
        let refused = peer.refused(sequence, "decision", Code::InvalidArgument, "FRAME_INVALID").await;
        assert!(refused.status.expect("a status").message.starts_with("decision.lease_id: "));
    }
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn a_runner_cannot_touch_what_another_one_holds() {
    let daemon = Place::new().start().await;
    let mut honest = daemon.attach("honest", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let assigned = honest.assignment().await.lease_id;
    let mut thief = daemon.attach("thief", "OTHER", 1).await;
    let sequence = thief.accept(&assigned).await;
    thief.refused(sequence, "decision", Code::FailedPrecondition, "ASSIGNMENT_WITHDRAWN").await;

    let accepted = honest.accept(&assigned).await;
    honest.acknowledged(accepted).await;
    let sequence = thief.started(&assigned, 1).await;
    thief.refused(sequence, "update", Code::FailedPrecondition, "LEASE_LOST").await;
    let progress = dlite::proto::runner::v1::Progress { message: "mine now".to_owned(), ..Default::default() };
    thief.say(update(&assigned, 0, Update::Progress(progress))).await;
    let sequence = thief.say_counted(result(&assigned, TaskOutcome::Failed)).await;
    thief.refused(sequence, "result", Code::FailedPrecondition, "LEASE_LOST").await;
    thief.heartbeat(&[&assigned]).await;
    assert_eq!(thief.heartbeat_ack().await.lost[0].lease_id, assigned);

    assert_eq!(daemon.task("a").await.expect("open").waiting_for, "runner honest to finish it");
    honest.succeed(&assigned).await;
    assert_eq!(daemon.stub.report("a").await.finish.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn a_result_said_twice_is_acknowledged_and_reported_once() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("runner", "WORK", 1).await;
    daemon.stub.deafen(true);
    daemon.stub.offer("a", "WORK");
    let lease = peer.start().await;
    let first = peer.succeed(&lease).await;
    peer.acknowledged(first).await;
    // The first one counts, whatever the second says.
    let second = peer.say_counted(result(&lease, TaskOutcome::Failed)).await;
    peer.acknowledged(second).await;
    daemon.stub.deafen(false);
    assert_eq!(daemon.stub.report("a").await.finish.outcome, Outcome::Succeeded);

    daemon.noted(|note| matches!(note, Note::Reported(_)).then_some(())).await;
    let third = peer.succeed(&lease).await;
    peer.acknowledged(third).await;
    assert_eq!(daemon.count_notes(|note| matches!(note, Note::FrameRefused { .. })), 0);
    assert_eq!(daemon.stub.read(|book| book.reports.len()), 1);
}

#[tokio::test]
async fn updates_and_results_before_the_accept_are_refused_and_cost_no_slot() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("hasty", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.assignment().await.lease_id;
    let sequence = peer.started(&lease, 1).await;
    peer.refused(sequence, "update", Code::FailedPrecondition, "LEASE_LOST").await;
    let sequence = peer.succeed(&lease).await;
    peer.refused(sequence, "result", Code::FailedPrecondition, "LEASE_LOST").await;
    // The one slot is still in use, so that a second task stays with the upstream.
    daemon.stub.offer("b", "WORK");
    daemon.stub.polls(3).await;
    assert_eq!(daemon.status().await.runners[0].slots_used, 1);
    assert_eq!(daemon.task("b").await.expect("listed").state, "listed");

    peer.accept(&lease).await;
    peer.started(&lease, 1).await;
    peer.succeed(&lease).await;
    daemon.stub.report("a").await;
    assert_eq!(peer.assignment().await.task.expect("a task").origin.expect("an origin").external_id, "b");
}

#[tokio::test]
async fn a_rejection_after_the_accept_is_refused_and_costs_no_slot() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("fickle", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.start().await;
    let decision = Some(Decision::Rejected(Rejected::default()));
    let rejected = dlite::proto::runner::v1::AssignmentDecision { lease_id: lease.clone(), decision };
    let sequence = peer.say_counted(Frame::Decision(rejected)).await;
    peer.refused(sequence, "decision", Code::FailedPrecondition, "ASSIGNMENT_WITHDRAWN").await;
    assert_eq!(daemon.status().await.runners[0].slots_used, 1);
    peer.succeed(&lease).await;
    assert_eq!(daemon.stub.report("a").await.finish.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn repeated_update_numbers_are_acknowledged_and_dropped() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("runner", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.start().await;
    let output = |value: &str| {
        let value = Some(output::Value::Text(value.to_owned()));
        Update::Outputs(OutputSet { outputs: vec![Output { name: "version".to_owned(), value, ..Output::default() }] })
    };
    peer.started(&lease, 1).await;
    peer.say_counted(update(&lease, 2, output("first"))).await;
    let repeated = peer.say_counted(update(&lease, 2, output("second"))).await;
    peer.acknowledged(repeated).await;
    let sequence = peer.started(&lease, 0).await;
    let refused = peer.refused(sequence, "update", Code::InvalidArgument, "FRAME_INVALID").await;
    assert!(refused.status.expect("a status").message.starts_with("update.number: "));
    let sequence = peer.succeed(&lease).await;
    peer.acknowledged(sequence).await;
    daemon.stub.report("a").await;
    let refused = daemon.count_notes(|note| matches!(note, Note::FrameRefused { .. }));
    assert_eq!(refused, 1, "only the one without a number");
}

#[tokio::test]
async fn an_accept_after_its_time_is_refused_and_the_task_goes_to_another_runner() {
    let place = Place::with(|config| config.runners.accept_timeout = Duration::from_millis(500));
    let daemon = place.start().await;
    let mut slow = daemon.attach("slow", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let stale = slow.assignment().await.lease_id;
    let mut quick = daemon.attach("quick", "WORK", 1).await;
    let fresh = quick.start().await;
    assert_ne!(stale, fresh);
    for (frame, name, reason) in [
        (accept(&stale), "decision", "ASSIGNMENT_WITHDRAWN"),
        (started(&stale, 1), "update", "LEASE_LOST"),
        (result(&stale, TaskOutcome::Failed), "result", "LEASE_LOST"),
    ] {
        let sequence = slow.say_counted(frame).await;
        slow.refused(sequence, name, Code::FailedPrecondition, reason).await;
    }
    quick.succeed(&fresh).await;
    assert_eq!(daemon.stub.report("a").await.finish.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn a_lease_that_ran_out_is_named_lost_and_its_result_is_refused() {
    let place = Place::with(|config| config.runners.lease_ttl = Duration::from_millis(150));
    let daemon = place.start().await;
    let mut peer = daemon.attach("silent", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.start().await;
    let report = daemon.stub.report("a").await;
    assert_eq!(report.finish.outcome, Outcome::Errored);
    assert_eq!(&*report.finish.error.as_ref().expect("an error").reason, "LEASE_LOST");
    // Its work may still use the slot, until the runner says otherwise.
    assert_eq!(daemon.status().await.runners[0].slots_used, 1);
    peer.heartbeat(&[&lease]).await;
    assert_eq!(peer.heartbeat_ack().await.lost[0].lease_id, lease);
    let sequence = peer.succeed(&lease).await;
    peer.refused(sequence, "result", Code::FailedPrecondition, "LEASE_LOST").await;
    assert_eq!(daemon.status().await.runners[0].slots_used, 0);
}

#[tokio::test]
async fn an_accepted_lease_that_a_heartbeat_leaves_out_is_lost_at_once() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach_as(hello("forgetful", "instance-1", "WORK", 1)).await;
    daemon.stub.offer("a", "WORK");
    peer.start().await;
    peer.heartbeat(&[]).await;
    let report = daemon.stub.report("a").await;
    assert_eq!(&*report.finish.error.as_ref().expect("an error").reason, "LEASE_LOST");
    assert_eq!(daemon.status().await.runners[0].slots_used, 0);
}
