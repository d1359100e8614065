//! Logs as files of a directory: a sink that needs no other machine.
//!
//! ```text
//!  <dir>/<task id>.<lease id>.<log id>.log       one file a log, whole once it is there; it is never opened again
//!  <dir>/….log.draft                             it is being written
//!
//!  2026-09-21T12:00:00.123456789Z stdout info the text, byte for byte
//!  2026-09-21T12:00:01.000000000Z stderr error {"member":"value"} with members before it
//!  2026-09-21T12:00:01.000000000Z - warn [3 lines missing: …]
//! ```
//!
//! A file appears once its log is closed: written, synced, renamed, and its directory synced, before the spool lets go of the log. So a
//! crash leaves the whole file or none, and the next process writes it again. Files are the owner's alone (0600, in 0700). A newline
//! within a text is written as `\n`. Nothing is rotated or deleted here: that is the operator's.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufWriter, ErrorKind},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use ring::digest::{SHA256, digest};

use super::{
    receipt::Receipt,
    record::{Level, Record, Time},
    sink::{Delivery, Failure, Sent, Sink},
    spool::{Log, LogKey, Meta},
};
use crate::core::task::Spec;

/// An id that is longer within a file's name stands there as its SHA-256; a name has at most 255 bytes.
const ID_BYTES_MAX: usize = 64;

/// A directory that logs go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    directory: PathBuf,
}

// === impl Files ===

impl Files {
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// By the words of a [`Sink::destination`].
    pub(super) fn of_destination(destination: &[u8]) -> Self {
        Self::new(std::ffi::OsString::from_vec(destination.to_vec()).into())
    }

    /// Where a log goes.
    pub fn path(&self, meta: &Meta) -> PathBuf {
        let LogKey { lease_id, log_id } = &meta.key;
        self.directory.join(format!("{}.{}.{}.log", plain(&meta.task_id), plain(lease_id), plain(log_id)))
    }

    fn write(&self, log: &Log, next_line: u64) -> io::Result<()> {
        match DirBuilder::new().recursive(true).mode(0o700).create(&self.directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let path = self.path(log.meta());
        let draft = path.with_extension("log.draft");
        let written = write(log, next_line, &draft).and_then(|()| fs::rename(&draft, &path));
        if written.is_err() {
            // It takes room that may be what is wanting.
            let _ = fs::remove_file(&draft);
        }
        written?;
        File::open(&self.directory)?.sync_all()
    }
}

impl Sink for Files {
    fn destination(&self, _: &Spec, _: &str) -> Option<Vec<u8>> {
        Some(self.directory.as_os_str().as_bytes().to_vec())
    }

    fn deliver(&self, destination: &[u8]) -> Result<Box<dyn Delivery>, String> {
        Ok(Box::new(Self::of_destination(destination)))
    }
}

impl Delivery for Files {
    /// `dlite tasks logs -f` shows a log that grows.
    fn live<'a>(&'a mut self, _: &'a [Record]) -> Sent<'a> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn whole<'a>(&'a mut self, log: &'a Log, receipt: &'a Receipt) -> Sent<'a> {
        Box::pin(async {
            let (files, log, next_line) = (self.clone(), log.clone(), receipt.next_line);
            let written = tokio::task::spawn_blocking(move || files.write(&log, next_line));
            let failed = |error: &dyn std::fmt::Display| {
                Failure::Again(format!("no file can be written to {}: {error}", self.directory.display()))
            };
            match written.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(failed(&error)),
                Err(error) => Err(failed(&error)),
            }
        })
    }

    fn keeps_every_try(&self) -> bool {
        true
    }
}

fn write(log: &Log, next_line: u64, draft: &Path) -> io::Result<()> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        removed => removed?,
    }
    // A file that is new is nobody else's.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    let mut out = BufWriter::new(file);
    let mut last = Time::default();
    for record in log.read_from(0) {
        let record = record?;
        put(&mut out, &record, &mut last)?;
        if record.next() >= next_line {
            break;
        }
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn put(out: &mut impl io::Write, record: &Record, last: &mut Time) -> io::Result<()> {
    match record {
        Record::Line(line) => {
            *last = line.time;
            write!(out, "{} {} {} ", line.time, line.source.as_str(), line.level.as_str())?;
            if !line.args.is_empty() {
                serde_json::to_writer(&mut *out, &line.args)?;
                out.write_all(b" ")?;
            }
            for (nth, part) in line.text.split(|byte| *byte == b'\n').enumerate() {
                if nth > 0 {
                    out.write_all(b"\\n")?;
                }
                out.write_all(part)?;
            }
        }
        // It has no time of its own.
        Record::Gap(gap) => write!(out, "{last} - {} {gap}", Level::Warn.as_str())?,
    }
    out.write_all(b"\n")
}

/// An id as part of a file's name: runners choose some of them, and may choose `../`.
fn plain(id: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let mut plain = String::new();
    for byte in id.bytes() {
        match is_plain(byte) {
            true => plain.push(char::from(byte)),
            false => plain.push_str(&format!("%{byte:02X}")),
        }
    }
    if plain.len() <= ID_BYTES_MAX {
        return plain;
    }
    digest(&SHA256, id.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::logs::record::{Gap, GapReason, Line, Source};

    #[test]
    fn an_id_leads_nowhere_else_and_its_name_is_bounded() {
        assert_eq!(plain("t-1f2e-7"), "t-1f2e-7");
        assert_eq!(plain("../a.b"), "%2E%2E%2Fa%2Eb");
        assert_eq!(plain(&"/".repeat(128)).len(), 64);
        let key = LogKey { lease_id: "/".repeat(128), log_id: "/".repeat(128) };
        let meta = Meta { key, task_id: "/".repeat(128), step_id: String::new(), destination: Vec::new() };
        let name = Files::new("/srv".into()).path(&meta);
        assert_eq!(name.parent(), Some(Path::new("/srv")));
        assert!(name.file_name().unwrap().len() + ".draft".len() <= 255);
    }

    #[test]
    fn a_record_is_one_line_and_a_text_stays_as_it_is() {
        let (mut out, mut last) = (Vec::new(), Time::default());
        let time = Time(1_789_992_000_123_456_789);
        let args = [("exit".to_owned(), "1".to_owned())].into();
        let line =
            Line { time, source: Source::Stderr, text: Bytes::from_static(b"a\nb \xff\x1b[0m"), ..Line::default() };
        let gap = Gap { first: 2, lines: 3, bytes: 0, reason: GapReason::DiskSlow };
        for record in [Record::Line(line), Record::Line(Line { time, args, ..Line::default() }), Record::Gap(gap)] {
            put(&mut out, &record, &mut last).unwrap();
        }
        let expected: &[u8] = b"2026-09-21T12:00:00.123456789Z stderr info a\\nb \xff\x1b[0m\n\
            2026-09-21T12:00:00.123456789Z stdout info {\"exit\":\"1\"} \n\
            2026-09-21T12:00:00.123456789Z - warn [3 lines missing: the disk did not keep up]\n";
        assert_eq!(out.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }
}
