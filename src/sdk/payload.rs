//! Conveniences for payloads, which the delegate passes on byte for byte.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{json, outcome::Failure};
use crate::proto::runner::v1::Payload;

impl Payload {
    /// Content of any kind; `content_type` is a media type of up to 256 bytes.
    pub fn new(content_type: impl Into<String>, content: impl Into<Bytes>) -> Self {
        Self { content_type: content_type.into(), inline: content.into() }
    }

    /// UTF-8 text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new("text/plain; charset=utf-8", text.into())
    }

    /// `value` as JSON; fails as `serde_json` does, for a map with keys that are no strings for instance.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Self::new("application/json", serde_json::to_vec(value)?))
    }

    /// The content read as JSON; a content that does not fit is the task's fault, and the failure names the field, never its value.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        json::parse(&self.inline).map_err(|error| Failure::invalid(format!("the payload is not as expected: {error}")))
    }
}
