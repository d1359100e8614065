//! Method, path and bound of each call.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use reqwest::Method;

use crate::core::task::Identity;

/// Bound of a call unless the operator sets another. The Go client gives a poll as long, and other calls none.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Bound of a heartbeat, if it is below the operator's. The Go client's.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest id that can stand in a path, in bytes. Real ones are near 22.
pub const ID_BYTES_MAX: usize = 512;

/// Path of a registration.
pub(super) const REGISTER: &str = "/api/agent/delegates/register";
/// Path of a heartbeat.
pub(super) const HEARTBEAT: &str = "/api/agent/delegates/heartbeat-with-polling";

/// Path of the end of a registration.
pub(super) const UNREGISTER: &str = "/api/agent/delegates/unregister";

/// A request, but for endpoint, account and token, which are the same for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: Method,
    /// The path with its ids left open: what errors call the request.
    pub(super) template: &'static str,
    /// With the query, escaped; begins with a slash.
    pub(super) target: String,
    pub(super) body: Bytes,
}

/// An id that can't stand in a URL path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadId {
    #[error("the {what} id is empty")]
    Empty { what: &'static str },
    #[error("the {what} id has {bytes} bytes, more than {ID_BYTES_MAX}")]
    TooLong { what: &'static str, bytes: usize },
    /// URLs have no way to write these two, escaped or not.
    #[error("the {what} id is only dots, which a url path gives another meaning")]
    Dots { what: &'static str },
}

/// Builds the requests of one account.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    /// `accountId=…`, escaped.
    account: String,
}

// === impl Requests ===

impl Requests {
    pub(super) fn new(account: &str) -> Self {
        Self { account: format!("accountId={}", escaped(account)) }
    }

    pub(super) fn register(&self, body: Vec<u8>) -> Request {
        self.request(Method::POST, REGISTER, REGISTER.to_owned(), "", body.into())
    }

    pub(super) fn heartbeat(&self, body: Vec<u8>) -> Request {
        self.request(Method::POST, HEARTBEAT, HEARTBEAT.to_owned(), "", body.into())
    }

    pub(super) fn unregister(&self, body: Vec<u8>) -> Request {
        self.request(Method::POST, UNREGISTER, UNREGISTER.to_owned(), "", body.into())
    }

    pub(super) fn capacity(&self, delegate: &str, body: Vec<u8>) -> Result<Request, BadId> {
        let path = format!("/api/agent/delegates/register-delegate-capacity/{}", segment("delegate", delegate)?);
        let template = "/api/agent/delegates/register-delegate-capacity/{delegate}";
        Ok(self.request(Method::POST, template, path, "", body.into()))
    }

    pub(super) fn poll(&self, delegate: &str) -> Result<Request, BadId> {
        let path = format!("/api/agent/delegates/{}/task-events", segment("delegate", delegate)?);
        let template = "/api/agent/delegates/{delegate}/task-events";
        Ok(self.request(Method::GET, template, path, "", Bytes::new()))
    }

    pub(super) fn acquire(&self, task: &str, identity: &Identity) -> Result<Request, BadId> {
        let delegate = segment("delegate", &identity.delegate_id)?;
        let path = format!("/api/agent/v2/delegates/{delegate}/tasks/{}/acquire", segment("task", task)?);
        let query = format!("&delegateInstanceId={}", escaped(&identity.instance_id));
        let template = "/api/agent/v2/delegates/{delegate}/tasks/{task}/acquire";
        Ok(self.request(Method::PUT, template, path, &query, Bytes::new()))
    }

    pub(super) fn result_a(&self, task: &str, delegate: &str, body: Vec<u8>) -> Result<Request, BadId> {
        let delegate = segment("delegate", delegate)?;
        let path = format!("/api/agent/v2/tasks/{}/delegates/{delegate}", segment("task", task)?);
        let template = "/api/agent/v2/tasks/{task}/delegates/{delegate}";
        Ok(self.request(Method::POST, template, path, "", body.into()))
    }

    pub(super) fn result_b(&self, task: &str, delegate: &str, body: Vec<u8>) -> Result<Request, BadId> {
        let path = format!("/api/executions/{}/response", segment("task", task)?);
        let query = format!("&delegateId={}", escaped(delegate));
        Ok(self.request(Method::POST, "/api/executions/{task}/response", path, &query, body.into()))
    }

    // === the runner family ===

    pub(super) fn runner_poll(&self, runner: &str) -> Result<Request, BadId> {
        let path = format!("/api/executions/{}/runner-events", segment("delegate", runner)?);
        Ok(self.request(Method::GET, "/api/executions/{runner}/runner-events", path, "", Bytes::new()))
    }

    /// A GET, and it assigns all the same.
    pub(super) fn runner_acquire(&self, task: &str, identity: &Identity, name: &str) -> Result<Request, BadId> {
        let path = format!("/api/executions/{}/request", segment("task", task)?);
        let query = format!(
            "&delegateId={}&delegateInstanceId={}&delegateName={}",
            escaped(&identity.delegate_id),
            escaped(&identity.instance_id),
            escaped(name)
        );
        Ok(self.request(Method::GET, "/api/executions/{task}/request", path, &query, Bytes::new()))
    }

    pub(super) fn result_c(&self, task: &str, runner: &str, body: Vec<u8>) -> Result<Request, BadId> {
        let path = format!("/api/executions/{}/task-response", segment("task", task)?);
        let query = format!("&runnerId={}", escaped(runner));
        Ok(self.request(Method::POST, "/api/executions/{task}/task-response", path, &query, body.into()))
    }

    fn request(&self, method: Method, template: &'static str, path: String, query: &str, body: Bytes) -> Request {
        let target = format!("{path}?{}{query}", self.account);
        Request { method, template, target, body }
    }
}

/// Whether a task of this id can be acquired and answered.
pub(super) fn check_task_id(id: &str) -> Result<(), BadId> {
    segment("task", id).map(|_| ())
}

fn segment(what: &'static str, id: &str) -> Result<String, BadId> {
    match id {
        "" => Err(BadId::Empty { what }),
        "." | ".." => Err(BadId::Dots { what }),
        _ if id.len() > ID_BYTES_MAX => Err(BadId::TooLong { what, bytes: id.len() }),
        _ => Ok(escaped(id)),
    }
}

/// Everything but RFC 3986's unreserved characters is escaped, in paths and queries alike.
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

    fn requests() -> Requests {
        Requests::new("acct 1")
    }

    fn identity(delegate: &str) -> Identity {
        Identity { delegate_id: delegate.into(), instance_id: "i/1".into() }
    }

    #[test]
    fn ids_are_opaque_and_escaped() {
        let request = requests().acquire("t/1?x=%é", &identity("d#1")).unwrap();
        assert_eq!(
            request.target,
            "/api/agent/v2/delegates/d%231/tasks/t%2F1%3Fx%3D%25%C3%A9/acquire?accountId=acct%201&delegateInstanceId=i%2F1"
        );
        assert_eq!(request.method, Method::PUT);
        let request = requests().result_b("t&1", "d&1", Vec::new()).unwrap();
        assert_eq!(request.target, "/api/executions/t%261/response?accountId=acct%201&delegateId=d%261");
    }

    #[test]
    fn an_id_that_no_path_can_hold_is_refused_by_name() {
        for (id, says) in [("", "empty"), (".", "dots"), ("..", "dots"), (&"x".repeat(ID_BYTES_MAX + 1), "513 bytes")] {
            let error = requests().poll(id).unwrap_err().to_string();
            assert!(error.contains("delegate") && error.contains(says), "{error}");
            assert!(check_task_id(id).is_err());
        }
        assert!(check_task_id("...").is_ok());
    }
}
