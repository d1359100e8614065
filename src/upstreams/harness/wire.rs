//! The manager's JSON, as it stands on the wire. Its own words stay in this file.
//!
//! Reading is lenient: unknown fields are ignored, missing ones and nulls are the type's default. A task's data is never parsed, so
//! that its bytes reach the runner as they came.

pub(super) mod runner;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// A null is a default, too.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A null is a value, too.
fn or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

// === what is read ===

/// Around the answers of register and heartbeat, and all errors.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Envelope<T> {
    #[serde(default = "none")]
    pub(super) resource: Option<T>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) response_messages: Vec<Option<Message>>,
}

fn none<T>() -> Option<T> {
    None
}

#[derive(Debug, Deserialize)]
pub(super) struct Message {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) code: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) message: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Registered {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) delegate_id: String,
    /// Why there is no id: `SELF_DESTRUCT`, `MIGRATE`.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) action: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) migrate_url: String,
}

pub(super) const ACTION_SELF_DESTRUCT: &str = "SELF_DESTRUCT";
pub(super) const ACTION_MIGRATE: &str = "MIGRATE";

/// Codes of refused tokens.
pub(super) const EXPIRED_TOKEN: &str = "EXPIRED_TOKEN";
pub(super) const REVOKED_TOKEN: &str = "REVOKED_TOKEN";

#[derive(Debug, Deserialize)]
pub(super) struct HeartbeatAnswer {
    /// `ENABLED`, `DELETED`, and two that no manager of today answers to polling delegates.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) status: String,
}

pub(super) const STATUS_DELETED: &str = "DELETED";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskEvents {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) delegate_task_events: Vec<Option<TaskEvent>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskEvent {
    /// Empty: from a server that knows tasks only.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) event_type: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) delegate_task_id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) task_type: String,
}

pub(super) const EVENT_TASK: &str = "DelegateTaskEvent";
pub(super) const EVENT_ABORT: &str = "DelegateTaskAbortEvent";

/// The answer of an acquire. Its names mix two conventions on the wire, too.
#[derive(Deserialize)]
pub(super) struct Task<'a> {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) id: String,
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub(super) task_type: String,
    /// Anything; absent only from an empty answer.
    #[serde(default, borrow, deserialize_with = "or_null")]
    pub(super) data: Option<&'a RawValue>,
    /// False: a caller waits.
    #[serde(default, rename = "async", deserialize_with = "or_default")]
    pub(super) is_async: bool,
    /// True: answer in dialect B. Older managers do not say.
    #[serde(default, rename = "runnerResponse", deserialize_with = "or_default")]
    pub(super) runner_response: bool,
    /// Milliseconds after the acquire; 0: none given.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) timeout: i64,
    #[serde(default, borrow)]
    pub(super) logging: Option<Logging<'a>>,
    #[serde(default)]
    pub(super) delegate: Option<Assignee>,
    /// Clear values that stand in the data and are to be masked.
    // The Go client does not read them, so nothing has kept their form; it must not cost a task.
    #[serde(default, borrow)]
    pub(super) secrets: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub(super) capabilities: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Logging<'a> {
    /// An object of strings whose order makes the log key.
    #[serde(default, borrow)]
    pub(super) abstractions: Option<&'a RawValue>,
}

/// Who got the task.
#[derive(Debug, Deserialize)]
pub(super) struct Assignee {
    /// Empty: nobody, it was handed out for validation only.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) id: String,
}

// === what is written ===

/// A registration, or with `delegate_id` a heartbeat.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Delegate<'a> {
    pub(super) account_id: &'a str,
    pub(super) delegate_name: &'a str,
    /// The account secret in clear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delegate_random_token: Option<String>,
    /// Unix milliseconds.
    pub(super) last_heart_beat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delegate_id: Option<&'a str>,
    pub(super) delegate_type: &'static str,
    /// Next generation: the name is a group's.
    pub(super) ng: bool,
    pub(super) polling_mode_enabled: bool,
    pub(super) host_name: &'a str,
    pub(super) ip: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sequence_num: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) supported_task_types: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tags: Option<Vec<&'a str>>,
    pub(super) heartbeat_as_object: bool,
    // The runner family's own, from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) capacity_config: Option<runner::CapacityConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runner: Option<bool>,
    /// Makes a manager that reads it give these tasks more time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) currently_executing_delegate_tasks: Option<Vec<&'a str>>,
}

pub(super) const DELEGATE_TYPE: &str = "DOCKER";

/// The end of a registration; the manager finds the record by host and address.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Unregister<'a> {
    pub(super) delegate_id: &'a str,
    pub(super) host_name: &'a str,
    pub(super) ng: bool,
    pub(super) delegate_type: &'static str,
    /// Registrations call it `ip`.
    pub(super) ip_address: &'a str,
}

/// The legacy family's announcement of capacity.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Capacity {
    pub(super) maximum_number_of_builds: u32,
}

/// A result in dialect A.
#[derive(Serialize)]
pub(super) struct ResultA<'a> {
    pub(super) id: &'a str,
    /// An object.
    pub(super) data: &'a RawValue,
    #[serde(rename = "type")]
    pub(super) task_type: &'a str,
    pub(super) code: &'static str,
}

/// A result in dialect B.
#[derive(Serialize)]
pub(super) struct ResultB<'a> {
    pub(super) id: &'a str,
    #[serde(rename = "type")]
    pub(super) task_type: &'a str,
    pub(super) code: &'static str,
    /// Empty: none.
    pub(super) error: &'a str,
    /// Base64 of JSON.
    pub(super) data: String,
}

pub(super) const CODE_OK: &str = "OK";
pub(super) const CODE_FAILED: &str = "FAILED";
/// Dialect A only: another delegate is to do it.
pub(super) const CODE_RETRY_ON_OTHER_DELEGATE: &str = "RETRY_ON_OTHER_DELEGATE";
/// Dialects B and C only; A answers 500 to it.
pub(super) const CODE_TIMEOUT: &str = "TIMEOUT";

/// The least that a CI result says.
#[derive(Serialize)]
pub(super) struct Brief<'a> {
    pub(super) command_execution_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_message: Option<&'a str>,
}

pub(super) const EXECUTION_SUCCESS: &str = "SUCCESS";
pub(super) const EXECUTION_FAILURE: &str = "FAILURE";
pub(super) const EXECUTION_SKIPPED: &str = "SKIPPED";
/// Dialects B and C only; clients turn it into a failure in A.
pub(super) const EXECUTION_TIMEOUT: &str = "TIMEOUT";

/// Around a result that is JSON but no object, in dialect A.
#[derive(Serialize)]
pub(super) struct Value<'a> {
    pub(super) value: &'a RawValue,
}

/// Around a result that is not JSON, in dialect A.
#[derive(Serialize)]
pub(super) struct ValueBase64 {
    pub(super) value_base64: String,
}

/// Writes JSON.
pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings, numbers and raw json always serialize")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_missing_and_unknown_fields_are_defaults() {
        let task: Task<'_> = serde_json::from_str(
            r#"{"id":null,"type":null,"timeout":null,"async":null,"logging":null,"secrets":null,"new":{"x":[1]}}"#,
        )
        .unwrap();
        assert!(task.id.is_empty() && task.task_type.is_empty() && !task.is_async && !task.runner_response);
        assert!(task.data.is_none() && task.logging.is_none() && task.delegate.is_none() && task.secrets.is_none());
        let events: TaskEvents =
            serde_json::from_str(r#"{"delegateTaskEvents":[null,{"delegateTaskId":null}]}"#).unwrap();
        assert!(events.delegate_task_events[0].is_none());
        assert!(serde_json::from_str::<TaskEvents>(r#"{"delegateTaskEvents":null}"#).is_ok());
        assert!(serde_json::from_str::<Envelope<Registered>>("{}").unwrap().resource.is_none());
    }

    #[test]
    fn data_is_taken_as_it_stands_null_included() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for data in
            [&*deep, "null", r#"{ "n" : 123456789012345678901234567890.10 , "s":"\ud83d\u00e9é" }"#, "[1, 2]", "-0"]
        {
            let text = format!(r#"{{"data": {data} }}"#);
            let task: Task<'_> = serde_json::from_str(&text).unwrap();
            assert_eq!(task.data.unwrap().get(), data);
        }
    }
}
