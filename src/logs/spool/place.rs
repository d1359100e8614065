//! The directory of one log.
//!
//! ```text
//!  <n>/meta.json                 whose log it is; without it there is no log
//!  <n>/<first line>.seg          records, from this line on, up to the next file's
//!  <n>/receipt.json              it is closed, and this is what it came to
//!  <n>.gone/                     it is being deleted
//! ```
//!
//! Files of JSON are whole or not there. Everything is the owner's alone.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::LogKey;
use crate::logs::receipt::Receipt;

const META: &str = "meta.json";
const RECEIPT: &str = "receipt.json";
const SEGMENT: &str = ".seg";
const GONE: &str = ".gone";

/// Larger ones are not ours.
const JSON_BYTES_MAX: u64 = 1 << 20;

/// The format of a log's directory that this version reads and writes.
const FORMAT: u32 = 1;

/// Whose log it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub key: LogKey,
    pub task_id: String,
    /// Empty: the task's own.
    pub step_id: String,
    /// Where it goes, in the words of its sink; what is secret in it, its writer seals.
    pub destination: Vec<u8>,
}

/// The content of the first file.
#[derive(Serialize, Deserialize)]
struct Formatted<T> {
    format: u32,
    #[serde(flatten)]
    meta: T,
}

/// A segment and how much of its file counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub first_line: u64,
    /// With the head of the file.
    pub bytes: u64,
}

/// The directory.
#[derive(Clone, Debug)]
pub(super) struct Place(PathBuf);

// === impl Place ===

impl Place {
    pub fn new(spool: &Path, id: u64) -> Self {
        Self(spool.join(id.to_string()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn segment(&self, first_line: u64) -> PathBuf {
        self.0.join(format!("{first_line:020}{SEGMENT}"))
    }

    /// Makes the directory and says whose it is, durably. Does no harm if that is done already.
    pub fn create(&self, meta: &Meta) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.0) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made?,
        }
        self.write(META, &Formatted { format: FORMAT, meta })?;
        self.0.parent().map_or(Ok(()), sync)
    }

    pub fn write_receipt(&self, receipt: &Receipt) -> io::Result<()> {
        self.write(RECEIPT, receipt)
    }

    pub fn meta(&self) -> io::Result<Option<Meta>> {
        match self.read::<Formatted<Meta>>(META)? {
            Some(Formatted { format, .. }) if format != FORMAT => {
                let text = format!("it has format {format}, and this version reads format {FORMAT}");
                Err(io::Error::new(ErrorKind::InvalidData, text))
            }
            formatted => Ok(formatted.map(|formatted| formatted.meta)),
        }
    }

    pub fn receipt(&self) -> io::Result<Option<Receipt>> {
        self.read(RECEIPT)
    }

    /// The segments on disk in their order, each with all of its file.
    pub fn segments(&self) -> io::Result<Vec<Segment>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            let first_line = name.to_str().and_then(|name| name.strip_suffix(SEGMENT)?.parse().ok());
            if let Some(first_line) = first_line {
                segments.push(Segment { first_line, bytes: entry.metadata()?.len() });
            }
        }
        segments.sort_by_key(|segment| segment.first_line);
        Ok(segments)
    }

    pub fn sync(&self) -> io::Result<()> {
        sync(&self.0)
    }

    /// Deletes it. Whatever interrupts that, what is left of it is no log any more.
    pub fn remove(&self) -> io::Result<()> {
        let gone = self.0.with_extension(&GONE[1..]);
        match fs::rename(&self.0, &gone) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            renamed => renamed?,
        }
        fs::remove_dir_all(gone)
    }

    fn write(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let (path, draft) = (self.0.join(name), self.0.join(format!("{name}.draft")));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()?;
        fs::rename(draft, path)?;
        self.sync()
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        let path = self.0.join(name);
        match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Ok(metadata) if metadata.len() > JSON_BYTES_MAX => return Err(ErrorKind::FileTooLarge.into()),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        Ok(Some(serde_json::from_slice(&fs::read(path)?)?))
    }
}

/// The logs in a spool's directory, by id. Finishes deleting what was being deleted.
pub(super) fn places(spool: &Path) -> io::Result<Vec<(u64, Place)>> {
    let mut places = Vec::new();
    for entry in fs::read_dir(spool)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.ends_with(GONE) {
            fs::remove_dir_all(entry.path())?;
        } else if let Ok(id) = name.parse() {
            places.push((id, Place(entry.path())));
        }
    }
    places.sort_by_key(|(id, _)| *id);
    Ok(places)
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
