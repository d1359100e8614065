//! The file of a segment: eight bytes that say to a person what it is, then frames. Its format is that of its directory.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use bytes::{Bytes, BytesMut};

use super::frame::{self, Found};
use crate::logs::record::Record;

/// What a file begins with.
pub(super) const HEAD: &[u8; 8] = b"dlitelg1";

/// Read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Makes the file, or makes it empty again.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all_at(HEAD, 0)?;
    Ok(file)
}

/// Opens the file to go on with it.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Reads the frames of a file, up to an end that may move on.
pub(super) struct Frames {
    file: File,
    /// Place in the file of the first byte of `read`.
    at: u64,
    read: Bytes,
}

/// What comes next in a segment.
#[derive(Debug)]
pub(super) enum Next {
    Record(Record),
    /// Some bytes are no record, and what comes behind them is.
    Skipped(Record),
    /// There is no further whole record up to the end.
    End,
}

// === impl Frames ===

impl Frames {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, at: HEAD.len() as u64, read: Bytes::new() })
    }

    /// Place in the file behind the last record.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next record that ends by `end`, a place in the file. After [`Next::End`] there may be more once the end has moved on.
    pub fn next(&mut self, end: u64) -> io::Result<Next> {
        let mut skipped = 0;
        loop {
            let broken = match self.find(skipped, end)? {
                Some(Found::Record(record, bytes)) => {
                    self.advance(skipped + bytes);
                    return Ok(if skipped == 0 { Next::Record(record) } else { Next::Skipped(record) });
                }
                Some(Found::Broken { bytes }) => bytes,
                Some(Found::More(_)) | None => None,
            };
            let Some(bytes) = broken else { return Ok(Next::End) };
            skipped += bytes;
        }
    }

    /// What stands so many bytes ahead; none if that is beyond the end.
    fn find(&mut self, ahead: usize, end: u64) -> io::Result<Option<Found>> {
        let mut needed = ahead + 1;
        loop {
            if self.at + needed as u64 > end {
                return Ok(None);
            }
            if self.read.len() < needed && !self.fill(needed, end)? {
                return Ok(None);
            }
            match frame::find(&self.read.slice(ahead..)) {
                Found::More(bytes) => needed = ahead + bytes,
                found => return Ok(Some(found)),
            }
        }
    }

    /// Reads until `needed` bytes are there; false if the file is shorter than it should be.
    fn fill(&mut self, needed: usize, end: u64) -> io::Result<bool> {
        let left = usize::try_from(end - self.at).unwrap_or(usize::MAX);
        let wanted = needed.max(CHUNK_BYTES).min(left);
        let mut read = BytesMut::zeroed(wanted);
        let mut length = self.read.len();
        read[..length].copy_from_slice(&self.read);
        while length < wanted {
            match self.file.read_at(&mut read[length..], self.at + length as u64) {
                Ok(0) => break,
                Ok(bytes) => length += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        read.truncate(length);
        self.read = read.freeze();
        Ok(length >= needed)
    }

    fn advance(&mut self, bytes: usize) {
        self.at += bytes as u64;
        self.read = self.read.slice(bytes..);
    }
}
