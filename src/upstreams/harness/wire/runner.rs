//! The runner family's JSON: events, requests, and results in dialect C.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::or_default;

/// Types of tasks that manage long-running programs on the host.
pub(in super::super) const DAEMON_SET: &str = "daemonset/";
/// A sub-task that holds its secret itself; others fetch theirs from somewhere.
pub(in super::super) const SECRET_STATIC: &str = "secret/static";
/// What the newer runner calls itself; it says nothing else that managers are known to look at.
pub(in super::super) const VERSION: &str = "v0.1";

// === what is read ===

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Events {
    #[serde(default, deserialize_with = "or_default")]
    pub(in super::super) delegate_runner_events: Vec<Option<Event>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct Event {
    #[serde(default, deserialize_with = "or_default")]
    pub(in super::super) task_id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(in super::super) task_type: String,
}

/// The answer of an acquire.
#[derive(Deserialize)]
pub(in super::super) struct Requests<'a> {
    /// One.
    #[serde(default, borrow, deserialize_with = "or_default")]
    pub(in super::super) requests: Vec<Option<Request<'a>>>,
}

#[derive(Deserialize)]
pub(in super::super) struct Request<'a> {
    /// Null: there is nothing to do.
    #[serde(default, borrow, deserialize_with = "or_default")]
    pub(in super::super) task: Task<'a>,
    /// Sub-tasks that each yield a secret. Raw, so that another form costs this one task and says so.
    #[serde(default, borrow)]
    pub(in super::super) secrets: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
pub(in super::super) struct Task<'a> {
    /// Of a sub-task: the secret's name. Of the task itself it means nothing: the event's id holds.
    #[serde(default, deserialize_with = "or_default")]
    pub(in super::super) id: String,
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub(in super::super) task_type: String,
    /// Base64 of JSON.
    #[serde(default, borrow)]
    pub(in super::super) data: Option<&'a RawValue>,
    /// Where to download a handler, and how to call it.
    #[serde(default, borrow)]
    pub(in super::super) config: Option<&'a RawValue>,
    /// Where to send the task instead of doing it.
    #[serde(default, borrow)]
    pub(in super::super) forward: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub(in super::super) logger: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(in super::super) struct Logger {
    /// Values to mask.
    #[serde(default, deserialize_with = "or_default")]
    pub(in super::super) masks: Vec<serde_json::Value>,
}

/// Data of a sub-task that holds its secret itself; only the first counts.
#[derive(Deserialize)]
pub(in super::super) struct StaticSecrets {
    pub(in super::super) secrets: Vec<StaticSecret>,
}

#[derive(Deserialize)]
pub(in super::super) struct StaticSecret {
    pub(in super::super) value: String,
}

// === what is written ===

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct CapacityConfig {
    /// Null: none is announced.
    pub(in super::super) max_stages: Option<u32>,
}

/// A result in dialect C: B's fields, in an order of their own.
#[derive(Serialize)]
pub(in super::super) struct ResultC<'a> {
    pub(in super::super) id: &'a str,
    /// Base64 of JSON; never null, which an older consumer does not survive.
    pub(in super::super) data: String,
    /// Empty: none.
    pub(in super::super) error: &'a str,
    #[serde(rename = "type")]
    pub(in super::super) task_type: &'a str,
    pub(in super::super) code: &'static str,
}
