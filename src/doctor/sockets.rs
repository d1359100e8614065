//! Sockets and ports: the delegate must be able to have them, and those it has must answer.

use std::{
    fs,
    io::{self, ErrorKind},
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
    time::Duration,
};

use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::{
    Delegate,
    finding::{Check, Findings, Verdict},
};
use crate::config::Config;

/// Whoever listens on this host takes a connection within it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What is at a path where a socket is to be.
enum Found {
    Nothing,
    /// A socket that somebody answers at.
    Answers,
    /// A socket that nobody listens at any more.
    Left,
    Refused {
        owner: u32,
    },
    NoSocket,
    Broken(io::Error),
}

pub(super) async fn admin(path: &Path, delegate: &Delegate, findings: &mut Findings) {
    let place = path.display().to_string();
    match delegate {
        Delegate::Runs(status) => {
            findings.add(Check::AdminSocket, &place, Verdict::fine(format!("delegate {} answers", status.name)));
            findings.add(Check::Delegate, &status.name, judge_delegate(status));
        }
        Delegate::Mute(text) => {
            let next = "look at its log; is it a delegate at all that listens there? if it hangs, restart it";
            let verdict = Verdict::failed(format!("no answer to a question: {text}"), "no command works", next);
            findings.add(Check::AdminSocket, place, verdict);
        }
        Delegate::Absent => {
            let verdict = judge(look(path).await, path, "admin.socket", false);
            findings.add(Check::AdminSocket, place, verdict);
            let reason = "no delegate runs; start it and look again to have its runners looked at, too";
            findings.add(Check::Delegate, "-", Verdict::skipped(reason));
        }
    }
}

fn judge_delegate(status: &crate::proto::admin::v1::GetDelegateResponse) -> Verdict {
    let ours = env!("CARGO_PKG_VERSION");
    match status.state.as_str() {
        "serving" if status.version == ours => Verdict::fine(format!("serving, version {ours}")),
        "serving" => Verdict::warned(
            format!("it runs version {}, and this is {ours}", status.version),
            "an upgrade is in force only after a restart",
            "restart the delegate when it suits: dlite drain --wait, then restart",
        ),
        "store_failing" => Verdict::failed(
            format!("store_failing: {}", status.state_reason),
            "nothing new is taken until the journal writes again",
            "make room on the disk of state_dir, and look at the disk itself",
        ),
        other => Verdict::warned(
            format!("{other}: {}", status.state_reason),
            "nothing new is taken",
            "`dlite resume` takes the drain back",
        ),
    }
}

/// `runs`: these are the delegate's own already.
pub(super) async fn examine(config: &Config, runs: bool, findings: &mut Findings) {
    let socket = &config.runners.socket;
    let verdict = judge(look(socket).await, socket, "runners.socket", runs);
    findings.add(Check::RunnerSocket, socket.display().to_string(), verdict);
    let addresses = [
        (Check::RunnerAddress, "runners.listen", config.runners.listen),
        (Check::HttpAddress, "http.listen", config.http.listen),
    ];
    for (check, key, address) in addresses {
        // Port 0 is whatever is free.
        if let Some(address) = address.filter(|address| address.port() != 0) {
            findings.add(check, address.to_string(), judge_address(address, key, runs).await);
        }
    }
}

async fn look(path: &Path) -> Found {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Found::Nothing,
        Err(error) => return Found::Broken(error),
    };
    if !metadata.file_type().is_socket() {
        return Found::NoSocket;
    }
    match tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await {
        // A full backlog has a listener behind it.
        Ok(Ok(_)) | Err(_) => Found::Answers,
        Ok(Err(error)) => match error.kind() {
            ErrorKind::ConnectionRefused => Found::Left,
            ErrorKind::PermissionDenied => Found::Refused { owner: metadata.uid() },
            ErrorKind::NotFound => Found::Nothing,
            _ => Found::Broken(error),
        },
    }
}

fn judge(found: Found, path: &Path, key: &str, delegate_runs: bool) -> Verdict {
    let restart = "restart the delegate; something removed or replaced its socket";
    match (found, delegate_runs) {
        (Found::Answers, true) => Verdict::fine("somebody answers"),
        (Found::Nothing, true) => {
            Verdict::failed("the delegate runs, and there is no socket", "nobody can attach there", restart)
        }
        (Found::Left, true) => {
            Verdict::failed("the delegate runs, and nobody listens there", "nobody can attach there", restart)
        }
        (Found::Answers, false) => Verdict::failed(
            "another process listens there",
            "the delegate does not start: it takes no socket from anybody",
            format!("stop that process (ss -xlp shows it), or choose another {key}"),
        ),
        (Found::Left, false) => Verdict::fine("left over from an earlier process; the next start takes its place"),
        (Found::Nothing, false) => judge_place(path, key),
        (Found::Refused { owner }, _) => Verdict::failed(
            "this user may not open it",
            "commands and runners of this user can't attach",
            format!("use the delegate's user (uid {owner}), or add this one to the socket's group"),
        ),
        (Found::NoSocket, _) => Verdict::failed(
            "there is something that is no socket",
            "the delegate does not start: it removes nothing but sockets",
            format!("move {} away, or choose another {key}", path.display()),
        ),
        (Found::Broken(error), _) => Verdict::failed(
            format!("it can't be looked at: {error}"),
            "nobody of this user can attach there",
            "check the rights of the directories above it",
        ),
    }
}

/// Whether a socket can be made.
fn judge_place(path: &Path, key: &str) -> Verdict {
    use rustix::fs::{Access, access};
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        // The state directory is made at the first start, with the usual mode; any other is the operator's.
        return Verdict::warned(
            format!("its directory {} is not there", parent.display()),
            "only a state_dir is made by the delegate itself",
            format!("make it before the start, or choose another {key}"),
        );
    }
    match access(parent, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Verdict::fine("free"),
        Err(_) => Verdict::failed(
            format!("this user may not make a socket in {}", parent.display()),
            "the delegate does not start as this user",
            format!("give the directory to the delegate's user, or choose another {key}"),
        ),
    }
}

async fn judge_address(address: SocketAddr, key: &str, delegate_runs: bool) -> Verdict {
    if delegate_runs {
        let mut target = address;
        if target.ip().is_unspecified() {
            let loopback: std::net::IpAddr = if target.is_ipv4() {
                std::net::Ipv4Addr::LOCALHOST.into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            };
            target.set_ip(loopback);
        }
        return match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await {
            Ok(Ok(_)) => Verdict::fine("somebody answers"),
            Ok(Err(error)) => not_taken(&error.to_string(), key),
            Err(_) => not_taken("no answer", key),
        };
    }
    match TcpListener::bind(address).await {
        Ok(_) => Verdict::fine("free"),
        Err(error) => Verdict::failed(
            format!("it can't be had: {error}"),
            "the delegate does not start",
            format!("stop what listens there (ss -tlp shows it), or choose another {key}"),
        ),
    }
}

fn not_taken(reason: &str, key: &str) -> Verdict {
    let what = format!("the delegate runs, and nobody takes a connection there: {reason}");
    let next = format!("restart it if {key} was changed since its start; look at the firewall of this host");
    Verdict::failed(what, "runners or probes can't reach it", next)
}
