//! What is known of a whole log: the runner's proof that it arrived, and what a person asks first.

use std::collections::BTreeMap;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::record::{Gap, GapReason, Record};

/// Says how much of a log there is and how much is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Number of the first line that the log does not have; lines and missing ones together.
    pub next_line: u64,
    /// Lines that are there.
    pub lines: u64,
    /// Of their texts, without newlines.
    pub bytes: u64,
    /// SHA-256 of their texts, masked, each followed by a newline; in hexadecimal.
    pub digest: String,
    /// What is missing, by reason.
    pub missing: BTreeMap<GapReason, Missing>,
    /// The runner itself left lines out.
    pub truncated: bool,
}

/// How much is missing for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    pub lines: u64,
    /// Of their texts, as far as they were seen.
    pub bytes: u64,
}

/// Counts a log as it grows.
#[derive(Clone)]
pub struct Tally {
    next_line: u64,
    lines: u64,
    bytes: u64,
    digest: Context,
    missing: BTreeMap<GapReason, Missing>,
}

// === impl Missing ===

impl Missing {
    /// What a person reads of it.
    pub fn text(&self, reason: GapReason) -> String {
        Gap { first: 0, lines: self.lines, bytes: self.bytes, reason }.to_string()
    }
}

// === impl Receipt ===

impl Receipt {
    /// Lines missing for any reason.
    pub fn missing_lines(&self) -> u64 {
        self.missing.values().map(|missing| missing.lines).sum()
    }
}

// === impl Tally ===

impl Tally {
    /// Of an empty log.
    pub fn new() -> Self {
        Self { next_line: 0, lines: 0, bytes: 0, digest: Context::new(&SHA256), missing: BTreeMap::new() }
    }

    /// Takes in what follows on all before.
    pub fn record(&mut self, record: &Record) {
        match record {
            Record::Line(line) => self.line(line.number, &line.text),
            Record::Gap(gap) => self.gap(gap),
        }
    }

    pub fn line(&mut self, number: u64, text: &[u8]) {
        self.next_line = number + 1;
        self.lines += 1;
        self.bytes += text.len() as u64;
        self.digest.update(text);
        self.digest.update(b"\n");
    }

    pub fn gap(&mut self, gap: &Gap) {
        self.next_line = gap.next();
        let missing = self.missing.entry(gap.reason).or_default();
        missing.lines += gap.lines;
        missing.bytes += gap.bytes;
    }

    /// Number of the first line that was not taken in.
    pub fn next_line(&self) -> u64 {
        self.next_line
    }

    /// What it came to.
    pub fn receipt(&self, truncated: bool) -> Receipt {
        let digest = self.digest.clone().finish();
        Receipt {
            next_line: self.next_line,
            lines: self.lines,
            bytes: self.bytes,
            digest: digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
            missing: self.missing.clone(),
            truncated,
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_lines_with_their_newlines() {
        let mut tally = Tally::new();
        tally.line(0, b"hello");
        tally.gap(&Gap { first: 1, lines: 2, bytes: 9, reason: GapReason::LogFull });
        let receipt = tally.receipt(false);
        // printf 'hello\n' | sha256sum
        assert_eq!(receipt.digest, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
        assert_eq!((receipt.next_line, receipt.lines, receipt.bytes, receipt.missing_lines()), (3, 1, 5, 2));
    }
}
