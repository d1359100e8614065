//! The one who adds to a log.
//!
//! ```text
//!  line ─┬─ room ───► buffer ── submit ──► queue ──► disk
//!        └─ none ──► pending gap ── before the next line, once an interval, at the close ──► buffer
//! ```

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    Inner, Log,
    command::Command,
    frame::{self, GAP_BYTES, LineHead},
    log::Shared,
};
use crate::logs::{
    receipt::{Receipt, Tally},
    record::{Gap, GapReason},
};

/// Frames that wait for [`Appender::submit`]; a line beyond it becomes a gap. Two of the runner protocol's frames.
pub const BUFFER_BYTES_MAX: usize = 8 << 20;
/// Gaps that wait to be written; further ones are told under the reason of the last. More than one waits only if reasons change.
pub const GAPS_PENDING_MAX: usize = 16;

/// Adds lines to one log. Lines are durable once [`Log::progress`] says so. Dropped without [`close`](Self::close), the log waits
/// for its next appender.
pub struct Appender {
    spool: Arc<Inner>,
    log: Arc<Shared>,
    /// That of the log when this was made.
    epoch: u64,
    /// Frames for the writer.
    buffer: Vec<u8>,
    /// Number of the first line in the buffer.
    buffer_first: u64,
    /// Of texts in the buffer, and of gaps in it.
    buffer_text_bytes: u64,
    /// Behind the last line or gap in the buffer.
    buffer_next: u64,
    /// What the log is once the buffer is written.
    tally: Tally,
    /// What it is without the buffer.
    submitted: Tally,
    /// Missing lines behind those of the buffer.
    pending: VecDeque<Gap>,
    gap_written_at: Option<Instant>,
    /// The last line found no room.
    was_full: bool,
    /// The queue had no room in time.
    is_stuck: bool,
    is_closed: bool,
}

// === impl Appender ===

impl Appender {
    pub(super) fn new(spool: Arc<Inner>, log: Arc<Shared>, tally: Tally) -> Self {
        let next = tally.next_line();
        let epoch = log.epoch.load(Ordering::Acquire);
        Self {
            spool,
            log,
            epoch,
            buffer: Vec::new(),
            buffer_first: next,
            buffer_text_bytes: 0,
            buffer_next: next,
            submitted: tally.clone(),
            tally,
            pending: VecDeque::new(),
            gap_written_at: None,
            was_full: false,
            is_stuck: false,
            is_closed: false,
        }
    }

    /// The log, to read it and to see how far it is.
    pub fn log(&self) -> Log {
        Log(Arc::clone(&self.log))
    }

    /// Number of the first line that is neither here nor known to be missing.
    pub fn next_line(&self) -> u64 {
        self.pending.back().map_or(self.buffer_next, Gap::next)
    }

    /// Bytes that the next [`submit`](Self::submit) takes along. Lines beyond [`BUFFER_BYTES_MAX`] become gaps.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Adds a line to what the next [`submit`](Self::submit) takes along. A number that was here already is left out; one that skips
    /// some makes a gap; so does a line for which there is no room.
    pub fn line(&mut self, head: &LineHead, text: &[u8]) {
        let next = self.next_line();
        if head.number < next {
            return;
        }
        if head.number > next {
            let lines = head.number - next;
            self.miss(Gap { first: next, lines, bytes: 0, reason: GapReason::NotReceived });
        }
        let bytes = frame::line_bytes(head, text);
        let taken = match self.buffer.len() + bytes > BUFFER_BYTES_MAX {
            true => Err(GapReason::DiskSlow),
            false => self.spool.budget.take(self.log.bytes.load(Ordering::Relaxed), bytes as u64, self.was_full),
        };
        self.was_full = matches!(taken, Err(GapReason::SpoolFull));
        if let Err(reason) = taken {
            return self.miss(Gap { first: head.number, lines: 1, bytes: text.len() as u64, reason });
        }
        self.log.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.put_gaps();
        frame::put_line(&mut self.buffer, head, text);
        self.buffer_text_bytes += text.len() as u64;
        self.buffer_next = head.number + 1;
        self.tally.line(head.number, text);
    }

    /// Notes missing lines, which begin at [`next_line`](Self::next_line).
    pub fn miss(&mut self, gap: Gap) {
        let is_bounded = self.pending.len() < GAPS_PENDING_MAX;
        if let Some(last) = self.pending.back_mut() {
            let reason = if is_bounded { gap.reason } else { last.reason };
            if last.extend(&Gap { reason, ..gap }) {
                return;
            }
        }
        self.pending.push_back(gap);
    }

    /// Hands over what was added. Waits for room in the queue, but no longer than the limits say: then these lines are a gap, and the
    /// next ones do not wait until there is room again. Cancelling it loses nothing.
    pub async fn submit(&mut self) {
        self.put_gaps_if_due();
        if self.buffer.is_empty() {
            return;
        }
        let budget = &self.spool.budget;
        let room = Arc::clone(&budget.queue).acquire_many_owned(budget.permits(self.buffer.len()));
        let patience = if self.is_stuck { Duration::ZERO } else { budget.limits.back_pressure_max };
        match tokio::time::timeout(patience, room).await {
            Ok(Ok(room)) => {
                self.is_stuck = false;
                self.send(Some(room));
            }
            Ok(Err(_)) | Err(_) => {
                self.is_stuck = true;
                self.drop_buffer();
            }
        }
    }

    /// Hands over what was added if there is room in the queue right now; else it waits here.
    pub fn try_submit(&mut self) {
        self.put_gaps_if_due();
        if self.buffer.is_empty() {
            return;
        }
        let budget = &self.spool.budget;
        if let Ok(room) = Arc::clone(&budget.queue).try_acquire_many_owned(budget.permits(self.buffer.len())) {
            self.is_stuck = false;
            self.send(Some(room));
        }
    }

    /// Ends the log. `line_count`: how many lines there should be; if there are fewer, the rest is a gap. `truncated`: the runner says
    /// that it left lines out. The receipt is what [`Progress::receipt`](super::Progress::receipt) will say once it is durable.
    pub async fn close(mut self, line_count: Option<u64>, truncated: bool) -> Receipt {
        let next = self.next_line();
        if let Some(lines) = line_count.and_then(|count| count.checked_sub(next)).filter(|lines| *lines > 0) {
            self.miss(Gap { first: next, lines, bytes: 0, reason: GapReason::NotReceived });
        }
        self.put_gaps();
        self.submit().await;
        // If the disk did not keep up, all this is one gap now, which is small enough to need no room.
        self.put_gaps();
        if !self.buffer.is_empty() {
            self.send(None);
        }
        let receipt = self.submitted.receipt(truncated);
        self.is_closed = true;
        let (log, epoch) = (Arc::clone(&self.log), self.epoch);
        self.spool.send(Command::Close { log, epoch, receipt: receipt.clone() });
        receipt
    }

    fn send(&mut self, room: Option<OwnedSemaphorePermit>) {
        self.spool.send(Command::Append {
            log: Arc::clone(&self.log),
            epoch: self.epoch,
            frames: std::mem::take(&mut self.buffer),
            first_line: self.buffer_first,
            tally: Box::new(self.tally.clone()),
            _room: room,
        });
        self.submitted = self.tally.clone();
        self.buffer_first = self.buffer_next;
        self.buffer_text_bytes = 0;
    }

    /// Makes a gap of the buffer, in front of those that wait.
    fn drop_buffer(&mut self) {
        let frames = self.give_back_buffer();
        let reason = match self.spool.budget.disk_is_full.load(Ordering::Relaxed) {
            true => GapReason::DiskFull,
            false => GapReason::DiskSlow,
        };
        let lines = self.buffer_next - self.buffer_first;
        let mut gap = Gap { first: self.buffer_first, lines, bytes: self.buffer_text_bytes, reason };
        tracing::warn!(log = %self.log.place.path().display(), %gap, bytes = frames, "log lines were dropped");
        let _ = self.pending.pop_front_if(|next| gap.extend(next));
        self.pending.push_front(gap);
        self.buffer_next = self.buffer_first;
        self.buffer_text_bytes = 0;
        self.tally = self.submitted.clone();
    }

    fn give_back_buffer(&mut self) -> u64 {
        let bytes = self.buffer.len() as u64;
        self.buffer.clear();
        self.log.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.spool.budget.give_back(bytes);
        bytes
    }

    fn put_gaps_if_due(&mut self) {
        let interval = self.spool.budget.limits.gap_interval;
        if self.gap_written_at.is_none_or(|written_at| written_at.elapsed() >= interval) {
            self.put_gaps();
        }
    }

    fn put_gaps(&mut self) {
        for gap in std::mem::take(&mut self.pending) {
            self.gap_written_at = Some(Instant::now());
            frame::put_gap(&mut self.buffer, &gap);
            self.log.bytes.fetch_add(GAP_BYTES as u64, Ordering::Relaxed);
            self.spool.budget.take_anyway(GAP_BYTES as u64);
            self.buffer_text_bytes += gap.bytes;
            self.buffer_next = gap.next();
            self.tally.gap(&gap);
        }
    }
}

impl Drop for Appender {
    /// What was not submitted was never told to be durable: whoever sent it sends it again.
    fn drop(&mut self) {
        self.give_back_buffer();
        let mut parked = self.log.parked();
        // A closed log has no next appender; of one that was broken off meanwhile, what counts is parked already.
        if !self.is_closed && self.epoch == self.log.epoch.load(Ordering::Acquire) {
            *parked = Some(self.submitted.clone());
        }
    }
}
