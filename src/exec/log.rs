//! A script's standard error: its log, line by line, bounded and without secrets.
//!
//! Lines go to the delegate, which keeps them for those who read the task's log, and to this process's own log with the task's id; the
//! last ones are kept for the error of a task that fails.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tracing::{info, warn};

use crate::{
    kit::{
        lines::{Line, Lines},
        mask::Mask,
    },
    proto::runner::v1::{LogLine, LogSource},
    sdk,
};

/// Of one line; the rest of a longer one is left out.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// Last lines that an error carries, and their bytes; errors are for reading.
const TAIL_LINES_MAX: usize = 20;
const TAIL_BYTES_MAX: usize = 2 * 1024;

/// Read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// What is left of a log at its end.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
}

/// Follows a log to its end.
pub(super) struct Log<'a> {
    task_id: &'a str,
    mask: Mask,
    bytes_max: u64,
    bytes: u64,
    /// Lines that were not passed on.
    dropped: u64,
    tail: Tail,
    /// The task's log at the delegate, and lines on their way there.
    delegate: Option<sdk::Log>,
    leaving: Vec<Bytes>,
}

// === impl Log ===

impl<'a> Log<'a> {
    /// Passes on up to `bytes_max`.
    pub fn new(task_id: &'a str, mask: Mask, bytes_max: u64) -> Self {
        let (tail, delegate, leaving) = (Tail::default(), None, Vec::new());
        Self { task_id, mask, bytes_max, bytes: 0, dropped: 0, tail, delegate, leaving }
    }

    /// Tells `log`, too. All lines go there: the delegate has bounds of its own.
    pub fn telling(self, log: sdk::Log) -> Self {
        Self { delegate: Some(log), ..self }
    }

    /// Reads all there is: a script waits for its log no longer than the SDK does for room, and then not again.
    pub async fn follow(mut self, mut from: impl AsyncRead + Unpin) -> Tail {
        // So that a secret across the cut is seen whole.
        let mut lines = Lines::new(LINE_BYTES_MAX + self.mask.bytes_max());
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match from.read(&mut chunk).await {
                Ok(0) => break,
                Ok(length) => {
                    lines.push(&chunk[..length], |line| self.line(&line));
                    self.leave().await;
                }
                Err(error) => {
                    warn!(task_id = self.task_id, %error, "the log can't be read to its end");
                    break;
                }
            }
        }
        lines.finish(|line| self.line(&line));
        self.leave().await;
        if self.dropped > 0 {
            let (lines, bytes_max) = (self.dropped, self.bytes_max);
            warn!(task_id = self.task_id, lines, bytes_max, "the log is truncated: its last lines are not shown");
        }
        self.tail
    }

    async fn leave(&mut self) {
        for text in std::mem::take(&mut self.leaving) {
            if let Some(log) = &self.delegate {
                log.add(LogLine { source: LogSource::Stderr.into(), text, ..LogLine::default() }).await;
            }
        }
    }

    fn line(&mut self, line: &Line<'_>) {
        let hidden = self.mask.hide(line.bytes);
        let shown = &hidden[..hidden.len().min(LINE_BYTES_MAX)];
        let cut = line.cut + hidden.len() - shown.len();
        let more = if cut > 0 { format!(" [truncated: {cut} bytes more]") } else { String::new() };
        if self.delegate.is_some() {
            self.leaving.push([shown, more.as_bytes()].concat().into());
        }
        let text = String::from_utf8_lossy(shown).into_owned() + &more;
        self.bytes += text.len() as u64 + 1;
        if self.bytes <= self.bytes_max {
            info!(task_id = self.task_id, line = %text, "log");
        } else {
            self.dropped += 1;
        }
        self.tail.push(text);
    }
}

// === impl Tail ===

impl Tail {
    fn push(&mut self, line: String) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.lines.len() > 1 && (self.lines.len() > TAIL_LINES_MAX || self.bytes > TAIL_BYTES_MAX) {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len() + 1);
        }
    }

    /// The last line that says something.
    pub fn last_line(&self) -> Option<&str> {
        self.lines.iter().rev().map(|line| line.trim()).find(|line| !line.is_empty())
    }

    pub fn text(&self) -> String {
        self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tail(log: &[u8], secrets: &[&[u8]]) -> Tail {
        Log::new("t", Mask::new(secrets.iter().copied()), 1 << 20).follow(log).await
    }

    #[tokio::test]
    async fn the_tail_holds_the_last_lines_only() {
        let log: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        let tail = tail(log.as_bytes(), &[]).await;
        assert_eq!(tail.last_line(), Some("line 999"));
        assert!(tail.text().starts_with("line 980\n"), "{}", tail.text());
    }

    #[tokio::test]
    async fn what_is_no_text_is_replaced_and_what_is_long_is_cut_with_a_word_about_it() {
        let mut log = b"\xff\xfe ok\n".to_vec();
        log.extend(vec![b'x'; LINE_BYTES_MAX + 5]);
        assert_eq!(tail(&log[..6], &[]).await.text(), "\u{fffd}\u{fffd} ok");
        assert!(tail(&log, &[]).await.text().ends_with("xxx [truncated: 5 bytes more]"));
    }

    #[tokio::test]
    async fn a_secret_across_the_cut_does_not_show() {
        let mut log = vec![b'x'; LINE_BYTES_MAX - 3];
        log.extend(b"hunter22 and more");
        let text = tail(&log, &[b"hunter22"]).await.text();
        assert!(!text.contains("hun") && text.contains("x***"), "{}", &text[text.len() - 60..]);
    }
}
