//! The last look before a bundle is written: nothing that this configuration knows as a secret may be in it. Everything that is
//! collected is without secrets by its own rules; this is for the day when one of them has a hole.

use crate::config::{Config, MASK};

/// Shorter texts are everywhere, and no secrets.
const SECRET_BYTES_MIN: usize = 6;

/// Texts to be masked.
pub struct Redactor {
    secrets: Vec<String>,
}

// === impl Redactor ===

impl Redactor {
    /// All secrets that this configuration holds or names files of.
    pub fn of(config: &Config) -> Self {
        let mut secrets = Vec::new();
        for upstream in &config.upstreams {
            secrets.push(upstream.account_secret.expose().to_owned());
            secrets.extend(upstream.secret.as_ref().map(|secret| secret.expose().to_owned()));
            if let Some(proxy) = &upstream.proxy {
                secrets.extend(proxy.expose().password().map(str::to_owned));
            }
            let files = [&upstream.account_secret_file, &upstream.secret_file];
            secrets.extend(files.into_iter().flatten().filter_map(|path| std::fs::read_to_string(path).ok()));
        }
        secrets.extend(std::fs::read_to_string(&config.runners.token_file).ok());
        Self::new(secrets)
    }

    /// Of these texts, blanks around them left out.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut secrets: Vec<String> = secrets.into_iter().map(|secret| secret.trim().to_owned()).collect();
        secrets.retain(|secret| secret.len() >= SECRET_BYTES_MIN);
        // A long one may hold a short one.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    pub fn redact(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), MASK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_wherever_it_stands_and_words_are_left_alone() {
        let redactor = Redactor::new(["hunter2-long\n".to_owned(), "hunter2".to_owned(), "ab".to_owned()]);
        assert_eq!(redactor.redact("a hunter2-long b hunter2 ab"), format!("a {MASK} b {MASK} ab"));
    }
}
