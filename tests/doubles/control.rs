use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answered, Caller, TYPE, body_a};

async fn dev(caller: &Caller, method: Method, path: &str, body: &str) -> Answered {
    caller.send(method, &format!("/dev/tasks{path}"), None, body.to_owned()).await.unwrap()
}

#[tokio::test]
async fn a_task_is_submitted_watched_and_answered_over_http() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let submitted = dev(&caller, Method::POST, &format!("?type={TYPE}&timeout_ms=5000"), r#"{"n":1}"#).await;
    assert_eq!(submitted.status, 200);
    let id = submitted.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(caller.listed(&delegate).await, [&*id]);
    assert_eq!(caller.acquire(&delegate, &id, "i").await.json()["timeout"], 5000);

    let path = format!("/{id}?wait_ms=10000");
    let watch = dev(&caller, Method::GET, &path, "");
    let (shown, _) = tokio::join!(watch, caller.result_a(&delegate, &id, body_a("FAILED", r#"{"v":1.50}"#)));
    assert!(shown.text.contains(r#""data":{"v":1.50}"#), "{}", shown.text);
    let shown = shown.json();
    assert_eq!((&shown["state"], &shown["type"], &shown["listed"]), (&json!("reported"), &json!(TYPE), &json!(1)));
    assert_eq!((&shown["result"]["dialect"], &shown["result"]["code"]), (&json!("A"), &json!("FAILED")));
}

#[tokio::test]
async fn a_task_is_aborted_over_http() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let id = caller.submit();
    caller.acquire(&delegate, &id, "i").await;
    let told = dev(&caller, Method::POST, &format!("/{id}/abort"), "").await;
    assert_eq!(told.json(), json!({"told": true}));
    let shown = dev(&caller, Method::GET, &format!("/{id}"), "").await.json();
    assert_eq!((&shown["state"], &shown["result"]), (&json!("aborted"), &Value::Null));
}

#[tokio::test]
async fn a_bad_submission_is_told_why() {
    let caller = Caller::new().await;
    let no_type = dev(&caller, Method::POST, "", "{}").await;
    assert_eq!(no_type.status, 400);
    assert!(no_type.json()["error"].as_str().unwrap().contains("type"), "{}", no_type.text);
    let no_json = dev(&caller, Method::POST, "?type=X", "{").await;
    assert_eq!(no_json.json()["error"], "the data of a task must be json: it breaks at line 1, column 1");
    assert_eq!(dev(&caller, Method::GET, "/none", "").await.status, 404);
    assert_eq!(dev(&caller, Method::GET, "/none?wait_ms=x", "").await.status, 400);
}
