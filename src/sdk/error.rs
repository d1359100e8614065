//! Why a runner ends, and which ends of a stream mean that.

use std::{io, path::PathBuf, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Why [`Connection::run`](super::Connection::run) returned without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The runner is set up wrongly.
    #[error("{field}: {why}")]
    Setup { field: String, why: String },
    /// The target is none.
    #[error("target `{target}`: {why}")]
    Target { target: String, why: &'static str },
    /// TCP needs a token.
    #[error("target `{target}` needs a token, set one with `token`")]
    TokenMissing { target: String },
    /// The token can't be sent.
    #[error("the token has {bytes} bytes; 1 to {bytes_max} bytes of visible ASCII are taken")]
    Token { bytes: usize, bytes_max: usize },
    /// The token's file can't be read.
    #[error("token file {}", path.display())]
    TokenFile { path: PathBuf, source: io::Error },
    /// `HELLO_INVALID`: the delegate names the field.
    #[error("the delegate refused hello: {message}")]
    HelloInvalid { message: String },
    /// `TOKEN_INVALID`: the delegate wants another token.
    #[error("the delegate refused the token: {message}")]
    TokenInvalid { message: String },
    /// `RUNNER_ID_FORBIDDEN`: these credentials may not use this runner id.
    #[error("the delegate refused the runner id: {message}")]
    RunnerIdForbidden { message: String },
    /// `REPLACED`: a newer instance holds the runner id.
    #[error("a newer instance holds the runner id: {message}")]
    Replaced { message: String },
    /// A frame above what the delegate can decode.
    #[error("the delegate can't decode a frame of this runner: {message}")]
    FrameTooLarge { message: String },
    /// The grace of the shutdown has passed; so many assignments had an end that nobody acknowledged.
    #[error("{count} assignments were not acknowledged within the shutdown's grace")]
    Unacknowledged { count: usize },
}

/// What the end of a stream means.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Nothing mends it but a person.
    Fatal(RunError),
    /// Attach again, not before this has passed.
    After(Duration),
    /// Attach again, with back-off.
    Again,
}

/// The table above `Attach` in the protocol, row by row. A reason counts if one is given, so that an intermediary's status is
/// not mistaken for the delegate's; a status without reason goes by its code, but for `FAILED_PRECONDITION`, which others use
/// for passing troubles.
pub(crate) fn classify(status: &Status) -> Ended {
    let reason = status.get_details_error_info().map(|info| info.reason);
    let message = status.message().to_owned();
    match (status.code(), reason.as_deref()) {
        (Code::InvalidArgument, Some("HELLO_INVALID") | None) => Ended::Fatal(RunError::HelloInvalid { message }),
        (Code::Unauthenticated, Some("TOKEN_INVALID") | None) => Ended::Fatal(RunError::TokenInvalid { message }),
        (Code::PermissionDenied, Some("RUNNER_ID_FORBIDDEN") | None) => {
            Ended::Fatal(RunError::RunnerIdForbidden { message })
        }
        (Code::FailedPrecondition, Some("REPLACED")) => Ended::Fatal(RunError::Replaced { message }),
        (Code::OutOfRange, _) => Ended::Fatal(RunError::FrameTooLarge { message }),
        (Code::AlreadyExists, _) => {
            let delay = status.get_details_retry_info().and_then(|info| info.retry_delay);
            delay.map_or(Ended::Again, Ended::After)
        }
        _ => Ended::Again,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn ended(code: Code, reason: &str) -> Ended {
        let details = ErrorDetails::with_error_info(reason, "dlite", std::collections::HashMap::new());
        classify(&Status::with_error_details(code, "because", details))
    }

    #[test]
    fn four_reasons_and_an_undecodable_frame_end_the_runner() {
        let invalid = ended(Code::InvalidArgument, "HELLO_INVALID");
        assert!(matches!(invalid, Ended::Fatal(RunError::HelloInvalid { .. })));
        let token = ended(Code::Unauthenticated, "TOKEN_INVALID");
        assert!(matches!(token, Ended::Fatal(RunError::TokenInvalid { .. })));
        let forbidden = ended(Code::PermissionDenied, "RUNNER_ID_FORBIDDEN");
        assert!(matches!(forbidden, Ended::Fatal(RunError::RunnerIdForbidden { .. })));
        let replaced = ended(Code::FailedPrecondition, "REPLACED");
        assert!(matches!(replaced, Ended::Fatal(RunError::Replaced { .. })));
        let frame = classify(&Status::out_of_range("20 MiB"));
        assert!(matches!(frame, Ended::Fatal(RunError::FrameTooLarge { .. })));
    }

    #[test]
    fn passing_troubles_only_end_the_stream() {
        for (code, reason) in [
            (Code::ResourceExhausted, "LINK_OVERRUN"),
            (Code::Unavailable, "SHUTDOWN"),
            (Code::FailedPrecondition, "SOMETHING_ELSE"),
            (Code::PermissionDenied, "PROXY_SAYS_NO"),
            (Code::Internal, ""),
        ] {
            assert!(matches!(ended(code, reason), Ended::Again), "{code:?} {reason}");
        }
        assert!(matches!(classify(&Status::failed_precondition("")), Ended::Again));
        assert!(matches!(classify(&Status::unknown("h2 reset")), Ended::Again));
    }

    #[test]
    fn a_runner_id_in_use_is_tried_again_when_the_delegate_says() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(60)));
        let status = Status::with_error_details(Code::AlreadyExists, "in use", details);
        assert!(matches!(classify(&status), Ended::After(wait) if wait == Duration::from_secs(60)));
    }
}
