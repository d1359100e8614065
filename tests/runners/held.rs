//! What becomes of a task when its runner attaches again: the table of decisions, row by row, after a cut link and after a
//! restart of the daemon.

use std::{sync::Arc, time::Duration};

use dlite::{
    core::{effect::Note, task::Outcome},
    proto::runner::v1::{HeldTask, HeldTaskDisposition, Hello, TaskOutcome},
};

use crate::support::{
    peer::{Peer, decision, held, hello, hello_holding, result},
    place::{Place, Running},
    stub::Stub,
};

/// What happens between the two streams.
#[derive(Clone, Copy, Debug)]
enum Between {
    CutLink,
    Restart,
}

const BOTH: [Between; 2] = [Between::CutLink, Between::Restart];

/// One task in the hands of one runner.
struct Scene {
    between: Between,
    place: Place,
    daemon: Running,
    stub: Arc<Stub>,
    peer: Peer,
}

// === impl Scene ===

impl Scene {
    async fn new(between: Between) -> Self {
        let place = Place::new();
        let daemon = place.start().await;
        let stub = daemon.stub.clone();
        let peer = daemon.attach("runner", "WORK", 1).await;
        stub.offer("a", "WORK");
        Self { between, place, daemon, stub, peer }
    }

    /// The stream goes, what is between happens, and the runner attaches again.
    async fn attach_again(self, hello: Hello) -> (Running, Peer) {
        drop(self.peer);
        let daemon = match self.between {
            Between::CutLink => self.daemon,
            Between::Restart => {
                self.daemon.stop().await;
                self.place.start_with(&self.stub).await
            }
        };
        let peer = daemon.attach_as(hello).await;
        (daemon, peer)
    }
}

fn empty_handed() -> Hello {
    hello("runner", "instance-1", "WORK", 1)
}

fn holding(held: HeldTask) -> Hello {
    hello_holding("runner", "WORK", held)
}

async fn succeeds(daemon: &Running, peer: &mut Peer, lease: &str) {
    let sequence = peer.succeed(lease).await;
    peer.acknowledged(sequence).await;
    assert_eq!(daemon.stub.report("a").await.finish.outcome, Outcome::Succeeded);
    daemon.stub.read(|book| assert_eq!((book.acquired.len(), book.reports.len()), (1, 1)));
}

#[tokio::test]
async fn assigned_and_not_held_is_sent_again_under_the_same_lease() {
    for between in BOTH {
        let mut scene = Scene::new(between).await;
        let lease = scene.peer.assignment().await.lease_id;
        let (daemon, mut peer) = scene.attach_again(empty_handed()).await;
        assert_eq!(peer.start().await, lease, "{between:?}");
        succeeds(&daemon, &mut peer, &lease).await;
    }
}

#[tokio::test]
async fn assigned_and_held_is_asked_for_its_accept_again() {
    for between in BOTH {
        let mut scene = Scene::new(between).await;
        let lease = scene.peer.assignment().await.lease_id;
        let undecided = HeldTask { accept_acknowledged: false, ..held(&lease) };
        let (daemon, mut peer) = scene.attach_again(holding(undecided)).await;
        assert_eq!(decision(&peer), (lease.clone(), HeldTaskDisposition::ResendDecision), "{between:?}");
        let accepted = peer.accept(&lease).await;
        peer.acknowledged(accepted).await;
        succeeds(&daemon, &mut peer, &lease).await;
    }
}

#[tokio::test]
async fn accepted_and_not_held_is_lost_at_once() {
    for between in BOTH {
        let mut scene = Scene::new(between).await;
        scene.peer.start().await;
        // A new process of the runner, as after a crash.
        let (daemon, _peer) = scene.attach_again(hello("runner", "instance-2", "WORK", 1)).await;
        let report = daemon.stub.report("a").await;
        assert_eq!(report.finish.outcome, Outcome::Errored, "{between:?}");
        assert_eq!(&*report.finish.error.as_ref().expect("an error").reason, "LEASE_LOST");
    }
}

#[tokio::test]
async fn accepted_and_unfinished_is_kept() {
    for between in BOTH {
        let mut scene = Scene::new(between).await;
        let lease = scene.peer.start().await;
        let (daemon, mut peer) = scene.attach_again(holding(held(&lease))).await;
        assert_eq!(decision(&peer), (lease.clone(), HeldTaskDisposition::Keep), "{between:?}");
        // Its slot is in use: nothing more is taken.
        assert_eq!(daemon.status().await.runners[0].slots_used, 1);
        succeeds(&daemon, &mut peer, &lease).await;
    }
}

#[tokio::test]
async fn a_kept_task_that_is_to_stop_is_told_so_again() {
    for between in BOTH {
        let mut scene = Scene::new(between).await;
        let lease = scene.peer.start().await;
        scene.stub.abort("a");
        assert_eq!(scene.peer.cancellation().await.lease_id, lease);
        let (daemon, mut peer) = scene.attach_again(holding(held(&lease))).await;
        assert_eq!(decision(&peer), (lease.clone(), HeldTaskDisposition::Keep), "{between:?}");
        assert_eq!(peer.cancellation().await.lease_id, lease);
        peer.say_counted(result(&lease, TaskOutcome::Cancelled)).await;
        assert_eq!(daemon.stub.report("a").await.finish.outcome, Outcome::Cancelled);
    }
}

#[tokio::test]
async fn accepted_and_finished_is_asked_for_its_result() {
    for between in BOTH {
        let mut scene = Scene::new(between).await;
        let lease = scene.peer.start().await;
        let finished = HeldTask { finished: true, ..held(&lease) };
        let (daemon, mut peer) = scene.attach_again(holding(finished)).await;
        assert_eq!(decision(&peer), (lease.clone(), HeldTaskDisposition::ResendResult), "{between:?}");
        succeeds(&daemon, &mut peer, &lease).await;
    }
}

#[tokio::test]
async fn a_result_in_the_journal_is_acknowledged_and_costs_no_slot() {
    for between in BOTH {
        let mut scene = Scene::new(between).await;
        scene.stub.deafen(true);
        let lease = scene.peer.start().await;
        let sequence = scene.peer.succeed(&lease).await;
        scene.peer.acknowledged(sequence).await;
        let finished = HeldTask { finished: true, ..held(&lease) };
        let (daemon, peer) = scene.attach_again(holding(finished)).await;
        assert_eq!(decision(&peer), (lease, HeldTaskDisposition::Acknowledged), "{between:?}");
        assert_eq!(daemon.status().await.runners[0].slots_used, 0);
        daemon.stub.deafen(false);
        assert_eq!(daemon.stub.report("a").await.finish.outcome, Outcome::Succeeded);
    }
}

#[tokio::test]
async fn a_result_that_is_reported_already_is_acknowledged_after_a_cut() {
    let mut scene = Scene::new(Between::CutLink).await;
    let lease = scene.peer.start().await;
    scene.peer.succeed(&lease).await;
    scene.stub.report("a").await;
    scene.daemon.noted(|note| matches!(note, Note::Reported(_)).then_some(())).await;
    let finished = HeldTask { finished: true, ..held(&lease) };
    let (daemon, peer) = scene.attach_again(holding(finished)).await;
    assert_eq!(decision(&peer), (lease, HeldTaskDisposition::Acknowledged));
    assert_eq!(daemon.status().await.runners[0].slots_used, 0);
}

#[tokio::test]
async fn a_lease_that_was_lost_meanwhile_is_abandoned_with_a_reason() {
    for between in BOTH {
        let mut scene = Scene::new(between).await;
        let lease = scene.peer.start().await;
        // Left out of a heartbeat, it is lost, and reported as such.
        scene.peer.heartbeat(&[]).await;
        scene.stub.report("a").await;
        scene.daemon.noted(|note| matches!(note, Note::Reported(_)).then_some(())).await;
        let (daemon, peer) = scene.attach_again(holding(held(&lease))).await;
        assert_eq!(decision(&peer), (lease, HeldTaskDisposition::Abandon), "{between:?}");
        let reason = peer.welcome.as_ref().expect("a welcome").decisions[0].reason.as_ref().expect("a reason");
        assert!(reason.message.contains("not in force"), "{reason:?}");
        // Its work may not have stopped yet, so its slot is in use.
        assert_eq!(daemon.status().await.runners[0].slots_used, 1);
    }
}

#[tokio::test]
async fn a_withdrawn_assignment_is_abandoned() {
    let place = Place::with(|config| config.runners.accept_timeout = Duration::from_millis(50));
    let daemon = place.start().await;
    let mut peer = daemon.attach("runner", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.assignment().await.lease_id;
    daemon.noted(|note| matches!(note, Note::AssignmentEnded { .. }).then_some(())).await;
    drop(peer);
    let undecided = HeldTask { accept_acknowledged: false, ..held(&lease) };
    let peer = daemon.attach_as(holding(undecided)).await;
    assert_eq!(decision(&peer), (lease, HeldTaskDisposition::Abandon));
}

#[tokio::test]
async fn what_another_delegate_handed_out_is_abandoned_under_its_own_name() {
    let daemon = Place::new().start().await;
    let foreign = daemon.attach_as(holding(held("l-0badcafe-12"))).await;
    assert_eq!(decision(&foreign), ("l-0badcafe-12".to_owned(), HeldTaskDisposition::Abandon));
}

#[tokio::test]
async fn another_runners_lease_is_abandoned_and_stays_with_its_holder() {
    let mut scene = Scene::new(Between::CutLink).await;
    let lease = scene.peer.start().await;
    let thief = scene.daemon.attach_as(hello_holding("thief", "OTHER", held(&lease))).await;
    assert_eq!(decision(&thief), (lease.clone(), HeldTaskDisposition::Abandon));
    succeeds(&scene.daemon, &mut scene.peer, &lease).await;
}

#[tokio::test]
async fn an_acknowledgement_that_the_journal_lacks_is_noted() {
    for between in BOTH {
        let mut scene = Scene::new(between).await;
        let lease = scene.peer.start().await;
        let ahead = HeldTask { acknowledged_number: 3, ..held(&lease) };
        let (daemon, mut peer) = scene.attach_again(holding(ahead)).await;
        daemon.noted(|note| matches!(note, Note::JournalRolledBack { .. }).then_some(())).await;
        assert_eq!(decision(&peer), (lease.clone(), HeldTaskDisposition::Keep));
        succeeds(&daemon, &mut peer, &lease).await;
    }
}
