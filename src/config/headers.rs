//! Headers that go along with each request to a server of the operator's, such as its token.

use std::path::Path;

use super::{rules::read, secret::Secret};

/// Largest file of headers, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 10;
/// Headers in one file.
const HEADERS_MAX: usize = 32;

/// Names in lower case, and values that do not print.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Secret)>);

// === impl Headers ===

impl Headers {
    /// The lines `name: value` of a file; empty ones and those that begin with `#` say nothing. The error says what is wrong, to follow
    /// the path, and repeats no value.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = read(path, FILE_BYTES_MAX)?;
        let mut headers = Vec::new();
        for (nth, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let header = line.split_once(':').map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()));
            let is_header = |(name, value): &(String, &str)| {
                !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
                    && !value.is_empty()
                    && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
            };
            let (name, value) = header.filter(is_header).ok_or(format!("has no header in line {}", nth + 1))?;
            headers.push((name, Secret::new(value)));
        }
        if headers.len() > HEADERS_MAX {
            return Err(format!("holds {} headers, {HEADERS_MAX} are allowed", headers.len()));
        }
        Ok(Self(headers))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Headers, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Headers::read(file.path())
    }

    #[test]
    fn lines_are_headers_and_their_values_do_not_print() {
        let headers = read_text("# the collector's\nAuthorization: Bearer hunter22\n\nx-tenant:a:b\n").unwrap();
        let all: Vec<_> = headers.iter().map(|(name, value)| (name, value.expose())).collect();
        assert_eq!(all, [("authorization", "Bearer hunter22"), ("x-tenant", "a:b")]);
        assert!(!format!("{headers:?}").contains("hunter22"));
    }

    #[test]
    fn a_line_that_is_none_is_named_and_not_repeated() {
        for text in ["hunter22", "a: b\nhunter22", "na me: hunter22", "name:", ": hunter22", "name: hunter\u{e9}"] {
            let error = read_text(text).unwrap_err();
            assert!(error.starts_with("has no header in line") && !error.contains("hunter"), "{error}");
        }
    }
}
