//! The manager's own words: bodies it reads and bodies it writes.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

// === what it reads ===

/// The object of register and of heartbeat (wire reference, 3). What the manager does not use is left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Registration {
    pub account_id: Option<String>,
    pub delegate_id: Option<String>,
    pub delegate_name: Option<String>,
    pub delegate_type: Option<String>,
    pub host_name: Option<String>,
    pub ip: Option<String>,
    pub version: Option<String>,
    pub ng: Option<bool>,
    pub immutable: Option<bool>,
    pub polling_mode_enabled: Option<bool>,
    pub heartbeat_as_object: Option<bool>,
    /// Unix milliseconds by the delegate's clock.
    pub last_heart_beat: Option<i64>,
    pub tags: Option<Vec<String>>,
    /// Absent: the delegate gets no task.
    pub supported_task_types: Option<Vec<String>>,
    /// True: of the runner family, which names no task types and is offered all.
    pub runner: Option<bool>,
    pub sequence_num: Option<i64>,
    /// The runner family's announcement of capacity.
    pub capacity_config: Option<CapacityConfig>,
    /// Ids of the tasks in work.
    pub currently_executing_delegate_tasks: Option<Vec<String>>,
    /// The Go client sends the account secret here, and the manager echoes it.
    pub delegate_random_token: Option<Hidden>,
}

/// Room that a runner announces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CapacityConfig {
    /// None: it said null, which takes nothing back.
    pub max_stages: Option<u32>,
}

/// Text that does not print.
#[derive(Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Unregistration {
    pub(super) host_name: Option<String>,
    pub(super) ng: Option<bool>,
    // Here the field is not called `ip`.
    pub(super) ip_address: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Capacity {
    pub(super) maximum_number_of_builds: u32,
}

/// A result in dialect A. All four must be there; `data` must be an object.
#[derive(Deserialize)]
pub(super) struct ResultA<'a> {
    // Must be there, but the path names the task: some clients leave this empty (wire reference, 17.1, 12).
    #[serde(borrow, rename = "id")]
    _id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    pub(super) task_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) code: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) data: &'a RawValue,
}

/// A result in dialect B or C; `data` is base64 of JSON, or null.
#[derive(Deserialize)]
pub(super) struct ResultB<'a> {
    #[serde(borrow)]
    pub(super) code: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) error: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) data: Option<Cow<'a, str>>,
}

// === what it writes ===

/// An answer: status and body. An empty body goes without a content type.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Bytes,
    /// Goes into `X-Harness-Error`, which marks errors that the manager raised on purpose.
    pub(super) harness_error: Option<&'static str>,
    pub(super) content_type: &'static str,
}

impl Reply {
    pub(super) const JSON: &'static str = "application/json";

    pub(super) fn json(body: impl Into<Bytes>) -> Self {
        Self { status: 200, body: body.into(), harness_error: None, content_type: Self::JSON }
    }

    /// 204.
    pub(super) fn empty() -> Self {
        Self { status: 204, ..Self::json(Bytes::new()) }
    }

    /// 200 with `resource` in the usual envelope.
    pub(super) fn envelope(resource: &impl Serialize) -> Self {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Envelope<'a, T> {
            meta_data: EmptyObject,
            resource: &'a T,
            response_messages: [(); 0],
        }
        Self::json(to_json(&Envelope { meta_data: EmptyObject {}, resource, response_messages: [] }))
    }

    /// An error with one message, in the envelope that the manager uses for all of them (wire reference, 1).
    pub(super) fn error(status: u16, code: &'static str, message: &str) -> Self {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Message<'a> {
            code: &'a str,
            level: &'a str,
            message: &'a str,
            exception: Option<()>,
            failure_types: [(); 0],
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Envelope<'a> {
            meta_data: Option<()>,
            resource: Option<()>,
            response_messages: [Message<'a>; 1],
        }
        let message = Message { code, level: "ERROR", message, exception: None, failure_types: [] };
        let body = to_json(&Envelope { meta_data: None, resource: None, response_messages: [message] });
        let harness_error = (code != "DEFAULT_ERROR_CODE").then_some(code);
        Self { status, harness_error, ..Self::json(body) }
    }

    /// 500 that says nothing, for everything the manager did not expect. A lost race for a task is one of these (17.2, 3).
    pub(super) fn unexpected() -> Self {
        Self::error(500, "DEFAULT_ERROR_CODE", "An error has occurred. Please contact the support team.")
    }

    /// 404 or 405: the error envelope without a message.
    pub(super) fn no_route(status: u16) -> Self {
        Self { status, ..Self::json(&br#"{"metaData":null,"resource":null,"responseMessages":[]}"#[..]) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Registered<'a> {
    pub(super) delegate_id: Option<&'a str>,
    pub(super) action: Option<&'a str>,
    pub(super) migrate_url: Option<&'a str>,
    pub(super) sequence_num: Option<&'a str>,
    pub(super) delegate_random_token: Option<&'a Hidden>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HeartbeatEcho<'a> {
    pub(super) delegate_id: &'a str,
    pub(super) status: &'a str,
    pub(super) use_cdn: bool,
    pub(super) jre_version: &'a str,
    pub(super) delegate_random_token: Option<()>,
    pub(super) sequence_number: Option<()>,
}

/// One entry of a poll's answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event<'a> {
    pub(super) event_type: &'a str,
    pub(super) account_id: &'a str,
    pub(super) delegate_task_id: &'a str,
    pub(super) sync: bool,
    pub(super) task_type: Option<&'a str>,
}

/// One entry of a runner poll's answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunnerEvent<'a> {
    pub(super) account_id: &'a str,
    pub(super) task_id: &'a str,
    pub(super) runner_type: &'a str,
    pub(super) task_type: &'a str,
}

/// The answer of the runner family's acquire.
#[derive(Serialize)]
pub(super) struct Requests<'a> {
    pub(super) requests: [Request<'a>; 1],
}

#[derive(Serialize)]
pub(super) struct Request<'a> {
    pub(super) id: &'a str,
    pub(super) account: &'a str,
    pub(super) task: RunnerTask<'a>,
    pub(super) secrets: &'a RawValue,
}

#[derive(Serialize)]
pub(super) struct RunnerTask<'a> {
    // Overwritten by whoever reads it, as the newer runner does: only the event's id counts.
    pub(super) id: &'a str,
    #[serde(rename = "type")]
    pub(super) task_type: &'a str,
    /// Base64.
    pub(super) data: String,
    pub(super) driver: &'a str,
    pub(super) config: &'a RawValue,
    pub(super) forward: &'a RawValue,
    pub(super) logger: &'a RawValue,
}

/// The answer of an acquire. Its names mix two conventions on the wire, too.
#[derive(Serialize)]
pub(super) struct Task<'a> {
    pub(super) id: &'a str,
    #[serde(rename = "type")]
    pub(super) task_type: &'a str,
    pub(super) data: &'a RawValue,
    #[serde(rename = "async")]
    pub(super) is_async: bool,
    #[serde(rename = "runnerResponse")]
    pub(super) runner_response: bool,
    /// Milliseconds from acquire.
    pub(super) timeout: u64,
    pub(super) logging: Logging<'a>,
    pub(super) delegate: Assignee<'a>,
    pub(super) encryption_configs: EmptyObject,
    pub(super) secret_details: EmptyObject,
    pub(super) secrets: [(); 0],
    pub(super) capabilities: [(); 0],
}

#[derive(Serialize)]
pub(super) struct Logging<'a> {
    pub(super) token: Option<&'a str>,
    pub(super) abstractions: Abstractions<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Abstractions<'a> {
    pub(super) account_id: &'a str,
    pub(super) org_id: &'a str,
    pub(super) project_id: &'a str,
}

/// Null twice when the task was handed out without being assigned.
#[derive(Serialize)]
pub(super) struct Assignee<'a> {
    pub(super) id: Option<&'a str>,
    pub(super) instance_id: Option<&'a str>,
    pub(super) token: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct EmptyObject {}

pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings, numbers and raw json always serialize")
}
