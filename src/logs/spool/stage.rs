//! What some commands make of one log, before it counts.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt as _,
    sync::Arc,
};

use super::{
    command::Command,
    log::Shared,
    place::Segment,
    segment::{self, HEAD},
};

/// The file that a log is at.
#[derive(Clone)]
pub(super) struct Tail {
    pub file: Arc<File>,
    pub segment: Segment,
}

/// What some commands make of one log.
pub(super) struct Stage {
    pub log: Arc<Shared>,
    pub commands: Vec<Command>,
    /// None: it has no file yet.
    pub tail: Option<Tail>,
    /// Files touched, each with its size now; the last is that of `tail`.
    pub touched: Vec<Tail>,
    has_new_file: bool,
}

// === impl Stage ===

impl Stage {
    /// Nothing is done yet. `tail`: where the log goes on, if its file is open.
    pub fn new(log: Arc<Shared>, tail: Option<Tail>) -> Self {
        Self { log, commands: Vec::new(), tail, touched: Vec::new(), has_new_file: false }
    }

    /// Writes what the commands say, and syncs only what must be on the disk before something else is.
    pub fn write(&mut self, commands: &[Command], segment_bytes: u64) -> io::Result<()> {
        for command in commands {
            match command {
                Command::Create { log, .. } => log.place.create(&log.meta)?,
                Command::Append { frames, first_line, .. } => self.append(frames, *first_line, segment_bytes)?,
                Command::Close { .. } | Command::Remove(_) => {}
            }
        }
        Ok(())
    }

    fn append(&mut self, frames: &[u8], first_line: u64, segment_bytes: u64) -> io::Result<()> {
        if self.tail.is_none() {
            self.tail = self.last_on_disk()?;
        }
        let is_full = |tail: &Tail| {
            let bytes = tail.segment.bytes;
            bytes > HEAD.len() as u64 && bytes + frames.len() as u64 > segment_bytes
        };
        let mut tail = match self.tail.take() {
            Some(tail) if !is_full(&tail) => tail,
            full => {
                // A later file must not be on the disk before all of the earlier one is: only the last one may be torn.
                if let Some(full) = full {
                    full.file.sync_data()?;
                }
                let file = segment::create(&self.log.place.segment(first_line))?;
                self.has_new_file = true;
                Tail { file: Arc::new(file), segment: Segment { first_line, bytes: HEAD.len() as u64 } }
            }
        };
        tail.file.write_all_at(frames, tail.segment.bytes)?;
        tail.segment.bytes += frames.len() as u64;
        match self.touched.last_mut() {
            Some(touched) if touched.segment.first_line == tail.segment.first_line => *touched = tail.clone(),
            _ => self.touched.push(tail.clone()),
        }
        self.tail = Some(tail);
        Ok(())
    }

    /// Where the log goes on if its file is not open.
    fn last_on_disk(&self) -> io::Result<Option<Tail>> {
        let Some(segment) = self.log.segments().last().copied() else { return Ok(None) };
        match segment::open(&self.log.place.segment(segment.first_line)) {
            Ok(file) => Ok(Some(Tail { file: Arc::new(file), segment })),
            // Somebody deleted it. What was in it is a gap to readers; what comes goes into a new file.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.log.place.create(&self.log.meta)?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes durable what was written; receipts last, since they say that there is nothing behind them.
    pub fn sync(&self) -> io::Result<()> {
        for tail in &self.touched {
            tail.file.sync_data()?;
        }
        if self.has_new_file {
            self.log.place.sync()?;
        }
        for command in &self.commands {
            if let Command::Close { log, receipt, .. } = command {
                log.place.write_receipt(receipt)?;
            }
        }
        Ok(())
    }
}
