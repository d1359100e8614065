//! Method, path and bound of each call.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use reqwest::Method;
use serde::Serialize;

use super::{stage_id::StageId, wire};

/// Bound of a call unless the operator sets another. Details make the server ask its forge, which can take seconds.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Bound of a poll and of a watch, which the server holds for 30 s.
pub const HOLD_TIMEOUT: Duration = Duration::from_secs(60);

/// A request, but for endpoint and token, which are the same for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub method: Method,
    /// The path with its ids left open: what errors call the request.
    pub template: &'static str,
    /// With the query, escaped; begins with a slash.
    pub target: String,
    pub body: Bytes,
    pub timeout: Duration,
}

impl Request {
    pub fn ping(timeout: Duration) -> Self {
        let template = "/rpc/v2/ping";
        Self { method: Method::POST, template, target: template.to_owned(), body: Bytes::new(), timeout }
    }

    pub fn poll(filter: &wire::Filter, timeout: Duration) -> Self {
        let template = "/rpc/v2/stage";
        Self { method: Method::POST, template, target: template.to_owned(), body: json(filter), timeout }
    }

    pub fn accept(id: StageId, machine: &str, timeout: Duration) -> Self {
        let target = format!("/rpc/v2/stage/{}?machine={}", id.stage, escaped(machine));
        let template = "/rpc/v2/stage/{stage}?machine=";
        Self { method: Method::POST, template, target, body: Bytes::new(), timeout }
    }

    pub fn details(id: StageId, timeout: Duration) -> Self {
        let target = format!("/rpc/v2/stage/{}", id.stage);
        Self { method: Method::GET, template: "/rpc/v2/stage/{stage}", target, body: Bytes::new(), timeout }
    }

    pub fn update_stage(id: StageId, stage: &impl Serialize, timeout: Duration) -> Self {
        let target = format!("/rpc/v2/stage/{}", id.stage);
        Self { method: Method::PUT, template: "/rpc/v2/stage/{stage}", target, body: json(stage), timeout }
    }

    pub fn update_step(step: i64, body: &impl Serialize, timeout: Duration) -> Self {
        let target = format!("/rpc/v2/step/{step}");
        Self { method: Method::PUT, template: "/rpc/v2/step/{step}", target, body: json(body), timeout }
    }

    /// Lines of a step that runs.
    pub fn batch(step: i64, body: Bytes, timeout: Duration) -> Self {
        let target = format!("/rpc/v2/step/{step}/logs/batch");
        let template = "/rpc/v2/step/{step}/logs/batch";
        Self { method: Method::POST, template, target, body, timeout }
    }

    /// The whole log of a step.
    pub fn upload(step: i64, body: Bytes, timeout: Duration) -> Self {
        let target = format!("/rpc/v2/step/{step}/logs/upload");
        let template = "/rpc/v2/step/{step}/logs/upload";
        Self { method: Method::POST, template, target, body, timeout }
    }

    pub fn card(step: i64, card: &wire::Card<'_>, timeout: Duration) -> Self {
        let target = format!("/rpc/v2/step/{step}/card");
        Self { method: Method::POST, template: "/rpc/v2/step/{step}/card", target, body: json(card), timeout }
    }

    pub fn watch(build: i64, timeout: Duration) -> Self {
        let target = format!("/rpc/v2/build/{build}/watch");
        Self { method: Method::POST, template: "/rpc/v2/build/{build}/watch", target, body: Bytes::new(), timeout }
    }
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("texts, numbers and their maps always serialize").into()
}

/// Everything but RFC 3986's unreserved characters is escaped.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_escaped() {
        let request = Request::accept(StageId { build: 1, stage: 9104 }, "m 1/é", REQUEST_TIMEOUT);
        assert_eq!(request.target, "/rpc/v2/stage/9104?machine=m%201%2F%C3%A9");
    }
}
