//! A trace goes on over the death of its delegate, and tells of each attempt.

use crate::{
    receiver::{Transport, attribute, is_error},
    scene::{Scene, trace_id},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_goes_on_when_the_delegate_is_killed_in_the_midst_of_a_task() {
    let mut scene = Scene::start(Transport::Grpc, "").await;
    scene.start_sdk_runner("r-1");
    let id = scene.lab.submit("DEV_ONCE", 1_500);
    scene.started(1).await;
    scene.lab.kill_delegate();
    scene.lab.start_delegate();
    assert_eq!(scene.result(&id).await, "OK");
    scene.receiver.whole(&trace_id(&id)).await;
    scene.stop();
    let trace = scene.receiver.book().trace(&trace_id(&id));
    trace.assert_connected("");
    let mut names = trace.names();
    names.sort_unstable();
    let expected = ["acquire", "admit", "assign", "handle DEV_ONCE", "poll", "queue", "report", "run", "task DEV_ONCE"];
    assert_eq!(names, expected);
    let run = trace.one("run");
    let took = run.end_time_unix_nano - run.start_time_unix_nano;
    assert!(took >= 1_500_000_000, "the run is seen from its accept on: {took} ns");
    assert_eq!(trace.one("handle DEV_ONCE").parent_span_id, run.span_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_attempt_links_to_the_first() {
    let mut scene = Scene::start(Transport::Http, "").await;
    let runner = scene.lab.start_runner("r-1", 1);
    let id = scene.lab.submit("DEV_WORK", 700);
    scene.started(1).await;
    // The newcomer does not know the task, so its lease is lost at once and it is given out anew.
    scene.lab.restart_runner(runner, "r-1", 1);
    assert_eq!(scene.result(&id).await, "OK");
    let trace = scene.receiver.whole(&trace_id(&id)).await;
    trace.assert_connected("");
    let [first, second] = trace.named("run")[..] else { panic!("not two runs in {:?}", trace.names()) };
    assert_eq!(
        (attribute(first, "dlite.attempt"), attribute(second, "dlite.attempt")),
        (Some("1".into()), Some("2".into()))
    );
    assert_eq!(attribute(first, "error.type").as_deref(), Some("LEASE_LOST"));
    assert!(is_error(first) && !is_error(second) && first.links.is_empty());
    let [link] = &second.links[..] else { panic!("one link, not {:?}", second.links) };
    assert_eq!((&link.span_id, &link.trace_id), (&first.span_id, &first.trace_id));
    assert_eq!((trace.named("queue").len(), trace.named("assign").len()), (2, 2));
    assert_eq!(attribute(trace.one("task DEV_WORK"), "dlite.attempts").as_deref(), Some("2"));
}
