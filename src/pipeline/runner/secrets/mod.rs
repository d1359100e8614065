//! Where the value of a `from_secret` comes from. The first that has it counts:
//!
//! | # | source | given to pull requests |
//! |---|---|---|
//! | 1 | the server, with the stage | if it says so |
//! | 2 | a document of kind `secret` with `data`, sealed with the repository's key | unless a fork of a public repository asks |
//! | 3 | this runner's own file | never |
//! | 4 | the secret plugin, for a document with `get` | if the plugin says so |
//!
//! A source that fails has no secret, which is logged without its value; so has one that has an empty one. Names know no case.

mod file;
mod plugin;
mod sealed;
mod signature;

use std::fmt;

use tracing::warn;

pub use self::{file::SecretFile, plugin::Plugin};
use super::details::{Details, Facts};
use crate::pipeline::yaml::{Manifest, SecretSource};

/// Of one value; what is longer fits into no environment.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// A secret's value. It does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(String);

/// All that is asked.
pub struct Sources<'a> {
    pub details: &'a Details,
    pub facts: &'a Facts,
    pub manifest: &'a Manifest,
    pub file: Option<&'a SecretFile>,
    pub plugin: Option<&'a Plugin>,
}

// === impl Value ===

impl Value {
    /// `None`: it can't be in an environment.
    fn new(text: String) -> Option<Self> {
        (text.len() <= VALUE_BYTES_MAX && !text.contains('\0')).then_some(Self(text))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(…)")
    }
}

// === impl Sources ===

impl Sources<'_> {
    /// The value of the secret called `name`. `None`: nobody has it, or nobody may give it to this build.
    pub async fn find(&self, name: &str) -> Option<Value> {
        let found = match self.of_server(name) {
            Some(found) => Some(found),
            None => match self.sealed(name) {
                Some(found) => Some(found),
                None => match self.of_file(name) {
                    Some(found) => Some(found),
                    None => self.of_plugin(name).await,
                },
            },
        };
        let value = found.map(Value::new)?;
        if value.is_none() {
            warn!(secret = name, "a secret has a NUL byte or more than {VALUE_BYTES_MAX} bytes and is left out");
        }
        value
    }

    fn of_server(&self, name: &str) -> Option<String> {
        let is_pull_request = self.details.build.is_pull_request();
        let mut given = self.details.secrets.iter().filter(|secret| !is_pull_request || secret.pull_request);
        let found = given.find(|secret| secret.name.eq_ignore_ascii_case(name))?;
        Some(found.data.clone()).filter(|data| !data.is_empty())
    }

    fn sealed(&self, name: &str) -> Option<String> {
        let SecretSource::Sealed(data) = &self.manifest.secret(name)?.source else { return None };
        let (build, repository) = (&self.details.build, &self.details.repository);
        if build.is_pull_request() && !repository.private && !build.source_repo.is_empty() {
            return None;
        }
        match sealed::open(data, repository.secret.as_bytes()) {
            Ok(value) => Some(value).filter(|value| !value.is_empty()),
            Err(error) => {
                warn!(secret = name, %error, "a sealed secret can't be opened");
                None
            }
        }
    }

    fn of_file(&self, name: &str) -> Option<String> {
        let file = self.file.filter(|_| !self.details.build.is_pull_request())?;
        match file.find(name) {
            Ok(value) => value.filter(|value| !value.is_empty()),
            Err(error) => {
                warn!(secret = name, error = crate::kit::chain(&error), "the file of secrets can't be used");
                None
            }
        }
    }

    async fn of_plugin(&self, name: &str) -> Option<String> {
        let plugin = self.plugin?;
        let SecretSource::Plugin { path, name: key } = &self.manifest.secret(name)?.source else { return None };
        match plugin.find(path, key, self.facts).await {
            Ok(Some(answer)) if answer.pull_request || !self.details.build.is_pull_request() => Some(answer.data),
            Ok(_) => None,
            Err(error) => {
                warn!(secret = name, error = crate::kit::chain(&error), "the secret plugin gave no answer");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pipeline::yaml::{Place, SecretDocument},
        sdk::Payload,
    };

    /// `correct-horse-battery-staple`, sealed with the key below.
    const SEALED: &str = "6OEK5rMVitI+S7//bLJSuwbIGq7/rtlj/V30DhhUa1sYWQd+CsCb/YUUhJ1F6pRBTVlBmiFHxq4=";
    const KEY: &str = "O9AhOJ23FHtiiXejAl381QG4fg9Zv3LK";

    async fn find(build: &str, private: bool, name: &str) -> Option<String> {
        let text = format!(
            r#"{{"build":{build},"repository":{{"private":{private},"secret":"{KEY}"}},"secrets":[
                {{"name":"Open","data":"for all","pull_request":true}},{{"name":"closed","data":"for pushes"}},
                {{"name":"empty","data":""}}]}}"#
        );
        let payload = Payload::text(text);
        let (details, facts) = (Details::read(&payload).expect("details"), Facts::read(&payload).expect("facts"));
        let sealed = |name: &str| SecretDocument {
            place: Place::default(),
            name: name.to_owned(),
            source: SecretSource::Sealed(SEALED.to_owned()),
        };
        let secrets = vec![sealed("sealed"), sealed("closed"), sealed("empty")];
        let manifest = Manifest { secrets, ..Manifest::default() };
        let sources = Sources { details: &details, facts: &facts, manifest: &manifest, file: None, plugin: None };
        sources.find(name).await.map(|value| value.expose().to_owned())
    }

    #[tokio::test]
    async fn the_first_source_that_has_a_value_gives_it() {
        let push = r#"{"event":"push"}"#;
        assert_eq!(find(push, false, "OPEN").await.as_deref(), Some("for all"));
        assert_eq!(find(push, false, "closed").await.as_deref(), Some("for pushes"));
        assert_eq!(find(push, false, "sealed").await.as_deref(), Some("correct-horse-battery-staple"));
        assert_eq!(find(push, false, "empty").await.as_deref(), Some("correct-horse-battery-staple"));
        assert_eq!(find(push, false, "unknown").await, None);
    }

    #[tokio::test]
    async fn pull_requests_get_what_is_meant_for_them() {
        let pull = r#"{"event":"pull_request"}"#;
        let fork = r#"{"event":"pull_request","source_repo":"stranger/kettle"}"#;
        assert_eq!(find(pull, false, "open").await.as_deref(), Some("for all"));
        assert_eq!(find(pull, false, "closed").await.as_deref(), Some("correct-horse-battery-staple"));
        assert_eq!(find(fork, false, "closed").await, None);
        assert_eq!(find(fork, false, "sealed").await, None);
        assert!(find(fork, true, "sealed").await.is_some());
    }

    #[test]
    fn values_do_not_print() {
        assert_eq!(format!("{:?}", Value::new("hush".to_owned())), "Some(Value(…))");
        assert_eq!(Value::new("a\0".to_owned()), None);
    }
}
