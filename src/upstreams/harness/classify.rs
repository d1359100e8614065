//! What an answer, or none, means for each kind of call.
//!
//! | answer | register | heartbeat | poll | acquire | report |
//! |---|---|---|---|---|---|
//! | 2xx as due | registered | known | listing | task | ok |
//! | 2xx that says no | deleted | forgotten | | refused, unassigned | |
//! | 204 | deleted | known | nothing listed | refused | ok |
//! | 2xx with something else | failed | failed | failed | unanswered | ok |
//! | 400, 413, 422 | failed | failed | failed | refused | refused |
//! | 401, 403 | unauthorized | unauthorized | unauthorized | unanswered | unauthorized |
//! | 404, 409, 410 | failed | failed | failed | refused | gone |
//! | 500 | failed | failed | failed | refused | fault |
//! | 408, 425, 429, 3xx, other 5xx | failed | failed | failed | unanswered | unanswered |
//! | other 4xx | failed | failed | failed | refused | unanswered |
//! | no answer | failed | failed | failed | unanswered | unanswered |
//!
//! A lost race for a task is a 500 that says nothing, so an acquire takes one for a refusal; but only a well-formed one, for a page of
//! HTML or JSON that breaks off comes from something on the way, and tells nothing of the task.
//!
//! Texts name method, path and status and what the server said, at most [`TEXT_BYTES_MAX`] bytes of it. They hold no time and no
//! id, so that the same fault has the same text.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::{
    request::{REGISTER, Request, check_task_id},
    wire::{self, Envelope},
};
use crate::{
    core::{
        id::ExternalId,
        input::{AcquireError, CallError, Listed, Listing, ReportError, Standing},
        task::Identity,
    },
    upstreams::transport::{Failure, Response},
};

/// Most of a server's own words that a text repeats, in bytes. A longer plain text is taken for no well-formed refusal, too.
pub(super) const TEXT_BYTES_MAX: usize = 500;

/// What came back.
pub(super) type Outcome = Result<Response, Failure>;

/// The id under which the manager knows the delegate.
pub(super) fn register(request: &Request, outcome: &Outcome) -> Result<Arc<str>, CallError> {
    let response = call(request, outcome)?;
    if response.status == 204 {
        let text = "204: the manager refuses this delegate; is this machine's address on the account's allow list?";
        return Err(CallError::Deleted(about(request, text)));
    }
    let answer: Envelope<wire::Registered> = read(request, response).map_err(CallError::Failed)?;
    let Some(registered) = answer.resource else {
        return Err(CallError::Failed(about(request, format_args!("{}: the answer has no resource", response.status))));
    };
    let text = match &*registered.action {
        wire::ACTION_SELF_DESTRUCT => "the manager wants this delegate gone (SELF_DESTRUCT)".to_owned(),
        "" if registered.delegate_id.is_empty() => "the manager gave no delegate id".to_owned(),
        action if registered.delegate_id.is_empty() => match &*registered.migrate_url {
            "" => format!("the manager gave no delegate id ({})", excerpt(action)),
            url => format!("the account moved: set the endpoint to {} ({})", excerpt(url), excerpt(action)),
        },
        _ => return Ok(registered.delegate_id.into()),
    };
    Err(CallError::Deleted(about(request, text)))
}

/// Whether the manager still knows the delegate.
pub(super) fn heartbeat(request: &Request, outcome: &Outcome) -> Result<Standing, CallError> {
    let response = call(request, outcome)?;
    if response.body.is_empty() {
        return Ok(Standing::Known);
    }
    let answer: Envelope<wire::HeartbeatAnswer> = read(request, response).map_err(CallError::Failed)?;
    let is_deleted = answer.resource.is_some_and(|heartbeat| heartbeat.status == wire::STATUS_DELETED);
    Ok(if is_deleted { Standing::Forgotten } else { Standing::Known })
}

/// What the manager offers. What can't be acquired or is of no known sort is left out.
pub(super) fn poll(request: &Request, outcome: &Outcome) -> Result<Listing, CallError> {
    let response = call(request, outcome)?;
    if response.status == 204 {
        return Ok(Listing::default());
    }
    let answer: wire::TaskEvents = read(request, response).map_err(CallError::Failed)?;
    let mut listing = Listing::default();
    for event in answer.delegate_task_events.into_iter().flatten() {
        if let Err(error) = check_task_id(&event.delegate_task_id) {
            tracing::debug!(%error, "left out a task event");
            continue;
        }
        let external_id = ExternalId::from(event.delegate_task_id);
        match &*event.event_type {
            wire::EVENT_ABORT => listing.aborts.push(external_id),
            wire::EVENT_TASK | "" if !event.task_type.is_empty() => {
                listing.tasks.push(Listed { external_id, task_type: event.task_type.into() });
            }
            wire::EVENT_TASK | "" => tracing::debug!(task = %external_id, "left out a task event without a type"),
            other => {
                tracing::debug!(task = %external_id, event = excerpt(other), "left out an event of an unknown sort")
            }
        }
    }
    Ok(listing)
}

/// The task, if it is ours now.
pub(super) fn acquire<'a>(
    request: &Request,
    outcome: &'a Outcome,
    external_id: &ExternalId,
    identity: &Identity,
) -> Result<wire::Task<'a>, AcquireError> {
    let response = match outcome {
        Ok(response) => response,
        Err(failure) => return Err(AcquireError::Unanswered(about(request, failure))),
    };
    let refused = |text: &dyn fmt::Display| AcquireError::Refused(about(request, text));
    match response.status {
        200..300 if response.body.is_empty() => return Err(refused(&format_args!("{}: no task", response.status))),
        200..300 => {}
        401 | 403 | 408 | 425 | 429 => return Err(AcquireError::Unanswered(complaint(request, response))),
        400..=500 if Said::by(&response.body).is_well_formed() => {
            return Err(AcquireError::Refused(complaint(request, response)));
        }
        _ => return Err(AcquireError::Unanswered(complaint(request, response))),
    }
    let task: wire::Task<'_> = read(request, response).map_err(AcquireError::Unanswered)?;
    if task.task_type.is_empty() {
        return Err(refused(&"the answer holds no task"));
    }
    if !task.id.is_empty() && task.id != external_id.as_str() {
        return Err(AcquireError::Unanswered(about(request, "the answer is about another task")));
    }
    match &task.delegate {
        Some(delegate) if delegate.id.is_empty() => Err(AcquireError::Unassigned),
        Some(delegate) if *delegate.id != *identity.delegate_id => {
            Err(refused(&"the answer says another delegate has it"))
        }
        // A server that does not speak of delegates assigns to whoever asks.
        _ => Ok(task),
    }
}

/// Whether the result is reported.
pub(super) fn report(request: &Request, outcome: &Outcome) -> Result<(), ReportError> {
    let response = match outcome {
        Ok(response) => response,
        Err(failure) => return Err(ReportError::Unanswered(about(request, failure))),
    };
    let class = match response.status {
        200..300 => return Ok(()),
        400 | 413 | 422 => ReportError::Refused,
        401 | 403 => ReportError::Unauthorized,
        404 | 409 | 410 => ReportError::Gone,
        500 => ReportError::Fault,
        _ => ReportError::Unanswered,
    };
    Err(class(complaint(request, response)))
}

/// Whether the manager refused the token, so that the next call is to make a new one.
pub(super) fn refuses_token(outcome: &Outcome) -> bool {
    outcome.as_ref().is_ok_and(|response| response.status == 401)
}

// === what all share ===

/// The answer to a call about the delegate, if it is a good one.
fn call<'a>(request: &Request, outcome: &'a Outcome) -> Result<&'a Response, CallError> {
    match outcome {
        Err(failure) => Err(CallError::Failed(about(request, failure))),
        Ok(response) => match response.status {
            200..300 => Ok(response),
            401 | 403 => Err(CallError::Unauthorized(complaint(request, response))),
            _ => Err(CallError::Failed(complaint(request, response))),
        },
    }
}

fn read<'a, T: serde::Deserialize<'a>>(request: &Request, response: &'a Response) -> Result<T, Arc<str>> {
    serde_json::from_slice(&response.body).map_err(|error| {
        let status = response.status;
        match Said::by(&response.body) {
            // Its own text may quote the body.
            Said::Json | Said::Message { .. } => {
                let (line, column) = (error.line(), error.column());
                about(request, format_args!("{status}: json of another shape (line {line}, column {column})"))
            }
            said => about(request, format_args!("{status}: {said} instead of json")),
        }
    })
}

fn about(request: &Request, text: impl fmt::Display) -> Arc<str> {
    format!("{} {}: {text}", request.method, request.template).into()
}

/// The text for a status that is no success, with a hint where the status hides its cause.
fn complaint(request: &Request, response: &Response) -> Arc<str> {
    let said = Said::by(&response.body);
    let hint = match (response.status, &said) {
        (401, Said::Message { code, .. }) if code == "EXPIRED_TOKEN" => "; is this machine's clock slow?",
        (401 | 403, _) => "; the manager refuses the credentials: check account_id and account_secret",
        (300..=399, _) => "; redirects are not followed: set the endpoint to the final address",
        // The answer to a missing header is the same as to any accident.
        (500, _) if request.template == REGISTER => "; also the answer if a proxy takes the Authorization header away",
        _ => "",
    };
    about(request, format_args!("{}: {said}{hint}", response.status))
}

/// What a body is, if it is not what was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    /// An error in the manager's own form.
    Message {
        code: String,
        message: String,
    },
    Json,
    /// Begins as JSON and is none.
    BrokenJson,
    Html,
    Text(String),
    /// Too long or too strange to be repeated.
    Other {
        bytes: usize,
    },
}

// === impl Said ===

impl Said {
    fn by(body: &Bytes) -> Self {
        let body = body.trim_ascii();
        match body.first() {
            None => Self::Nothing,
            Some(b'<') => Self::Html,
            Some(b'{' | b'[') => match serde_json::from_slice::<Envelope<IgnoredAny>>(body) {
                Ok(envelope) => envelope.response_messages.into_iter().flatten().next().map_or(Self::Json, |message| {
                    Self::Message { code: excerpt(&message.code), message: excerpt(&message.message) }
                }),
                Err(_) if serde_json::from_slice::<IgnoredAny>(body).is_ok() => Self::Json,
                Err(_) => Self::BrokenJson,
            },
            Some(_) => match std::str::from_utf8(body) {
                Ok(text) if text.len() <= TEXT_BYTES_MAX => Self::Text(excerpt(text)),
                _ => Self::Other { bytes: body.len() },
            },
        }
    }

    /// Whether a server can have meant it, as an answer about a task.
    fn is_well_formed(&self) -> bool {
        match self {
            Self::Nothing | Self::Message { .. } | Self::Json | Self::Text(_) => true,
            Self::BrokenJson | Self::Html | Self::Other { .. } => false,
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("an empty answer"),
            Self::Message { code, message } if message.is_empty() => f.write_str(code),
            Self::Message { code, message } => write!(f, "{code}: {message}"),
            Self::Json => f.write_str("json without a message"),
            Self::BrokenJson => f.write_str("broken json"),
            Self::Html => f.write_str("a page of html, as from a proxy or a sign-in"),
            Self::Text(text) => f.write_str(text),
            Self::Other { bytes } => write!(f, "{bytes} bytes of something else"),
        }
    }
}

/// One line of at most [`TEXT_BYTES_MAX`] bytes.
fn excerpt(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    let mut line: String = text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if end < text.len() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstreams::harness::request::Requests;

    const LOST_RACE: &str = r#"{"metaData":null,"resource":null,"responseMessages":[{"code":"DEFAULT_ERROR_CODE","level":"ERROR",
        "message":"An error has occurred.","exception":null,"failureTypes":[]}]}"#;
    const HTML: &str = "<!doctype html><html></html>";
    const TASK: &str = r#"{"id":"t","type":"X","data":{},"delegate":{"id":"d","instance_id":"i"}}"#;

    fn answered(status: u16, body: &str) -> Outcome {
        Ok(Response { status, body: Bytes::copy_from_slice(body.as_bytes()) })
    }

    fn requests() -> Requests {
        Requests::new("a")
    }

    fn failures() -> [Outcome; 4] {
        [
            Err(Failure::TimedOut { waited: std::time::Duration::from_secs(30) }),
            Err(Failure::Cut { reason: "reset".into() }),
            Err(Failure::Unconnected { reason: "refused".into() }),
            Err(Failure::TooLarge { max: 1 }),
        ]
    }

    fn acquired(outcome: &Outcome) -> String {
        let identity = Identity { delegate_id: "d".into(), instance_id: "i".into() };
        let request = requests().acquire("t", &identity).unwrap();
        match acquire(&request, outcome, &"t".into(), &identity) {
            Ok(task) => format!("task {}", task.task_type),
            Err(AcquireError::Refused(text)) => format!("refused {text}"),
            Err(AcquireError::Unassigned) => "unassigned".to_owned(),
            Err(AcquireError::Unanswered(text)) => format!("unanswered {text}"),
        }
    }

    fn reported(outcome: &Outcome) -> String {
        let request = requests().result_a("t", "d", Vec::new()).unwrap();
        match report(&request, outcome) {
            Ok(()) => "ok".to_owned(),
            Err(ReportError::Refused(text)) => format!("refused {text}"),
            Err(ReportError::Fault(text)) => format!("fault {text}"),
            Err(ReportError::Gone(text)) => format!("gone {text}"),
            Err(ReportError::Unauthorized(text)) => format!("unauthorized {text}"),
            Err(ReportError::Unanswered(text)) => format!("unanswered {text}"),
        }
    }

    fn said_of<T: fmt::Debug>(result: Result<T, CallError>) -> String {
        match result {
            Ok(value) => format!("ok {value:?}"),
            Err(CallError::Unauthorized(text)) => format!("unauthorized {text}"),
            Err(CallError::Deleted(text)) => format!("deleted {text}"),
            Err(CallError::Failed(text)) => format!("failed {text}"),
        }
    }

    fn registered(outcome: &Outcome) -> String {
        said_of(register(&requests().register(Vec::new()), outcome))
    }

    fn beaten(outcome: &Outcome) -> String {
        said_of(heartbeat(&requests().heartbeat(Vec::new()), outcome))
    }

    fn polled(outcome: &Outcome) -> String {
        said_of(poll(&requests().poll("d").unwrap(), outcome))
    }

    /// Each row: status, body, how the result begins, and a word it holds.
    fn check(classify: fn(&Outcome) -> String, rows: &[(u16, &str, &str, &str)]) {
        for (status, body, class, word) in rows {
            let result = classify(&answered(*status, body));
            assert!(result.starts_with(class) && result.contains(word), "{status} {body:?}: {result}");
        }
    }

    #[test]
    fn an_acquire_is_refused_only_by_a_server_that_can_have_meant_it() {
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        check(
            acquired,
            &[
                (200, TASK, "task X", ""),
                (200, r#"{"type":"X","delegate":null}"#, "task X", ""),
                (200, r#"{"id":"t","type":"X","delegate":{"id":null,"instance_id":null}}"#, "unassigned", ""),
                (200, r#"{"id":"t","type":"X","delegate":{"id":"e"}}"#, "refused", "another delegate"),
                (200, r#"{"id":"u","type":"X","delegate":{"id":"d"}}"#, "unanswered", "another task"),
                (200, "{}", "refused", "no task"),
                (204, "", "refused", "204"),
                (500, LOST_RACE, "refused", "500: DEFAULT_ERROR_CODE: An error has occurred."),
                (404, "gone", "refused", "404: gone"),
                (409, "", "refused", "409: an empty answer"),
                (400, r#"{"x":1}"#, "refused", "json without a message"),
                (500, HTML, "unanswered", "html"),
                (404, HTML, "unanswered", "html"),
                (500, &LOST_RACE[..60], "unanswered", "broken json"),
                (500, &long, "unanswered", "501 bytes"),
                (200, HTML, "unanswered", "html"),
                (200, &TASK[..30], "unanswered", "broken json"),
                (200, r#"{"id":7}"#, "unanswered", "another shape"),
                (401, LOST_RACE, "unanswered", "credentials"),
                (403, "", "unanswered", "credentials"),
                (429, "slow down", "unanswered", "slow down"),
                (408, "", "unanswered", "408"),
                (302, "", "unanswered", "redirects"),
                (502, "bad gateway", "unanswered", "502"),
                (503, LOST_RACE, "unanswered", "503"),
                (504, "", "unanswered", "504"),
            ],
        );
        for failure in failures() {
            assert!(acquired(&failure).starts_with("unanswered PUT /api/agent/v2/"), "{}", acquired(&failure));
        }
    }

    #[test]
    fn a_report_is_refused_gone_or_tried_again_by_its_status() {
        check(
            reported,
            &[
                (200, "whatever", "ok", ""),
                (204, "", "ok", ""),
                (400, LOST_RACE, "refused", "DEFAULT_ERROR_CODE"),
                (413, HTML, "refused", "html"),
                (422, "", "refused", "422"),
                (404, "", "gone", "404"),
                (409, "", "gone", "409"),
                (410, "", "gone", "410"),
                (401, LOST_RACE, "unauthorized", "credentials"),
                (403, "", "unauthorized", "credentials"),
                (500, LOST_RACE, "fault", "An error has occurred."),
                (408, "", "unanswered", "408"),
                (429, "", "unanswered", "429"),
                (502, "", "unanswered", "502"),
                (503, "", "unanswered", "503"),
                (504, "", "unanswered", "504"),
                (501, "", "unanswered", "501"),
                (405, "", "unanswered", "405"),
                (301, "", "unanswered", "redirects"),
                (100, "", "unanswered", "100"),
            ],
        );
        for failure in failures() {
            assert!(
                reported(&failure).starts_with("unanswered POST /api/agent/v2/tasks/{task}/"),
                "{}",
                reported(&failure)
            );
        }
    }

    #[test]
    fn a_registration_needs_an_id_and_obeys_actions() {
        check(
            registered,
            &[
                (200, r#"{"resource":{"delegateId":"d-1"}}"#, r#"ok "d-1""#, ""),
                (200, r#"{"resource":{"delegateId":"d-1","action":null,"new":1},"metaData":{}}"#, r#"ok "d-1""#, ""),
                (200, r#"{"resource":{"delegateId":"d","action":"SELF_DESTRUCT"}}"#, "deleted", "SELF_DESTRUCT"),
                (200, r#"{"resource":{"delegateId":null,"action":"SELF_DESTRUCT"}}"#, "deleted", "SELF_DESTRUCT"),
                (
                    200,
                    r#"{"resource":{"action":"MIGRATE","migrateUrl":"https://new.example.test"}}"#,
                    "deleted",
                    "set the endpoint to https://new.example.test (MIGRATE)",
                ),
                (200, r#"{"resource":{"delegateId":null}}"#, "deleted", "no delegate id"),
                (204, "", "deleted", "allow list"),
                (200, r#"{"resource":null}"#, "failed", "no resource"),
                (200, HTML, "failed", "html"),
                (200, r#"{"resource":{"#, "failed", "broken json"),
                (200, "", "failed", "an empty answer"),
                (401, LOST_RACE, "unauthorized", "credentials"),
                (403, "", "unauthorized", "credentials"),
                (500, LOST_RACE, "failed", "Authorization header"),
                (400, "no", "failed", "400: no"),
                (503, "", "failed", "503"),
            ],
        );
        for failure in failures() {
            assert!(registered(&failure).starts_with("failed"));
        }
    }

    #[test]
    fn an_expired_token_hints_at_the_clock() {
        let body = r#"{"responseMessages":[{"code":"EXPIRED_TOKEN","message":"Unauthorized"}]}"#;
        check(beaten, &[(401, body, "unauthorized", "clock")]);
        assert!(refuses_token(&answered(401, body)) && !refuses_token(&answered(403, body)));
    }

    #[test]
    fn a_heartbeat_reads_the_standing() {
        check(
            beaten,
            &[
                (200, r#"{"resource":{"status":"ENABLED"}}"#, "ok Known", ""),
                (200, r#"{"resource":{"status":"WAITING_FOR_APPROVAL"}}"#, "ok Known", ""),
                (200, r#"{"resource":null}"#, "ok Known", ""),
                (204, "", "ok Known", ""),
                (200, r#"{"resource":{"status":"DELETED"}}"#, "ok Forgotten", ""),
                (200, HTML, "failed", "html"),
                (500, LOST_RACE, "failed", "500"),
                (401, "", "unauthorized", "credentials"),
            ],
        );
        for failure in failures() {
            assert!(beaten(&failure).starts_with("failed"));
        }
    }

    #[test]
    fn a_poll_lists_tasks_and_aborts_and_leaves_out_the_rest() {
        let body = r#"{"delegateTaskEvents":[null,
            {"eventType":"DelegateTaskEvent","delegateTaskId":"t-1","taskType":"X","sync":true},
            {"delegateTaskId":"t-2","taskType":"Y"},
            {"eventType":"DelegateTaskEvent","delegateTaskId":"t-3","taskType":null},
            {"eventType":"DelegateTaskEvent","delegateTaskId":null,"taskType":"X"},
            {"eventType":"DelegateTaskEvent","delegateTaskId":"..","taskType":"X"},
            {"eventType":"SomethingNew","delegateTaskId":"t-4","taskType":"X"},
            {"eventType":"DelegateTaskAbortEvent","delegateTaskId":"t-5","taskType":null,"sync":false}]}"#;
        let listing = poll(&requests().poll("d").unwrap(), &answered(200, body)).unwrap();
        let tasks: Vec<_> = listing.tasks.iter().map(|l| (l.external_id.as_str(), l.task_type.as_str())).collect();
        assert_eq!(tasks, [("t-1", "X"), ("t-2", "Y")]);
        assert_eq!(listing.aborts, [ExternalId::from("t-5")]);
        let nothing = "ok Listing { tasks: [], aborts: [] }";
        check(
            polled,
            &[
                (200, "{}", nothing, ""),
                (200, r#"{"delegateTaskEvents":null}"#, nothing, ""),
                (204, "", nothing, ""),
                (200, HTML, "failed", "html"),
                (200, r#"{"delegateTaskEvents":[{"#, "failed", "broken json"),
                (200, r#"{"delegateTaskEvents":{}}"#, "failed", "another shape"),
                (401, "", "unauthorized", "credentials"),
                (404, "", "failed", "404"),
            ],
        );
        for failure in failures() {
            assert!(polled(&failure).starts_with("failed GET /api/agent/delegates/{delegate}/task-events: "));
        }
    }

    #[test]
    fn a_servers_words_are_one_bounded_line_and_the_same_each_time() {
        let body = format!(r#"{{"responseMessages":[{{"code":"C\n1","message":"{}"}}]}}"#, "é".repeat(1_000));
        let text = reported(&answered(500, &body));
        assert!(text.contains("C 1: éé") && text.ends_with('…') && !text.contains('\n'), "{text}");
        assert!(text.len() < 2 * TEXT_BYTES_MAX, "{}", text.len());
        assert_eq!(text, reported(&answered(500, &body)));
    }
}
