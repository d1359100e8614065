//! A client that speaks to the double by hand, so that nothing of the delegate is between.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dlite::{
    doubles::manager::{Manager, NewTask, Options},
    upstreams::{
        harness::token::{AccountSecret, seal},
        tls::install_crypto_provider,
    },
};
use reqwest::{Client, Method, redirect::Policy};
use serde_json::{Value, json};
use uuid::Uuid;

pub const ACCOUNT: &str = "acctEXAMPLE0000000001";
pub const SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
pub const TYPE: &str = "DLITE_CI_VM_EXECUTE_TASK";

/// Long enough for any machine; no test that passes waits for it.
pub const SOON: Duration = Duration::from_secs(10);

pub struct Answered {
    pub status: u16,
    pub text: String,
}

impl Answered {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The `code` of an error envelope.
    pub fn code(&self) -> String {
        self.json()["responseMessages"][0]["code"].as_str().unwrap().to_owned()
    }
}

pub struct Caller {
    client: Client,
    pub manager: Manager,
}

impl Caller {
    pub async fn new() -> Self {
        Self::with(options()).await
    }

    pub async fn with(options: Options) -> Self {
        install_crypto_provider();
        let client = Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { client, manager: Manager::start(options).await.unwrap() }
    }

    /// A call as it stands; an error is a connection without an answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        authorization: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> Result<Answered, reqwest::Error> {
        let mut request = self.client.request(method, format!("{}{path}", self.manager.endpoint())).body(body);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let response = request.send().await?;
        Ok(Answered { status: response.status().as_u16(), text: response.text().await? })
    }

    /// A call with account and token.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> Result<Answered, reqwest::Error> {
        let separator = if path.contains('?') { '&' } else { '?' };
        self.send(method, &format!("{path}{separator}accountId={ACCOUNT}"), Some(&authorization()), body).await
    }

    pub async fn register(&self, body: &Value) -> Answered {
        self.call(Method::POST, "/api/agent/delegates/register", body.to_string()).await.unwrap()
    }

    /// Registers a delegate for [`TYPE`]; its id.
    pub async fn delegate(&self, host: &str) -> String {
        let answered = self.register(&registration(host)).await;
        answered.json()["resource"]["delegateId"].as_str().unwrap().to_owned()
    }

    pub async fn heartbeat(&self, delegate: &str, running: &[&str]) -> Value {
        let mut body = registration("h");
        body["delegateId"] = json!(delegate);
        body["currentlyExecutingDelegateTasks"] = json!(running);
        let path = "/api/agent/delegates/heartbeat-with-polling";
        let answered = self.call(Method::POST, path, body.to_string()).await.unwrap();
        assert_eq!(answered.status, 200, "{}", answered.text);
        answered.json()
    }

    /// The poll's events, as (event type, task id).
    pub async fn poll(&self, delegate: &str) -> Vec<(String, String)> {
        let path = format!("/api/agent/delegates/{delegate}/task-events");
        let answered = self.call(Method::GET, &path, "").await.unwrap();
        assert_eq!(answered.status, 200, "{}", answered.text);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        answered.json()["delegateTaskEvents"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| (text(&event["eventType"]), text(&event["delegateTaskId"])))
            .collect()
    }

    /// The ids of the tasks that the poll lists.
    pub async fn listed(&self, delegate: &str) -> Vec<String> {
        let events = self.poll(delegate).await;
        events.into_iter().filter(|(event, _)| event == "DelegateTaskEvent").map(|(_, id)| id).collect()
    }

    pub async fn acquire(&self, delegate: &str, task: &str, instance: &str) -> Answered {
        let path = format!("/api/agent/v2/delegates/{delegate}/tasks/{task}/acquire?delegateInstanceId={instance}");
        self.call(Method::PUT, &path, "").await.unwrap()
    }

    pub async fn result_a(&self, delegate: &str, task: &str, body: impl Into<reqwest::Body>) -> Answered {
        self.call(Method::POST, &format!("/api/agent/v2/tasks/{task}/delegates/{delegate}"), body).await.unwrap()
    }

    pub async fn result_b(&self, delegate: &str, task: &str, body: impl Into<reqwest::Body>) -> Answered {
        let path = format!("/api/executions/{task}/response?delegateId={delegate}");
        self.call(Method::POST, &path, body).await.unwrap()
    }

    pub fn submit(&self) -> String {
        self.manager.submit(task()).unwrap()
    }
}

pub fn options() -> Options {
    Options::new(ACCOUNT, SECRET.parse().unwrap())
}

pub fn task() -> NewTask {
    NewTask::new(TYPE, r#"{"n": 1.0}"#)
}

pub fn registration(host: &str) -> Value {
    json!({
        "accountId": ACCOUNT, "delegateName": "pool", "delegateType": "DOCKER", "ng": true, "pollingModeEnabled": true,
        "hostName": host, "ip": "192.0.2.17", "supportedTaskTypes": [TYPE], "lastHeartBeat": 1_790_000_000_123_u64,
    })
}

/// A body of dialect A.
pub fn body_a(code: &str, data: &str) -> String {
    format!(r#"{{"id":"","data":{data},"type":"{TYPE}","code":"{code}"}}"#)
}

/// The header of a good token.
pub fn authorization() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    format!("Delegate {}", token(SECRET, now + 60))
}

pub fn token(secret: &str, exp: u64) -> String {
    let secret: AccountSecret = secret.parse().unwrap();
    let id = Uuid::new_v4();
    let iv = id.as_bytes()[..12].try_into().unwrap();
    seal(&secret, ACCOUNT, exp - 60, exp, iv, id)
}
