//! The note, kept with a task, of the stage to be sent back.
//!
//! A PUT stores what it is sent and zeroes what it is not, so the stage goes back whole, fields of later servers included. The note is
//! JSON, made when the stage is taken and opaque to everyone else.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{known::Known, steps::StepBody, wire::STATUS_RUNNING};

/// A stage as the server gave it, and what this adapter found out about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Without steps.
    pub stage: Map<String, Value>,
    /// Why no runner can be given it, in words for people; absent: one can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// How a stage ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub status: &'static str,
    pub exit_code: i64,
    /// Empty: none.
    pub error: String,
    /// Unix seconds.
    pub started: i64,
    pub stopped: i64,
}

/// A note that this version did not write, or a stage that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the note of the stage is not of this version: only the version that took the stage can report it")]
pub(super) struct UnknownNote;

// === impl Note ===

impl Note {
    /// From the server's own JSON of a stage.
    pub fn of(stage: &[u8]) -> Option<Self> {
        let mut stage: Map<String, Value> = serde_json::from_slice(stage).ok()?;
        stage.remove("steps");
        Some(Self { stage, trouble: None })
    }

    pub fn stage_id(&self) -> Option<i64> {
        self.stage.get("id").and_then(Value::as_i64)
    }

    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("json always serializes").into()
    }

    pub fn decode(note: &[u8]) -> Result<Self, UnknownNote> {
        serde_json::from_slice(note).map_err(|_| UnknownNote)
    }

    /// The stage as it is sent when its steps are registered.
    pub fn running(mut self, started: i64, steps: &[StepBody]) -> Map<String, Value> {
        let stage = &mut self.stage;
        stage.insert("status".to_owned(), STATUS_RUNNING.into());
        stage.insert("started".to_owned(), started.into());
        put_steps(stage, steps);
        self.stage
    }

    /// The stage as the server has stored it since it was noted.
    pub fn since(mut self, known: &Known) -> Self {
        self.stage.insert("version".to_owned(), known.version.into());
        self.stage.insert("updated".to_owned(), known.updated.into());
        self
    }

    /// The stage as it is sent at its end.
    pub fn ended(mut self, end: &End, steps: &[StepBody]) -> Map<String, Value> {
        let stage = &mut self.stage;
        stage.insert("status".to_owned(), end.status.into());
        stage.insert("exit_code".to_owned(), end.exit_code.into());
        match end.error.as_str() {
            "" => drop(stage.remove("error")),
            error => drop(stage.insert("error".to_owned(), error.into())),
        }
        stage.insert("started".to_owned(), end.started.into());
        stage.insert("stopped".to_owned(), end.stopped.into());
        put_steps(stage, steps);
        self.stage
    }
}

/// None: the server leaves its steps as they are.
fn put_steps(stage: &mut Map<String, Value>, steps: &[StepBody]) {
    if !steps.is_empty() {
        let steps = serde_json::to_value(steps).expect("texts and numbers always serialize");
        stage.insert("steps".to_owned(), steps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_goes_back_whole() {
        let stage =
            r#"{"id":9104,"version":2,"created":1738660000,"new_field":{"a":[1]},"steps":[{"id":1}],"error":"old"}"#;
        let note = Note::decode(&Note::of(stage.as_bytes()).unwrap().encode()).unwrap();
        let end = End { status: "success", exit_code: 0, error: String::new(), started: 5, stopped: 7 };
        assert_eq!(
            serde_json::to_string(&note.ended(&end, &[])).unwrap(),
            r#"{"created":1738660000,"exit_code":0,"id":9104,"new_field":{"a":[1]},"started":5,"status":"success","stopped":7,"version":2}"#
        );
        assert_eq!(Note::decode(&[1]), Err(UnknownNote));
        assert_eq!(Note::of(b"[]"), None);
    }
}
