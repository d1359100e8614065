//! Runners that do not read, and runners that say too much.

use std::collections::BTreeMap;

use dlite::{
    core::{
        Core,
        effect::{Close, Effect, Note, Order},
        id::{LeaseId, LinkId},
        input::{Frame, Hello, Input},
        ledger::Ledger,
        time::{Mono, Now, Wall},
    },
    daemon,
    proto::runner::v1::{Heartbeat, Progress, attach_request, task_update::Update},
};
use tonic::Code;

use crate::support::{
    neighbour::Neighbour,
    peer::{reason, started, update},
    place::Place,
};

#[tokio::test]
async fn a_runner_that_does_not_read_loses_its_link_and_nobody_else_does() {
    let daemon = Place::new().start().await;
    let mut neighbour = Neighbour::of(&daemon).await;
    let mut deaf = daemon.attach("deaf", "WORK", 1).await;
    // Each of them asks for a long answer.
    let lease_ids: Vec<String> = (0..1_000).map(|n| format!("l-unknown-{n}")).collect();
    let flood = async {
        for heartbeat_id in 1.. {
            let heartbeat = Heartbeat { heartbeat_id, lease_ids: lease_ids.clone(), ..Heartbeat::default() };
            deaf.say(attach_request::Frame::Heartbeat(heartbeat)).await;
        }
    };
    let detached = daemon.noted(|note| match note {
        Note::RunnerDetached { runner, .. } if runner.as_str() == "deaf" => Some(()),
        _ => None,
    });
    tokio::select! {
        () = flood => unreachable!("it never ends"),
        () = detached => {}
    }
    neighbour.works().await;
    // Should it read after all, it hears why.
    assert_eq!(reason(&deaf.ended().await), (Code::ResourceExhausted, "LINK_OVERRUN".to_owned()));
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn ten_thousand_progress_frames_slow_nobody_but_their_sender() {
    let daemon = Place::new().start().await;
    let mut neighbour = Neighbour::of(&daemon).await;
    let mut peer = daemon.attach("chatty", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.start().await;
    let flood = async {
        for n in 0..10_000 {
            let progress = Progress { message: format!("{n}"), ..Progress::default() };
            peer.say(update(&lease, 0, Update::Progress(progress))).await;
        }
        peer.heartbeat(&[&lease]).await;
        peer.heartbeat_ack().await;
    };
    tokio::join!(flood, neighbour.works());
    // The latest one wins.
    let running = daemon.task("a").await.expect("open");
    assert_eq!(running.waiting_for, "runner chatty: working 9999");
    peer.succeed(&lease).await;
    daemon.stub.report("a").await;
    neighbour.ends_unhurt().await;
}

/// On several threads, so that the end of the link and the delegate's word about it may meet.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_counted_frames_is_taken_or_cut_and_hurts_nobody() {
    let daemon = Place::new().start().await;
    let mut neighbour = Neighbour::of(&daemon).await;
    let mut peer = daemon.attach("chatty", "WORK", 1).await;
    daemon.stub.offer("a", "WORK");
    let lease = peer.start().await;
    // How fast the disk is decides which of the two it is.
    let flood = async {
        for number in 1..=10_000 {
            peer.started(&lease, number).await;
        }
        let last = peer.sequence;
        peer.close_half();
        let status = peer.ended().await;
        match reason(&status) {
            (Code::Ok, _) => assert_eq!(peer.acknowledged, last),
            (code, reason) => assert_eq!((code, &*reason), (Code::ResourceExhausted, "LINK_OVERRUN")),
        }
    };
    tokio::join!(flood, neighbour.works());
    neighbour.ends_unhurt().await;
}

#[test]
fn more_unacknowledged_frames_than_allowed_end_the_link() {
    const SLOTS: u32 = 8;
    // 1,024 updates, and four frames a slot.
    const ALLOWED: u64 = 1_024 + 4 * SLOTS as u64;
    let now = Now { mono: Mono(1), wall: Wall(1) };
    let config = daemon::core_config(&Place::new().config);
    let mut core = Core::new(config, Ledger::default(), now, 1);
    let link = LinkId(1);
    let hello = Hello {
        runner: "chatty".into(),
        instance: "instance-1".into(),
        sdk: "".into(),
        handlers: Vec::new(),
        slots: BTreeMap::from([("default".into(), SLOTS)]),
        held: Vec::new(),
    };
    core.handle(now, Input::Attached { link, hello, peer: "test".into() });
    let mut said = 0;
    // The journal never says that anything is durable, so nothing is acknowledged.
    let closed = loop {
        said += 1;
        let frame = Frame::Started { lease: LeaseId(7), number: said };
        core.handle(now, Input::Received { link, sequence: said, frame });
        let detached = std::iter::from_fn(|| core.next_effect())
            .any(|effect| matches!(effect, Effect::Note(Note::RunnerDetached { .. })));
        if detached {
            break std::iter::from_fn(|| core.next_entry()).last().map(|entry| entry.lsn);
        }
        assert!(said <= 2 * ALLOWED, "never");
    };
    assert_eq!(said, ALLOWED + 1);
    core.handle(now, Input::Durable(closed.expect("the delegate's own records")));
    let overrun = |effect| matches!(effect, Effect::Send { order: Order::Close(Close::Overrun), .. });
    assert!(std::iter::from_fn(|| core.next_effect()).any(overrun));
}

#[tokio::test]
async fn unread_refusals_of_a_counted_flood_are_bounded_too() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    let mut deaf = daemon.attach("deaf", "WORK", 1).await;
    let flood = async {
        loop {
            deaf.say_counted(started("l-unknown", 1)).await;
        }
    };
    let detached = daemon.noted(|note| match note {
        Note::RunnerDetached { runner, .. } if runner.as_str() == "deaf" => Some(()),
        _ => None,
    });
    tokio::select! {
        () = flood => unreachable!("it never ends"),
        () = detached => {}
    }
    assert_eq!(reason(&deaf.ended().await), (Code::ResourceExhausted, "LINK_OVERRUN".to_owned()));
    neighbour.ends_unhurt().await;
}
