//! The events of a history as text. Off in bulk runs: a violation is run again with the trace on, which the seed makes the same.

use super::queue::At;

#[derive(Debug, Default)]
pub struct Trace {
    on: bool,
    lines: Vec<String>,
    /// Of every event, traced or not.
    digest: u64,
}

// === impl Trace ===

impl Trace {
    pub fn new(on: bool) -> Self {
        Self { on, ..Self::default() }
    }

    pub fn say(&mut self, at: At, line: impl FnOnce() -> String) {
        if self.on {
            self.lines.push(format!("{:>12.6}  {}", at as f64 / 1e6, line()));
        }
    }

    /// Mixes a value into the digest.
    pub fn mix(&mut self, value: u64) {
        self.digest = (self.digest ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub fn digest(&self) -> u64 {
        self.digest
    }

    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}
