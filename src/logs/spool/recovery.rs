//! What a log is after a crash: all that was told to be durable, and maybe some more; never half a record.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use super::{
    log::{Log, Progress, Shared},
    place::{Place, Segment},
    segment::{self, Frames, HEAD, Next},
};
use crate::logs::receipt::Tally;

/// Makes the log of a directory usable again. None if there never was one: a crash came before its first line was durable.
pub(super) fn recover(id: u64, place: Place) -> io::Result<Option<Log>> {
    let Some(meta) = place.meta()? else {
        if place.segments()?.is_empty() {
            place.remove()?;
            return Ok(None);
        }
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not say whose log it is"));
    };
    let receipt = place.receipt()?;
    let mut segments = place.segments()?;
    let next_line = match &receipt {
        Some(receipt) => receipt.next_line,
        None => cut(&place, &mut segments)?,
    };
    let progress = Progress { next_line, receipt: receipt.map(Arc::new), ..Progress::default() };
    let bytes = segments.iter().map(|segment| segment.bytes).sum();
    let is_closed = progress.receipt.is_some();
    let log = Log(Arc::new(Shared {
        id,
        meta,
        place,
        segments: Mutex::new(segments),
        progress: watch::Sender::new(progress),
        bytes: AtomicU64::new(bytes),
        parked: Mutex::default(),
        durable: Mutex::default(),
        settled: AtomicBool::new(false),
        epoch: AtomicU64::new(0),
    }));
    if !is_closed {
        let mut tally = Tally::new();
        for record in log.read_from(0) {
            tally.record(&record?);
        }
        *log.0.durable() = tally.clone();
        *log.0.parked() = Some(tally);
        tracing::debug!(?log, bytes = log.0.bytes.load(Ordering::Relaxed), "an open log was found");
    }
    Ok(Some(log))
}

/// Cuts the last segment behind its last whole record, and gives the line that comes next. Earlier segments were synced before a later
/// one was begun; what is broken in them is damage, which readers tell.
fn cut(place: &Place, segments: &mut Vec<Segment>) -> io::Result<u64> {
    while let Some(last) = segments.last_mut() {
        let path = place.segment(last.first_line);
        let mut next_line = None;
        if last.bytes > HEAD.len() as u64 {
            let mut frames = Frames::open(&path)?;
            let mut end = frames.at();
            while let Next::Record(record) | Next::Skipped(record) = frames.next(last.bytes)? {
                next_line = Some(record.next());
                end = frames.at();
            }
            // Whole records may not have been synced yet; from here on they are told to be durable.
            let file = segment::open(&path)?;
            file.set_len(end)?;
            file.sync_all()?;
            last.bytes = end;
        }
        match next_line {
            Some(next_line) => return Ok(next_line),
            // Begun, and nothing in it came to the disk: it is as if it had not been begun.
            None => {
                std::fs::remove_file(&path)?;
                place.sync()?;
                segments.pop();
            }
        }
    }
    Ok(0)
}
