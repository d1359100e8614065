//! What the table of options says of each: names, kind, default, meaning.

use std::time::Duration;

/// One option.
#[derive(Debug)]
pub struct Opt {
    /// Dotted, as in the file: `runners.lease_ttl`; `upstreams[].endpoint` is one of each upstream.
    pub key: &'static str,
    /// A flag of its own, without dashes. Every option but a secret can also be given as `--set KEY=VALUE`.
    pub flag: Option<&'static str>,
    /// Further environment names, below [`Opt::variable`] in rank and in order of rank: those of the Go client.
    pub aliases: &'static [Alias],
    pub kind: Kind,
    pub default: Default,
    /// A reload puts a new value in force; else that waits for a restart.
    pub live: bool,
    /// What it means or bounds, in sentences.
    pub doc: &'static str,
}

/// An environment name of the Go client.
#[derive(Debug)]
pub struct Alias {
    pub name: &'static str,
    /// Values are whole milliseconds without a unit, as the name says.
    pub milliseconds: bool,
}

/// What happens if nobody sets the option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// This value, in the form an environment variable would have.
    Fixed(&'static str),
    /// A value that depends on host, user or another option; the text says which, the second is what the example file shows.
    Derived(&'static str, &'static str),
    /// A complaint; the text is an example.
    Required(&'static str),
    /// The option has no value; the text says what that means, the second is an example.
    Absent(&'static str, &'static str),
}

/// Shape and bounds of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1 to [`TEXT_BYTES_MAX`] bytes without control characters.
    Text,
    /// A [`Kind::Text`] of letters, digits, `.`, `_` and `-` that begins with a letter or digit, since it is part of URLs and keys.
    Word,
    /// An id that a manager has made, part of URLs: a [`Kind::Text`] of letters, digits, `_` and `-`. It may begin with any of them.
    Id,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Directives of the log filter: `info,dlite::core=debug`.
    Filter,
    Boolean,
    /// A whole number within inclusive bounds.
    Count(u32, u32),
    /// A number with its unit (`ms`, `s`, `m`, `h`) within inclusive bounds.
    Duration(Duration, Duration),
    /// A path; a relative one in the file starts at the file's directory.
    Path,
    /// A path of a Unix socket, of at most [`SOCKET_PATH_BYTES_MAX`] bytes.
    Socket,
    /// IP address and port.
    Address,
    /// The same, or `off`.
    Listen,
    /// Base URL, http or https.
    Endpoint,
    /// The same of a collector.
    Collector,
    /// A number from 0 to 1 with at most six decimals.
    Ratio,
    /// The account secret: 32 hex digits, or base64 of them.
    Secret,
    /// Any secret that fits into a header: one line of visible ASCII.
    Token,
    /// URL of a proxy, which may hold a password, or `none`.
    Proxy,
    /// At most [`LIST_LEN_MAX`] of [`Kind::Text`]; in environment and flags with commas between.
    Texts,
    /// At most [`LIST_LEN_MAX`] of a task type, `=` and a JSON pointer; in environment and flags with commas between.
    Pointers,
    /// At most [`LIST_LEN_MAX`] of [`Kind::Path`]; in environment and flags with commas between.
    Paths,
}

/// Longest text value, far above any real name.
pub const TEXT_BYTES_MAX: usize = 512;
/// Longest path of a Unix socket: `sun_path` has 108 bytes on Linux, one of them the final zero.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Longest list value.
pub const LIST_LEN_MAX: usize = 256;

/// The kind of an upstream that names none.
pub(super) const UPSTREAM_KIND: &str = "harness";
/// All kinds of upstreams.
pub(super) const KINDS: &[&str] = &["harness", "drone"];
/// The name of an upstream that has none.
pub(super) const UPSTREAM_NAME: &str = "harness";
/// How the keys of the options of upstreams begin.
pub(super) const UPSTREAM_PREFIX: &str = "upstreams[].";

/// Options of upstreams that only one kind has.
const ONLY: [(&str, &[&str]); 2] = [
    (
        "harness",
        &[
            "account_id",
            "account_secret",
            "account_secret_file",
            "delegate_name",
            "tags",
            "poll_interval",
            "family",
            "unregister_on_stop",
            "capacity",
            "legacy_status_code",
            "send_secret_in_body",
        ],
    ),
    ("drone", &["secret", "secret_file"]),
];

// === impl Opt ===

impl Opt {
    /// The environment name: `DLITE_` and the key in capitals. For an option of upstreams it sets the first one.
    pub fn variable(&self) -> String {
        let key = self.key.replace("upstreams[]", "upstream").replace('.', "_");
        format!("DLITE_{}", key.to_uppercase())
    }

    /// The one kind of upstream that has this option; none: all have it.
    pub fn only_kind(&self) -> Option<&'static str> {
        let key = self.upstream_key()?;
        ONLY.iter().find(|(_, keys)| keys.contains(&key)).map(|(kind, _)| *kind)
    }

    /// Whether its value must show nowhere.
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret | Kind::Token)
    }

    /// The key within one upstream, if it is an option of upstreams.
    pub fn upstream_key(&self) -> Option<&'static str> {
        self.key.strip_prefix(UPSTREAM_PREFIX)
    }
}
