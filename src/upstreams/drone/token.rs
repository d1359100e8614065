//! The shared secret of server and runners, and the file it may come from.

use std::{
    fmt,
    io::Read as _,
    path::{Path, PathBuf},
};

use super::options::Options;
use crate::upstreams::reload::FromFiles;

/// Largest file of a secret.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

/// The value of `X-Drone-Token`; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// A secret that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("secret file {path:?} can't be read")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("secret file {path:?} can't be used: it holds no single line of visible ascii")]
    Form { path: PathBuf },
}

// === impl Token ===

impl Token {
    /// Any single line of visible ASCII, as a header can hold; blanks around it are dropped.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '))
            .then(|| Self(text.to_owned()))
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// From the file, if there is one.
    pub(super) fn of(options: &Options) -> Result<FromFiles<Self>, TokenError> {
        let (given, file) = (options.token.clone(), options.token_file.clone());
        let files = file.iter().cloned().collect();
        FromFiles::load("drone secret", files, options.network.look_interval, move || match &file {
            Some(path) => read(path),
            None => Ok(given.clone()),
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

fn read(path: &Path) -> Result<Token, TokenError> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|source| TokenError::Unreadable { path: path.to_owned(), source })?;
    Token::new(&text).ok_or_else(|| TokenError::Form { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line_and_does_not_print() {
        let token = Token::new(" tok-example-1\n").unwrap();
        assert_eq!(token.reveal(), "tok-example-1");
        assert!(!format!("{token:?}").contains("tok"));
        for bad in ["", " \n", "two\nlines", "é"] {
            assert!(Token::new(bad).is_none(), "{bad:?}");
        }
    }
}
