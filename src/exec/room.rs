//! A running task's directory, and what lies in it beside the keeper's own.
//!
//! ```text
//!  result        $DLITE_RESULT_FILE
//!  outputs       $DLITE_OUTPUT
//!  exports       $DLITE_EXPORT
//!  state         $DLITE_SESSION_STATE (0600)
//!  sensitive     $DLITE_SESSION_SENSITIVE_STATE (0600)
//!  secrets/      $DLITE_SECRETS_DIR, one file (0600) a secret
//!  work/         where the script starts, unless told otherwise
//! ```

use std::{
    io,
    path::{Path, PathBuf},
};

pub(super) use crate::kit::keeper::read_bounded;
use crate::kit::keeper::{self, make_dir, write_private};

/// The directory. It does not remove itself.
#[derive(Debug, Clone)]
pub(super) struct Room(keeper::Room);

// === impl Room ===

impl Room {
    /// Makes the room `name` below `rooms`, with pipe and working directory.
    pub fn create(rooms: &Path, name: &str) -> io::Result<Self> {
        let room = Self(keeper::Room::create(rooms, name)?);
        make_dir(&room.work())?;
        room.0.make_events()?;
        Ok(room)
    }

    /// As the keeper knows it.
    pub fn kept(&self) -> keeper::Room {
        self.0.clone()
    }

    /// The room's name, which marks every process in it.
    pub fn name(&self) -> String {
        self.0.name()
    }

    pub fn events(&self) -> PathBuf {
        self.0.events()
    }

    pub fn result(&self) -> PathBuf {
        self.0.path().join("result")
    }

    pub fn outputs(&self) -> PathBuf {
        self.0.path().join("outputs")
    }

    pub fn exports(&self) -> PathBuf {
        self.0.path().join("exports")
    }

    pub fn session_state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    pub fn sensitive_state(&self) -> PathBuf {
        self.0.path().join("sensitive")
    }

    pub fn secrets(&self) -> PathBuf {
        self.0.path().join("secrets")
    }

    pub fn work(&self) -> PathBuf {
        self.0.path().join("work")
    }

    /// Writes one secret; `name` is a plain file name.
    pub fn write_secret(&self, name: &str, value: &[u8]) -> io::Result<()> {
        if !self.secrets().exists() {
            make_dir(&self.secrets())?;
        }
        self.write_private(&self.secrets().join(name), value)
    }

    /// Writes a file (0600) of the room.
    pub fn write_private(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        write_private(path, content)
    }

    /// See [`read_bounded`].
    pub fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        read_bounded(path, bytes_max)
    }
}
