//! What is wrong with a configuration: each mistake with document, step and line, all of them at once.

use std::fmt;

use super::Place;

/// Mistakes that a report lists; it counts the others.
pub const MISTAKES_LISTED_MAX: usize = 20;
/// Mistakes that are kept while a text is read, of which the first are listed.
pub(super) const MISTAKES_KEPT_MAX: usize = 1_000;
/// Characters of somebody's text that a message repeats.
const SHOWN_CHARS_MAX: usize = 60;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub place: Place,
    /// Of the pipeline whose document it is, if that is known; a long one's beginning.
    pub pipeline: Option<String>,
    /// Likewise.
    pub step: Option<String>,
    /// The key as a path from the document or the step on: `when.branch`.
    pub key: Option<String>,
    /// Why it cannot stay, and what to do.
    pub reason: String,
    /// For an unknown word: the known one that looks most like it.
    pub nearest: Option<String>,
}

/// All mistakes of a configuration, in the text's order; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    listed: Vec<Mistake>,
    /// Further ones.
    more: usize,
}

// === impl Mistake ===

impl Mistake {
    pub(crate) fn new(place: Place, reason: impl Into<String>) -> Self {
        Self { place, pipeline: None, step: None, key: None, reason: reason.into(), nearest: None }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, document {}", self.place.line, self.place.document)?;
        if let Some(pipeline) = &self.pipeline {
            write!(f, " (pipeline {})", shown(pipeline))?;
        }
        if let Some(step) = &self.step {
            write!(f, ", step {}", shown(step))?;
        }
        f.write_str(": ")?;
        if let Some(key) = &self.key {
            write!(f, "{}: ", cut(key).escape_debug())?;
        }
        f.write_str(&self.reason)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean {}?", cut(nearest).escape_debug()),
            None => Ok(()),
        }
    }
}

// === impl Mistakes ===

impl Mistakes {
    /// `None` if there are none; `not_kept`: how many there are beside these.
    pub(super) fn new(mut all: Vec<Mistake>, not_kept: usize) -> Option<Self> {
        all.sort_by_key(|mistake| mistake.place);
        let more = all.len().saturating_sub(MISTAKES_LISTED_MAX) + not_kept;
        all.truncate(MISTAKES_LISTED_MAX);
        (!all.is_empty()).then_some(Self { listed: all, more })
    }

    /// The first ones, at least one, at most [`MISTAKES_LISTED_MAX`].
    pub fn listed(&self) -> &[Mistake] {
        &self.listed
    }
}

impl From<Mistake> for Mistakes {
    fn from(mistake: Mistake) -> Self {
        Self { listed: vec![mistake], more: 0 }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.listed.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for Mistakes {}

/// Somebody's text as a message may repeat it: in quotes, control characters escaped, cut.
pub(crate) fn shown(text: &str) -> String {
    let kept = cut(text);
    format!("{kept:?}{}", if kept.len() < text.len() { "…" } else { "" })
}

/// So much of somebody's text that a message shows of it what it would of the whole.
pub(super) fn beginning(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX + 1).collect()
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(SHOWN_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}
