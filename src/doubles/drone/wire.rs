//! The server's own words: bodies it reads, as Go's decoder does, and bodies it writes, as Go's encoder does (wire reference, 2.4, 4).

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A stage, as stored and as sent. What is absent or null in a body is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stage {
    pub id: i64,
    pub repo_id: i64,
    pub build_id: i64,
    pub number: i64,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub stage_type: String,
    pub status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    pub errignore: bool,
    pub exit_code: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub machine: String,
    pub os: String,
    pub arch: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kernel: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttle: i64,
    pub started: i64,
    pub stopped: i64,
    pub created: i64,
    pub updated: i64,
    pub version: i64,
    pub on_success: bool,
    pub on_failure: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Only in a PUT and its answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

/// A step, as stored and as sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    pub id: i64,
    /// The id of the *stage*; the server's permanent misnomer.
    pub step_id: i64,
    pub number: i64,
    pub name: String,
    pub status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    #[serde(skip_serializing_if = "is_false")]
    pub errignore: bool,
    pub exit_code: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub started: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub stopped: i64,
    pub version: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    #[serde(skip_serializing_if = "is_false")]
    pub detached: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub schema: String,
}

/// A build, without its stages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Build {
    pub id: i64,
    pub repo_id: i64,
    pub trigger: String,
    pub number: i64,
    pub status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    pub event: String,
    pub action: String,
    pub link: String,
    pub timestamp: i64,
    pub message: String,
    pub before: String,
    pub after: String,
    #[serde(rename = "ref")]
    pub git_ref: String,
    pub source_repo: String,
    pub source: String,
    pub target: String,
    pub author_login: String,
    pub author_name: String,
    pub author_email: String,
    pub author_avatar: String,
    pub sender: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deploy_to: String,
    pub started: i64,
    pub finished: i64,
    pub created: i64,
    pub updated: i64,
    pub version: i64,
}

/// What a poll asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Filter {
    pub kind: String,
    #[serde(rename = "type")]
    pub stage_type: String,
    pub os: String,
    pub arch: String,
    pub variant: String,
    pub kernel: String,
    pub labels: BTreeMap<String, String>,
}

/// One line of a live log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Line {
    pub pos: i64,
    pub out: String,
    /// Seconds since the step's log was opened.
    pub time: i64,
}

/// An answer; the server sets no content type of its own.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// The text of every lost race for a row.
pub(super) const OPTIMISTIC_LOCK: &str = "Optimistic Lock Error";
/// The text for an id that no row has.
pub(super) const NO_ROWS: &str = "sql: no rows in result set";
/// The text for lines of a step without a live log.
pub(super) const NO_STREAM: &str = "stream: not found";

/// Longest error text stored, in bytes.
const ERROR_BYTES_MAX: usize = 500;

// === impl Reply ===

impl Reply {
    /// 200 with JSON and the newline that Go's encoder ends with.
    pub(super) fn json(value: &impl Serialize) -> Self {
        let mut body = serde_json::to_vec(value).expect("plain data always serializes");
        body.push(b'\n');
        Self { status: 200, body: body.into() }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, body: Bytes::new() }
    }

    pub(super) fn text(status: u16, text: &str) -> Self {
        Self { status, body: format!("{text}\n").into() }
    }

    pub(super) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// What becomes of every trouble but a lost race.
    pub(super) fn error(text: &str) -> Self {
        Self::text(500, text)
    }

    pub(super) fn conflict() -> Self {
        Self::text(409, OPTIMISTIC_LOCK)
    }
}

/// Reads a body as Go does: the first JSON value of it, keys in any case, null for absent.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    let value = values.next().unwrap_or_else(|| serde_json::from_str("")).map_err(|error| error.to_string())?;
    serde_json::from_value(as_go_sees(value)).map_err(|error| error.to_string())
}

fn as_go_sees(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let present = members.into_iter().filter(|(_, value)| !value.is_null());
            let known = present.map(|(key, value)| match key.as_str() {
                // The keys of a map are data.
                "labels" => (key, value),
                _ => (key.to_lowercase(), as_go_sees(value)),
            });
            Value::Object(known.collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(as_go_sees).collect()),
        other => other,
    }
}

/// Cuts an error text as the server does before it stores it.
pub(super) fn cut(error: &mut String) {
    error.truncate(error.floor_char_boundary(ERROR_BYTES_MAX));
}

/// Whether a status is final (wire reference, 5.1).
pub(super) fn is_done(status: &str) -> bool {
    !matches!(status, "waiting_on_dependencies" | "pending" | "running" | "blocked")
}

/// Whether a status counts against dependants.
pub(super) fn is_failed(status: &str) -> bool {
    matches!(status, "failure" | "error" | "killed")
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_as_go_reads_them() {
        let stage: Stage =
            read(br#"{"ID":7,"status":null,"labels":{"Zone":"north"},"unknown":[1],"steps":[{"Number":1}]} trailing"#)
                .unwrap();
        assert_eq!((stage.id, &*stage.status, stage.steps[0].number), (7, "", 1));
        assert_eq!(stage.labels["Zone"], "north");
        assert!(read::<Stage>(b"no json").is_err() && read::<Stage>(b"").is_err());
    }

    #[test]
    fn an_error_is_cut_between_characters() {
        let mut error = "é".repeat(300);
        cut(&mut error);
        assert_eq!(error.len(), 500);
    }
}
