//! What options must fulfil together, and what the files they name must hold.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    complaint::Complaint,
    defaults::Defaults,
    file::read_text,
    headers::Headers,
    network::PEM_CERTIFICATE,
    secret::Secret,
    settings::{Settings, Values},
    source::Source,
    value::{Refusal, Value, account_secret, shared_secret, show_duration},
};

/// Heartbeats that must fit into one lease, so that two lost ones in a row cost nothing.
const HEARTBEATS_A_LEASE_MIN: u32 = 3;
/// Largest file of a secret; a real one has 32 to 45 bytes.
const SECRET_FILE_BYTES_MAX: u64 = 4096;
/// Largest file of certificates; a whole system store has about 250 KiB.
pub(super) const CERT_FILE_BYTES_MAX: u64 = 4 << 20;

pub(super) struct Rules<'a> {
    pub complaints: &'a mut Vec<Complaint>,
    pub warnings: &'a mut Vec<Complaint>,
    /// What the file seems to lack may be in the part that could not be read.
    pub incomplete: bool,
    pub defaults: &'a Defaults<'a>,
}

impl Rules<'_> {
    pub fn check(&mut self, settings: &mut Settings) {
        self.leases(&settings.global);
        self.sockets(&settings.global);
        self.headers(&settings.global);
        self.marks(&settings.global);
        self.something_to_do(settings);
        for upstream in &mut settings.upstreams {
            self.secret(upstream);
            self.retries(upstream);
            self.transport(upstream);
            self.network(upstream);
            self.trace_pointers(upstream);
        }
        self.identities(&settings.upstreams);
    }

    fn leases(&mut self, global: &Values) {
        let interval: Option<Duration> = global.get("runners.heartbeat_interval");
        let ttl: Option<Duration> = global.get("runners.lease_ttl");
        let (Some(interval), Some(ttl)) = (interval, ttl) else { return };
        if interval * HEARTBEATS_A_LEASE_MIN > ttl {
            let key = later(global, "runners.lease_ttl", "runners.heartbeat_interval");
            let (interval, ttl) = (show_duration(interval), show_duration(ttl));
            self.complain(
                global,
                key,
                format!("a lease of {ttl} has no room for three heartbeats at an interval of {interval}"),
                "make runners.lease_ttl at least three times runners.heartbeat_interval",
            );
        }
    }

    /// A gate needs room between its marks, or it flaps.
    fn marks(&mut self, global: &Values) {
        const MARKS: [(&str, &str); 6] = [
            ("admission.memory_low", "admission.memory_high"),
            ("admission.memory_pressure_low", "admission.memory_pressure_high"),
            ("admission.disk_low", "admission.disk_high"),
            ("admission.cpu_low", "admission.cpu_high"),
            ("admission.cpu_pressure_low", "admission.cpu_pressure_high"),
            ("admission.io_pressure_low", "admission.io_pressure_high"),
        ];
        for (low, high) in MARKS {
            let (Some(below), Some(above)) = (global.get::<u32>(low), global.get::<u32>(high)) else { continue };
            if below >= above {
                let reason = format!("{low}, {below} %, is not below {high}, {above} %");
                let fix = format!("make {low} the smaller one, by the swing of a reading: 10 or so");
                self.complain(global, later(global, low, high), reason, &fix);
            }
        }
    }

    fn sockets(&mut self, global: &Values) {
        let admin: Option<PathBuf> = global.get("admin.socket");
        if admin.is_some() && admin == global.get("runners.socket") {
            let key = later(global, "runners.socket", "admin.socket");
            self.complain(global, key, "one path for both admin.socket and runners.socket".into(), "give each its own");
        }
    }

    fn something_to_do(&mut self, settings: &Settings) {
        if settings.upstreams.is_empty() && !self.incomplete {
            let complaint = Complaint::new(Source::Default, "upstreams", "none: there is nothing to take tasks from");
            self.complaints.push(complaint.fix(
                "add [[upstreams]] with endpoint, account_id and account_secret_file to the file, or set \
                 DLITE_MANAGER_ENDPOINT, DLITE_ACCOUNT_ID and DLITE_ACCOUNT_SECRET",
            ));
        }
    }

    /// Decides between the secret and its file, and reads the file. Afterwards the secret's entry holds it, wherever it came from.
    fn headers(&mut self, global: &Values) {
        const FILE: &str = "traces.headers_file";
        let Some(path) = global.get::<PathBuf>(FILE) else { return };
        match Headers::read(&path) {
            Ok(_) => self.warn_if_readable(&path, global, FILE),
            Err(reason) => {
                let fix = "write one header a line, \"name: value\", readable by the delegate's user";
                self.complain(global, FILE, format!("{} {reason}", path.display()), fix);
            }
        }
    }

    fn trace_pointers(&mut self, upstream: &Values) {
        const POINTERS: &str = "upstreams[].trace_pointers";
        let pointers: Vec<String> = upstream.get(POINTERS).unwrap_or_default();
        if let Some(bad) = pointers.iter().find(|pointer| !pointer.starts_with('/') || pointer.ends_with('/')) {
            let fix = "write JSON pointers, for example \"/context/traceparent\"";
            self.complain(upstream, POINTERS, format!("{bad:?} is not a JSON pointer to a member"), fix);
        }
    }

    fn secret(&mut self, upstream: &mut Values) {
        let kind: Option<String> = upstream.get("upstreams[].kind");
        let SecretOptions { secret, file, example, .. } = SecretOptions::of(kind.as_deref());
        let (from_secret, from_file) = (upstream.entry(secret).source.clone(), upstream.entry(file).source.clone());
        match (&from_secret, &from_file) {
            (Source::Default, Source::Default) => {
                if !self.incomplete {
                    let place = upstream.place_of(secret);
                    let complaint = Complaint::new(place, upstream.key(upstream.entry(secret).option), "missing");
                    self.complaints.push(complaint.fix(format!(
                        "write {} = {example:?}, with your file, or set {}",
                        upstream.entry(file).option.upstream_key().unwrap_or(file),
                        upstream.entry(secret).option.variable()
                    )));
                }
            }
            (from, other) if from.layer() == other.layer() => {
                let name = |key: &str| key.trim_start_matches("upstreams[].").to_owned();
                let reason = format!("both {} and {} are set", name(secret), name(file));
                self.complain(upstream, later(upstream, secret, file), reason, "keep one of them");
            }
            // The upper layer replaces the lower one's choice, as if both were one option.
            (from, other) if from.layer() > other.layer() => {
                if let Source::Line { file: place, .. } = from {
                    self.warn_if_readable(place, upstream, secret);
                }
                upstream.replace(file, None, Source::Default);
            }
            _ => {
                let value = self.read_secret(upstream, kind.as_deref());
                upstream.replace(secret, value, from_file);
            }
        }
    }

    fn read_secret(&mut self, upstream: &Values, kind: Option<&str>) -> Option<Value> {
        let SecretOptions { file: key, what, parse, .. } = SecretOptions::of(kind);
        let path: PathBuf = upstream.get(key)?;
        let refusal = match read(&path, SECRET_FILE_BYTES_MAX) {
            Ok(text) => match parse(&text) {
                Ok(secret) => {
                    self.warn_if_readable(&path, upstream, key);
                    return Some(Value::Secret(secret));
                }
                Err(refusal) => (format!("{} holds {}", path.display(), refusal.reason), refusal.fix),
            },
            Err(reason) => (
                format!("{} {reason}", path.display()),
                format!("put the {what} into it, readable by the delegate's user"),
            ),
        };
        self.complain(upstream, key, refusal.0, &refusal.1);
        None
    }

    pub(super) fn warn_if_readable(&mut self, path: &Path, upstream: &Values, key: &'static str) {
        let Ok(metadata) = fs::metadata(path) else { return };
        if metadata.is_file() && metadata.mode() & 0o077 != 0 {
            let reason = format!(
                "{} holds a secret and has mode {:04o}, so that others can read it",
                path.display(),
                metadata.mode() & 0o7777
            );
            self.warn(upstream, key, reason, &format!("chmod 0600 {}", path.display()));
        }
    }

    fn retries(&mut self, upstream: &Values) {
        const MIN: &str = "upstreams[].report_retry_min";
        const MAX: &str = "upstreams[].report_retry_max";
        let (min, max): (Option<Duration>, Option<Duration>) = (upstream.get(MIN), upstream.get(MAX));
        let (Some(min), Some(max)) = (min, max) else { return };
        if min > max {
            let reason = format!(
                "report_retry_min, {}, is longer than report_retry_max, {}",
                show_duration(min),
                show_duration(max)
            );
            self.complain(upstream, later(upstream, MIN, MAX), reason, "make report_retry_max the longer one");
        }
    }

    fn transport(&mut self, upstream: &Values) {
        const CA_FILES: &str = "upstreams[].tls.ca_files";
        for path in upstream.get::<Vec<PathBuf>>(CA_FILES).unwrap_or_default() {
            let reason = match read(&path, CERT_FILE_BYTES_MAX) {
                Ok(text) if text.contains(PEM_CERTIFICATE) => continue,
                Ok(_) => "holds no PEM certificate".to_owned(),
                Err(reason) => reason,
            };
            self.complain(upstream, CA_FILES, format!("{} {reason}", path.display()), "name PEM files of certificates");
        }
        if upstream.get("upstreams[].tls.verify") == Some(false) {
            let reason = "the manager's certificate is not verified".into();
            self.warn(upstream, "upstreams[].tls.verify", reason, "name its authority in tls.ca_files instead");
        }
        if upstream.get("upstreams[].send_secret_in_body") == Some(true) {
            let reason = "the account secret is sent in clear in registrations".into();
            self.warn(upstream, "upstreams[].send_secret_in_body", reason, "leave it out unless the manager insists");
        }
        let endpoint: Option<String> = upstream.get("upstreams[].endpoint");
        if endpoint.is_some_and(|endpoint| is_open_http(&endpoint)) {
            let reason = "http, so that tasks and their secrets can be read on the way".into();
            self.warn(upstream, "upstreams[].endpoint", reason, "use https");
        }
    }

    /// Names tell upstreams apart here, and (manager, account, delegate) tells delegates apart there.
    fn identities(&mut self, upstreams: &[Values]) {
        for (number, upstream) in upstreams.iter().enumerate() {
            let earlier = &upstreams[..number];
            let name: Option<String> = upstream.get("upstreams[].name");
            if name.is_some() && earlier.iter().any(|other| other.get("upstreams[].name") == name) {
                let reason = format!("a second upstream named {:?}", upstream.label());
                self.complain(upstream, "upstreams[].name", reason, "give each upstream its own name");
            }
            let identity = identity(upstream);
            let same = earlier.iter().find(|other| identity.is_some() && self::identity(other) == identity);
            if let Some(same) = same {
                let reason =
                    format!("the same delegate of the same manager and account as upstream {:?}", same.label());
                self.complain(
                    upstream,
                    "upstreams[].delegate_name",
                    reason,
                    "give one another delegate_name or host_name",
                );
            }
        }
    }

    pub(super) fn complain(&mut self, values: &Values, key: &'static str, reason: String, fix: &str) {
        self.complaints.push(Self::about(values, key, reason, fix));
    }

    fn warn(&mut self, values: &Values, key: &'static str, reason: String, fix: &str) {
        self.warnings.push(Self::about(values, key, reason, fix));
    }

    fn about(values: &Values, key: &str, reason: String, fix: &str) -> Complaint {
        Complaint::new(values.place_of(key), values.key(values.entry(key).option), reason).fix(fix)
    }
}

/// The two options that a kind of upstream has for its secret.
struct SecretOptions {
    secret: &'static str,
    file: &'static str,
    example: &'static str,
    what: &'static str,
    parse: fn(&str) -> Result<Secret, Refusal>,
}

impl SecretOptions {
    fn of(kind: Option<&str>) -> Self {
        match kind {
            Some("drone") => Self {
                secret: "upstreams[].secret",
                file: "upstreams[].secret_file",
                example: "/etc/dlite/drone-secret",
                what: "server's secret",
                parse: shared_secret,
            },
            _ => Self {
                secret: "upstreams[].account_secret",
                file: "upstreams[].account_secret_file",
                example: "/etc/dlite/account-secret",
                what: "account secret",
                parse: account_secret,
            },
        }
    }
}

/// Of two keys that do not fit together the one set last: in the upper layer, or further down in the file.
fn later(values: &Values, a: &'static str, b: &'static str) -> &'static str {
    if values.entry(a).source >= values.entry(b).source { a } else { b }
}

fn identity(upstream: &Values) -> Option<[String; 4]> {
    Some([
        upstream.get("upstreams[].endpoint")?,
        upstream.get("upstreams[].account_id")?,
        upstream.get("upstreams[].delegate_name")?,
        upstream.get("upstreams[].host_name").unwrap_or_default(),
    ])
}

fn is_open_http(endpoint: &str) -> bool {
    reqwest::Url::parse(endpoint).is_ok_and(|url| url.scheme() == "http" && !is_loopback(&url))
}

pub(super) fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The text of a file that is one: opening a pipe would block this process until somebody writes to it.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<String, String> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err("is not a file".into()),
        _ => read_text(path, bytes_max),
    }
}
