//! What an answer, or none, means for each kind of call.
//!
//! | answer | register | heartbeat | poll | acquire | report |
//! |---|---|---|---|---|---|
//! | 2xx as due | registered | known | listing | task | ok |
//! | 2xx that says no | self-destruct, moved, deleted | forgotten | | refused, unassigned | |
//! | 204 | denied (address) | known | nothing listed | refused | ok |
//! | 2xx with something else | failed | failed | failed | unanswered | ok, but for html: unanswered |
//! | 400, 413, 422 | failed | failed | failed | refused | refused |
//! | 401, 403 | denied ¹ | denied ¹ | denied ¹ | unanswered | unauthorized |
//! | 404, 409, 410 | failed | failed | failed | refused | gone |
//! | 500 | failed | failed | failed | refused | fault |
//! | 408, 425, 429, 3xx, other 5xx | failed | failed | failed | unanswered | unanswered |
//! | other 4xx | failed | failed | failed | refused | unanswered |
//! | no answer | failed | failed | failed | unanswered | unanswered ² |
//!
//! ¹ for the token where the code says `EXPIRED_TOKEN` or `REVOKED_TOKEN`, else for the credentials. ² unsent where nothing left.
//!
//! Both families have the same table; what the runner family's 2xx hold is in `runner`.
//!
//! A lost race for a task is a 500 that says nothing, so an acquire takes one for a refusal; but only a well-formed one, for a page of
//! HTML or JSON that breaks off comes from something on the way, and tells nothing of the task.
//!
//! Texts name method, path and status and what the server said, at most [`TEXT_BYTES_MAX`] bytes of it. They hold no time and no
//! id, so that the same fault has the same text.

pub(super) mod runner;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::{
    request::{REGISTER, Request, check_task_id},
    stage::kind_of,
    wire::{self, Envelope},
};
use crate::{
    core::{
        id::ExternalId,
        input::{AcquireError, CallError, Denial, Listed, Listing, ReportError, Standing},
        task::Identity,
    },
    upstreams::transport::{Failure, Response},
};

/// Most of a server's own words that a text repeats, in bytes. A longer plain text is taken for no well-formed refusal, too.
pub(super) const TEXT_BYTES_MAX: usize = 500;

/// What came back.
pub(super) type Outcome = Result<Response, Failure>;

/// Where a registration got to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Enrolled {
    /// The id under which the manager knows the delegate.
    Granted(Arc<str>),
    /// The account is another manager's; its base URL, as it was given.
    Moved(String),
}

/// What became of a registration.
pub(super) fn register(request: &Request, outcome: &Outcome) -> Result<Enrolled, CallError> {
    let response = call(request, outcome)?;
    if response.status == 204 {
        let text = "204: the manager refuses this delegate; is this machine's address on the account's allow list?";
        return Err(CallError::Denied(Denial::Address, about(request, text)));
    }
    let answer: Envelope<wire::Registered> = read(request, response).map_err(CallError::Failed)?;
    let Some(registered) = answer.resource else {
        return Err(CallError::Failed(about(request, format_args!("{}: the answer has no resource", response.status))));
    };
    let text = match &*registered.action {
        wire::ACTION_SELF_DESTRUCT => {
            let text = "the manager wants this delegate gone (SELF_DESTRUCT)";
            return Err(CallError::SelfDestruct(about(request, text)));
        }
        wire::ACTION_MIGRATE if !registered.migrate_url.is_empty() => {
            return Ok(Enrolled::Moved(registered.migrate_url));
        }
        "" if registered.delegate_id.is_empty() => "the manager gave no delegate id".to_owned(),
        action if registered.delegate_id.is_empty() => {
            format!("the manager gave no delegate id ({})", excerpt(action))
        }
        _ => return Ok(Enrolled::Granted(registered.delegate_id.into())),
    };
    Err(CallError::Deleted(about(request, text)))
}

/// A move that is not followed.
pub(super) fn unfollowed(request: &Request, url: &str, why: impl fmt::Display) -> CallError {
    let text = format_args!("the account moved and is not followed, since {why}: set the endpoint to {}", excerpt(url));
    CallError::Failed(about(request, text))
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
                let kind = kind_of(&event.task_type);
                let task_type = event.task_type.into();
                listing.tasks.push(Listed { external_id, task_type, kind, labels: None, unsupported: false });
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
    let response = given(request, outcome)?;
    let refused = |text: &dyn fmt::Display| AcquireError::Refused(about(request, text));
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

/// The answer to an acquire, if it is one that holds something.
fn given<'a>(request: &Request, outcome: &'a Outcome) -> Result<&'a Response, AcquireError> {
    let response = match outcome {
        Ok(response) => response,
        Err(failure) => return Err(AcquireError::Unanswered(about(request, failure))),
    };
    match response.status {
        200..300 if response.body.is_empty() => {
            Err(AcquireError::Refused(about(request, format_args!("{}: no task", response.status))))
        }
        200..300 => Ok(response),
        401 | 403 | 408 | 425 | 429 => Err(AcquireError::Unanswered(complaint(request, response))),
        400..=500 if Said::by(&response.body).is_well_formed() => {
            Err(AcquireError::Refused(complaint(request, response)))
        }
        _ => Err(AcquireError::Unanswered(complaint(request, response))),
    }
}

/// Why a message that brings nothing back did not arrive; none: it did.
pub(super) fn told(request: &Request, outcome: &Outcome) -> Option<Arc<str>> {
    match outcome {
        Ok(response) if matches!(response.status, 200..300) => None,
        Ok(response) => Some(complaint(request, response)),
        Err(failure) => Some(about(request, failure)),
    }
}

/// Whether the result is reported.
pub(super) fn report(request: &Request, outcome: &Outcome) -> Result<(), ReportError> {
    let response = match outcome {
        Ok(response) => response,
        Err(failure @ (Failure::Unsent { .. } | Failure::Unconnected { .. })) => {
            return Err(ReportError::Unsent(about(request, failure)));
        }
        Err(failure) => return Err(ReportError::Unanswered(about(request, failure))),
    };
    let class = match response.status {
        // A captive proxy says 200 to everything, and a result that it swallowed would be lost. The manager sends no pages.
        200..300 if Said::by(&response.body) == Said::Html => ReportError::Unanswered,
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
            401 | 403 => Err(CallError::Denied(denial(response), complaint(request, response))),
            _ => Err(CallError::Failed(complaint(request, response))),
        },
    }
}

/// What exactly the manager has against the credentials.
fn denial(response: &Response) -> Denial {
    match Said::by(&response.body) {
        Said::Message { code, .. } if code == wire::EXPIRED_TOKEN => Denial::TokenExpired,
        Said::Message { code, .. } if code == wire::REVOKED_TOKEN => Denial::TokenRevoked,
        _ => Denial::Credentials,
    }
}

fn read<'a, T: serde::Deserialize<'a>>(request: &Request, response: &'a Response) -> Result<T, Arc<str>> {
    serde_json::from_slice(&response.body).map_err(|error| {
        let status = response.status;
        match Said::by(&response.body) {
            // A success may hold anything, so none of it is quoted; the parser's own text would.
            Said::Json | Said::Message { .. } => {
                let (line, column) = (error.line(), error.column());
                about(request, format_args!("{status}: json of another shape (line {line}, column {column})"))
            }
            Said::Text(_) => about(request, format_args!("{status}: plain text instead of json")),
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
        (401, Said::Message { code, .. }) if code == wire::EXPIRED_TOKEN => "; is this machine's clock slow?",
        (401, Said::Message { code, .. }) if code == wire::REVOKED_TOKEN => {
            "; somebody revoked account_secret: put a new one in its place"
        }
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
mod tests;
