//! `dlite doctor`: everything about this host that may keep the delegate from its work, looked at in one go.
//!
//! ```text
//!  configuration ─┬─► state directory: rights, lock, room, fsync
//!                 ├─► sockets and ports ──► the running delegate, if one answers ──► its runners
//!                 ├─► upstreams: DNS … poll, clocks, certificates
//!                 └─► the host: open files, control group, pressure
//! ```
//!
//! It works beside a running delegate as well as without one, and every failure says what to do next. It repairs nothing, changes
//! nothing at an upstream, and leaves nothing behind; a check that has nothing to look at says so.

mod directory;
mod finding;
mod host;
mod runners;
mod settings;
mod sockets;
mod upstreams;

use std::time::Duration;

pub use self::finding::{Check, Finding, Findings, Trouble, Verdict};
use crate::{
    admin::client,
    config::{self, LoadOptions},
    proto::admin::v1::{GetDelegateRequest, GetDelegateResponse},
};

/// Longest wait for a running delegate's answer; it has 5 s by itself before it calls itself stuck.
pub const DELEGATE_TIMEOUT: Duration = Duration::from_secs(8);

/// How a delegate at the admin socket answers.
pub(super) enum Delegate {
    Absent,
    /// Somebody listens there, and this came of a question.
    Mute(String),
    Runs(Box<GetDelegateResponse>),
}

/// Looks at everything. Takes as long as the slowest upstream: within [`STAGE_TIMEOUT`](crate::upstreams::check::STAGE_TIMEOUT) a
/// stage.
pub async fn examine(options: &LoadOptions) -> Findings {
    let mut findings = Findings::default();
    let config = settings::examine(options, &mut findings);
    let admin_socket = match &config {
        Some(config) => Some(config.admin.socket.clone()),
        // Mistakes elsewhere do not hide a running delegate.
        None => config::admin_socket(options).ok(),
    };
    let delegate = match &admin_socket {
        Some(socket) => ask(socket).await,
        None => Delegate::Absent,
    };
    if let Some(socket) = &admin_socket {
        sockets::admin(socket, &delegate, &mut findings).await;
    }
    if let Some(config) = &config {
        let held = directory::examine(config, &delegate, &mut findings).await;
        // Whoever has the socket and not the state is some other program.
        let runs = match delegate {
            Delegate::Runs(_) => true,
            Delegate::Mute(_) => held,
            Delegate::Absent => false,
        };
        sockets::examine(config, runs, &mut findings).await;
        runners::examine(config, &delegate, &mut findings);
        upstreams::examine(config, &mut findings).await;
    } else {
        let reason = "the configuration has mistakes; correct them and look again";
        for check in [Check::StateDir, Check::RunnerSocket, Check::Runners, Check::Upstream] {
            findings.add(check, "-", Verdict::skipped(reason));
        }
    }
    host::examine(config.as_ref(), &mut findings);
    findings
}

async fn ask(socket: &std::path::Path) -> Delegate {
    let asked = async {
        let Ok(mut client) = client::connect(socket).await else { return Delegate::Absent };
        match client.get_delegate(GetDelegateRequest {}).await {
            Ok(answer) => Delegate::Runs(Box::new(answer.into_inner())),
            Err(status) => Delegate::Mute(status.message().to_owned()),
        }
    };
    let silent = |_| Delegate::Mute(format!("no answer within {} s", DELEGATE_TIMEOUT.as_secs()));
    tokio::time::timeout(DELEGATE_TIMEOUT, asked).await.unwrap_or_else(silent)
}

// === impl Delegate ===

impl Delegate {
    fn is_there(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}
