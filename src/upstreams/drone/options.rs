//! What an operator can set, and the pace that tests shorten.

use std::{path::PathBuf, time::Duration};

use super::{
    logs::{LOG_WAIT, UPLOAD_WAIT_MAX},
    request::{HOLD_TIMEOUT, REQUEST_TIMEOUT},
    token::{Token, TokenError},
};
use crate::{
    config,
    upstreams::{
        tls::Tls,
        transport::{self, Network},
    },
};

/// How to reach one server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Base URL; "/rpc/v2/…" is appended.
    pub endpoint: String,
    pub token: Token,
    /// Read again when it changes; goes before `token`.
    pub token_file: Option<PathBuf>,
    /// Begins the name under which stages are taken; none: the host's name. What follows it is made once a state directory.
    pub machine: Option<String>,
    /// Bound of a call that the server does not hold.
    pub request_timeout: Duration,
    pub network: Network,
    pub pace: Pace,
}

/// Times that follow from the server's and are no operator's to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bound of a poll or a watch. Twice the server's hold, so that only one that hangs meets it.
    pub hold_timeout: Duration,
    /// Age of a watch at which the next is armed: half the server's hold, so that one is always open.
    pub watch_overlap: Duration,
    /// How long a call for offers waits before it tells that nothing was heard yet. Filters that became wanted meanwhile are polled
    /// for from the next call on.
    pub turn: Duration,
    /// First pause after a poll or watch that failed at once; doubled up to `retry_max`.
    pub retry_min: Duration,
    pub retry_max: Duration,
    /// How long a step's end waits for its runner to close the step's log, and for a server that does not answer its upload.
    pub log_wait: Duration,
    pub upload_wait_max: Duration,
}

/// Options that no client can be made from.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("secret holds no single line of visible ascii")]
    Secret,
    #[error(transparent)]
    SecretFile(#[from] TokenError),
    #[error("request_timeout is below a millisecond: no call could succeed")]
    TimeoutTooShort,
    #[error(transparent)]
    Transport(#[from] transport::Error),
}

// === impl Options ===

impl Options {
    /// Everything else as most servers want it.
    pub fn new(endpoint: impl Into<String>, token: Token) -> Self {
        Self {
            endpoint: endpoint.into(),
            token,
            token_file: None,
            machine: None,
            request_timeout: REQUEST_TIMEOUT,
            network: Network::default(),
            pace: Pace::default(),
        }
    }

    /// What the configuration says of this upstream.
    ///
    /// # Errors
    /// If the secret is none; the configuration's check has refused that before.
    pub fn from_config(upstream: &config::Upstream) -> Result<Self, Error> {
        let secret = upstream.secret.as_ref().ok_or(Error::Secret)?;
        Ok(Self {
            token_file: upstream.secret_file.clone(),
            machine: upstream.host_name.clone(),
            request_timeout: upstream.request_timeout,
            network: Network {
                tls: Tls {
                    ca_files: upstream.tls.ca_files.clone(),
                    verify: upstream.tls.verify,
                    client: upstream.tls.client.clone(),
                },
                proxy: upstream.way().cloned(),
                ..Network::default()
            },
            ..Self::new(&upstream.endpoint, Token::new(secret.expose()).ok_or(Error::Secret)?)
        })
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if self.request_timeout < Duration::from_millis(1) { Err(Error::TimeoutTooShort) } else { Ok(()) }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            hold_timeout: HOLD_TIMEOUT,
            watch_overlap: Duration::from_secs(15),
            turn: Duration::from_millis(200),
            retry_min: Duration::from_millis(500),
            retry_max: Duration::from_secs(30),
            log_wait: LOG_WAIT,
            upload_wait_max: UPLOAD_WAIT_MAX,
        }
    }
}

impl Pace {
    /// The pause before try number `tries`, from 1: none before the first, then growing, each cut by up to half at random.
    pub(super) fn pause(&self, tries: u32) -> Duration {
        let Some(doublings) = tries.checked_sub(1) else { return Duration::ZERO };
        let whole = self.retry_min.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(self.retry_max);
        // So that delegates which lost one server together do not come back together.
        let [byte, ..] = *uuid::Uuid::new_v4().as_bytes();
        whole.mul_f64(0.5 + f64::from(byte) / 512.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound() {
        let pace = Pace::default();
        assert_eq!(pace.pause(0), Duration::ZERO);
        assert!((pace.retry_min / 2..=pace.retry_min).contains(&pace.pause(1)));
        assert!((pace.retry_max / 2..=pace.retry_max).contains(&pace.pause(200)));
    }
}
