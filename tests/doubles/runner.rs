//! The runner family's calls.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dlite::doubles::manager::{Dialect, NewTask, RunnerTask};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Caller, TYPE, registration};

/// Registers a runner; its id.
async fn runner(caller: &Caller) -> String {
    let mut body = registration("runner-node");
    body["runner"] = json!(true);
    body.as_object_mut().unwrap().remove("supportedTaskTypes");
    caller.register(&body).await.json()["resource"]["delegateId"].as_str().unwrap().to_owned()
}

async fn get(caller: &Caller, path: &str) -> (u16, Value) {
    let answered = caller.call(Method::GET, path, "").await.unwrap();
    (answered.status, answered.json())
}

#[tokio::test]
async fn a_request_is_listed_to_runners_only_and_assigned_by_a_get() {
    let caller = Caller::new().await;
    let (runner, delegate) = (runner(&caller).await, caller.delegate("h").await);
    let secrets = r#"[{"id":"s","type":"secret/static","data":"e30="}]"#.to_owned();
    let own = RunnerTask { secrets, ..RunnerTask::default() };
    let task = caller.manager.submit(NewTask { runner: Some(own), ..NewTask::for_runners(TYPE, "{ }") }).unwrap();
    let legacy = caller.submit();

    let events = get(&caller, &format!("/api/executions/{runner}/runner-events")).await.1;
    let listed = &events["delegateRunnerEvents"];
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["taskId"]), (1, &json!(task)));
    assert_eq!(caller.listed(&delegate).await, [legacy]);

    let path = format!("/api/executions/{task}/request?delegateId={runner}&delegateInstanceId={runner}");
    let (status, answer) = get(&caller, &path).await;
    assert_eq!(status, 200);
    let request = &answer["requests"][0];
    assert_eq!((&request["task"]["type"], &request["task"]["forward"]), (&json!(TYPE), &Value::Null));
    assert_eq!(request["task"]["data"], json!(STANDARD.encode("{ }")));
    assert_eq!(request["secrets"][0]["type"], "secret/static");
    let other = format!("/api/executions/{task}/request?delegateId={delegate}&delegateInstanceId={delegate}");
    assert_eq!(get(&caller, &other).await.0, 404);

    let body = r#"{"id":"x","data":"e30=","error":"no","type":"t","code":"FAILED"}"#;
    let path = format!("/api/executions/{task}/task-response?runnerId={runner}");
    assert_eq!(caller.call(Method::POST, &path, body).await.unwrap().status, 204);
    let answer = caller.manager.effective(&task).unwrap();
    assert_eq!(
        (answer.dialect, &*answer.code, &*answer.error, &answer.data[..]),
        (Dialect::C, "FAILED", "no", &b"{}"[..])
    );
    assert_eq!(*answer.delegate, *runner);
}

#[tokio::test]
async fn no_daemon_set_is_wanted() {
    let caller = Caller::new().await;
    let runner = runner(&caller).await;
    for (call, answer) in [("reconcile", json!({"data": []})), ("tasks", json!({"requests": []}))] {
        let path = format!("/api/daemons/{runner}/{call}");
        let answered = caller.call(Method::POST, &path, r#"{"data":[]}"#).await.unwrap();
        assert_eq!((answered.status, answered.json()), (200, answer));
    }
}
