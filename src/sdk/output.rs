//! Named values that a task leaves, beside its payload.

use bytes::Bytes;
use serde::Serialize;

use super::refusal::Refusal;
use crate::proto::runner::v1::{self as proto, output::Value};

/// Outputs in one update or result. From the protocol.
pub(crate) const OUTPUTS_MAX: usize = 256;

/// Bytes of one output's value. From the protocol.
pub(crate) const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Bytes of one output's name. From the protocol.
const NAME_BYTES_MAX: usize = 128;

/// One named value, up to 64 KiB; prints its name only.
#[derive(Debug, Clone, PartialEq)]
pub struct Output(proto::Output);

/// Why outputs were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// The task has a result, was stopped, or its lease is gone.
    #[error("the task has ended")]
    TaskEnded,
    /// More than the delegate takes in one frame.
    #[error("the outputs have {bytes} bytes; one call may carry {bytes_max}")]
    TooLarge { bytes: u64, bytes_max: u64 },
    /// More than 256.
    #[error("{count} outputs in one call; up to 256 are taken")]
    TooMany { count: usize },
    /// A name that is empty or longer than 128 bytes.
    #[error("output name of {bytes} bytes; 1 to 128 are taken")]
    Name { bytes: usize },
    /// A value above 64 KiB.
    #[error("output {name} has {bytes} bytes; up to 65536 are taken")]
    Value { name: String, bytes: usize },
}

impl Output {
    /// Text.
    pub fn text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(name, Value::Text(text.into()))
    }

    /// Bytes of any kind.
    pub fn bytes(name: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self::new(name, Value::Data(data.into()))
    }

    /// `value` as JSON; fails as `serde_json` does.
    pub fn json<T: Serialize + ?Sized>(name: impl Into<String>, value: &T) -> Result<Self, serde_json::Error> {
        Ok(Self::new(name, Value::Json(serde_json::to_vec(value)?.into())))
    }

    /// Text that later tasks of the same session find as [`Session::exported`](super::Session::exported), too.
    pub fn exported(name: impl Into<String>, text: impl Into<String>) -> Self {
        let mut output = Self::text(name, text);
        output.0.set_scope(proto::OutputScope::Exported);
        output
    }

    /// Never logged or shown.
    pub fn sensitive(mut self) -> Self {
        self.0.sensitive = true;
        self
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    fn new(name: impl Into<String>, value: Value) -> Self {
        Self(proto::Output { name: name.into(), value: Some(value), sensitive: false, scope: 0 })
    }

    pub(crate) fn into_proto(self) -> proto::Output {
        self.0
    }

    pub(crate) fn check(&self) -> Result<(), OutputError> {
        let bytes = match &self.0.value {
            Some(Value::Text(text)) => text.len(),
            Some(Value::Data(data) | Value::Json(data)) => data.len(),
            None => 0,
        };
        if !(1..=NAME_BYTES_MAX).contains(&self.0.name.len()) {
            return Err(OutputError::Name { bytes: self.0.name.len() });
        }
        if bytes > OUTPUT_BYTES_MAX {
            return Err(OutputError::Value { name: self.0.name.clone(), bytes });
        }
        Ok(())
    }
}

impl From<Refusal> for OutputError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooLarge { bytes, bytes_max } => Self::TooLarge { bytes, bytes_max },
            // The last two are said of a session's state alone.
            Refusal::TaskEnded | Refusal::Stale | Refusal::Refused { .. } => Self::TaskEnded,
        }
    }
}

/// All of `outputs` for one frame.
pub(crate) fn output_set(outputs: Vec<Output>) -> Result<proto::OutputSet, OutputError> {
    if outputs.len() > OUTPUTS_MAX {
        return Err(OutputError::TooMany { count: outputs.len() });
    }
    outputs.iter().try_for_each(Output::check)?;
    Ok(proto::OutputSet { outputs: outputs.into_iter().map(Output::into_proto).collect() })
}
