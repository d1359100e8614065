//! `explain` names what a task waits for: runners, slots, the host, leases and graces.

use std::time::Duration;

use dlite::{
    core::{effect::Note, life::Phase, wait::Name},
    proto::admin::v1::{CancelTaskRequest, DrainRequest},
};

use crate::{
    operator::{explain, waits},
    support::place::Place,
};

#[tokio::test]
async fn no_runner_for_the_type_is_named_with_the_nearest_type_that_is_attached() {
    let daemon = Place::new().start().await;
    let _peer = daemon.attach("vm-1", "DLITE_CI_VM_EXECUTE_TASK", 1).await;
    daemon.stub.offer("a", "DLITE_CI_VM_EXECUTE_TAKS");
    let why = waits(&daemon, "a", "no_runner").await;
    assert_eq!((why.detail("nearest"), why.detail("nearest_runner")), ("DLITE_CI_VM_EXECUTE_TASK", "vm-1"));
    assert_eq!((why.detail("reason"), &*why.task.state, &*why.task.task_id), ("NO_RUNNER", "listed", ""));
    assert!(why.sentence.starts_with("task a of upstream stub is on offer and not taken, for "), "{}", why.sentence);
    assert!(why.sentence.contains("(nearest: DLITE_CI_VM_EXECUTE_TASK of runner vm-1)"), "{}", why.sentence);
    assert!(
        why.sentence.ends_with("until a runner with a handler for its type and labels attaches."),
        "{}",
        why.sentence
    );
}

#[tokio::test]
async fn credits_that_are_used_up_are_named_with_their_class_and_count() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("vm-1", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.start().await;
    daemon.stub.offer("b", "WORK");
    let why = waits(&daemon, "b", "slot").await;
    assert_eq!((why.detail("class"), why.detail("slots_used"), why.detail("slots")), ("default", "1", "1"));
    assert!(why.sentence.contains("all slots of class default are in use (1/1)"), "{}", why.sentence);
    // The trace of a task tells what it waited for, too.
    peer.succeed(&lease).await;
    let lease = peer.assignment().await.lease_id;
    peer.accept(&lease).await;
    peer.succeed(&lease).await;
    let waited = daemon.noted(|note| match note {
        Note::StagesEnded(life) if life.external_id.as_str() == "b" => {
            let admit = life.stages.iter().find(|stage| stage.phase == Phase::Admit)?;
            Some(admit.waits.iter().map(|waited| waited.name).collect::<Vec<_>>())
        }
        _ => None,
    });
    assert_eq!(waited.await, [Name::Slot]);
}

#[tokio::test]
async fn a_host_that_is_too_full_is_named_with_its_reading() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("memory.max", "1000\n");
    write("memory.current", "930\n");
    let place = Place::with(|config| {
        config.admission.interval = Duration::from_millis(20);
        config.admission.cgroup_dir = Some(directory.path().to_owned());
        config.admission.memory = dlite::config::Marks { high: 85, low: 75 };
    });
    let daemon = place.start().await;
    daemon.stub.offer("a", "WORK");
    let _peer = daemon.attach("vm-1", "WORK", 1).await;
    let why = waits(&daemon, "a", "admission").await;
    assert_eq!((why.detail("resource"), why.detail("percent"), why.detail("mark")), ("memory", "93", "85"));
    assert!(why.sentence.ends_with("until the host's memory is at or below its low mark again."), "{}", why.sentence);
}

#[tokio::test]
async fn a_silent_runner_is_named_with_the_end_of_its_lease() {
    let daemon = Place::with(|config| config.runners.lease_ttl = Duration::from_secs(60)).start().await;
    let mut peer = daemon.attach("vm-1", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    peer.start().await;
    assert_eq!(waits(&daemon, "a", "runner").await.wait.text, "runner vm-1 to finish it");
    drop(peer);
    let why = waits(&daemon, "a", "runner_silent").await;
    assert_eq!((why.detail("runner"), why.detail("attached")), ("vm-1", "false"));
    assert!((50.0..=60.0).contains(&why.seconds_left()), "{}", why.seconds_left());
    assert!(why.sentence.contains("runner vm-1 to come back (lease ends in 5"), "{}", why.sentence);
}

#[tokio::test]
async fn a_lease_that_is_about_to_end_is_named_with_what_becomes_of_the_task() {
    let place = Place::with(|config| {
        config.runners.heartbeat_interval = Duration::from_millis(100);
        config.runners.lease_ttl = Duration::from_secs(4);
    });
    let daemon = place.start().await;
    let mut peer = daemon.attach("vm-1", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    peer.start().await;
    drop(peer);
    let why = waits(&daemon, "a", "lease_ending").await;
    assert_eq!((why.detail("runner"), why.detail("repeats")), ("vm-1", "false"));
    assert!(why.seconds_left() <= 1.0, "{}", why.seconds_left());
    assert!(why.sentence.ends_with("and the task fails with LEASE_LOST."), "{}", why.sentence);
}

#[tokio::test]
async fn the_grace_of_a_cancel_is_named_with_who_cancelled_and_when_it_is_over() {
    let place = Place::with(|config| {
        config.runners.cancel_grace = Duration::from_secs(40);
        config.runners.revoke_margin = Duration::from_secs(1);
    });
    let daemon = place.start().await;
    let mut peer = daemon.attach("vm-1", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    peer.start().await;
    let stop = CancelTaskRequest { task_id: "a".to_owned(), reason: "wrong branch".to_owned(), ..Default::default() };
    daemon.admin().await.cancel_task(stop).await.unwrap();
    let why = waits(&daemon, "a", "cancel_grace").await;
    assert_eq!((why.detail("runner"), why.detail("message")), ("vm-1", "wrong branch"));
    assert!((30.0..=41.0).contains(&why.seconds_left()), "{}", why.seconds_left());
    assert!(why.sentence.contains("runs and waits for runner vm-1 to stop it (wrong branch)"), "{}", why.sentence);
}

#[tokio::test]
async fn a_drain_is_named_with_how_to_take_it_back() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.attach("vm-1", "WORK", 2).await;
    daemon.stub.offer("a", "WORK");
    peer.start().await;
    daemon.admin().await.drain(DrainRequest::default()).await.unwrap();
    daemon.stub.offer("b", "WORK");
    let why = waits(&daemon, "b", "drain").await;
    assert_eq!(why.detail("reason"), "DRAINING");
    assert!(why.sentence.ends_with("until `dlite resume`, or another delegate takes it."), "{}", why.sentence);
}

#[tokio::test]
async fn a_task_that_is_gone_is_explained_for_a_while_and_an_unknown_one_never() {
    let daemon = Place::new().start().await;
    daemon.stub.offer("a", "NOBODYS");
    waits(&daemon, "a", "no_runner").await;
    daemon.stub.withdraw("a");
    let gone = loop {
        let found = explain(&daemon, "a").await.expect("it is remembered").remove(0);
        if found.task.is_none() {
            break found.sentence;
        }
        daemon.stub.polls(1).await;
    };
    assert!(gone.starts_with("task a of upstream stub is not here any more: "), "{gone}");
    assert!(gone.contains("was left to others") && gone.contains("NO_RUNNER"), "{gone}");

    let mut peer = daemon.attach("vm-1", "WORK", 1).await;
    daemon.stub.offer("b", "WORK");
    let lease = peer.start().await;
    let id = daemon.task("b").await.expect("open").task_id;
    peer.succeed(&lease).await;
    daemon.stub.report("b").await;
    let ended = loop {
        // By the delegate's id as well as by the upstream's.
        let found = explain(&daemon, &id).await.expect("it is remembered").remove(0);
        if found.task.is_none() {
            break found.sentence;
        }
        daemon.stub.polls(1).await;
    };
    assert!(ended.contains("ended here as succeeded, and its upstream has the result"), "{ended}");

    daemon.stub.take_down(true);
    daemon.noted(|note| matches!(note, Note::UpstreamFailing { .. }).then_some(())).await;
    let refused = explain(&daemon, "never").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    assert!(refused.message().contains("upstream stub is unreachable"), "{}", refused.message());
}

#[test]
fn every_wait_has_its_line_in_the_docs() {
    let page = include_str!("../../docs/waits.md");
    for name in Name::ALL {
        assert!(page.contains(&format!("| `{name}` |")), "{name} is missing in docs/waits.md");
    }
}

#[tokio::test]
async fn the_waits_of_all_tasks_are_a_metric() {
    let daemon = Place::new().start().await;
    daemon.stub.offer("a", "NOBODYS");
    waits(&daemon, "a", "no_runner").await;
    let counted = async || {
        let page = crate::ask::metrics(daemon.http()).await;
        let family = &page.families["dlite_tasks_waiting"];
        assert_eq!(family.samples.len(), Name::ALL.len(), "one series a name, so that each goes back to zero");
        family.samples.iter().any(|sample| sample.labels["wait"] == "no_runner" && sample.value >= 1.0)
    };
    // The loop leaves a reading at most once a second.
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while !counted().await {
        assert!(std::time::Instant::now() < deadline, "never counted");
        daemon.stub.polls(1).await;
    }
}
