//! Bytes cut into lines of bounded length.

/// The line under way, and whether it has grown too long.
#[derive(Debug)]
pub(crate) struct Lines {
    line: Vec<u8>,
    line_bytes_max: usize,
    /// Bytes of this line beyond the bound.
    cut: usize,
}

/// One line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Up to the bound.
    pub bytes: &'a [u8],
    /// Bytes beyond it, which are gone.
    pub cut: usize,
}

// === impl Lines ===

impl Lines {
    pub fn new(line_bytes_max: usize) -> Self {
        Self { line: Vec::new(), line_bytes_max, cut: 0 }
    }

    /// Tells each line that `bytes` brings to its end.
    pub fn push(&mut self, bytes: &[u8], mut tell: impl FnMut(Line<'_>)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let content = part.strip_suffix(b"\n").unwrap_or(part);
            let kept = content.len().min(self.line_bytes_max - self.line.len());
            self.line.extend(&content[..kept]);
            self.cut += content.len() - kept;
            if content.len() < part.len() {
                self.end(&mut tell);
            }
        }
    }

    /// Tells what stands behind the last line's end, if anything.
    pub fn finish(&mut self, mut tell: impl FnMut(Line<'_>)) {
        if !self.line.is_empty() {
            self.end(&mut tell);
        }
    }

    fn end(&mut self, tell: &mut impl FnMut(Line<'_>)) {
        let bytes = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        tell(Line { bytes, cut: self.cut });
        self.line.clear();
        self.cut = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pieces: &[&str], line_bytes_max: usize) -> Vec<(String, usize)> {
        let mut lines = Lines::new(line_bytes_max);
        let mut told = Vec::new();
        let mut tell = |line: Line<'_>| told.push((String::from_utf8_lossy(line.bytes).into_owned(), line.cut));
        for piece in pieces {
            lines.push(piece.as_bytes(), &mut tell);
        }
        lines.finish(&mut tell);
        told
    }

    #[test]
    fn lines_come_whole_however_they_arrive() {
        let expected = vec![("one".to_owned(), 0), (String::new(), 0), ("two".to_owned(), 0)];
        assert_eq!(told(&["o", "ne\r\n\ntw", "o"], 10), expected);
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_whole() {
        assert_eq!(told(&["abc", "def\ngh\n"], 4), [("abcd".to_owned(), 2), ("gh".to_owned(), 0)]);
    }
}
