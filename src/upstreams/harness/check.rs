//! The last stages of a check: what the manager says to a token and to a poll.

use std::time::Duration;

use super::{Harness, classify::Outcome, request::Request};
use crate::{
    core::input::{CallError, Denial},
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
        match self.poll_request(CHECK_DELEGATE) {
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
        let Err(CallError::Denied(denial, text)) = self.read_poll(&asked.request, &asked.outcome) else {
            return Ok(());
        };
        let fix = match denial {
            Denial::TokenExpired => "set this machine's clock, by NTP: timedatectl set-ntp true".to_owned(),
            Denial::TokenRevoked => {
                "the token was revoked: make a new one at the manager and put it into account_secret_file".to_owned()
            }
            Denial::Address => "have this machine's address added to those the account allows".to_owned(),
            Denial::Credentials if text.contains("MTLS") => {
                "set tls.client_cert and tls.client_key as the account demands".to_owned()
            }
            Denial::Credentials => format!(
                "copy the delegate token of account {} into account_secret_file once more",
                self.options.account_id
            ),
        };
        Err(Trouble::new(text.to_string(), fix))
    }

    /// Whether the answer is a listing.
    pub(in crate::upstreams) fn judge_poll(&self, asked: &Asked) -> Result<((), String), Trouble> {
        match self.read_poll(&asked.request, &asked.outcome) {
            Ok(listing) if listing.tasks.is_empty() => {
                Ok(((), "an empty list, as for any delegate it does not know".to_owned()))
            }
            Ok(listing) => Ok(((), format!("a list of {} tasks", listing.tasks.len()))),
            Err(
                CallError::Denied(_, text)
                | CallError::Failed(text)
                | CallError::Deleted(text)
                | CallError::SelfDestruct(text),
            ) => {
                Err(Trouble::new(text.to_string(), "is endpoint the manager's base URL, with its path if it has one?"))
            }
        }
    }
}
