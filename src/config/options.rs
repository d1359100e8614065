//! The one table of options. Reading, checking, showing, the flags' help, the example file and the hint at the nearest key all
//! follow it, so that an option added here is known everywhere and one left out exists nowhere.
//!
//! It holds no logic but names: what a kind accepts is in `value`, what several options must fulfil together in `rules`.

use std::time::Duration;

pub use super::option::{Alias, Default, Kind, LIST_LEN_MAX, Opt, SOCKET_PATH_BYTES_MAX, TEXT_BYTES_MAX};
use super::option::{KINDS, UPSTREAM_KIND, UPSTREAM_NAME};

/// Most `[[upstreams]]`.
pub const UPSTREAMS_MAX: usize = 32;

/// Shortest duration that both ends of a protocol can keep; tests go down to it.
const PROTOCOL_MIN: Duration = Duration::from_millis(100);
const POLL_MIN: Duration = Duration::from_millis(10);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// All options, in the order they are shown.
pub static OPTIONS: &[Opt] = &[
    Opt {
        key: "name",
        flag: Some("name"),
        aliases: &[],
        kind: Kind::Text,
        default: Default::Derived("the host's name", "build-host"),
        doc: "Name of this delegate, as upstreams show it. Delegates of one name share their tags at the manager.",
    },
    Opt {
        key: "state_dir",
        flag: Some("state-dir"),
        aliases: &[],
        kind: Kind::Path,
        default: Default::Derived(
            "$STATE_DIRECTORY, else /var/lib/dlite for root, else $XDG_STATE_HOME/dlite or ~/.local/state/dlite",
            "/var/lib/dlite",
        ),
        doc: "Directory of the journal, its key and the lock. Made with mode 0700; one delegate a directory.",
    },
    Opt {
        key: "tasks_max",
        flag: Some("tasks-max"),
        aliases: &[Alias { name: "DLITE_PARALLEL_WORKERS", milliseconds: false }],
        kind: Kind::Count(1, 10_000),
        default: Default::Fixed("100"),
        doc: "Most tasks acquired and not yet finished, over all upstreams. Results that wait for an upstream do not count.",
    },
    Opt {
        key: "log.format",
        flag: Some("log-format"),
        aliases: &[],
        kind: Kind::Choice(&["text", "json"]),
        default: Default::Fixed("text"),
        doc: "Form of the log lines on standard error.",
    },
    Opt {
        key: "log.filter",
        flag: Some("log-filter"),
        aliases: &[],
        kind: Kind::Filter,
        default: Default::Fixed("info"),
        doc: "What is logged: a level, or levels by module (\"info,dlite::core=debug\").",
    },
    Opt {
        key: "admin.socket",
        flag: Some("admin-socket"),
        aliases: &[],
        kind: Kind::Socket,
        default: Default::Derived(
            "admin.sock in $RUNTIME_DIRECTORY, else in /run/dlite for root, else in $XDG_RUNTIME_DIR/dlite, else in state_dir",
            "/run/dlite/admin.sock",
        ),
        doc: "Unix socket of the admin service, which `dlite status` and the other commands talk to.",
    },
    Opt {
        key: "runners.socket",
        flag: Some("runners-socket"),
        aliases: &[],
        kind: Kind::Socket,
        default: Default::Derived("runner.sock, beside admin.sock's default", "/run/dlite/runner.sock"),
        doc: "Unix socket that runners attach to.",
    },
    Opt {
        key: "runners.listen",
        flag: Some("runners-listen"),
        aliases: &[],
        kind: Kind::Address,
        default: Default::Absent("no TCP; only the Unix socket", "127.0.0.1:7070"),
        doc: "TCP address that runners may attach to as well. They need the token of runners.token_file, on loopback too.",
    },
    Opt {
        key: "runners.token_file",
        flag: Some("runners-token-file"),
        aliases: &[],
        kind: Kind::Path,
        default: Default::Derived("runner.token in state_dir", "/var/lib/dlite/runner.token"),
        doc: "File of the token for TCP runners. Made with mode 0600 at the first start that needs it.",
    },
    Opt {
        key: "runners.lease_ttl",
        flag: None,
        aliases: &[],
        kind: Kind::Duration(PROTOCOL_MIN, DAY),
        default: Default::Fixed("60s"),
        doc: "How long a runner may be out of reach before its tasks are given up, counted from its last renewal. At least three \
              times runners.heartbeat_interval.",
    },
    Opt {
        key: "runners.heartbeat_interval",
        flag: None,
        aliases: &[],
        kind: Kind::Duration(PROTOCOL_MIN, HOUR),
        default: Default::Fixed("10s"),
        doc: "Time between heartbeats of a runner. After three without any frame the link counts as cut.",
    },
    Opt {
        key: "runners.accept_timeout",
        flag: None,
        aliases: &[],
        kind: Kind::Duration(PROTOCOL_MIN, HOUR),
        default: Default::Fixed("10s"),
        doc: "How long a runner may take to accept or reject an assignment before the task goes elsewhere.",
    },
    Opt {
        key: "runners.reassign_margin",
        flag: None,
        aliases: &[],
        kind: Kind::Duration(PROTOCOL_MIN, HOUR),
        default: Default::Fixed("5s"),
        doc: "Further wait after a lease has ended before its task is assigned anew, so that the first runner has surely stopped.",
    },
    Opt {
        key: "runners.cancel_grace",
        flag: None,
        aliases: &[],
        kind: Kind::Duration(PROTOCOL_MIN, DAY),
        default: Default::Fixed("30s"),
        doc: "How long a cancelled handler may take to end by itself.",
    },
    Opt {
        key: "runners.revoke_margin",
        flag: None,
        aliases: &[],
        kind: Kind::Duration(PROTOCOL_MIN, HOUR),
        default: Default::Fixed("5s"),
        doc: "Further wait for a cancelled handler's result after cancel_grace; then the lease is revoked.",
    },
    Opt {
        key: "runners.no_runner_timeout",
        flag: None,
        aliases: &[],
        kind: Kind::Duration(PROTOCOL_MIN, DAY),
        default: Default::Fixed("60s"),
        doc: "How long an acquired task waits for a runner that can do it before it is handed back as NO_RUNNER.",
    },
    Opt {
        key: "runners.attempts_max",
        flag: None,
        aliases: &[],
        kind: Kind::Count(1, 100),
        default: Default::Fixed("3"),
        doc: "Most attempts at one task, the first included. Only handlers declared idempotent are started twice.",
    },
    Opt {
        key: "upstreams[].name",
        flag: None,
        aliases: &[],
        kind: Kind::Word,
        default: Default::Fixed(UPSTREAM_NAME),
        doc: "Name of the upstream in logs, status and keys; unique, and kept for good, since the journal refers to it.",
    },
    Opt {
        key: "upstreams[].kind",
        flag: None,
        aliases: &[],
        kind: Kind::Choice(KINDS),
        default: Default::Fixed(UPSTREAM_KIND),
        doc: "What the upstream is: a Harness manager, or a Drone server.",
    },
    Opt {
        key: "upstreams[].endpoint",
        flag: Some("endpoint"),
        // The internal one wins, as it does for the Go client's polls.
        aliases: &[
            Alias { name: "DLITE_INTERNAL_MANAGER_ENDPOINT", milliseconds: false },
            Alias { name: "DLITE_MANAGER_ENDPOINT", milliseconds: false },
        ],
        kind: Kind::Endpoint,
        default: Default::Required("https://manager.example.com"),
        doc: "Base URL of the manager or server; \"/api/...\" or \"/rpc/v2/...\" is appended. A path in it is kept, slashes at its end \
              are not.",
    },
    Opt {
        key: "upstreams[].account_id",
        flag: Some("account-id"),
        aliases: &[Alias { name: "DLITE_ACCOUNT_ID", milliseconds: false }],
        kind: Kind::Id,
        default: Default::Required("your-account-id"),
        doc: "Account whose tasks are taken.",
    },
    Opt {
        key: "upstreams[].account_secret",
        flag: None,
        aliases: &[Alias { name: "DLITE_ACCOUNT_SECRET", milliseconds: false }],
        kind: Kind::Secret,
        default: Default::Absent("account_secret_file is needed", ""),
        doc: "The account's delegate token: 32 hex digits, or base64 of them. Better kept in account_secret_file.",
    },
    Opt {
        key: "upstreams[].account_secret_file",
        flag: Some("account-secret-file"),
        aliases: &[],
        kind: Kind::Path,
        default: Default::Absent("account_secret is needed", "/etc/dlite/account-secret"),
        doc: "File that holds the account secret and nothing else; readable by the delegate's user only (mode 0600). Read again when \
              it changes.",
    },
    Opt {
        key: "upstreams[].secret",
        flag: None,
        aliases: &[],
        kind: Kind::Token,
        default: Default::Absent("secret_file is needed", ""),
        doc: "Drone: the secret that the server shares with its runners (DRONE_RPC_SECRET). Better kept in secret_file.",
    },
    Opt {
        key: "upstreams[].secret_file",
        flag: None,
        aliases: &[],
        kind: Kind::Path,
        default: Default::Absent("secret is needed", "/etc/dlite/drone-secret"),
        doc: "Drone: file that holds the secret and nothing else; readable by the delegate's user only (mode 0600). Read again when \
              it changes.",
    },
    Opt {
        key: "upstreams[].delegate_name",
        flag: None,
        aliases: &[],
        kind: Kind::Text,
        default: Default::Derived("name", "build-host"),
        doc: "Name of this delegate at this upstream.",
    },
    Opt {
        key: "upstreams[].host_name",
        flag: None,
        aliases: &[],
        kind: Kind::Word,
        default: Default::Absent("made from the host's name and the delegate's", "dlite-build-host"),
        doc: "Host name sent at the first registration and stored with the identity. Two delegates must not share one. Drone: \
              begins the name of the machine that takes stages; eight characters of its own follow.",
    },
    Opt {
        key: "upstreams[].tags",
        flag: Some("tags"),
        aliases: &[],
        kind: Kind::Texts,
        default: Default::Fixed(""),
        doc: "Tags by which pipelines select this delegate.",
    },
    Opt {
        key: "upstreams[].task_types",
        flag: Some("task-types"),
        aliases: &[],
        kind: Kind::Texts,
        default: Default::Absent("registers when the first runner has named its handlers", "DLITE_CI_VM_EXECUTE_TASK"),
        doc: "Task types to register at once, before a runner has attached. Types of attached runners are added.",
    },
    Opt {
        key: "upstreams[].poll_interval",
        flag: Some("poll-interval"),
        aliases: &[Alias { name: "DLITE_POLL_INTERVAL_MILLISECS", milliseconds: true }],
        kind: Kind::Duration(POLL_MIN, HOUR),
        default: Default::Fixed("3s"),
        doc: "Time between polls for tasks, give or take 10 %.",
    },
    Opt {
        key: "upstreams[].heartbeat_interval",
        flag: None,
        aliases: &[],
        kind: Kind::Duration(PROTOCOL_MIN, HOUR),
        default: Default::Fixed("10s"),
        doc: "Time between heartbeats to the manager.",
    },
    Opt {
        key: "upstreams[].request_timeout",
        flag: None,
        aliases: &[],
        kind: Kind::Duration(PROTOCOL_MIN, HOUR),
        default: Default::Fixed("30s"),
        doc: "Longest time for one request, answer included.",
    },
    Opt {
        key: "upstreams[].report_age_max",
        flag: None,
        aliases: &[],
        kind: Kind::Duration(PROTOCOL_MIN, WEEK),
        default: Default::Fixed("24h"),
        doc: "How long a result is reported again until the manager takes it; then it becomes a dead letter.",
    },
    Opt {
        key: "upstreams[].report_retry_min",
        flag: None,
        aliases: &[],
        kind: Kind::Duration(POLL_MIN, HOUR),
        default: Default::Fixed("500ms"),
        doc: "First pause between two reports of one result; it grows up to report_retry_max.",
    },
    Opt {
        key: "upstreams[].report_retry_max",
        flag: None,
        aliases: &[],
        kind: Kind::Duration(POLL_MIN, HOUR),
        default: Default::Fixed("60s"),
        doc: "Longest pause between two reports of one result.",
    },
    Opt {
        key: "upstreams[].acquire_recovery_max",
        flag: None,
        aliases: &[],
        kind: Kind::Duration(PROTOCOL_MIN, DAY),
        default: Default::Fixed("10m"),
        doc: "How long an unanswered acquire is asked for again.",
    },
    Opt {
        key: "upstreams[].family",
        flag: None,
        aliases: &[],
        kind: Kind::Choice(&["legacy", "runner"]),
        default: Default::Fixed("legacy"),
        doc: "Which of the manager's two families of calls to speak: \"legacy\" as the Go client dlite, \"runner\" as the newer \
              Harness runner. The manager offers each its own tasks.",
    },
    Opt {
        key: "upstreams[].unregister_on_stop",
        flag: None,
        aliases: &[],
        kind: Kind::Boolean,
        default: Default::Fixed("false"),
        doc: "Unregister as the last act of a stop, if no task is open and no result is unreported.",
    },
    Opt {
        key: "upstreams[].capacity",
        flag: None,
        aliases: &[],
        kind: Kind::Count(1, 10_000),
        default: Default::Absent("none is announced, as by the Go client", "10"),
        doc: "Tasks at once that the manager is told this delegate has room for, so that it offers the rest to others. What is taken \
              is bounded by tasks_max and by the runners' slots, with or without it.",
    },
    Opt {
        key: "upstreams[].legacy_status_code",
        flag: None,
        aliases: &[],
        kind: Kind::Choice(&["failed", "ok"]),
        default: Default::Fixed("failed"),
        doc: "Code of an unsuccessful task in the legacy dialect: \"failed\" tells the truth, \"ok\" does as the Go client did.",
    },
    Opt {
        key: "upstreams[].send_secret_in_body",
        flag: None,
        aliases: &[],
        kind: Kind::Boolean,
        default: Default::Fixed("false"),
        doc: "Send the account secret in clear in registrations, as the Go client did. Only for a manager that insists.",
    },
    Opt {
        key: "upstreams[].proxy",
        flag: None,
        aliases: &[],
        kind: Kind::Proxy,
        default: Default::Absent(
            "the one that HTTPS_PROXY names, for an http endpoint HTTP_PROXY, or the same in lower case; none for loopback",
            "http://proxy.example.com:3128",
        ),
        doc: "Proxy to the manager, http or https; a user and password in it are sent to it and shown nowhere. \"none\" connects \
              directly, whatever the environment says.",
    },
    Opt {
        key: "upstreams[].no_proxy",
        flag: None,
        aliases: &[],
        kind: Kind::Texts,
        default: Default::Absent("those that NO_PROXY or no_proxy names", "internal.example.com,192.0.2.0/24"),
        doc: "Hosts that are reached without the proxy: \"example.com\" and all below it, \".example.com\" for those below it only, \
              addresses, networks (\"192.0.2.0/24\"), each with \":port\" if need be, or \"*\" for all.",
    },
    Opt {
        key: "upstreams[].tls.ca_files",
        flag: None,
        aliases: &[],
        kind: Kind::Paths,
        default: Default::Fixed(""),
        doc: "PEM files of certificate authorities to trust beside the system's. Read again when they change.",
    },
    Opt {
        key: "upstreams[].tls.client_cert",
        flag: None,
        aliases: &[],
        kind: Kind::Path,
        default: Default::Absent(
            "client.crt in /etc/mtls, if it and client.key are there, as for the Go client; else none",
            "/etc/dlite/client.crt",
        ),
        doc: "PEM file of the certificate that is shown to the manager, with its chain. Needs client_key. Both are read again when \
              they change.",
    },
    Opt {
        key: "upstreams[].tls.client_key",
        flag: None,
        aliases: &[],
        kind: Kind::Path,
        default: Default::Absent("client.key in /etc/mtls, as above", "/etc/dlite/client.key"),
        doc: "PEM file of the private key of client_cert; readable by the delegate's user only (mode 0600).",
    },
    Opt {
        key: "upstreams[].tls.verify",
        flag: None,
        aliases: &[],
        kind: Kind::Boolean,
        default: Default::Fixed("true"),
        doc: "Verify the manager's certificate. Without it anybody on the way can take tasks and read secrets.",
    },
];

/// All keys, as the table spells them.
pub fn keys() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|option| option.key)
}

/// The option of this key, which is spelt as in the table.
pub fn find(key: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.key == key)
}
