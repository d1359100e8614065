//! A running task's directory, for its owner alone, and what lies in it.
//!
//! ```text
//!  record.json   who runs here; by it a later runner finds what was left behind
//!  ended.json    how it ended, from the keeper to the runner
//!  events        the pipe behind the script's descriptor 3
//!  result        $DLITE_RESULT_FILE
//!  outputs       $DLITE_OUTPUT
//!  exports       $DLITE_EXPORT
//!  state         $DLITE_SESSION_STATE (0600)
//!  sensitive     $DLITE_SESSION_SENSITIVE_STATE (0600)
//!  secrets/      $DLITE_SECRETS_DIR, one file (0600) a secret
//!  work/         where the script starts, unless told otherwise
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, mkfifoat};
use serde::{Serialize, de::DeserializeOwned};

/// Of the two records; what holds more was not written by us.
const RECORD_BYTES_MAX: u64 = 64 * 1024;

/// The directory. It does not remove itself: the keeper works in it for as long as the script lives.
#[derive(Debug, Clone)]
pub(super) struct Room {
    path: PathBuf,
}

// === impl Room ===

impl Room {
    /// Makes the room `name` below `rooms`, with pipe and working directory.
    pub fn create(rooms: &Path, name: &str) -> io::Result<Self> {
        let room = Self::at(rooms.join(name));
        make_dir(&room.path)?;
        make_dir(&room.work())?;
        mkfifoat(CWD, room.events(), Mode::RUSR | Mode::WUSR)?;
        Ok(room)
    }

    /// A room that is there.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The room's name, which marks every process in it.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub fn record(&self) -> PathBuf {
        self.path.join("record.json")
    }

    pub fn ended(&self) -> PathBuf {
        self.path.join("ended.json")
    }

    pub fn events(&self) -> PathBuf {
        self.path.join("events")
    }

    pub fn result(&self) -> PathBuf {
        self.path.join("result")
    }

    pub fn outputs(&self) -> PathBuf {
        self.path.join("outputs")
    }

    pub fn exports(&self) -> PathBuf {
        self.path.join("exports")
    }

    pub fn session_state(&self) -> PathBuf {
        self.path.join("state")
    }

    pub fn sensitive_state(&self) -> PathBuf {
        self.path.join("sensitive")
    }

    pub fn secrets(&self) -> PathBuf {
        self.path.join("secrets")
    }

    pub fn work(&self) -> PathBuf {
        self.path.join("work")
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
        private_file(path)?.write_all(content)
    }

    /// See [`read_bounded`].
    pub fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        read_bounded(path, bytes_max)
    }

    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Writes `value` so that readers see all of it or nothing.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let draft = path.with_extension("draft");
    private_file(&draft)?.write_all(&serde_json::to_vec(value)?)?;
    fs::rename(draft, path)
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&read_bounded(path, RECORD_BYTES_MAX)?)?)
}

/// At most one byte more than `bytes_max`, by which the caller sees that there is more. Only regular files are read: what a
/// script has put in their place may never end.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}
