//! Lines that the delegate does not have for sure.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::LOG_WAIT_MAX;
use crate::proto::runner::v1::{CloseLog, LogChunk, LogLine, LogReceipt};

/// Texts of lines that one log holds until the delegate has them on disk: as many as may be under way to it at once.
pub const LOG_BUFFER_BYTES_MAX: usize = 4 << 20;
/// Lines it holds at most, since short ones take memory, too.
const LINES_MAX: usize = 65_536;
/// Lines and bytes of one chunk.
const CHUNK_LINES_MAX: usize = 4_096;
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// What a line counts beside its text.
const LINE_BYTES: usize = 16;

/// See the module.
#[derive(Default)]
pub(super) struct Buffer {
    lines: Mutex<Lines>,
    /// There is something to send.
    pub news: Notify,
    /// There is room.
    room: Notify,
    end: watch::Sender<Option<End>>,
}

#[derive(Default)]
struct Lines {
    /// By number, ascending; numbers that are missing were left out.
    kept: VecDeque<(u64, LogLine)>,
    bytes: usize,
    next: u64,
    dropped: u64,
    /// The last line found no room in time.
    is_stuck: bool,
    is_closed: bool,
    /// The delegate does not take this log.
    is_refused: bool,
}

/// How it ended.
type End = Option<LogReceipt>;

/// What is to be sent next.
pub(super) enum Next {
    Chunk(LogChunk),
    /// All is sent, and there will be no more.
    Close(CloseLog),
    Nothing,
}

// === impl Buffer ===

impl Buffer {
    pub async fn add(&self, line: LogLine) {
        self.add_within(line, LOG_WAIT_MAX).await;
    }

    async fn add_within(&self, line: LogLine, patience: Duration) {
        if self.try_add(&line) {
            return;
        }
        let patience = if self.lock().is_stuck { Duration::ZERO } else { patience };
        let waiting = async {
            loop {
                let room = self.room.notified();
                tokio::pin!(room);
                room.as_mut().enable();
                if self.try_add(&line) {
                    return;
                }
                room.await;
            }
        };
        if timeout(patience, waiting).await.is_err() {
            let mut lines = self.lock();
            (lines.next, lines.dropped, lines.is_stuck) = (lines.next + 1, lines.dropped + 1, true);
        }
    }

    fn try_add(&self, line: &LogLine) -> bool {
        let mut lines = self.lock();
        if lines.is_closed || lines.is_refused {
            // Nobody will see it.
            return true;
        }
        let bytes = line.text.len() + LINE_BYTES;
        let is_full = lines.bytes + bytes > LOG_BUFFER_BYTES_MAX || lines.kept.len() >= LINES_MAX;
        if is_full && !lines.kept.is_empty() {
            return false;
        }
        let number = lines.next;
        lines.kept.push_back((number, line.clone()));
        (lines.next, lines.bytes, lines.is_stuck) = (number + 1, lines.bytes + bytes, false);
        drop(lines);
        self.news.notify_one();
        true
    }

    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    pub fn close(&self) {
        self.lock().is_closed = true;
        self.news.notify_one();
    }

    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// What follows on the lines below `sent`.
    pub fn next(&self, sent: u64) -> Next {
        let lines = self.lock();
        let start = lines.kept.partition_point(|(number, _)| *number < sent);
        let Some((first_line, _)) = lines.kept.get(start) else {
            let truncated = lines.dropped > 0;
            return match lines.is_closed {
                true => Next::Close(CloseLog { line_count: lines.next, truncated }),
                false => Next::Nothing,
            };
        };
        let mut chunk = LogChunk { first_line: *first_line, lines: Vec::new() };
        let mut bytes = 0;
        for (number, line) in lines.kept.range(start..).take(CHUNK_LINES_MAX) {
            bytes += line.text.len() + LINE_BYTES;
            let follows = *number == first_line + chunk.lines.len() as u64;
            if !follows || (bytes > CHUNK_BYTES_MAX && !chunk.lines.is_empty()) {
                break;
            }
            chunk.lines.push(line.clone());
        }
        Next::Chunk(chunk)
    }

    /// The delegate has all lines below `mark`.
    pub fn forget(&self, mark: u64) {
        let mut lines = self.lock();
        while let Some((_, line)) = lines.kept.pop_front_if(|(number, _)| *number < mark) {
            lines.bytes -= line.text.len() + LINE_BYTES;
        }
        drop(lines);
        self.room.notify_waiters();
    }

    /// The delegate has the whole log, or does not take it.
    pub fn end(&self, end: End) {
        let mut lines = self.lock();
        lines.is_refused = true;
        lines.kept.clear();
        lines.bytes = 0;
        drop(lines);
        self.room.notify_waiters();
        self.end.send_replace(Some(end));
    }

    pub async fn receipt(&self) -> Option<LogReceipt> {
        let mut end = self.end.subscribe();
        // The sender is here.
        end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone().flatten())
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        // What is in there fits together after every statement that can panic.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: usize) -> LogLine {
        LogLine { text: vec![b'x'; bytes].into(), ..LogLine::default() }
    }

    fn chunk(buffer: &Buffer, sent: u64) -> (u64, usize) {
        match buffer.next(sent) {
            Next::Chunk(chunk) => (chunk.first_line, chunk.lines.len()),
            Next::Close(close) => panic!("closes at {}", close.line_count),
            Next::Nothing => panic!("nothing"),
        }
    }

    #[tokio::test]
    async fn lines_are_kept_until_the_mark_and_sent_again_from_any_number() {
        let buffer = Buffer::default();
        for _ in 0..10 {
            buffer.add(line(10)).await;
        }
        assert_eq!(chunk(&buffer, 0), (0, 10));
        assert_eq!(chunk(&buffer, 4), (4, 6));
        buffer.forget(6);
        assert_eq!(chunk(&buffer, 0), (6, 4));
        assert!(matches!(buffer.next(10), Next::Nothing));
        buffer.close();
        assert!(matches!(buffer.next(10), Next::Close(CloseLog { line_count: 10, truncated: false })));
    }

    #[tokio::test]
    async fn a_line_without_room_waits_and_is_then_left_out_with_its_number() {
        let buffer = Buffer::default();
        let half = LOG_BUFFER_BYTES_MAX / 2 - LINE_BYTES;
        buffer.add(line(half)).await;
        buffer.add(line(half)).await;
        buffer.add_within(line(1), Duration::from_millis(1)).await;
        // The next one does not wait at all.
        buffer.add_within(line(1), Duration::from_secs(3600)).await;
        assert_eq!(buffer.dropped(), 2);
        buffer.forget(1);
        buffer.add(line(1)).await;
        assert_eq!((chunk(&buffer, 0), chunk(&buffer, 2)), ((1, 1), (4, 1)));
        buffer.close();
        assert!(matches!(buffer.next(5), Next::Close(CloseLog { line_count: 5, truncated: true })));
    }

    #[tokio::test]
    async fn a_log_that_nobody_takes_holds_nobody_up() {
        let buffer = Buffer::default();
        buffer.add(line(LOG_BUFFER_BYTES_MAX)).await;
        buffer.end(None);
        buffer.add(line(LOG_BUFFER_BYTES_MAX)).await;
        assert_eq!(buffer.receipt().await, None);
        assert_eq!(buffer.dropped(), 0);
    }
}
