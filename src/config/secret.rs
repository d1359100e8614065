//! A text that leaves the process only where the code says so.

use std::fmt;

/// What every view of a secret shows.
pub const MASK: &str = "********";

/// A secret text. It has no `Serialize`, and `Debug` and `Display` show [`MASK`], so that it cannot reach a log, an error or an
/// answer by accident; [`Secret::expose`] is the one way to the text, and easy to search for.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

// === impl Secret ===

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}
