//! How streams end and frames are refused: codes, and reasons in google.rpc.ErrorInfo.

use std::{collections::HashMap, time::Duration};

use prost::Message;
use tonic_types::{ErrorDetail, ErrorDetails, Status as RpcStatus, StatusExt};

use super::ERROR_DOMAIN;
use crate::{core::effect::Close, reason::Reason};

pub(super) fn rpc_status(reason: Reason, message: &str) -> RpcStatus {
    let info = ErrorDetail::ErrorInfo(tonic_types::ErrorInfo::new(reason.word(), ERROR_DOMAIN, HashMap::new()));
    let status = tonic::Status::with_error_details_vec(code(reason), message, vec![info]);
    Message::decode(status.details()).unwrap_or_else(|_| RpcStatus {
        code: reason.code() as i32,
        message: message.to_owned(),
        details: Vec::new(),
    })
}

/// How a stream ends; the table stands above `Attach` in the contract.
pub fn ending(close: &Close) -> tonic::Status {
    match close {
        Close::Replaced => stream_end(Reason::Replaced, "a newer instance holds the runner id", None),
        Close::RunnerIdInUse { holder, newcomer, retry_after } => stream_end(
            Reason::RunnerIdInUse,
            &format!("instances of this runner id replace one another; {holder} holds it, this one is {newcomer}"),
            Some(*retry_after),
        ),
        Close::Superseded => stream_end(Reason::Superseded, "a newer stream of this instance took over", None),
        Close::Silent => stream_end(Reason::Silent, "nothing heard for three heartbeats", None),
        Close::Overrun => stream_end(
            Reason::LinkOverrun,
            "the runner does not read, or sends beyond the bound on unacknowledged frames",
            None,
        ),
    }
}

/// What a stream ends with whose bytes can't be read. A frame too large to decode keeps its code; bytes that are no frame of the
/// contract are the peer's fault, not this server's.
pub fn undecodable(status: tonic::Status) -> tonic::Status {
    match status.code() {
        tonic::Code::Internal => stream_end(Reason::FrameInvalid, &format!("frame: {}", status.message()), None),
        _ => status,
    }
}

/// The end of a stream with its reason.
pub fn stream_end(reason: Reason, message: &str, retry_after: Option<Duration>) -> tonic::Status {
    let mut details = ErrorDetails::with_error_info(reason.word(), ERROR_DOMAIN, HashMap::new());
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    tonic::Status::with_error_details(code(reason), message, details)
}

fn code(reason: Reason) -> tonic::Code {
    tonic::Code::from(reason.code() as i32)
}
