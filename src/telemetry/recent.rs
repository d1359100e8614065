//! The last lines of the log, in memory, for whoever asks for support and has no log at hand.
//!
//! One ring for the process, as there is one subscriber for it. It holds what was written, no more: a line that was filtered out is not
//! in it.

use std::{
    collections::VecDeque,
    io,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use tracing_subscriber::fmt::MakeWriter;

/// Lines kept, and their bytes together; the oldest make room.
pub const LINES_MAX: usize = 5_000;
pub const BYTES_MAX: usize = 1 << 20;
/// Longest line, in bytes; what is beyond is cut off.
pub const LINE_BYTES_MAX: usize = 8 << 10;

static RING: Mutex<Ring> = Mutex::new(Ring { lines: VecDeque::new(), bytes: 0 });

/// One line without its end, and without colours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub at: SystemTime,
    pub text: String,
}

struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
}

/// Where the subscriber writes, beside standard error.
#[derive(Clone, Copy, Debug)]
pub struct Tap;

/// One event on its way into the ring.
#[derive(Debug)]
pub struct Entry(Vec<u8>);

/// The lines since then, the oldest first.
pub fn lines(since: SystemTime) -> Vec<Line> {
    let ring = RING.lock().unwrap_or_else(PoisonError::into_inner);
    ring.lines.iter().filter(|line| line.at >= since).cloned().collect()
}

// === impl Ring ===

impl Ring {
    fn push(&mut self, line: Line) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.text.len();
        }
    }
}

// === impl Tap, Entry ===

impl<'a> MakeWriter<'a> for Tap {
    type Writer = Entry;

    fn make_writer(&'a self) -> Entry {
        Entry(Vec::new())
    }
}

impl io::Write for Entry {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = LINE_BYTES_MAX.saturating_sub(self.0.len()).min(bytes.len());
        self.0.extend_from_slice(&bytes[..room]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let text = plain(&String::from_utf8_lossy(&self.0));
        if !text.is_empty() {
            RING.lock().unwrap_or_else(PoisonError::into_inner).push(Line { at: SystemTime::now(), text });
        }
    }
}

/// Without the escape sequences of colours, and without the line's end.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.trim_end();
    while let Some(at) = rest.find("\x1b[") {
        plain.push_str(&rest[..at]);
        let sequence = &rest[at + 2..];
        rest = sequence.find(|c: char| c.is_ascii_alphabetic()).map_or("", |end| &sequence[end + 1..]);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_left_out() {
        assert_eq!(plain("\x1b[2m12:00\x1b[0m \x1b[32m INFO\x1b[0m ready\n"), "12:00  INFO ready");
        assert_eq!(plain("cut off \x1b[3"), "cut off ");
    }

    #[test]
    fn the_ring_is_bounded_by_lines_and_bytes() {
        let mut ring = Ring { lines: VecDeque::new(), bytes: 0 };
        let line = |length: usize| Line { at: SystemTime::now(), text: "x".repeat(length) };
        for _ in 0..LINES_MAX + 10 {
            ring.push(line(1));
        }
        assert_eq!((ring.lines.len(), ring.bytes), (LINES_MAX, LINES_MAX));
        for _ in 0..BYTES_MAX / LINE_BYTES_MAX + 10 {
            ring.push(line(LINE_BYTES_MAX));
        }
        assert!(ring.bytes <= BYTES_MAX && ring.bytes > BYTES_MAX - 2 * LINE_BYTES_MAX, "{}", ring.bytes);
    }
}
