//! One log while its runner writes it: numbers, masking, limits of a line, and how far the runner may forget.
//!
//! ```text
//!  lines by number ─► Masker ─► cut to LINE_BYTES_MAX ─► Appender
//!                       └─ what has begun of a secret holds the mark back
//! ```
//!
//! A masker forgets everything with the process. So the runner keeps every line from which on something may be the beginning of a
//! secret: after a crash it sends them again, and the next masker sees what this one saw. Whatever interrupts it, no secret is shown
//! that would have been hidden otherwise.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    mask::{Masker, Patterns},
    receipt::Receipt,
    record::{Gap, GapReason},
    spool::{Appender, LineHead, Log},
};

/// Longest text of a line, in bytes, as the Harness log service's clients have it. What is beyond is left out, and the line says so.
pub const LINE_BYTES_MAX: usize = 71_680;
/// Stands for the rest of a longer line.
pub const CUT: &[u8] = b"... (log line truncated)";
/// Lines are handed to the disk in pieces of this size, while one chunk is taken in.
const SUBMIT_BYTES: usize = 1 << 20;

/// See the module.
pub struct Intake {
    /// None: there are more secrets than can be masked, so no line may be kept.
    masker: Option<Masker<LineHead>>,
    appender: Appender,
    patterns: Option<Arc<Patterns>>,
    /// Number of the next line that was not taken in; none before the first.
    next: Option<u64>,
    /// Nothing begins below it that is not over.
    sure: u64,
}

// === impl Intake ===

impl Intake {
    /// Goes on behind what `appender` has. `patterns`: none if the secrets can't be masked.
    pub fn new(patterns: Option<Arc<Patterns>>, appender: Appender) -> Self {
        let sure = appender.next_line();
        let masker = patterns.clone().map(Masker::new);
        Self { masker, appender, patterns, next: None, sure }
    }

    pub fn log(&self) -> Log {
        self.appender.log()
    }

    /// Lines below may be forgotten as soon as they are durable, too.
    pub fn sure(&self) -> u64 {
        self.sure
    }

    /// Takes in lines that follow on each other, the first of number `first`; those that are here already fall. Waits for the disk
    /// within the spool's bound.
    pub async fn lines(&mut self, first: u64, lines: impl IntoIterator<Item = (LineHead, Bytes)>) {
        for (number, (head, text)) in (first..).zip(lines) {
            self.line(LineHead { number, ..head }, &text);
            if self.appender.buffered_bytes() >= SUBMIT_BYTES {
                self.appender.submit().await;
            }
        }
        self.appender.submit().await;
    }

    fn line(&mut self, head: LineHead, text: &[u8]) {
        let number = head.number;
        match self.next {
            Some(next) if number < next => return,
            // What is missing may have held anything: what has begun before it is at its end.
            Some(next) if number > next => self.settle(),
            _ => {}
        }
        self.next = Some(number + 1);
        let Some(masker) = &mut self.masker else {
            let first = self.appender.next_line();
            if number >= first {
                let lines = number + 1 - first;
                self.appender.miss(Gap { first, lines, bytes: text.len() as u64, reason: GapReason::Unmaskable });
            }
            self.sure = self.sure.max(number + 1);
            return;
        };
        let appender = &mut self.appender;
        let head = match &self.patterns {
            Some(patterns) => masked_args(patterns, head),
            None => head,
        };
        masker.push(head, text, |head, text| put(appender, &head, text));
        let begun = masker.begun_bytes();
        if begun == 0 {
            self.sure = self.sure.max(number + 1);
        } else if begun <= text.strip_suffix(b"\r").unwrap_or(text).len() as u64 {
            self.sure = self.sure.max(number);
        }
    }

    /// The log is silent: shows what waits, as far as it may be shown.
    pub async fn rest(&mut self) {
        self.settle();
        self.appender.submit().await;
    }

    fn settle(&mut self) {
        let appender = &mut self.appender;
        if let Some(masker) = &mut self.masker {
            masker.settle(|head, text| put(appender, &head, text));
        }
    }

    /// Lines that are held back until it is sure what they hold.
    pub fn held_lines(&self) -> usize {
        self.masker.as_ref().map_or(0, Masker::held_lines)
    }

    /// Ends the log; see [`Appender::close`].
    pub async fn close(mut self, line_count: Option<u64>, truncated: bool) -> Receipt {
        self.settle();
        self.appender.close(line_count, truncated).await
    }
}

fn put(appender: &mut Appender, head: &LineHead, text: &[u8]) {
    match text.get(..LINE_BYTES_MAX).filter(|_| text.len() > LINE_BYTES_MAX) {
        Some(begin) => appender.line(head, &[begin, CUT].concat()),
        None => appender.line(head, text),
    }
}

/// Each member by itself; keys, too.
fn masked_args(patterns: &Arc<Patterns>, mut head: LineHead) -> LineHead {
    if !head.args.is_empty() && !patterns.is_empty() {
        let mask = |text: &String| String::from_utf8_lossy(&patterns.masked(text.as_bytes())).into_owned();
        head.args = head.args.iter().map(|(key, value)| (mask(key), mask(value))).collect();
    }
    head
}
