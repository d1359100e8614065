//! What an operator can set.

use std::{path::PathBuf, time::Duration};

use super::{
    credentials,
    logs::Upload,
    request::REQUEST_TIMEOUT,
    stage::Pointers,
    token::{self, AccountSecret},
};
use crate::{
    config,
    upstreams::{
        tls::Tls,
        transport::{self, Network},
    },
};

/// One manager, and this delegate's account there.
#[derive(Clone, Debug)]
pub struct Options {
    /// Base URL, http or https; a path in it is kept, slashes at its end are not.
    pub endpoint: String,
    pub account_id: String,
    pub account_secret: AccountSecret,
    /// Where `account_secret` stands, and where the next one will: it is read when the adapter is made, and again when it changes.
    pub account_secret_file: Option<PathBuf>,
    /// The manager shows it, and groups delegates of one name.
    pub delegate_name: String,
    /// The last to register under a name sets the tags of all. Empty ones are left out.
    pub tags: Vec<String>,
    /// What the host is to be called; none: made of the system's host name and the delegate's. Only the first registration of a state
    /// directory asks for it.
    pub host_name: Option<String>,
    /// Bound of one call, from connecting to the last byte of the answer. At least a millisecond.
    pub request_timeout: Duration,
    pub family: Family,
    /// Tasks at once that the manager is told this delegate has room for; none: nothing is announced.
    pub capacity: Option<u32>,
    pub legacy_status_code: LegacyStatusCode,
    /// Where payloads name their stage, beside what is built in.
    pub session_pointers: Pointers,
    /// Sends the account secret in clear with registrations and heartbeats, as the Go client does. For managers that want it. The
    /// runner family never does.
    pub send_secret_in_body: bool,
    /// Where in a task's data a `traceparent` may stand, as JSON pointers; the first that leads to one counts.
    pub trace_pointers: Vec<String>,
    pub network: Network,
    /// How whole logs get to the log service.
    pub log_upload: Upload,
}

/// Which of the manager's calls to speak. Fixed for a task when it is acquired, as far as its answer goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Those of the Go client dlite: task events, and results in dialects A and B.
    #[default]
    Legacy,
    /// Those of the newer runner: runner events, requests, and results in dialect C.
    Runner,
}

/// What dialect A says of a task that did not succeed. Fixed for a task when it is acquired, so that a report repeated after a change
/// of the configuration still has the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LegacyStatusCode {
    /// `FAILED`.
    #[default]
    Failed,
    /// `OK` whatever the outcome, as the Go client does; the body alone tells.
    Ok,
}

/// Options that no client can be made from.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{field} is empty: the manager needs one")]
    Empty { field: &'static str },
    #[error("request_timeout is below a millisecond: no call could succeed")]
    TimeoutTooShort,
    #[error("account_secret can't be used")]
    Secret(#[from] token::SecretError),
    #[error(transparent)]
    SecretFile(#[from] credentials::Error),
    #[error(transparent)]
    Transport(#[from] transport::Error),
}

// === impl Options ===

impl Options {
    /// Everything else as most managers want it.
    pub fn new(
        endpoint: impl Into<String>,
        account_id: impl Into<String>,
        account_secret: AccountSecret,
        delegate_name: impl Into<String>,
    ) -> Self {
        Self {
            endpoint: endpoint.into(),
            account_id: account_id.into(),
            account_secret,
            account_secret_file: None,
            delegate_name: delegate_name.into(),
            tags: Vec::new(),
            host_name: None,
            request_timeout: REQUEST_TIMEOUT,
            family: Family::default(),
            capacity: None,
            legacy_status_code: LegacyStatusCode::default(),
            session_pointers: Pointers::default(),
            send_secret_in_body: false,
            trace_pointers: Vec::new(),
            network: Network::default(),
            log_upload: Upload::default(),
        }
    }

    /// What the configuration says of this upstream.
    ///
    /// # Errors
    /// If the secret is none; the configuration's check has refused that before.
    pub fn from_config(upstream: &config::Upstream) -> Result<Self, Error> {
        let secret = upstream.account_secret.expose().parse::<AccountSecret>()?;
        Ok(Self {
            tags: upstream.tags.clone(),
            host_name: upstream.host_name.clone(),
            request_timeout: upstream.request_timeout,
            family: match upstream.family {
                config::Family::Legacy => Family::Legacy,
                config::Family::Runner => Family::Runner,
            },
            capacity: upstream.capacity,
            legacy_status_code: match upstream.legacy_status_code {
                config::LegacyStatusCode::Failed => LegacyStatusCode::Failed,
                config::LegacyStatusCode::Ok => LegacyStatusCode::Ok,
            },
            session_pointers: Pointers::new(&upstream.session_pointers),
            send_secret_in_body: upstream.send_secret_in_body,
            trace_pointers: upstream.trace_pointers.clone(),
            account_secret_file: upstream.account_secret_file.clone(),
            log_upload: match upstream.log_upload {
                config::LogUpload::Task => Upload::Task,
                config::LogUpload::Direct => Upload::Direct,
                config::LogUpload::Link => Upload::Link,
            },
            network: Network {
                tls: Tls {
                    ca_files: upstream.tls.ca_files.clone(),
                    verify: upstream.tls.verify,
                    client: upstream.tls.client.clone(),
                },
                proxy: upstream.way().cloned(),
                ..Network::default()
            },
            ..Self::new(&upstream.endpoint, &upstream.account_id, secret, &upstream.delegate_name)
        })
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        for (field, value) in [("account_id", &self.account_id), ("delegate_name", &self.delegate_name)] {
            if value.trim().is_empty() {
                return Err(Error::Empty { field });
            }
        }
        if self.request_timeout < Duration::from_millis(1) {
            return Err(Error::TimeoutTooShort);
        }
        Ok(())
    }
}
