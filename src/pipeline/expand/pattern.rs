//! The patterns of `#` and `%`: `*`, `?`, classes and escapes, for which a slash is a character as any other.

use crate::pipeline::glob::{BadGlob, Class};

/// A pattern for beginnings of texts.
pub(super) struct Pattern {
    elements: Vec<Element>,
}

enum Element {
    Char(char),
    One,
    Any,
    Class(Class),
}

// === impl Pattern ===

impl Pattern {
    /// # Errors
    /// [`BadGlob`]
    pub fn new(text: &str) -> Result<Self, BadGlob> {
        let chars: Vec<char> = text.chars().collect();
        let mut elements = Vec::with_capacity(chars.len());
        let mut at = 0;
        while let Some(char) = chars.get(at) {
            at += 1;
            elements.push(match char {
                '*' => Element::Any,
                '?' => Element::One,
                '[' => {
                    let (class, length) = Class::read(&chars[at..])?;
                    at += length;
                    Element::Class(class)
                }
                '\\' => {
                    at += 1;
                    Element::Char(*chars.get(at - 1).ok_or(BadGlob::EndsInBackslash)?)
                }
                char => Element::Char(*char),
            });
        }
        Ok(Self { elements })
    }

    /// For texts that are read from their end.
    pub fn reversed(mut self) -> Self {
        self.elements.reverse();
        self
    }

    /// How many of the characters the shortest or longest beginning that matches has. Takes their number times the pattern's length.
    pub fn beginning(&self, chars: impl Iterator<Item = char>, longest: bool) -> Option<usize> {
        let end = self.elements.len();
        // Whether the elements before this one match what was read.
        let mut reached = vec![false; end + 1];
        reached[0] = true;
        self.skip_stars(&mut reached);
        let mut found = reached[end].then_some(0);
        for (n, char) in chars.enumerate() {
            if found.is_some() && !longest {
                return found;
            }
            let mut next = vec![false; end + 1];
            for (state, element) in self.elements.iter().enumerate().filter(|(state, _)| reached[*state]) {
                match element {
                    Element::Any => next[state] = true,
                    Element::One => next[state + 1] = true,
                    Element::Char(wanted) if *wanted == char => next[state + 1] = true,
                    Element::Class(class) if class.holds(char) => next[state + 1] = true,
                    Element::Char(_) | Element::Class(_) => {}
                }
            }
            self.skip_stars(&mut next);
            reached = next;
            if reached[end] {
                found = Some(n + 1);
            } else if !reached.contains(&true) {
                return found;
            }
        }
        found
    }

    /// A star may be nothing.
    fn skip_stars(&self, reached: &mut [bool]) {
        for (state, element) in self.elements.iter().enumerate() {
            if matches!(element, Element::Any) && reached[state] {
                reached[state + 1] = true;
            }
        }
    }
}
