//! Label values, and what bounds their number.
//!
//! | label | values |
//! |---|---|
//! | `upstream` | the configuration's: at most `UPSTREAMS_MAX`, and those that left results behind |
//! | `task_type` | [`TASK_TYPES_MAX`] and [`OTHER`] |
//! | all others | words of this program |
//!
//! Nothing that a runner or an upstream says becomes a label in any other way.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use opentelemetry::{KeyValue, StringValue};

use super::definitions::label;
use crate::core::{
    effect::Call,
    id::{TaskType, UpstreamName},
    input::{AcquireError, Answer, CallError, ReportError},
    task::{CancelReason, Outcome},
};

/// Task types that are told apart; an installation has some ten.
pub const TASK_TYPES_MAX: usize = 100;
/// All further ones.
pub const OTHER: &str = "other";

/// The task types that have a series of their own: the first ones to come.
#[derive(Debug, Default)]
pub(super) struct TaskTypes(Mutex<BTreeSet<TaskType>>);

impl TaskTypes {
    pub fn label(&self, task_type: &TaskType) -> KeyValue {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(task_type) || known.len() < TASK_TYPES_MAX && known.insert(task_type.clone()) {
            return KeyValue::new(label::TASK_TYPE, StringValue::from(task_type.0.clone()));
        }
        KeyValue::new(label::TASK_TYPE, OTHER)
    }
}

pub(super) fn upstream(name: &UpstreamName) -> KeyValue {
    KeyValue::new(label::UPSTREAM, StringValue::from(name.0.clone()))
}

/// What became of a try to bring a log to its sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogUpload {
    Delivered,
    /// It is tried again.
    Failed,
    GivenUp,
}

pub(super) const LOG_UPLOADS: [LogUpload; 3] = [LogUpload::Delivered, LogUpload::Failed, LogUpload::GivenUp];

pub(super) fn log_upload(outcome: LogUpload) -> KeyValue {
    let word = match outcome {
        LogUpload::Delivered => "delivered",
        LogUpload::Failed => "failed",
        LogUpload::GivenUp => "given_up",
    };
    KeyValue::new(label::OUTCOME, word)
}

pub(super) const OUTCOMES: [Outcome; 6] =
    [Outcome::Succeeded, Outcome::Failed, Outcome::Errored, Outcome::Cancelled, Outcome::TimedOut, Outcome::Skipped];

pub(super) const CANCEL_REASONS: [CancelReason; 5] = [
    CancelReason::User,
    CancelReason::Deadline,
    CancelReason::Drain,
    CancelReason::UpstreamGone,
    CancelReason::SessionClosed,
];

pub(super) fn outcome(outcome: Outcome) -> KeyValue {
    KeyValue::new(
        label::OUTCOME,
        match outcome {
            Outcome::Succeeded => "succeeded",
            Outcome::Failed => "failed",
            Outcome::Errored => "errored",
            Outcome::Cancelled => "cancelled",
            Outcome::TimedOut => "timed_out",
            Outcome::Skipped => "skipped",
        },
    )
}

pub(super) fn cancel_reason(reason: CancelReason) -> KeyValue {
    KeyValue::new(
        label::REASON,
        match reason {
            CancelReason::User => "user",
            CancelReason::Deadline => "deadline",
            CancelReason::Drain => "drain",
            CancelReason::UpstreamGone => "upstream_gone",
            CancelReason::SessionClosed => "session_closed",
        },
    )
}

/// The name of a call.
pub(super) fn call(call: &Call) -> &'static str {
    match call {
        Call::Register { .. } => "register",
        Call::Heartbeat { .. } => "heartbeat",
        Call::Poll { .. } => "poll",
        Call::Acquire { .. } => "acquire",
        Call::Report { .. } => "report",
        Call::Tell { .. } => "tell",
    }
}

/// The class of the failure that an answer is, if it is one.
pub(super) fn class(answer: &Answer) -> Option<&'static str> {
    match answer {
        Answer::Register(Err(error)) | Answer::Heartbeat(Err(error)) | Answer::Poll(Err(error)) => Some(match error {
            CallError::Denied(..) => "denied",
            CallError::Deleted(_) | CallError::SelfDestruct(_) => "deleted",
            CallError::Failed(_) => "failed",
        }),
        Answer::Acquire { result: Err(error), .. } => Some(match error {
            AcquireError::Refused(_) => "refused",
            AcquireError::Unassigned => "unassigned",
            AcquireError::Unanswered(_) => "unanswered",
        }),
        Answer::Report { result: Err(error), .. } | Answer::Tell { result: Err(error), .. } => Some(match error {
            ReportError::Refused(_) => "refused",
            ReportError::Fault(_) => "fault",
            ReportError::Gone(_) => "gone",
            ReportError::Unauthorized(_) => "denied",
            ReportError::Unsent(_) => "unsent",
            ReportError::Unanswered(_) => "unanswered",
        }),
        Answer::Register(Ok(_))
        | Answer::Heartbeat(Ok(_))
        | Answer::Poll(Ok(_))
        | Answer::Acquire { result: Ok(_), .. }
        | Answer::Report { result: Ok(()), .. }
        | Answer::Tell { result: Ok(_), .. } => None,
    }
}
