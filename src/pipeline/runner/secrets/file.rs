//! The runner's own secrets: a TOML file of `name = "value"`, for its owner alone, read again for each stage that asks.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

/// More is no file of secrets.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where the file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    path: PathBuf,
}

/// Why the file can't be used. Its text is never told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} can't be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is open to others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("{} is no list of texts: write name = \"value\", one a line (line {line})", path.display())]
    Malformed { path: PathBuf, line: usize },
}

// === impl SecretFile ===

impl SecretFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The value of `name`, whose case does not matter.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn find(&self, name: &str) -> Result<Option<String>, Error> {
        let secrets = self.read()?;
        Ok(secrets.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value))
    }

    /// All of it; to see at the start that it can be used.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn read(&self) -> Result<BTreeMap<String, String>, Error> {
        let unreadable = |source| Error::Unreadable { path: self.path.clone(), source };
        let file = File::open(&self.path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(Error::Exposed { path: self.path.clone(), mode });
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(Error::TooLarge { path: self.path.clone() });
        }
        toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            Error::Malformed { path: self.path.clone(), line: before.matches('\n').count() + 1 }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, SecretFile) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secrets.toml");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        (directory, SecretFile::new(path))
    }

    #[test]
    fn a_name_is_found_whatever_its_case() {
        let (_directory, file) = file("db_password = \"hunter22\"\n", 0o600);
        assert_eq!(file.find("DB_Password").expect("a file").as_deref(), Some("hunter22"));
        assert_eq!(file.find("other").expect("a file"), None);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_and_a_broken_one_is_not_quoted() {
        let (_directory, open) = file("a = \"b\"\n", 0o644);
        assert!(open.find("a").expect_err("open").to_string().contains("chmod 600"));
        let (_directory, broken) = file("a = \"b\"\nhush hunter22\n", 0o600);
        let error = broken.find("a").expect_err("broken");
        assert!(error.to_string().ends_with("(line 2)"), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter22"));
    }
}
