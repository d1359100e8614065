//! The double behaves as the server does, seen through a plain HTTP client.

use std::time::Duration;

use dlite::{
    doubles::drone::{Drone, NewBuild, NewStage, Options},
    upstreams::tls::install_crypto_provider,
};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::support::{SOON, TOKEN};

struct Caller {
    client: Client,
    server: Drone,
}

impl Caller {
    async fn new() -> Self {
        install_crypto_provider();
        let options = Options { hold: Duration::from_millis(100), ..Options::new(TOKEN) };
        let server = Drone::start(options).await.unwrap();
        Self { client: Client::builder().no_proxy().build().unwrap(), server }
    }

    async fn call(&self, method: Method, path: &str, body: impl ToString) -> (u16, String) {
        let url = format!("{}/rpc/v2{path}", self.server.endpoint());
        let sent = self.client.request(method, url).header("x-drone-token", TOKEN).body(body.to_string()).send();
        let answer = sent.await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.call(Method::PUT, path, body).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// An accepted stage.
    async fn accepted(&self) -> Value {
        let stage = self.server.submit(NewBuild::new(vec![NewStage::new("unit", "docker")])).unwrap().stages[0];
        let (status, text) = self.call(Method::POST, &format!("/stage/{stage}?machine=m1"), "").await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The same, running, with two steps.
    async fn running(&self) -> Value {
        let mut stage = self.accepted().await;
        stage["status"] = json!("running");
        stage["started"] = json!(1_738_660_005);
        let step = |number: i64| json!({"step_id": stage["id"], "number": number, "name": format!("s{number}"), "status": "pending"});
        stage["steps"] = json!([step(1), step(2)]);
        let (status, stage) = self.put("/stage/0", &stage).await;
        assert_eq!(status, 200, "{stage}");
        stage
    }
}

#[tokio::test]
async fn a_wrong_token_is_401_and_a_held_poll_ends_with_204() {
    let caller = Caller::new().await;
    let url = format!("{}/rpc/v2/ping", caller.server.endpoint());
    assert_eq!(caller.client.post(url).send().await.unwrap().status(), 401);
    assert_eq!(caller.call(Method::POST, "/ping", "").await.0, 200);
    let filter = json!({"kind": "pipeline", "type": "docker", "os": "", "arch": "", "variant": "", "kernel": ""});
    assert_eq!(caller.call(Method::POST, "/stage", &filter).await.0, 204);
    assert_eq!(caller.call(Method::POST, "/stage", "no json").await.0, 500);
    assert_eq!(caller.call(Method::POST, "/build/1/watch", "").await.0, 204);
    assert_eq!(caller.call(Method::POST, "/nodes/m1", "").await.0, 404);
}

#[tokio::test]
async fn an_offer_repeats_until_it_is_accepted_and_an_accept_works_once() {
    let caller = Caller::new().await;
    let stage = caller.server.submit(NewBuild::new(vec![NewStage::new("unit", "docker")])).unwrap().stages[0];
    for _ in 0..2 {
        let (status, offer) = caller.call(Method::POST, "/stage", r#"{"type":"docker"}"#).await;
        assert_eq!((status, serde_json::from_str::<Value>(&offer).unwrap()["id"].as_i64()), (200, Some(stage)));
    }
    let path = format!("/stage/{stage}?machine=m1");
    assert_eq!(caller.call(Method::POST, &path, "").await.0, 200);
    assert_eq!(caller.call(Method::POST, &path, "").await, (409, "Optimistic Lock Error\n".to_owned()));
    assert_eq!(caller.call(Method::POST, "/stage", r#"{"type":"docker"}"#).await.0, 204);
    assert_eq!(caller.call(Method::POST, "/stage/99?machine=m1", "").await.0, 500);
}

#[tokio::test]
async fn a_write_names_the_version_it_read() {
    let caller = Caller::new().await;
    let mut stage = caller.accepted().await;
    stage["status"] = json!("success");
    stage["started"] = json!(1);
    let stale =
        json!({"version": 1, "id": stage["id"], "build_id": stage["build_id"], "status": "success", "started": 1});
    assert_eq!(caller.put("/stage/1", &stale).await.0, 409);
    let (status, answer) = caller.put("/stage/999", &stage).await;
    assert_eq!((status, &answer["version"]), (200, &json!(3)), "the id of the path does not matter");
    assert_eq!(caller.put("/stage/1", &stage).await.0, 409, "a repeated PUT is a lost race");
    caller.server.read(|record| {
        assert_eq!((record.totals.effective, record.totals.stale, record.totals.conflicts), (1, 2, 0));
        assert_eq!(record.violations.total(), 1, "the stale one was not whole");
    });
}

#[tokio::test]
async fn a_steps_end_that_lost_its_race_is_500_with_the_text() {
    let caller = Caller::new().await;
    let stage = caller.running().await;
    let mut step = stage["steps"][0].clone();
    assert_eq!((&step["version"], step["id"].as_i64() > Some(0)), (&json!(1), true));
    let path = format!("/step/{}", step["id"]);
    let lines = json!([{"pos": 0, "out": "hello\n", "time": 0}]);
    assert_eq!(caller.call(Method::POST, &format!("{path}/logs/batch"), &lines).await.0, 500, "no live log yet");
    step["status"] = json!("running");
    step["started"] = json!(1);
    let (_, step) = caller.put(&path, &step).await;
    assert_eq!(caller.call(Method::POST, &format!("{path}/logs/batch"), &lines).await.0, 200);
    assert_eq!(caller.call(Method::POST, &format!("{path}/logs/upload"), &lines).await.0, 200);
    assert_eq!(caller.call(Method::POST, &format!("{path}/logs/upload"), &lines).await.0, 500, "it is there");
    let mut end = step.clone();
    end["status"] = json!("success");
    assert_eq!(caller.put(&path, &end).await.0, 200);
    let (status, text) = caller.put(&path, &end).await;
    assert!(status == 500 && text.as_str().unwrap().contains("Optimistic Lock Error"), "{text}");
    let (status, _) = caller.put(&path, &json!({"id": step["id"], "status": "running", "version": 1})).await;
    assert_eq!(status, 409);
}

#[tokio::test]
async fn a_second_registration_of_a_step_is_500_and_raises_the_version_all_the_same() {
    let caller = Caller::new().await;
    let stage = caller.running().await;
    assert_eq!(caller.put("/stage/1", &stage).await.0, 500);
    let row = caller.server.read(|record| record.stages[&stage["id"].as_i64().unwrap()].row.version);
    assert_eq!(row, stage["version"].as_i64().unwrap() + 1);
}

#[tokio::test]
async fn dependants_wait_for_all_and_a_failure_skips_them() {
    let caller = Caller::new().await;
    let after = NewStage { depends_on: vec!["unit".to_owned()], ..NewStage::new("after", "docker") };
    let always = NewStage { on_failure: true, ..NewStage { name: "always".to_owned(), ..after.clone() } };
    let build = NewBuild::new(vec![NewStage::new("unit", "docker"), after, always]);
    let submitted = caller.server.submit(build).unwrap();
    let (_, text) = caller.call(Method::POST, &format!("/stage/{}?machine=m1", submitted.stages[0]), "").await;
    let mut stage: Value = serde_json::from_str(&text).unwrap();
    stage["status"] = json!("failure");
    stage["started"] = json!(1);
    assert_eq!(caller.put("/stage/1", &stage).await.0, 200);
    let status = |nth: usize| caller.server.status(submitted.stages[nth]).unwrap();
    assert_eq!((status(1).as_str(), status(2).as_str()), ("skipped", "pending"));
    assert_eq!(caller.server.build_status(submitted.build).as_deref(), Some("pending"), "one stage is open");
    assert_eq!(caller.server.reap(), [submitted.build]);
    assert_eq!(status(2), "skipped");
}

#[tokio::test]
async fn a_cancel_is_told_to_who_watches_and_closes_what_is_open() {
    let caller = Caller::new().await;
    let stage = caller.running().await;
    let build = stage["build_id"].as_i64().unwrap();
    let path = format!("/build/{build}/watch");
    let watch = caller.call(Method::POST, &path, "");
    let cancel = async {
        caller.server.wait_until(|record| record.totals.watches_open == 1, SOON).await.unwrap();
        assert!(caller.server.cancel(build));
    };
    assert_eq!(tokio::join!(watch, cancel).0, (200, String::new()));
    assert_eq!(caller.call(Method::POST, &path, "").await.0, 204, "too late");
    let id = stage["id"].as_i64().unwrap();
    assert_eq!(caller.server.status(id).as_deref(), Some("killed"));
    let steps =
        caller.server.read(|record| record.steps_of(id).map(|seen| seen.row.status.clone()).collect::<Vec<_>>());
    assert_eq!(steps, ["skipped", "skipped"]);
}
