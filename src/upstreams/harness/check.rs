//! The last stages of a check: what the manager says to a token and to a poll.

use std::time::Duration;

use super::{
    Harness,
    classify::{self, Outcome},
    request::Request,
};
use crate::{
    core::input::CallError,
    upstreams::{check::Trouble, transport::Failure},
};

/// The delegate that a check polls as. Nobody has this id, and a manager answers an unknown one with an empty list. Under a real id
/// a poll is not harmless: the manager tells an abort once, in the next listing, whoever asks for it.
pub const CHECK_DELEGATE: &str = "dlite-check";

/// A poll and its answer.
pub(in crate::upstreams) struct Asked {
    request: Request,
    outcome: Outcome,
}

// === impl Harness ===

impl Harness {
    /// Polls as a delegate that does not exist.
    pub(in crate::upstreams) async fn ask_for_nothing(&self, timeout: Duration) -> Asked {
        match self.requests.poll(CHECK_DELEGATE) {
            Ok(request) => {
                let outcome = self.send(&request, timeout).await;
                Asked { request, outcome }
            }
            Err(_) => unreachable!("the id is a word"),
        }
    }

    /// Whether the token was taken.
    pub(in crate::upstreams) fn judge_auth(&self, asked: &Asked) -> Result<(), Trouble> {
        if let Err(failure) = &asked.outcome {
            let fix = match failure {
                Failure::Unsent { .. } => "correct account_secret",
                _ => "try again; the stage before had an answer",
            };
            return Err(Trouble::new(failure.to_string(), fix));
        }
        let Err(CallError::Unauthorized(text)) = classify::poll(&asked.request, &asked.outcome) else { return Ok(()) };
        let fix = match () {
            () if text.contains("EXPIRED_TOKEN") => {
                "set this machine's clock, by NTP: timedatectl set-ntp true".to_owned()
            }
            () if text.contains("REVOKED_TOKEN") => {
                "the token was revoked: make a new one at the manager and put it into account_secret_file".to_owned()
            }
            () if text.contains("MTLS") => "set tls.client_cert and tls.client_key as the account demands".to_owned(),
            () => format!(
                "copy the delegate token of account {} into account_secret_file once more",
                self.options.account_id
            ),
        };
        Err(Trouble::new(text.to_string(), fix))
    }

    /// Whether the answer is a listing.
    pub(in crate::upstreams) fn judge_poll(&self, asked: &Asked) -> Result<((), String), Trouble> {
        match classify::poll(&asked.request, &asked.outcome) {
            Ok(listing) if listing.tasks.is_empty() => {
                Ok(((), "an empty list, as for any delegate it does not know".to_owned()))
            }
            Ok(listing) => Ok(((), format!("a list of {} tasks", listing.tasks.len()))),
            Err(CallError::Unauthorized(text) | CallError::Failed(text) | CallError::Deleted(text)) => {
                Err(Trouble::new(text.to_string(), "is endpoint the manager's base URL, with its path if it has one?"))
            }
        }
    }
}
