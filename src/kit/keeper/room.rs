//! The directory of one program that runs, for its owner alone.
//!
//! ```text
//!  record.json   who runs here; by it a later runner finds what was left behind
//!  ended.json    how it ended, from the keeper to the runner
//!  events        the pipe behind the program's descriptor 3, if there is one
//! ```
//!
//! Whatever else lies in it is the runner's.

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

/// The directory. It does not remove itself: the keeper works in it for as long as the program lives.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    path: PathBuf,
}

// === impl Room ===

impl Room {
    /// Makes the room `name` below `rooms`.
    pub fn create(rooms: &Path, name: &str) -> io::Result<Self> {
        let room = Self::at(rooms.join(name));
        make_dir(&room.path)?;
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

    /// Makes the pipe; without it the program has no descriptor 3.
    pub fn make_events(&self) -> io::Result<()> {
        Ok(mkfifoat(CWD, self.events(), Mode::RUSR | Mode::WUSR)?)
    }

    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Writes `value` so that readers see all of it or nothing.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let draft = path.with_extension("draft");
    write_private(&draft, &serde_json::to_vec(value)?)?;
    fs::rename(draft, path)
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&read_bounded(path, RECORD_BYTES_MAX)?)?)
}

/// At most one byte more than `bytes_max`, by which the caller sees that there is more. Only regular files are read: what a
/// script has put in their place may never end.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A directory for its owner alone.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// A file (0600) with this content.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(content)
}
