//! A stage's details as the server gives them, as far as they are read here. Nothing of it prints: tokens and secrets stand in it.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::sdk::{Failure, Payload};

/// The event of a pull request, for which many secrets are not given.
const EVENT_PULL_REQUEST: &str = "pull_request";

/// Everything about a stage.
#[derive(Deserialize)]
pub struct Details {
    #[serde(default, deserialize_with = "or_null")]
    pub build: Build,
    #[serde(default, deserialize_with = "or_null")]
    pub repository: Repository,
    #[serde(default, deserialize_with = "or_null")]
    pub stage: Stage,
    #[serde(default, deserialize_with = "or_null")]
    pub system: System,
    #[serde(default, deserialize_with = "or_null")]
    pub config: Config,
    #[serde(default)]
    pub netrc: Option<Netrc>,
    #[serde(default, deserialize_with = "or_null")]
    pub secrets: Vec<Secret>,
}

/// Build and repository word by word, for those who are to be told of them.
#[derive(Deserialize)]
pub struct Facts {
    #[serde(default, deserialize_with = "or_null")]
    pub build: Map<String, Value>,
    /// Without its key.
    #[serde(default, deserialize_with = "or_null")]
    pub repository: Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Build {
    #[serde(deserialize_with = "or_null")]
    pub trigger: String,
    #[serde(deserialize_with = "or_null")]
    pub number: i64,
    #[serde(deserialize_with = "or_null")]
    pub parent: i64,
    #[serde(deserialize_with = "or_null")]
    pub status: String,
    #[serde(deserialize_with = "or_null")]
    pub event: String,
    #[serde(deserialize_with = "or_null")]
    pub action: String,
    #[serde(deserialize_with = "or_null")]
    pub link: String,
    #[serde(deserialize_with = "or_null")]
    pub title: String,
    #[serde(deserialize_with = "or_null")]
    pub message: String,
    #[serde(deserialize_with = "or_null")]
    pub before: String,
    #[serde(deserialize_with = "or_null")]
    pub after: String,
    #[serde(rename = "ref", deserialize_with = "or_null")]
    pub git_ref: String,
    /// Slug of the fork that a pull request comes from.
    #[serde(deserialize_with = "or_null")]
    pub source_repo: String,
    #[serde(deserialize_with = "or_null")]
    pub source: String,
    #[serde(deserialize_with = "or_null")]
    pub target: String,
    #[serde(deserialize_with = "or_null")]
    pub author_login: String,
    #[serde(deserialize_with = "or_null")]
    pub author_name: String,
    #[serde(deserialize_with = "or_null")]
    pub author_email: String,
    #[serde(deserialize_with = "or_null")]
    pub author_avatar: String,
    #[serde(deserialize_with = "or_null")]
    pub sender: String,
    #[serde(deserialize_with = "or_null")]
    pub params: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_null")]
    pub cron: String,
    #[serde(deserialize_with = "or_null")]
    pub deploy_to: String,
    #[serde(deserialize_with = "or_null")]
    pub deploy_id: i64,
    #[serde(deserialize_with = "or_null")]
    pub debug: bool,
    #[serde(deserialize_with = "or_null")]
    pub created: i64,
    #[serde(deserialize_with = "or_null")]
    pub started: i64,
    #[serde(deserialize_with = "or_null")]
    pub finished: i64,
    /// All of the build.
    #[serde(deserialize_with = "or_null")]
    pub stages: Vec<Stage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Repository {
    #[serde(deserialize_with = "or_null")]
    pub namespace: String,
    #[serde(deserialize_with = "or_null")]
    pub name: String,
    #[serde(deserialize_with = "or_null")]
    pub slug: String,
    #[serde(deserialize_with = "or_null")]
    pub scm: String,
    #[serde(deserialize_with = "or_null")]
    pub git_http_url: String,
    #[serde(deserialize_with = "or_null")]
    pub git_ssh_url: String,
    #[serde(deserialize_with = "or_null")]
    pub link: String,
    #[serde(deserialize_with = "or_null")]
    pub default_branch: String,
    #[serde(deserialize_with = "or_null")]
    pub private: bool,
    #[serde(deserialize_with = "or_null")]
    pub visibility: String,
    #[serde(deserialize_with = "or_null")]
    pub trusted: bool,
    /// Key of the inline encrypted secrets.
    #[serde(deserialize_with = "or_null")]
    pub secret: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Stage {
    #[serde(deserialize_with = "or_null")]
    pub number: i64,
    #[serde(deserialize_with = "or_null")]
    pub name: String,
    #[serde(deserialize_with = "or_null")]
    pub kind: String,
    #[serde(rename = "type", deserialize_with = "or_null")]
    pub stage_type: String,
    #[serde(deserialize_with = "or_null")]
    pub status: String,
    #[serde(deserialize_with = "or_null")]
    pub machine: String,
    #[serde(deserialize_with = "or_null")]
    pub os: String,
    #[serde(deserialize_with = "or_null")]
    pub arch: String,
    #[serde(deserialize_with = "or_null")]
    pub variant: String,
    #[serde(deserialize_with = "or_null")]
    pub version: i64,
    #[serde(deserialize_with = "or_null")]
    pub started: i64,
    #[serde(deserialize_with = "or_null")]
    pub stopped: i64,
    #[serde(deserialize_with = "or_null")]
    pub depends_on: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct System {
    #[serde(deserialize_with = "or_null")]
    pub proto: String,
    #[serde(deserialize_with = "or_null")]
    pub host: String,
    #[serde(deserialize_with = "or_null")]
    pub version: String,
}

/// The whole configuration file.
#[derive(Default, Deserialize)]
pub struct Config {
    /// Base64.
    #[serde(rename = "Data", default, deserialize_with = "or_null")]
    pub data: String,
}

/// Who may fetch the sources.
#[derive(Deserialize)]
pub struct Netrc {
    #[serde(default, deserialize_with = "or_null")]
    pub machine: String,
    #[serde(default, deserialize_with = "or_null")]
    pub login: String,
    #[serde(default, deserialize_with = "or_null")]
    pub password: String,
}

#[derive(Deserialize)]
pub struct Secret {
    #[serde(default, deserialize_with = "or_null")]
    pub name: String,
    #[serde(default, deserialize_with = "or_null")]
    pub data: String,
    /// It may be given to pull requests.
    #[serde(default, deserialize_with = "or_null")]
    pub pull_request: bool,
}

// === impl Details ===

impl Details {
    /// # Errors
    /// The task is invalid if its payload is no details answer; the text names the field, never a value.
    pub fn read(payload: &Payload) -> Result<Self, Failure> {
        payload.parse()
    }

    /// Where the sources are.
    pub fn remote(&self) -> Cow<'_, str> {
        let repository = &self.repository;
        let url = if repository.git_http_url.is_empty() { &repository.git_ssh_url } else { &repository.git_http_url };
        Cow::Borrowed(url)
    }
}

// === impl Facts ===

impl Facts {
    /// # Errors
    /// As [`Details::read`].
    pub fn read(payload: &Payload) -> Result<Self, Failure> {
        let mut facts: Self = payload.parse()?;
        facts.repository.remove("secret");
        Ok(facts)
    }
}

// === impl Build ===

impl Build {
    pub fn is_pull_request(&self) -> bool {
        self.event == EVENT_PULL_REQUEST
    }
}

/// Null stands for absent anywhere.
fn or_null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_missing_fields_are_defaults_and_the_key_of_the_repository_stays_here() {
        let payload = Payload::text(
            r#"{"build":{"ref":"refs/heads/main","params":null},"repository":{"secret":"k","slug":"a/b"},"secrets":null}"#,
        );
        let details = Details::read(&payload).expect("details");
        assert_eq!((details.build.git_ref.as_str(), details.secrets.len()), ("refs/heads/main", 0));
        let facts = Facts::read(&payload).expect("facts");
        assert_eq!(facts.repository.keys().collect::<Vec<_>>(), ["slug"]);
    }
}
