//! Which traces are kept.

use dlite::doubles::manager::NewTask;

use crate::{
    receiver::{Transport, attribute, is_error},
    scene::{Scene, trace_id},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_badly_is_kept_whole_whatever_the_ratio_and_the_rest_is_not() {
    let mut scene = Scene::start(Transport::Grpc, "sample_ratio = 0\n").await;
    scene.lab.start_runner("r-1", 4);
    let good = scene.lab.submit("DEV_WORK", 1);
    assert_eq!(scene.result(&good).await, "OK");
    let bad = scene.lab.manager.submit(NewTask::new("DEV_WORK", r#"{"fail":"hunter2 is the password"}"#)).unwrap();
    assert_eq!(scene.result(&bad).await, "FAILED");
    let trace = scene.receiver.whole(&trace_id(&bad)).await;
    scene.stop();
    trace.assert_connected("");
    assert_eq!(trace.0.len(), 8, "{:?}", trace.names());
    let root = trace.one("task DEV_WORK");
    assert!(is_error(root) && is_error(trace.one("run")) && !is_error(trace.one("report")));
    assert_eq!(attribute(root, "cicd.pipeline.task.run.result").as_deref(), Some("failure"));
    assert_eq!(attribute(root, "error.type").as_deref(), Some("TASK_FAILED"));
    let book = scene.receiver.book();
    assert_eq!(book.trace(&trace_id(&good)).0.len(), 0);
    assert!(!book.raw.windows(7).any(|part| part == b"hunter2"), "a message is no stable word");
}
