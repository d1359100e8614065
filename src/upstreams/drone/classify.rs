//! What an answer, or none, means for each kind of call.
//!
//! | answer | ping | poll | accept | details | final PUT | watch |
//! |---|---|---|---|---|---|---|
//! | 200 as due | ok | offer | ours | read | ok | cancelled, if it is empty; else unclear |
//! | 204 | ok | nothing | unclear | failed | unclear | nothing |
//! | other 2xx | ok | failed | unclear | failed | unclear | nothing |
//! | 409, 500 with the text of a lost race | failed | failed | taken | as their status | lost | unclear |
//! | 500 that knows no such row | failed | failed | refused | refused | fault | unclear |
//! | other 500, 501 | failed | failed | unclear | refused | fault | unclear |
//! | 401, 403 | denied | denied | unclear | failed | unauthorized | unclear |
//! | 400, 413, 422 | failed | failed | refused | refused | refused | unclear |
//! | 404, 405 | failed | failed | refused | refused | fault | unclear |
//! | 408, 425, 429, 3xx, 502 and up | failed | failed | unclear | failed | unanswered | unclear |
//! | no answer | failed | failed | unclear | failed | unclear ¹ | unclear |
//!
//! ¹ unsent where nothing left. The server itself never says 404 of an id, so one comes from a server without runners, or from
//! something on the way; nor 204 but to a held call.
//!
//! Texts name method, path and status and what the server said, at most [`TEXT_BYTES_MAX`] bytes of it. They hold no time and no id,
//! so that the same fault has the same text.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::{
    request::Request,
    wire::{self, NO_ROWS, OPTIMISTIC_LOCK},
};
use crate::{
    core::input::{CallError, Denial, ReportError},
    upstreams::transport::{Failure, Response},
};

/// Most of a server's own words that a text repeats, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 500;

/// What came back.
pub(super) type Outcome = Result<Response, Failure>;

/// Whose a stage is after an accept.
#[derive(Debug)]
pub(super) enum Accepted {
    /// Ours; the stage as it is now.
    Ours(Bytes),
    /// It has a machine, which may be this one after an answer that was lost.
    Taken(Arc<str>),
    /// It was certainly not assigned.
    Refused(Arc<str>),
    /// Nobody knows.
    Unclear(Arc<str>),
}

/// What became of a PUT.
#[derive(Debug)]
pub(super) enum Put {
    /// Stored; the row as it is now.
    Done(Bytes),
    /// The row is not as it was read; or the answer to the first of two such PUTs was lost.
    Lost(Arc<str>),
    /// Nobody knows whether it was stored.
    Unclear(Arc<str>),
    /// It was not.
    Failed(ReportError),
}

/// Why details could not be read.
#[derive(Debug)]
pub(super) enum NoDetails {
    /// The server answered that there are none.
    Refused(Arc<str>),
    /// Anything else.
    Failed(Arc<str>),
}

/// What a watch said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Watched {
    Cancelled,
    Nothing,
    /// Not known; the details tell.
    Unclear,
}

/// Whether the server refuses the token.
pub(super) fn refuses_token(outcome: &Outcome) -> bool {
    matches!(outcome, Ok(Response { status: 401 | 403, .. }))
}

pub(super) fn ping(request: &Request, outcome: &Outcome) -> Result<(), CallError> {
    call(request, outcome).map(|_| ())
}

/// The stage on offer, if there is one.
pub(super) fn poll(request: &Request, outcome: &Outcome) -> Result<Option<wire::Stage>, CallError> {
    let response = call(request, outcome)?;
    if response.status == 204 {
        return Ok(None);
    }
    let offer: Option<wire::Stage> = serde_json::from_slice(&response.body).map_err(|error| {
        CallError::Failed(about(request, format_args!("{}: not an offer: {}", response.status, shape(&error))))
    })?;
    Ok(offer.filter(|stage| stage.id > 0 && stage.build_id > 0))
}

pub(super) fn accept(request: &Request, outcome: &Outcome) -> Accepted {
    let response = match outcome {
        Ok(response) => response,
        Err(failure) => return Accepted::Unclear(about(request, failure)),
    };
    let text = said(request, response);
    match response.status {
        200 if is_stage(&response.body) => Accepted::Ours(response.body.clone()),
        _ if is_lost_race(response) => Accepted::Taken(text),
        500 if says(response, NO_ROWS) => Accepted::Refused(text),
        400 | 404 | 405 | 413 | 422 => Accepted::Refused(text),
        _ => Accepted::Unclear(text),
    }
}

pub(super) fn details(request: &Request, outcome: &Outcome) -> Result<Bytes, NoDetails> {
    let response = outcome.as_ref().map_err(|failure| NoDetails::Failed(about(request, failure)))?;
    match response.status {
        200 => Ok(response.body.clone()),
        400 | 404 | 405 | 413 | 422 | 500 | 501 => Err(NoDetails::Refused(said(request, response))),
        _ => Err(NoDetails::Failed(said(request, response))),
    }
}

pub(super) fn put(request: &Request, outcome: &Outcome) -> Put {
    let response = match outcome {
        Ok(response) => response,
        Err(failure @ (Failure::Unsent { .. } | Failure::Unconnected { .. })) => {
            return Put::Failed(ReportError::Unsent(about(request, failure)));
        }
        Err(failure) => return Put::Unclear(about(request, failure)),
    };
    let text = said(request, response);
    match response.status {
        200 if is_stage(&response.body) => Put::Done(response.body.clone()),
        200..=299 => Put::Unclear(text),
        _ if is_lost_race(response) => Put::Lost(text),
        401 | 403 => Put::Failed(ReportError::Unauthorized(text)),
        400 | 413 | 422 => Put::Failed(ReportError::Refused(text)),
        404 | 405 | 500 | 501 => Put::Failed(ReportError::Fault(text)),
        _ => Put::Failed(ReportError::Unanswered(text)),
    }
}

/// What became of a step's log. The server stores one log a step, and fails at a second, which is then there already. `is_unsure`: it
/// may be, since an earlier answer was lost.
///
/// | answer | meaning |
/// |---|---|
/// | 2xx; 500 that names the second log, or any while unsure | stored |
/// | other 500, 404, 405, 501 | fault |
/// | 401, 403 | unauthorized |
/// | 400, 413, 422 | refused |
/// | none, or any other | unanswered |
pub(super) fn upload(request: &Request, outcome: &Outcome, is_unsure: bool) -> Result<(), ReportError> {
    let response = match outcome {
        Ok(response) => response,
        Err(failure) => return Err(ReportError::Unanswered(about(request, failure))),
    };
    let text = said(request, response);
    match response.status {
        200..=299 => Ok(()),
        500 if is_unsure || is_there(response) => Ok(()),
        401 | 403 => Err(ReportError::Unauthorized(text)),
        400 | 413 | 422 => Err(ReportError::Refused(text)),
        404 | 405 | 500 | 501 => Err(ReportError::Fault(text)),
        _ => Err(ReportError::Unanswered(text)),
    }
}

/// What became of a card.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Carded {
    Done,
    /// The server knows no cards.
    NoCards,
    /// It does not want this one.
    Refused(Arc<str>),
    /// Nobody knows.
    Unclear(Arc<str>),
}

pub(super) fn card(request: &Request, outcome: &Outcome) -> Carded {
    match outcome {
        Ok(response) => match response.status {
            200..=299 => Carded::Done,
            404 | 405 => Carded::NoCards,
            400..=501 => Carded::Refused(said(request, response)),
            _ => Carded::Unclear(said(request, response)),
        },
        Err(failure) => Carded::Unclear(about(request, failure)),
    }
}

pub(super) fn watch(outcome: &Outcome) -> Watched {
    match outcome {
        // The real answer is empty; a page would be from somebody on the way, who knows of no cancel.
        Ok(response) if response.status == 200 && response.body.is_empty() => Watched::Cancelled,
        Ok(response) if matches!(response.status, 201..=299) => Watched::Nothing,
        _ => Watched::Unclear,
    }
}

/// An answer of any 2xx.
fn call<'a>(request: &Request, outcome: &'a Outcome) -> Result<&'a Response, CallError> {
    match outcome {
        Ok(response) if matches!(response.status, 200..=299) => Ok(response),
        Ok(response) if refuses_token(outcome) => Err(CallError::Denied(Denial::Credentials, said(request, response))),
        Ok(response) => Err(CallError::Failed(said(request, response))),
        Err(failure) => Err(CallError::Failed(about(request, failure))),
    }
}

fn is_lost_race(response: &Response) -> bool {
    response.status == 409 || (response.status == 500 && says(response, OPTIMISTIC_LOCK))
}

fn is_there(response: &Response) -> bool {
    let text = String::from_utf8_lossy(&response.body).to_lowercase();
    wire::IS_THERE.iter().any(|part| text.contains(part))
}

fn is_stage(body: &[u8]) -> bool {
    serde_json::from_slice::<wire::Stage>(body).is_ok_and(|stage| stage.id > 0)
}

fn says(response: &Response, what: &str) -> bool {
    String::from_utf8_lossy(&response.body).contains(what)
}

/// Where in a body it broke, and nothing of the body.
fn shape(error: &serde_json::Error) -> String {
    format!("it breaks at line {}, column {}", error.line(), error.column())
}

fn said(request: &Request, response: &Response) -> Arc<str> {
    let body = String::from_utf8_lossy(&response.body);
    let body = body.trim();
    // What came with a success may hold the secrets of a stage.
    let body = if matches!(response.status, 200..=299) { "an answer that is not due" } else { body };
    if body.is_empty() {
        return about(request, response.status);
    }
    let body: String = body.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    about(request, format_args!("{}: {}", response.status, &body[..body.floor_char_boundary(TEXT_BYTES_MAX)]))
}

pub(super) fn about(request: &Request, what: impl fmt::Display) -> Arc<str> {
    format!("{} {}: {what}", request.method, request.template).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::upstreams::drone::stage_id::StageId;

    const STAGE: &str = r#"{"id":9104,"build_id":5521}"#;

    fn answers(status: u16, body: &str) -> [String; 5] {
        let outcome = Ok(Response { status, body: Bytes::copy_from_slice(body.as_bytes()) });
        of(&outcome)
    }

    /// The columns of the table, poll to watch.
    fn of(outcome: &Outcome) -> [String; 5] {
        let request = Request::details(StageId { build: 5521, stage: 9104 }, Duration::from_secs(1));
        let poll = match poll(&request, outcome) {
            Ok(Some(_)) => "offer",
            Ok(None) => "nothing",
            Err(CallError::Denied(..)) => "denied",
            Err(_) => "failed",
        };
        let accept = match accept(&request, outcome) {
            Accepted::Ours(_) => "ours",
            Accepted::Taken(_) => "taken",
            Accepted::Refused(_) => "refused",
            Accepted::Unclear(_) => "unclear",
        };
        let details = match details(&request, outcome) {
            Ok(_) => "read",
            Err(NoDetails::Refused(_)) => "refused",
            Err(NoDetails::Failed(_)) => "failed",
        };
        let put = match put(&request, outcome) {
            Put::Done(_) => "ok",
            Put::Lost(_) => "lost",
            Put::Unclear(_) => "unclear",
            Put::Failed(ReportError::Fault(_)) => "fault",
            Put::Failed(ReportError::Refused(_)) => "refused",
            Put::Failed(ReportError::Unauthorized(_)) => "unauthorized",
            Put::Failed(ReportError::Unsent(_)) => "unsent",
            Put::Failed(_) => "unanswered",
        };
        let watch = match watch(outcome) {
            Watched::Cancelled => "cancelled",
            Watched::Nothing => "nothing",
            Watched::Unclear => "unclear",
        };
        [poll, accept, details, put, watch].map(str::to_owned)
    }

    #[test]
    fn every_status_has_its_meaning_for_every_call() {
        for (status, body, meaning) in [
            (200, STAGE, ["offer", "ours", "read", "ok", "unclear"]),
            (200, "", ["failed", "unclear", "read", "unclear", "cancelled"]),
            (200, "null", ["nothing", "unclear", "read", "unclear", "unclear"]),
            (200, "{}", ["nothing", "unclear", "read", "unclear", "unclear"]),
            (200, "<html>", ["failed", "unclear", "read", "unclear", "unclear"]),
            (204, "", ["nothing", "unclear", "failed", "unclear", "nothing"]),
            (409, "Optimistic Lock Error", ["failed", "taken", "failed", "lost", "unclear"]),
            (500, "1 error occurred:\n\t* Optimistic Lock Error", ["failed", "taken", "refused", "lost", "unclear"]),
            (500, "sql: no rows in result set", ["failed", "refused", "refused", "fault", "unclear"]),
            (500, "database is locked", ["failed", "unclear", "refused", "fault", "unclear"]),
            (401, "", ["denied", "unclear", "failed", "unauthorized", "unclear"]),
            (413, "", ["failed", "refused", "refused", "refused", "unclear"]),
            (404, "404 page not found", ["failed", "refused", "refused", "fault", "unclear"]),
            (302, "", ["failed", "unclear", "failed", "unanswered", "unclear"]),
            (502, "bad gateway", ["failed", "unclear", "failed", "unanswered", "unclear"]),
        ] {
            assert_eq!(answers(status, body), meaning.map(str::to_owned), "{status} {body}");
        }
        let cut = of(&Err(Failure::Cut { reason: "reset".into() }));
        assert_eq!(cut, ["failed", "unclear", "failed", "unclear", "unclear"].map(str::to_owned));
        let refused = of(&Err(Failure::Unconnected { reason: "refused".into() }));
        assert_eq!(refused[3], "unsent");
    }

    #[test]
    fn a_log_or_card_that_the_server_does_not_take_is_told_from_one_that_is_there() {
        let request = Request::upload(30_711, Bytes::from_static(b"null"), Duration::from_secs(1));
        let judged = |status, body: &str, is_unsure| {
            let outcome = Ok(Response { status, body: Bytes::copy_from_slice(body.as_bytes()) });
            match upload(&request, &outcome, is_unsure) {
                Ok(()) => "stored",
                Err(ReportError::Fault(_)) => "fault",
                Err(ReportError::Refused(_)) => "refused",
                Err(ReportError::Unauthorized(_)) => "unauthorized",
                Err(_) => "unanswered",
            }
        };
        for (status, body, meaning, unsure) in [
            (200, "", "stored", "stored"),
            (500, "UNIQUE constraint failed: logs.log_id", "stored", "stored"),
            (500, "Error 1062: Duplicate entry '7' for key 'PRIMARY'", "stored", "stored"),
            (500, "duplicate key value violates unique constraint \"logs_pkey\"", "stored", "stored"),
            (500, "database is locked", "fault", "stored"),
            (404, "404 page not found", "fault", "fault"),
            (413, "", "refused", "refused"),
            (401, "", "unauthorized", "unauthorized"),
            (502, "", "unanswered", "unanswered"),
        ] {
            assert_eq!((judged(status, body, false), judged(status, body, true)), (meaning, unsure), "{status} {body}");
        }
        let judged = |status| card(&request, &Ok(Response { status, body: Bytes::new() }));
        assert_eq!((judged(200), judged(404)), (Carded::Done, Carded::NoCards));
        assert!(matches!((judged(400), judged(500)), (Carded::Refused(_), Carded::Refused(_))));
        assert!(matches!(judged(502), Carded::Unclear(_)));
    }

    #[test]
    fn a_text_names_the_call_and_no_id_and_nothing_of_an_answer_that_worked() {
        let request = Request::details(StageId { build: 5521, stage: 9104 }, Duration::from_secs(1));
        let text = said(&request, &Response { status: 500, body: "x\n".repeat(600).into() });
        assert!(text.starts_with("GET /rpc/v2/stage/{stage}: 500: x x") && text.len() < 560 && !text.contains("9104"));
        let text = said(&request, &Response { status: 200, body: "hunter2".into() });
        assert!(!text.contains("hunter2"));
    }
}
