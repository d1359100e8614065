//! Why the spool could not be used.

use std::{io, path::PathBuf};

/// A failure of the spool. What happens to the lines of a log is no error but a gap.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("cannot {operation} {}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Others could read or replace logs.
    #[error("log directory {} is open to others (mode {mode:04o}); run: chmod 700 {}", path.display(), path.display())]
    Exposed { path: PathBuf, mode: u32 },
    /// Somebody else appends to it.
    #[error("log {log_id} of lease {lease_id} is being written already")]
    InUse { lease_id: String, log_id: String },
    /// It has been closed; nothing can be added.
    #[error("log {log_id} of lease {lease_id} is closed")]
    Closed { lease_id: String, log_id: String },
    /// Too many logs wait for their sinks.
    #[error("{max} logs are on disk already, which is the most there may be; see to their sinks")]
    TooMany { max: usize },
    /// The writer has stopped, or was never there.
    #[error("the spool has stopped")]
    Stopped,
}

impl Error {
    /// For `map_err`: a failure of `operation` on `path`.
    pub(super) fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { operation, path, source }
    }
}
