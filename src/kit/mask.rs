//! Secrets of a task, so that its log does not show them.

/// Shorter values would mask half of every log.
const SECRET_BYTES_MIN: usize = 4;

const MASK: &[u8] = b"***";

/// Values to hide. Not printed.
pub(crate) struct Mask {
    /// Longest first: one may be a part of another.
    values: Vec<Vec<u8>>,
}

// === impl Mask ===

impl Mask {
    /// Of `secrets`, and of their single lines, since logs come line by line.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut values: Vec<Vec<u8>> = secrets
            .into_iter()
            .flat_map(|secret| secret.split(|byte| *byte == b'\n'))
            .map(|line| line.trim_ascii().to_vec())
            .filter(|line| line.len() >= SECRET_BYTES_MIN)
            .collect();
        values.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        values.dedup();
        Self { values }
    }

    /// Of the longest value: so much more of a line has to be looked at than is shown.
    pub fn bytes_max(&self) -> usize {
        self.values.first().map_or(0, Vec::len)
    }

    /// `text` with every value hidden.
    pub fn hide(&self, text: &[u8]) -> Vec<u8> {
        let mut hidden = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(byte) = rest.first() {
            match self.values.iter().find(|value| rest.starts_with(value)) {
                Some(value) => {
                    hidden.extend(MASK);
                    rest = &rest[value.len()..];
                }
                None => {
                    hidden.push(*byte);
                    rest = &rest[1..];
                }
            }
        }
        hidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_their_lines_are_hidden_and_short_ones_are_not() {
        let mask = Mask::new([&b"hunter22"[..], b"hunter", b"first\nsecond\n", b"abc"]);
        assert_eq!(mask.hide(b"a hunter22 hunter second abc"), b"a *** *** *** abc");
        assert_eq!(mask.bytes_max(), 8);
    }
}
