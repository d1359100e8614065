//! A finished task as the exact request of dialect A, B or C. Pure: the same [`Answerable`] gives the same bytes.
//!
//! | outcome | code in A | code in B and C | status in a body made here |
//! |---|---|---|---|
//! | succeeded | OK | OK | SUCCESS |
//! | skipped | OK | OK | SKIPPED |
//! | timed out | FAILED ¹ | TIMEOUT | FAILURE in A, TIMEOUT in B and C |
//! | failed, errored, cancelled | FAILED ¹ | FAILED | FAILURE |
//! | errored, and the core hands the task back | RETRY_ON_OTHER_DELEGATE | | FAILURE |
//! | any, and the manager refused the result | FAILED ¹ | FAILED | FAILURE |
//!
//! ¹ OK where the task was acquired under [`LegacyStatusCode::Ok`](super::LegacyStatusCode::Ok).
//!
//! Only dialect A knows the code that hands a task back; how often it may be said is the core's to know.
//!
//! A handler's payload passes as it is: in A inlined, as it must be an object there, or else wrapped into one; in B and C as base64. An
//! object gains the members that the result's extensions bring, if it does not have them.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::value::RawValue;

use super::{
    extensions::enriched,
    reply::{Reply, UnknownReply},
    request::{BadId, Request, Requests},
    wire,
};
use crate::core::{
    effect::Answerable,
    task::{Extension, Finish, Outcome},
};

/// Longest error text in a request, in bytes; the rest is cut. A runner's frame bounds it, too, but a text is for people.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// A result that can't be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Reply(#[from] UnknownReply),
    #[error(transparent)]
    Id(#[from] BadId),
}

/// The request that answers for a task.
pub(super) fn result(requests: &Requests, report: &Answerable) -> Result<Request, Error> {
    let reply = Reply::decode(&report.spec.reply)?;
    let verdict = Verdict::of(report);
    let id = report.external_id.as_str();
    let delegate = &*report.identity.delegate_id;
    let task_type = report.spec.task_type.as_str();
    let request = match reply {
        Reply::A | Reply::AAlwaysOk => {
            let data = inline(&verdict.data(wire::EXECUTION_FAILURE));
            let code = if report.hand_back {
                wire::CODE_RETRY_ON_OTHER_DELEGATE
            } else if verdict.is_good() || reply == Reply::AAlwaysOk {
                wire::CODE_OK
            } else {
                wire::CODE_FAILED
            };
            let body = wire::to_json(&wire::ResultA { id, data: &data, task_type, code });
            requests.result_a(id, delegate, body)?
        }
        Reply::B => {
            let (code, error, data) = verdict.encoded();
            let body = wire::to_json(&wire::ResultB { id, task_type, code, error, data });
            requests.result_b(id, delegate, body)?
        }
        Reply::C => {
            let (code, error, data) = verdict.encoded();
            let body = wire::to_json(&wire::runner::ResultC { id, data, error, task_type, code });
            requests.result_c(id, delegate, body)?
        }
    };
    Ok(request)
}

/// What there is to say, before it is known in which dialect.
struct Verdict<'a> {
    outcome: Outcome,
    /// The handler's own, which goes first.
    payload: Option<&'a [u8]>,
    /// Absent: the outcome is a good one.
    error: Option<String>,
    extensions: &'a [Extension],
}

// === impl Verdict ===

impl<'a> Verdict<'a> {
    fn of(report: &'a Answerable) -> Self {
        if let Some(refusal) = &report.refusal {
            let error = shortened(format!("RESULT_REFUSED: {refusal}"));
            return Self { outcome: Outcome::Errored, payload: None, error: Some(error), extensions: &[] };
        }
        let finish = &report.finish;
        let payload = finish.payload.as_ref().map(|payload| &payload.content[..]).filter(|content| !content.is_empty());
        let mut verdict = Self { outcome: finish.outcome, payload, error: None, extensions: &finish.extensions };
        if !verdict.is_good() {
            verdict.error = Some(shortened(explain(finish)));
        }
        verdict
    }

    fn is_good(&self) -> bool {
        matches!(self.outcome, Outcome::Succeeded | Outcome::Skipped)
    }

    /// Code, error and data as dialects B and C have them.
    fn encoded(&self) -> (&'static str, &str, String) {
        let data = STANDARD.encode(self.data(wire::EXECUTION_TIMEOUT));
        let code = match self.outcome {
            Outcome::Succeeded | Outcome::Skipped => wire::CODE_OK,
            Outcome::TimedOut => wire::CODE_TIMEOUT,
            Outcome::Failed | Outcome::Errored | Outcome::Cancelled => wire::CODE_FAILED,
        };
        (code, self.error.as_deref().unwrap_or(""), data)
    }

    /// The handler's body, or one made here; with what the result's extensions add.
    fn data(&self, timed_out: &'static str) -> Cow<'_, [u8]> {
        let body = self.payload.map_or_else(|| Cow::Owned(self.brief(timed_out)), Cow::Borrowed);
        enriched(body, self.extensions)
    }

    /// A body that says how the task ended, where the handler gave none.
    fn brief(&self, timed_out: &'static str) -> Vec<u8> {
        let command_execution_status = match self.outcome {
            Outcome::Succeeded => wire::EXECUTION_SUCCESS,
            Outcome::Skipped => wire::EXECUTION_SKIPPED,
            Outcome::TimedOut => timed_out,
            Outcome::Failed | Outcome::Errored | Outcome::Cancelled => wire::EXECUTION_FAILURE,
        };
        wire::to_json(&wire::Brief { command_execution_status, error_message: self.error.as_deref() })
    }
}

/// `<reason>: <text>`, with what is known instead of what is missing.
fn explain(finish: &Finish) -> String {
    let reason = match finish.outcome {
        Outcome::TimedOut => "TIMED_OUT",
        Outcome::Cancelled => "CANCELLED",
        Outcome::Errored => "ERRORED",
        Outcome::Failed | Outcome::Succeeded | Outcome::Skipped => "FAILED",
    };
    let (reason, text) = match &finish.error {
        Some(error) if error.reason.is_empty() => (reason, &*error.message),
        Some(error) => (&*error.reason, &*error.message),
        None => (reason, ""),
    };
    match (text, finish.exit_code) {
        ("", Some(code)) => format!("{reason}: exit code {code}"),
        ("", None) => format!("{reason}: the handler gave no text"),
        (text, _) => format!("{reason}: {text}"),
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > ERROR_BYTES_MAX {
        text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
        text.push('…');
    }
    text
}

/// A JSON object with the content in it: the content itself if it is one.
fn inline(content: &[u8]) -> Box<RawValue> {
    let wrapped = match serde_json::from_slice::<&RawValue>(content) {
        Ok(object) if object.get().starts_with('{') => return object.to_owned(),
        Ok(value) => serde_json::value::to_raw_value(&wire::Value { value }),
        Err(_) => serde_json::value::to_raw_value(&wire::ValueBase64 { value_base64: STANDARD.encode(content) }),
    };
    wrapped.expect("text and raw json always serialize")
}

#[cfg(test)]
mod tests;
