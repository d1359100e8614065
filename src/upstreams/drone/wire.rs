//! The server's JSON, as far as it is read or made here.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::stage_id::StageId;

/// The one kind that runners ask for.
pub(super) const KIND: &str = "pipeline";

pub(super) const STATUS_PENDING: &str = "pending";
pub(super) const STATUS_RUNNING: &str = "running";
pub(super) const STATUS_SUCCESS: &str = "success";
pub(super) const STATUS_FAILURE: &str = "failure";
pub(super) const STATUS_ERROR: &str = "error";
pub(super) const STATUS_KILLED: &str = "killed";
pub(super) const STATUS_SKIPPED: &str = "skipped";

/// Exit codes of a stage: 0 also for `failure`.
pub(super) const EXIT_ERROR: i64 = 255;
pub(super) const EXIT_KILLED: i64 = 137;

/// What the server says when a version is not the row's; in a 500 as well.
pub(super) const OPTIMISTIC_LOCK: &str = "Optimistic Lock Error";
/// What it says of an id that no row has.
pub(super) const NO_ROWS: &str = "no rows in result set";

/// What it, or its database, says of a second log of a step: SQLite "UNIQUE constraint failed", MySQL "Duplicate entry", PostgreSQL
/// "duplicate key value violates unique constraint".
pub(super) const IS_THERE: [&str; 2] = ["unique constraint", "duplicate "];

/// Longest error text that the server stores, in bytes.
pub(super) const ERROR_BYTES_MAX: usize = 500;

/// What a poll asks for. All texts are always there; an empty one does not ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Filter {
    pub kind: &'static str,
    #[serde(rename = "type")]
    pub stage_type: String,
    pub os: String,
    pub arch: String,
    pub variant: String,
    pub kernel: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A stage, as far as it is looked at; what is sent back is the whole of it (`note`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stage {
    #[serde(deserialize_with = "or_null")]
    pub id: i64,
    #[serde(deserialize_with = "or_null")]
    pub build_id: i64,
    #[serde(deserialize_with = "or_null")]
    pub name: String,
    #[serde(deserialize_with = "or_null")]
    pub kind: String,
    #[serde(rename = "type", deserialize_with = "or_null")]
    pub stage_type: String,
    #[serde(deserialize_with = "or_null")]
    pub status: String,
    #[serde(deserialize_with = "or_null")]
    pub machine: String,
    #[serde(deserialize_with = "or_null")]
    pub os: String,
    #[serde(deserialize_with = "or_null")]
    pub arch: String,
    #[serde(deserialize_with = "or_null")]
    pub variant: String,
    #[serde(deserialize_with = "or_null")]
    pub kernel: String,
    #[serde(deserialize_with = "or_null")]
    pub labels: BTreeMap<String, String>,
}

/// A step's card.
#[derive(Serialize)]
pub(super) struct Card<'a> {
    pub schema: &'a str,
    /// As the runner wrote it.
    pub data: &'a RawValue,
}

/// Everything about a stage.
#[derive(Deserialize)]
pub(super) struct Details<'a> {
    #[serde(default)]
    pub build: Option<Build>,
    /// Whole, as it is to be sent back.
    #[serde(default, borrow)]
    pub stage: Option<&'a RawValue>,
    #[serde(default)]
    pub repository: Option<Repository>,
    #[serde(default, borrow)]
    pub config: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub netrc: Option<Netrc<'a>>,
    #[serde(default, borrow)]
    pub secrets: Option<Vec<Secret<'a>>>,
    #[serde(default, borrow)]
    pub system: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Build {
    #[serde(deserialize_with = "or_null")]
    pub id: i64,
    #[serde(deserialize_with = "or_null")]
    pub number: i64,
    #[serde(deserialize_with = "or_null")]
    pub status: String,
    /// All of the build, without their steps.
    #[serde(deserialize_with = "or_null")]
    pub stages: Vec<Stage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Repository {
    #[serde(deserialize_with = "or_null")]
    pub slug: String,
    /// Of a stage, in minutes.
    #[serde(deserialize_with = "or_null")]
    pub timeout: i64,
    /// Key of the inline encrypted secrets.
    #[serde(deserialize_with = "or_null")]
    pub secret: String,
}

#[derive(Deserialize)]
pub(super) struct Netrc<'a> {
    #[serde(default, borrow, deserialize_with = "or_null")]
    pub password: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(super) struct Secret<'a> {
    #[serde(default, borrow, deserialize_with = "or_null")]
    pub name: Cow<'a, str>,
    #[serde(default, borrow, deserialize_with = "or_null")]
    pub data: Cow<'a, str>,
}

// === impl Stage ===

impl Stage {
    pub fn id(&self) -> StageId {
        StageId { build: self.build_id, stage: self.id }
    }
}

/// Whether a status leaves the stage to whoever has it.
pub(super) fn is_open(status: &str) -> bool {
    matches!(status, STATUS_PENDING | STATUS_RUNNING)
}

/// Null stands for absent anywhere.
fn or_null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_missing_and_unknown_fields_are_defaults() {
        let text = r#"{"build":{"id":1,"stages":null,"new":[1]},"stage":{"id":7},"netrc":null,"secrets":[{"name":null}],"x":1}"#;
        let details: Details<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(details.build.unwrap().id, 1);
        assert!(details.repository.is_none() && details.netrc.is_none() && details.secrets.unwrap()[0].data.is_empty());
    }
}
