//! How streams end and frames are refused: codes, and reasons in google.rpc.ErrorInfo.

use std::{collections::HashMap, time::Duration};

use prost::Message;
use tonic_types::{ErrorDetail, ErrorDetails, Status as RpcStatus, StatusExt};

use super::ERROR_DOMAIN;
use crate::core::effect::Close;

pub(super) fn rpc_status(code: tonic::Code, reason: &str, message: &str) -> RpcStatus {
    let info = ErrorDetail::ErrorInfo(tonic_types::ErrorInfo::new(reason, ERROR_DOMAIN, HashMap::new()));
    let status = tonic::Status::with_error_details_vec(code, message, vec![info]);
    Message::decode(status.details()).unwrap_or_else(|_| RpcStatus {
        code: code as i32,
        message: message.to_owned(),
        details: Vec::new(),
    })
}

/// How a stream ends; the table stands above `Attach` in the contract.
pub fn ending(close: &Close) -> tonic::Status {
    match close {
        Close::Replaced => {
            stream_end(tonic::Code::FailedPrecondition, "REPLACED", "a newer instance holds the runner id", None)
        }
        Close::RunnerIdInUse { holder, newcomer, retry_after } => stream_end(
            tonic::Code::AlreadyExists,
            "RUNNER_ID_IN_USE",
            &format!("instances of this runner id replace one another; {holder} holds it, this one is {newcomer}"),
            Some(*retry_after),
        ),
        Close::Superseded => {
            stream_end(tonic::Code::Unavailable, "SUPERSEDED", "a newer stream of this instance took over", None)
        }
        Close::Silent => stream_end(tonic::Code::Unavailable, "SILENT", "nothing heard for three heartbeats", None),
        Close::Overrun => stream_end(
            tonic::Code::ResourceExhausted,
            "LINK_OVERRUN",
            "the runner does not read, or sends beyond the bound on unacknowledged frames",
            None,
        ),
    }
}

/// What a stream ends with whose bytes can't be read. A frame too large to decode keeps its code; bytes that are no frame of the
/// contract are the peer's fault, not this server's.
pub fn undecodable(status: tonic::Status) -> tonic::Status {
    match status.code() {
        tonic::Code::Internal => {
            stream_end(tonic::Code::InvalidArgument, "FRAME_INVALID", &format!("frame: {}", status.message()), None)
        }
        _ => status,
    }
}

/// The end of a stream with its reason.
pub fn stream_end(code: tonic::Code, reason: &str, message: &str, retry_after: Option<Duration>) -> tonic::Status {
    let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, HashMap::new());
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    tonic::Status::with_error_details(code, message, details)
}
