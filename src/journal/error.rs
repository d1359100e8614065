//! Why a journal could not be opened, read or written.

use std::path::PathBuf;

use crate::state_dir;

/// A failure of the journal. Those of [`commit`](super::Store::commit) may pass ([`Full`](Error::Full),
/// [`Failed`](Error::Failed)); those of opening and loading need a person, and say what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No room for the batch; nothing of it was kept. Passes when space is freed.
    #[error("the disk is full")]
    Full,
    /// The store or the system beneath it refused the operation; nothing of it was kept.
    #[error("cannot {operation}")]
    Failed {
        operation: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The rows of one scope are not what was committed.
    #[error(
        "the journal is damaged in scope {scope}: {damage}; restore the state directory from a copy, or move it away to start anew"
    )]
    Damaged { scope: u64, damage: Damage },
    /// The file's own structure is broken.
    #[error("{} is damaged; restore the state directory from a copy, or move it away to start anew", path.display())]
    DamagedFile {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A format that this version does not read, most likely written by a newer one.
    #[error("{} has format {found}, this version reads format {known}; run the version that wrote it", path.display())]
    UnknownFormat { path: PathBuf, found: i32, known: i32 },
    /// A database of some other program.
    #[error("{} is no journal of this program (application id {application_id:#010x}); choose another state directory", path.display())]
    Foreign { path: PathBuf, application_id: i32 },
    /// The key is there, its database is not: facts were lost, or the file was moved by hand.
    #[error("{} is empty or missing though its key exists; restore it, or remove {} as well to start anew", database.display(), key.display())]
    DatabaseMissing { database: PathBuf, key: PathBuf },
    /// Rows can't be read without the key they were sealed with.
    #[error("{} is missing though the journal has rows; restore it, or move the state directory away to start anew", path.display())]
    KeyMissing { path: PathBuf },
    /// Not a key as made at first start.
    #[error("{} holds {found} bytes, a key has {expected}; restore it", path.display())]
    KeySize { path: PathBuf, found: usize, expected: usize },
    /// A key, but not the one of this database.
    #[error("{} is not the key of this journal; restore the one that belongs to it", path.display())]
    WrongKey { path: PathBuf },
    /// The rows of a scope must be appended one after the other: a bug of the caller, nothing of the batch was kept.
    #[error("row {number} of scope {scope} does not follow its last row")]
    OutOfOrder { scope: u64, number: u32 },
    /// Beyond [`SCOPE_MAX`](super::SCOPE_MAX), [`NUMBER_MAX`](super::NUMBER_MAX) or what a cipher takes: a bug of the
    /// caller, nothing of the batch was kept.
    #[error("row {number} of scope {scope} is beyond the bounds of the journal")]
    OutOfBounds { scope: u64, number: u32 },
    /// The state directory could not be used.
    #[error(transparent)]
    StateDir(#[from] state_dir::Error),
}

/// What is wrong with a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The seal of a row does not fit its body and place.
    #[error("row {number} fails its seal")]
    Seal { number: u32 },
    /// A row is missing before another one.
    #[error("row {expected} is missing, row {found} is there")]
    Gap { expected: u32, found: u32 },
    /// The scope's count says more rows than there are.
    #[error("{counted} rows were committed, {found} are there")]
    Tail { counted: u32, found: u32 },
    /// There are rows beyond the count, or without any.
    #[error("row {number} was never counted")]
    Uncounted { number: u32 },
    /// The count itself is no count.
    #[error("its count of rows is {counted}")]
    Count { counted: i64 },
}

impl Error {
    /// For `map_err`: a failure of `operation`.
    pub fn failed<E>(operation: &'static str) -> impl FnOnce(E) -> Error
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| Error::Failed { operation, source: source.into() }
    }

    /// This error and what caused it in one line, for a person.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
