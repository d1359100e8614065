//! Masks one log, line by line.

use std::{collections::VecDeque, sync::Arc};

use super::{
    patterns::{Patterns, SECRET_BYTES_MIN},
    trie::{ROOT, State},
    window::WINDOW_BYTES,
};

/// Stands for hidden bytes.
pub const MASK: &[u8] = b"******";
/// Lines held back at most; with one more, all are settled. Only empty or very short lines come to so many.
pub const HELD_LINES_MAX: usize = 1024;

/// Masks one log. `T` is what comes with a line: its number, its time.
pub struct Masker<T> {
    patterns: Arc<Patterns>,
    state: State,
    /// Lines that are not yet sure, in order.
    held: VecDeque<Held<T>>,
    /// Their bytes without line ends, and maybe some before them that are done with.
    text: Vec<u8>,
    /// Places are counted from the log's first byte. That of the first byte of `text`.
    text_start: u64,
    /// Before it everything has been let go.
    released: u64,
    /// Behind the last byte that came.
    end: u64,
    /// Ascending, neither overlapping nor touching; none ends before `released`.
    hidden: VecDeque<Run>,
    masked: Vec<u8>,
}

struct Held<T> {
    tag: T,
    end: u64,
    /// The line ended with a carriage return, which belongs to its end.
    has_return: bool,
}

/// Bytes to hide.
#[derive(Clone, Copy)]
struct Run {
    start: u64,
    end: u64,
}

// === impl Masker ===

impl<T> Masker<T> {
    pub fn new(patterns: Arc<Patterns>) -> Self {
        Self {
            patterns,
            state: ROOT,
            held: VecDeque::new(),
            text: Vec::new(),
            text_start: 0,
            released: 0,
            end: 0,
            hidden: VecDeque::new(),
            masked: Vec::new(),
        }
    }

    /// Takes a line without its newline, and lets go of all lines that are sure, in order.
    pub fn push(&mut self, tag: T, line: &[u8], mut emit: impl FnMut(T, &[u8])) {
        if self.patterns.is_empty() {
            return emit(tag, line);
        }
        let content = line.strip_suffix(b"\r").unwrap_or(line);
        self.scan(content);
        if self.held.is_empty() && self.begun() == 0 {
            // The usual line: nothing waits, so it needs no copy.
            let masked = masked(&mut self.masked, &self.hidden, line, self.released);
            emit(tag, masked);
            self.text.clear();
            (self.text_start, self.released) = (self.end, self.end);
            self.hidden.clear();
            return;
        }
        self.text.extend_from_slice(content);
        self.held.push_back(Held { tag, end: self.end, has_return: content.len() < line.len() });
        self.release(self.end.saturating_sub(self.begun()), &mut emit);
        if self.held.len() > HELD_LINES_MAX {
            self.settle(emit);
        }
    }

    /// Lets go of everything; see the module on what shows. The log may go on.
    pub fn settle(&mut self, mut emit: impl FnMut(T, &[u8])) {
        let begun = self.begun();
        if begun >= SECRET_BYTES_MIN as u64 {
            self.hide(Run { start: self.end - begun, end: self.end });
        }
        self.release(self.end, &mut emit);
    }

    /// How many of the last bytes, without line ends, may be the beginning of a form.
    pub fn begun_bytes(&self) -> u64 {
        self.begun()
    }

    /// Lines that wait.
    pub fn held_lines(&self) -> usize {
        self.held.len()
    }

    /// How many of the last bytes may be the beginning of a form.
    fn begun(&self) -> u64 {
        self.patterns.trie.depth(self.state) as u64
    }

    /// Finds what ends in `content`, which follows on all that came before.
    fn scan(&mut self, content: &[u8]) {
        let patterns = Arc::clone(&self.patterns);
        let mut at = 0;
        while at < content.len() {
            let depth = patterns.trie.depth(self.state);
            // As long as what has begun lies within this content and is shorter than a window, windows say where to go on. Each such
            // jump gains a byte and costs a window, so this stays linear.
            let steps = if depth < WINDOW_BYTES && depth <= at {
                let from = at - depth;
                let last = content.len().saturating_sub(WINDOW_BYTES - 1).max(from);
                at = patterns.windows.find(&content[from..]).map_or(last, |found| from + found);
                self.state = ROOT;
                WINDOW_BYTES
            } else {
                1
            };
            let line_start = self.end;
            for &byte in content[at..].iter().take(steps) {
                at += 1;
                let node = patterns.trie.step(self.state, byte);
                let found = patterns.trie.found(node) as u64;
                if found > 0 {
                    let end = line_start + at as u64;
                    self.hide(Run { start: end - found, end });
                }
                self.state = patterns.trie.onward(node);
            }
        }
        self.end += content.len() as u64;
    }

    /// Hides `run`, which ends behind all that was hidden before. What has been let go is past hiding.
    fn hide(&mut self, mut run: Run) {
        run.start = run.start.max(self.released);
        if run.start >= run.end {
            return;
        }
        while let Some(last) = self.hidden.pop_back_if(|last| last.end >= run.start) {
            run.start = run.start.min(last.start);
        }
        self.hidden.push_back(run);
    }

    /// Lets go of the lines that end by `sure`.
    fn release(&mut self, sure: u64, emit: &mut impl FnMut(T, &[u8])) {
        while let Some(line) = self.held.pop_front_if(|line| line.end <= sure) {
            let within = (self.released - self.text_start) as usize..(line.end - self.text_start) as usize;
            let content = &self.text[within];
            let shown = masked(&mut self.masked, &self.hidden, content, self.released);
            if line.has_return {
                let mut shown = shown.to_vec();
                shown.push(b'\r');
                emit(line.tag, &shown);
            } else {
                emit(line.tag, shown);
            }
            self.released = line.end;
            while self.hidden.pop_front_if(|run| run.end <= line.end).is_some() {}
        }
        let gone = (self.released - self.text_start) as usize;
        // Moving only when half of it is gone keeps the moving linear.
        if gone * 2 >= self.text.len() {
            self.text.drain(..gone);
            self.text_start = self.released;
        }
    }
}

/// `line`, which begins at `start`, with the hidden bytes masked; in `space` if there are any.
fn masked<'a>(space: &'a mut Vec<u8>, hidden: &VecDeque<Run>, line: &'a [u8], start: u64) -> &'a [u8] {
    let end = start + line.len() as u64;
    // An empty line within a hidden run shows nothing, and hides nothing.
    if line.is_empty() || hidden.front().is_none_or(|run| run.start >= end) {
        return line;
    }
    space.clear();
    let mut shown_to = start;
    for run in hidden.iter().take_while(|run| run.start < end) {
        let clear = shown_to..run.start.max(shown_to);
        space.extend_from_slice(&line[(clear.start - start) as usize..(clear.end - start) as usize]);
        space.extend_from_slice(MASK);
        shown_to = run.end.min(end);
    }
    space.extend_from_slice(&line[(shown_to - start) as usize..]);
    space
}
