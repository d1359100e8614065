//! Configuration: raw values go in, one immutable [`Config`] comes out, or every complaint at once.
//!
//! ```text
//!   dlite.toml ──┐
//!  environment ──┼─► Layers ──► Settings ──► rules ──► Config
//!        flags ──┘   raw,       each value   several   meant
//!                    with its   by its kind  together
//!                    source         │           │
//!                                   └───────────┴────► Complaints
//! ```
//!
//! A later layer overrides an earlier one, option by option. [`options::OPTIONS`] is the one table of options; everything here
//! follows it. Environment and flags reach the first upstream only, and make one if the file has none: so the environment of a Go
//! client is a whole configuration. The proxy variables that all programs share (`HTTPS_PROXY` and its like) rank below the file
//! and reach every upstream.
//!
//! It reads the configuration file and the files of secrets and certificates named in it. It never reads the environment (that is
//! handed in), and never writes.

mod complaint;
mod defaults;
mod environment;
mod example;
mod file;
mod headers;
mod layer;
mod meant;
mod nearest;
mod network;
mod option;
pub mod options;
mod proxy;
mod ratio;
mod reload;
mod rules;
mod secret;
mod settings;
mod source;
mod value;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

pub use self::{
    complaint::{Complaint, Complaints},
    defaults::Host,
    example::example,
    file::FILE_BYTES_MAX,
    headers::Headers,
    meant::{
        Admin, Admission, ClientCert, Config, Drain, Family, Http, HttpPage, LegacyStatusCode, Log, LogFormat, LogSink,
        LogUpload, Logs, Marks, Metrics, OnSignal, OtlpProtocol, Runners, Sessions, Tls, Traces, Upstream,
        UpstreamKind,
    },
    proxy::{BadProxy, BadRule, NO_PROXY_AT_ALL, NoProxy, Proxy, ProxyUrl},
    ratio::Ratio,
    reload::{Changes, reload},
    secret::{MASK, Secret},
    source::Source,
    value::{Listen, Value},
};
// For the files of built-in runners, which complain in the same way.
use self::{
    defaults::Defaults,
    layer::Layers,
    rules::Rules,
    settings::{Settings, Values},
};
pub(crate) use self::{file::read_text, nearest::nearest, value::parse_duration};

/// The file that is read if none is named and this one exists.
pub const DEFAULT_FILE: &str = "/etc/dlite/dlite.toml";

/// All that a configuration depends on, the files it names excepted.
#[derive(Clone)]
pub struct LoadOptions {
    /// Without one there are only environment and flags.
    pub file: Option<PathBuf>,
    /// Not only `DLITE_…`: defaults of paths follow `HOME` and the like.
    pub environment: BTreeMap<String, String>,
    /// Keys of the table with values, the later one above the earlier. `upstreams[]` means the first upstream, `upstreams[NAME]`
    /// the one of that name.
    pub flags: Vec<(String, String)>,
    pub host: Host,
}

/// A configuration without a mistake.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Each option with its value and origin, in the table's order, upstream by upstream.
    pub sources: Vec<Setting>,
    /// What is allowed and yet worth a look, by place.
    pub warnings: Vec<Complaint>,
    /// All of it as judged, for the comparison with a later reading.
    settings: Settings,
}

/// An option in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// With the upstream's name in it: `upstreams[harness].endpoint`.
    pub key: String,
    /// `None` if the option is absent, which the option's doc gives a meaning. A secret does not print.
    pub value: Option<Value>,
    pub source: Source,
}

/// Reads, judges and builds the configuration. Either there is no mistake in any layer, or all of them come back.
pub fn load(options: &LoadOptions) -> Result<Loaded, Complaints> {
    let (layers, mut complaints, mut warnings) = read(options);
    let defaults = Defaults { host: &options.host, environment: &options.environment };
    let mut settings = Settings::judge(&layers, &defaults, &mut complaints);
    let incomplete = layers.incomplete;
    Rules { complaints: &mut complaints, warnings: &mut warnings, incomplete, defaults: &defaults }
        .check(&mut settings);
    if !complaints.is_empty() {
        return Err(Complaints::new(complaints, warnings));
    }
    warnings.sort();
    Ok(Loaded::new(settings, warnings))
}

/// Where the admin service listens, for commands that talk to it. They are run by users who may not read the secrets, so mistakes
/// elsewhere are none of theirs; the complaints are those that make this path unknown.
pub fn admin_socket(options: &LoadOptions) -> Result<PathBuf, Complaints> {
    let (layers, mut complaints, _) = read(options);
    let defaults = Defaults { host: &options.host, environment: &options.environment };
    let settings = Settings::judge(&layers, &defaults, &mut complaints);
    // Of a file whose syntax is broken nobody knows what the lost part says; such complaints belong to no key.
    complaints
        .retain(|complaint| complaint.key.as_deref().is_none_or(|key| matches!(key, "admin.socket" | "state_dir")));
    if complaints.is_empty() {
        Ok(settings.global.need("admin.socket"))
    } else {
        Err(Complaints::new(complaints, Vec::new()))
    }
}

fn read(options: &LoadOptions) -> (Layers, Vec<Complaint>, Vec<Complaint>) {
    let (mut layers, mut complaints, mut warnings) = (Layers::default(), Vec::new(), Vec::new());
    if let Some(file) = &options.file {
        file::read(file, &mut layers, &mut complaints);
    }
    environment::read_environment(&options.environment, &mut layers, &mut warnings);
    environment::read_flags(&options.flags, &mut layers, &mut complaints);
    (layers, complaints, warnings)
}

fn shown(values: &Values) -> impl Iterator<Item = Setting> {
    values.entries().map(|entry| Setting {
        key: values.key(entry.option),
        value: entry.value.clone(),
        source: entry.source.clone(),
    })
}

// === impl Loaded ===

impl Loaded {
    /// `settings` without a complaint left.
    fn new(settings: Settings, warnings: Vec<Complaint>) -> Self {
        let scopes = std::iter::once(&settings.global).chain(&settings.upstreams);
        Self { config: Config::build(&settings), sources: scopes.flat_map(shown).collect(), warnings, settings }
    }
}

// === impl LoadOptions ===

impl LoadOptions {
    /// The environment and host of this process, no flags, and `file`, else [`DEFAULT_FILE`] if it exists.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|file| Path::exists(file));
        Self { file: file.or_else(default), environment: environment(), flags: Vec::new(), host: Host::of_process() }
    }
}

/// Names without values: some of them are secrets.
impl fmt::Debug for LoadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags: Vec<&String> = self.flags.iter().map(|(key, _)| key).collect();
        f.debug_struct("LoadOptions")
            .field("file", &self.file)
            .field("environment", &self.environment.keys())
            .field("flags", &flags)
            .field("host", &self.host)
            .finish()
    }
}

/// The process' environment as text. What is no UTF-8 keeps a mark in place of the bad bytes, and its option complains of it if it
/// matters.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect()
}
