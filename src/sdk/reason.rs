//! Statuses with a stable reason, as the protocol wants them: `google.rpc.Status` with a `google.rpc.ErrorInfo` inside.

use prost::Message as _;
use prost_types::Any;
use tonic::Code;
use tonic_types::{Status, pb::ErrorInfo};

/// Bound of every text in the protocol; the delegate cuts longer ones too.
pub(crate) const TEXT_BYTES_MAX: usize = 4 * 1024;

/// Who coined the reasons below.
const DOMAIN: &str = "dlite";

const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// A handler panicked; the runner goes on.
pub const HANDLER_PANICKED: &str = "HANDLER_PANICKED";
/// A handler returned an ordinary error that names no reason of its own.
pub const HANDLER_ERROR: &str = "HANDLER_ERROR";
/// The result, or its payload, is larger than the delegate takes.
pub const RESULT_TOO_LARGE: &str = "RESULT_TOO_LARGE";
/// Another task changed the session's state first.
pub const SESSION_ETAG_STALE: &str = "SESSION_ETAG_STALE";
/// The session has ended and takes no changes.
pub const SESSION_CLOSED: &str = "SESSION_CLOSED";
/// The task belongs to no session that could take the change.
pub(crate) const SESSION_NONE: &str = "SESSION_NONE";
/// The delegate found the frame broken.
pub(crate) const FRAME_INVALID: &str = "FRAME_INVALID";
/// The delegate and this runner count the frames of the stream differently.
pub(crate) const SEQUENCE_INVALID: &str = "SEQUENCE_INVALID";

/// A status with `reason`; `message` is cut to the bound of texts.
pub(crate) fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let info = ErrorInfo { reason: reason.to_owned(), domain: DOMAIN.to_owned(), ..ErrorInfo::default() };
    Status {
        code: code as i32,
        message: cut(message.into(), TEXT_BYTES_MAX),
        details: vec![Any { type_url: ERROR_INFO.to_owned(), value: info.encode_to_vec() }],
    }
}

/// The reason inside `status`; empty if it carries none.
pub(crate) fn reason(status: Option<&Status>) -> String {
    status
        .into_iter()
        .flat_map(|status| &status.details)
        .filter(|detail| detail.type_url == ERROR_INFO)
        .find_map(|detail| ErrorInfo::decode(detail.value.as_slice()).ok())
        .map(|info| info.reason)
        .unwrap_or_default()
}

/// At most `bytes_max` bytes of `text`, ending at a character's border.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_put_in_is_the_reason_read_back() {
        assert_eq!(reason(Some(&status(Code::Internal, HANDLER_PANICKED, "boom"))), HANDLER_PANICKED);
        assert_eq!(reason(Some(&Status::default())), "");
        assert_eq!(reason(None), "");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("aé".to_owned(), 2), "a");
        assert_eq!(cut("aé".to_owned(), 3), "aé");
    }
}
