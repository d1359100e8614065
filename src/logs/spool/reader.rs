//! Reads a log from any line on, as far as it is durable.

use std::{io, sync::Arc};

use tokio::sync::watch;

use super::{
    log::{Log, Progress, Shared},
    place::Segment,
    segment::{Frames, HEAD, Next},
};
use crate::logs::record::{Gap, GapReason, Record};

/// Gives a log's records in order, without a hole: what can't be read is a gap. At the durable end it says `None`, and may say more
/// later; [`Reader::wait`] tells when. Gaps for one reason that follow on each other come as one, as far as they are there.
///
/// It reads files: call it where that may block.
pub struct Reader {
    log: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    /// Number of the first line not yet given.
    next: u64,
    current: Option<(Segment, Frames)>,
    /// Was read to see whether it goes on with a gap.
    peeked: Option<Record>,
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(log: Arc<Shared>, line: u64) -> Self {
        let progress = log.progress.subscribe();
        Self { log, progress, next: line, current: None, peeked: None }
    }

    /// What is read.
    pub fn log(&self) -> Log {
        Log(Arc::clone(&self.log))
    }

    /// Number of the first line not yet given.
    pub fn next_line(&self) -> u64 {
        self.next
    }

    /// Whether all has been given that there will ever be.
    pub fn is_at_end(&self) -> bool {
        let progress = self.progress.borrow();
        let is_over = progress.removed || progress.receipt.is_some();
        is_over && self.peeked.is_none() && self.next >= progress.next_line
    }

    /// Waits until there is more, or the end is known.
    pub async fn wait(&mut self) {
        let next = self.next;
        let is_news = |progress: &Progress| progress.next_line > next || progress.receipt.is_some() || progress.removed;
        // The sender lives in the log, which this holds.
        let _ = self.progress.wait_for(is_news).await;
    }

    fn record(&mut self) -> io::Result<Option<Record>> {
        if let Some(record) = self.peeked.take() {
            return Ok(Some(record));
        }
        loop {
            let durable_next = self.progress.borrow().next_line;
            if self.next >= durable_next {
                return Ok(None);
            }
            let Some((segment, until)) = self.segment(durable_next) else {
                return Ok(Some(self.damaged(durable_next)));
            };
            let frames = match &mut self.current {
                Some((current, frames)) if current.first_line == segment.first_line => frames,
                current => match Frames::open(&self.log.place.segment(segment.first_line)) {
                    Ok(frames) => &mut current.insert((segment, frames)).1,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(self.damaged(until))),
                    Err(error) => return Err(error),
                },
            };
            let found = match frames.next(segment.bytes)? {
                Next::Record(record) | Next::Skipped(record) => record,
                Next::End => return Ok(Some(self.damaged(until))),
            };
            if found.next() <= self.next {
                // Before the line that was asked for.
                continue;
            }
            if found.first() > self.next {
                let gap = self.damaged(found.first().min(until));
                self.peeked = Some(found);
                return Ok(Some(gap));
            }
            return Ok(Some(self.cut_to_next(found)));
        }
    }

    /// The segment that the next line is in, and the line where that ends; none if no file has it.
    fn segment(&self, durable_next: u64) -> Option<(Segment, u64)> {
        let segments = self.log.segments();
        let behind = segments.partition_point(|segment| segment.first_line <= self.next);
        let until = segments.get(behind).map_or(durable_next, |segment| segment.first_line);
        let segment = *segments.get(behind.checked_sub(1)?)?;
        (segment.bytes > HEAD.len() as u64).then_some((segment, until))
    }

    fn damaged(&self, until: u64) -> Record {
        Record::Gap(Gap { first: self.next, lines: until - self.next, bytes: 0, reason: GapReason::Damaged })
    }

    /// Without what lies before the next line, which only gaps can have.
    fn cut_to_next(&self, record: Record) -> Record {
        match record {
            Record::Gap(gap) if gap.first < self.next => {
                Record::Gap(Gap { first: self.next, lines: gap.next() - self.next, ..gap })
            }
            record => record,
        }
    }
}

impl Iterator for Reader {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<io::Result<Record>> {
        let mut record = match self.record() {
            Ok(record) => record?,
            Err(error) => return Some(Err(error)),
        };
        self.next = record.next();
        if let Record::Gap(gap) = &mut record {
            // An error here comes again with the next call.
            while let Ok(Some(next)) = self.record() {
                match &next {
                    Record::Gap(other) if gap.extend(other) => self.next = gap.next(),
                    _ => {
                        self.peeked = Some(next);
                        break;
                    }
                }
            }
        }
        Some(Ok(record))
    }
}
