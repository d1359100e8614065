use dlite::doubles::manager::{Calls, RegisterAnswer, TaskState};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Caller, TYPE, registration};

#[tokio::test]
async fn the_same_host_and_ip_is_the_same_delegate() {
    let caller = Caller::new().await;
    let first = caller.delegate("a").await;
    assert_eq!(caller.delegate("a").await, first);
    assert_ne!(caller.delegate("b").await, first);
    let mut moved = registration("a");
    moved["ip"] = json!("192.0.2.18");
    assert_ne!(caller.register(&moved).await.json()["resource"]["delegateId"], first);
    assert_eq!(caller.manager.record().registers.total(), 4);
}

#[tokio::test]
async fn an_unknown_delegate_is_told_so_by_a_200() {
    let caller = Caller::new().await;
    assert_eq!(caller.heartbeat("nobody", &[]).await["resource"]["status"], "DELETED");
    assert_eq!(caller.poll("nobody").await, []);
    let task = caller.submit();
    assert_eq!(caller.acquire("nobody", &task, "i").await.status, 500);
}

#[tokio::test]
async fn a_heartbeat_is_recorded_with_the_tasks_it_lists() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    assert_eq!(caller.heartbeat(&delegate, &["t1", "t2"]).await["resource"]["status"], "ENABLED");
    let record = caller.manager.record();
    let heartbeat = record.heartbeats.last().unwrap();
    assert_eq!(heartbeat.body.currently_executing_delegate_tasks.as_deref(), Some(&["t1".into(), "t2".into()][..]));
    assert!(heartbeat.known);
}

#[tokio::test]
async fn a_forgotten_delegate_gets_a_new_id() {
    let caller = Caller::new().await;
    let first = caller.delegate("a").await;
    caller.manager.forget_delegates();
    assert_eq!(caller.heartbeat(&first, &[]).await["resource"]["status"], "DELETED");
    let second = caller.delegate("a").await;
    assert_ne!(second, first);
    assert_eq!(caller.heartbeat(&second, &[]).await["resource"]["status"], "ENABLED");
}

#[tokio::test]
async fn a_registration_is_refused_by_200_or_204() {
    let caller = Caller::new().await;
    let refuse = |answer| caller.manager.refuse_registers(answer, Calls::Next(1));
    refuse(RegisterAnswer::SelfDestruct);
    refuse(RegisterAnswer::Migrate("https://other.example.test".into()));
    refuse(RegisterAnswer::NullId);
    refuse(RegisterAnswer::NoContent);

    let mut answers = Vec::new();
    for _ in 0..3 {
        let answered = caller.register(&registration("a")).await;
        assert_eq!(answered.status, 200);
        let resource = answered.json()["resource"].clone();
        assert_eq!(resource["delegateId"], Value::Null);
        answers.push((resource["action"].clone(), resource["migrateUrl"].clone()));
    }
    let expected = [
        (json!("SELF_DESTRUCT"), Value::Null),
        (json!("MIGRATE"), json!("https://other.example.test")),
        (Value::Null, Value::Null),
    ];
    assert_eq!(answers, expected);
    let answered = caller.register(&registration("a")).await;
    assert_eq!((answered.status, &*answered.text), (204, ""));
    caller.delegate("a").await;
}

#[tokio::test]
async fn an_unreadable_or_foreign_registration_is_400() {
    let caller = Caller::new().await;
    let answered = caller.call(Method::POST, "/api/agent/delegates/register", "{").await.unwrap();
    assert_eq!(answered.status, 400);
    let mut foreign = registration("a");
    foreign["accountId"] = json!("other");
    assert_eq!(caller.register(&foreign).await.status, 400);
}

#[tokio::test]
async fn unregistering_finds_the_delegate_by_host_and_fails_its_tasks() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let task = caller.submit();
    assert_eq!(caller.acquire(&delegate, &task, "i").await.status, 200);
    let path = "/api/agent/delegates/unregister";
    for (host, state) in [("other", "assigned"), ("a", "delegate_gone")] {
        let body = json!({"delegateId": delegate, "hostName": host, "ng": true, "ipAddress": "192.0.2.17"});
        let answered = caller.call(Method::POST, path, body.to_string()).await.unwrap();
        assert_eq!((answered.status, &answered.json()["resource"]), (200, &Value::Null));
        assert_eq!(caller.manager.task(&task).unwrap().state.name(), state);
    }
    assert_eq!(caller.heartbeat(&delegate, &[]).await["resource"]["status"], "DELETED");
}

#[tokio::test]
async fn an_immutable_delegate_loses_its_tasks_when_it_registers_again() {
    let caller = Caller::new().await;
    let mut body = registration("a");
    body["immutable"] = json!(true);
    caller.register(&body).await;
    let delegate = caller.delegate("a").await;
    let task = caller.submit();
    caller.acquire(&delegate, &task, "i").await;
    caller.delegate("a").await;
    assert!(matches!(caller.manager.task(&task).unwrap().state, TaskState::Assigned { .. }));
    caller.register(&body).await;
    assert_eq!(caller.manager.task(&task).unwrap().state.name(), "delegate_gone");
}

#[tokio::test]
async fn a_full_delegate_is_offered_nothing_once_it_has_more_than_it_announced() {
    let caller = Caller::new().await;
    let delegate = caller.delegate("a").await;
    let path = format!("/api/agent/delegates/register-delegate-capacity/{delegate}");
    let answered = caller.call(Method::POST, &path, r#"{"maximumNumberOfBuilds":1}"#).await.unwrap();
    assert_eq!(answered.status, 204);
    let tasks: Vec<_> = (0..3).map(|_| caller.submit()).collect();
    caller.acquire(&delegate, &tasks[0], "i").await;
    assert_eq!(caller.listed(&delegate).await, tasks[1..]);
    caller.acquire(&delegate, &tasks[1], "i").await;
    assert_eq!(caller.poll(&delegate).await, []);
}

#[tokio::test]
async fn a_delegate_is_offered_the_types_it_registered() {
    let caller = Caller::new().await;
    let mut body = registration("a");
    body["supportedTaskTypes"] = Value::Null;
    let delegate = caller.register(&body).await.json()["resource"]["delegateId"].as_str().unwrap().to_owned();
    let task = caller.submit();
    assert_eq!(caller.poll(&delegate).await, []);
    body["supportedTaskTypes"] = json!([TYPE]);
    caller.register(&body).await;
    assert_eq!(caller.listed(&delegate).await, [task]);
}
