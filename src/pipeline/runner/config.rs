//! The pipeline runner's configuration: one TOML file in, one immutable [`Config`] or every complaint at once out.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    config::Complaints,
    kit::{
        keeper::Limits,
        toml::{
            Refusal, Section,
            value::{self, refuse},
        },
    },
};

/// Where runners attach unless said, as in the delegate's own configuration.
const CONNECT_DEFAULT: &str = "unix:/run/dlite/runner.sock";
const STATE_DIR_DEFAULT: &str = "/var/lib/dlite-pipeline";
/// Stages at once unless said, as the server's own runners have it.
const SLOTS_DEFAULT: u32 = 2;
/// Steps of one stage at once unless said: a graph that asks for more shares a host with others.
const PARALLEL_STEPS_DEFAULT: u32 = 4;
/// Between SIGTERM and SIGKILL unless said, or the cancellation grants less.
const GRACE_DEFAULT: Duration = Duration::from_secs(10);

/// The whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `unix:/path` or `http://host:port`.
    pub connect: String,
    /// One place in the fleet, the same after a restart.
    pub runner_id: String,
    /// The token for TCP; read at each attach.
    pub token_file: Option<PathBuf>,
    /// Holds rooms and workspaces, by which a later process finds what was left behind. One runner at a time.
    pub state_dir: PathBuf,
    /// Stages at once.
    pub slots: u32,
    /// Steps of one stage at once, those that run detached not counted.
    pub parallel_steps: u32,
    /// How long a stop waits before running stages are cancelled. `None`: until they end.
    pub shutdown_grace: Option<Duration>,
    /// Longest run of a stage; the repository's own limit counts too. `None`: the repository's alone.
    pub stage_timeout: Option<Duration>,
    /// Between SIGTERM and SIGKILL; never more than the cancellation grants.
    pub grace: Duration,
    /// Which stages this host is for, as the labels that they must have.
    pub labels: BTreeMap<String, String>,
    /// In each step's environment, below all else.
    pub environment: BTreeMap<String, String>,
    /// Variables of the runner's own environment that steps find, beside `PATH` and `USER`.
    pub pass_env: Vec<String>,
    /// For each step.
    pub limits: Limits,
    /// Secrets of this runner: `name = "value"`, one a line, mode 0600.
    pub secrets_file: Option<PathBuf>,
    pub secret_plugin: Option<SecretPlugin>,
}

/// A service that is asked for secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPlugin {
    /// http or https.
    pub endpoint: String,
    /// Holds what both sides share.
    pub token_file: PathBuf,
    /// Check its certificate.
    pub verify: bool,
}

// === impl Config ===

impl Config {
    /// Reads the configuration file.
    ///
    /// # Errors
    /// Every mistake in it, each with its place, reason and fix.
    pub fn load(file: &Path) -> Result<Self, Complaints> {
        crate::kit::toml::load(file, |_, root| Self::read(root))
    }

    /// As [`Config::load`], of a text; `file` is how complaints call it.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, Complaints> {
        crate::kit::toml::parse(text, file, |_, root| Self::read(root))
    }

    /// `None` only with a complaint.
    fn read(root: &mut Section<'_, '_>) -> Option<Self> {
        let connect = root.take("connect", value::target).unwrap_or_else(|| CONNECT_DEFAULT.to_owned());
        let runner_id = root.need("runner_id", value::name, "add a name for this runner, for example \"pipelines-1\"");
        let token_file = root.take("token_file", value::path);
        if connect.starts_with("http://") && token_file.is_none() && !root.has("token_file") {
            let fix = "name the file with the runners' token";
            root.complain_missing("token_file", "missing, and TCP needs a token", fix);
        }
        let parallel_steps = root.take("parallel_steps", |given| value::count(given, 1, 1_024));
        let mut labels = BTreeMap::from([("os".to_owned(), "linux".to_owned()), ("arch".to_owned(), arch())]);
        labels.extend(root.section("platform", platform).unwrap_or_default());
        let node = root.take("labels", texts).unwrap_or_default();
        labels.extend(node.into_iter().map(|(name, value)| (format!("node.{name}"), value)));
        Some(Self {
            connect,
            token_file,
            state_dir: root.take("state_dir", value::path).unwrap_or_else(|| STATE_DIR_DEFAULT.into()),
            slots: root.take("slots", |given| value::count(given, 1, 10_000)).unwrap_or(SLOTS_DEFAULT),
            parallel_steps: parallel_steps.unwrap_or(PARALLEL_STEPS_DEFAULT),
            shutdown_grace: root.take("shutdown_grace", value::duration),
            stage_timeout: root.take("stage_timeout", value::duration),
            grace: root.take("grace", value::duration).unwrap_or(GRACE_DEFAULT),
            labels,
            environment: root.take("environment", value::environment).unwrap_or_default(),
            pass_env: root.take("pass_env", value::variables).unwrap_or_default(),
            limits: root.section("limits", Limits::read).unwrap_or_default(),
            secrets_file: root.take("secrets_file", value::path),
            secret_plugin: root.section("secret_plugin", SecretPlugin::read).flatten(),
            runner_id: runner_id?,
        })
    }
}

// === impl SecretPlugin ===

impl SecretPlugin {
    /// `None` only with a complaint.
    fn read(section: &mut Section<'_, '_>) -> Option<Self> {
        let endpoint = section.need("endpoint", url, "write the plugin's URL");
        let token_file = section.need("token_file", value::path, "name the file with the token that the plugin knows");
        let verify = section.take("verify", value::boolean).unwrap_or(true);
        Some(Self { endpoint: endpoint?, token_file: token_file?, verify })
    }
}

fn platform(section: &mut Section<'_, '_>) -> BTreeMap<String, String> {
    let take = |name: &'static str| section.take(name, value::name).map(|value| (name.to_owned(), value));
    ["os", "arch", "variant", "kernel"].into_iter().filter_map(take).collect()
}

/// This host's, as servers call it.
fn arch() -> String {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
    .to_owned()
}

fn texts(given: &toml::de::DeValue<'_>) -> Result<BTreeMap<String, String>, Refusal> {
    /// Labels of one runner.
    const LABELS_MAX: usize = 64;
    let table = given.as_table().filter(|table| table.len() <= LABELS_MAX);
    let pairs = table.map(|table| {
        let pair = |(name, value): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<toml::de::DeValue<'_>>)| {
            value.get_ref().as_str().map(|value| (name.get_ref().to_string(), value.to_owned()))
        };
        table.iter().map(pair).collect::<Option<BTreeMap<_, _>>>()
    });
    match pairs.flatten() {
        Some(pairs) => Ok(pairs),
        None => refuse("no table of at most 64 texts", "write { zone = \"north\" }"),
    }
}

fn url(given: &toml::de::DeValue<'_>) -> Result<String, Refusal> {
    let text = value::text(given)?;
    match reqwest::Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(text),
        _ => refuse("no URL of http or https", "write it whole, for example \"https://secrets.example.test/\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("pipeline.toml")).map_err(|complaints| complaints.to_string())
    }

    #[test]
    fn the_smallest_file_has_every_default() {
        let config = parse("runner_id = \"a\"\n").expect("valid");
        assert_eq!((config.slots, config.parallel_steps, config.grace.as_secs()), (2, 4, 10));
        assert_eq!(config.labels["os"], "linux");
        assert!(config.limits.is_empty() && config.secret_plugin.is_none());
    }

    #[test]
    fn labels_are_those_of_platform_and_node() {
        let text = "runner_id = \"a\"\nlabels = { zone = \"north\" }\n[platform]\narch = \"arm64\"\nkernel = \"6.1\"\n";
        let config = parse(text).expect("valid");
        let labels: Vec<_> = config.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(labels, ["arch=arm64", "kernel=6.1", "node.zone=north", "os=linux"]);
    }

    #[test]
    fn mistakes_are_told_all_at_once_with_their_places() {
        let text = "slot = 2\n[secret_plugin]\nendpoint = \"ftp://x\"\n";
        let report = parse(text).expect_err("mistakes");
        for expected in
            ["pipeline.toml:1:1: slot", "nearest known: slots", "secret_plugin.endpoint", "token_file", "runner_id"]
        {
            assert!(report.contains(expected), "{expected} in {report}");
        }
    }
}
