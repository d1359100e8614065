//! The way of a log to its sink, below its task.

use std::collections::BTreeMap;

use dlite::doubles::{log_service::LogService, manager::NewTask};

use crate::{
    receiver::{Transport, attribute},
    scene::{ACCOUNT, Scene, trace_id},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_of_a_log_is_a_span_of_its_task_with_what_the_log_came_to() {
    let mut scene = Scene::start(Transport::Grpc, "").await;
    let service = LogService::start("hunter-of-the-logs").await.unwrap();
    scene.lab.start_runner("r-1", 1);
    let config = service.config(ACCOUNT, false);
    let data = serde_json::json!({ "millis": 1, "lines": 3, "log_key": "k", "log_config": config });
    let task = scene.lab.manager.submit(NewTask::new("DEV_WORK", data.to_string())).unwrap();
    assert_eq!(scene.result(&task).await, "OK");
    let is_there =
        |trace: &crate::receiver::Trace| !trace.named("log").is_empty() && trace.0.iter().any(crate::receiver::is_task);
    let trace = scene.receiver.trace_when(&trace_id(&task), "log and task", is_there).await;
    trace.assert_connected("");
    let (log, root) = (trace.one("log"), trace.one("task DEV_WORK"));
    assert_eq!(log.parent_span_id, root.span_id);
    assert_eq!(attribute(log, "dlite.upload.tries").as_deref(), Some("1"));
    let closed = log.events.iter().find(|event| event.name == "closed").expect("it was closed");
    let receipt: BTreeMap<&str, String> =
        closed.attributes.iter().map(|attribute| (attribute.key.as_str(), format!("{:?}", attribute.value))).collect();
    assert!(receipt["dlite.log.lines"].contains("IntValue(3)"), "{receipt:?}");
    assert!(receipt["dlite.log.missing_lines"].contains("IntValue(0)"), "{receipt:?}");
    let token = b"hunter-of-the-logs";
    assert!(!scene.receiver.book().raw.windows(token.len()).any(|part| part == token), "no span shows a token");
    scene.stop();
}
