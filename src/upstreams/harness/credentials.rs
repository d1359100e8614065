//! The account secret in force, and the tokens made from it.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use super::{
    options::Options,
    token::{AccountSecret, SecretError, TokenSource},
};
use crate::upstreams::reload::FromFiles;

/// Largest file of a secret; a real one has 32 to 45 bytes.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

/// A secret with its own tokens, so that no token outlives its secret.
pub(super) struct Credentials {
    pub secret: AccountSecret,
    pub tokens: TokenSource,
}

/// A secret's file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("secret file {path:?} can't be read")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("secret file {path:?} can't be used")]
    Form { path: PathBuf, source: SecretError },
}

// === impl Credentials ===

impl Credentials {
    /// From the file, if there is one.
    pub fn of(options: &Options) -> Result<FromFiles<Self>, Error> {
        let (account, file) = (options.account_id.clone(), options.account_secret_file.clone());
        let given = options.account_secret.clone();
        let files = file.iter().cloned().collect();
        FromFiles::load("account secret", files, options.network.look_interval, move || {
            let secret = match &file {
                Some(path) => read(path)?,
                None => given.clone(),
            };
            Ok(Self { tokens: TokenSource::new(secret.clone(), account.clone()), secret })
        })
    }
}

fn read(path: &Path) -> Result<AccountSecret, Error> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    text.parse().map_err(|source| Error::Form { path: path.to_owned(), source })
}
