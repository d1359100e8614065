//! What a journal needs of a disk.

use super::{Change, Error, Row};

/// A place for rows that survives crashes. Synchronous and byte-level: the core encodes its records, the
/// [`Writer`](super::Writer) owns the thread, and a model disk can stand in.
pub trait Store: Send {
    /// All rows, by scope, then by number. Called once, before the first commit.
    ///
    /// # Errors
    /// A named one for anything that is not exactly what was committed.
    fn load(&mut self) -> Result<Vec<Row>, Error>;

    /// Makes all of `batch` durable, in order, or nothing of it. After an error the same handle takes the same batch again.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::Failed`] may pass; [`Error::OutOfOrder`] and [`Error::OutOfBounds`] are the caller's.
    fn commit(&mut self, batch: &[Change]) -> Result<(), Error>;

    /// The room left. A store without a bound of its own leaves this alone.
    fn space(&self) -> Space {
        Space::UNBOUNDED
    }
}

/// Room left for a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this process could still write.
    pub free_bytes: u64,
}

impl Space {
    /// As much as one likes.
    pub const UNBOUNDED: Space = Space { free_bytes: u64::MAX };
}
