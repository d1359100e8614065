//! Every bound of a hello, broken.

use dlite::proto::runner::v1::{Capacity, Handler, HeldTask, Hello, RunnerInfo};
use tonic::Code;

use crate::support::{
    neighbour::Neighbour,
    peer::{hello, reason},
    place::Place,
};

type Break = fn(&mut Hello);

fn long(bytes: usize) -> String {
    "x".repeat(bytes)
}

fn many<T>(count: usize, make: impl Fn(usize) -> T) -> Vec<T> {
    (0..count).map(make).collect()
}

fn handler(task_type: impl Into<String>) -> Handler {
    Handler { task_type: task_type.into(), ..Handler::default() }
}

fn slots(slots: impl IntoIterator<Item = (String, u32)>) -> Option<Capacity> {
    Some(Capacity { slots: slots.into_iter().collect(), refuse_new_sessions: false })
}

/// Field as it is to be named, and what breaks its bound.
const BROKEN: &[(&str, Break)] = &[
    ("hello.runner_id", |hello| hello.runner_id = String::new()),
    ("hello.runner_id", |hello| hello.runner_id = long(65)),
    ("hello.runner_id", |hello| hello.runner_id = "with space".to_owned()),
    ("hello.runner_id", |hello| hello.runner_id = "läufer".to_owned()),
    ("hello.instance_id", |hello| hello.instance_id = String::new()),
    ("hello.instance_id", |hello| hello.instance_id = long(65)),
    ("hello.info.labels", |hello| {
        let labels = many(65, |n| (n.to_string(), String::new())).into_iter().collect();
        hello.info = Some(RunnerInfo { labels, ..RunnerInfo::default() });
    }),
    ("hello.handlers", |hello| hello.handlers = many(1_025, |n| handler(n.to_string()))),
    ("hello.handlers[0].task_type", |hello| hello.handlers[0].task_type = String::new()),
    ("hello.handlers[0].task_type", |hello| hello.handlers[0].task_type = long(129)),
    ("hello.handlers[1].task_type", |hello| hello.handlers.push(handler("ODD"))),
    ("hello.handlers[0].slot_class", |hello| hello.handlers[0].slot_class = long(129)),
    ("hello.handlers[0].default_timeout", |hello| {
        hello.handlers[0].default_timeout = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    }),
    ("hello.handlers[0].extensions", |hello| hello.handlers[0].extensions = many(1_025, |n| n.to_string())),
    ("hello.handlers[0].extensions", |hello| hello.handlers[0].extensions = vec![String::new()]),
    ("hello.handlers[0].match_labels", |hello| {
        hello.handlers[0].match_labels = many(65, |n| (n.to_string(), String::new())).into_iter().collect();
    }),
    ("hello.handlers[0].match_labels", |hello| hello.handlers[0].match_labels = [(long(129), String::new())].into()),
    ("hello.handlers[0].match_labels[os]", |hello| {
        hello.handlers[0].match_labels = [("os".to_owned(), long(1_025))].into();
    }),
    ("hello.capacity.slots", |hello| hello.capacity = slots(many(17, |n| (n.to_string(), 1)))),
    ("hello.capacity.slots", |hello| hello.capacity = slots([("default".to_owned(), 10_001)])),
    ("hello.capacity.slots", |hello| hello.capacity = slots(many(2, |n| (n.to_string(), u32::MAX)))),
    ("hello.capacity.slots", |hello| hello.capacity = slots([(long(129), 1)])),
    ("hello.features", |hello| hello.features = many(1_025, |n| n.to_string())),
    ("hello.features", |hello| hello.features = vec![long(129)]),
    ("hello.held_tasks", |hello| hello.held_tasks = many(10_001, |n| held("t", &format!("l-{n}")))),
    ("hello.held_tasks[0].task_id", |hello| hello.held_tasks = vec![held("", "l-1")]),
    ("hello.held_tasks[1].lease_id", |hello| hello.held_tasks = vec![held("t", "l-1"), held("t", "")]),
    ("hello.held_tasks[0].lease_id", |hello| hello.held_tasks = vec![held("t", &long(65))]),
];

fn held(task_id: &str, lease_id: &str) -> HeldTask {
    HeldTask { task_id: task_id.to_owned(), lease_id: lease_id.to_owned(), ..HeldTask::default() }
}

#[tokio::test]
async fn a_hello_that_breaks_a_bound_is_refused_by_the_field() {
    let daemon = Place::new().start().await;
    let neighbour = Neighbour::of(&daemon).await;
    for (nth, (field, break_it)) in BROKEN.iter().enumerate() {
        let mut hello = hello("odd", "instance-1", "ODD", 1);
        break_it(&mut hello);
        let mut peer = daemon.open().await;
        peer.say(dlite::proto::runner::v1::attach_request::Frame::Hello(hello)).await;
        let status = peer.ended().await;
        let told = format!("row {nth}, {field}: {status:?}");
        assert_eq!(reason(&status), (Code::InvalidArgument, "HELLO_INVALID".to_owned()), "{told}");
        assert_eq!(status.message().split(": ").next(), Some(*field), "{told}");
    }
    assert_eq!(daemon.status().await.runners.len(), 1);
    neighbour.ends_unhurt().await;
}

#[tokio::test]
async fn a_hello_at_its_bounds_is_welcome() {
    let daemon = Place::new().start().await;
    let mut full = hello(&long(64), &long(64), &long(128), 10_000);
    full.handlers.extend(many(1_023, |n| handler(n.to_string())));
    full.handlers[0].match_labels = many(64, |n| (n.to_string(), long(1_024))).into_iter().collect();
    full.features = many(1_024, |_| long(128));
    full.info = Some(RunnerInfo { sdk: long(10_000), ..RunnerInfo::default() });
    let peer = daemon.attach_as(full).await;
    let welcome = peer.welcome.expect("a welcome");
    assert_eq!((welcome.frame_bytes_max, welcome.payload_bytes_max), (4_194_304, 3_670_016));
    // An unknown feature is ignored, a text that is too long is cut.
    assert!(welcome.features.is_empty());
    assert_eq!(daemon.status().await.runners[0].sdk.len(), 4_096);
}

#[tokio::test]
async fn a_runner_without_handlers_is_attached_and_never_assigned_anything() {
    let daemon = Place::new().start().await;
    let mut idle = hello("idle", "instance-1", "ODD", 5);
    idle.handlers.clear();
    let mut peer = daemon.attach_as(idle).await;
    daemon.stub.offer("a", "ODD");
    daemon.stub.polls(3).await;
    peer.heartbeat(&[]).await;
    // The first frame after the welcome: nothing was assigned.
    peer.heartbeat_ack().await;
    assert_eq!(daemon.stub.read(|book| book.acquires), 0);
    assert_eq!(daemon.status().await.runners[0].slots_total, 5);
}

#[tokio::test]
async fn a_hello_with_a_number_is_refused() {
    let daemon = Place::new().start().await;
    let mut peer = daemon.open().await;
    let frame = dlite::proto::runner::v1::attach_request::Frame::Hello(hello("odd", "instance-1", "ODD", 1));
    peer.say_as(1, frame).await;
    let status = peer.ended().await;
    assert_eq!(reason(&status), (Code::InvalidArgument, "HELLO_INVALID".to_owned()));
    assert!(status.message().starts_with("sequence: "), "{status:?}");
}
