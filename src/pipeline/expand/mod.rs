//! The expansion of `${VAR}` over a configuration's text, before it is YAML.
//!
//! | written | becomes |
//! |---|---|
//! | `${v}` | the value; nothing if there is none |
//! | `${v=x}` `${v:=x}` `${v:-x}` `${v:?x}` `${v:+x}` | the value; `x` if that is empty |
//! | `${v:3}` `${v:3:2}` | characters from the third on; two of them; negative counts from the end |
//! | `${#v}` | the number of characters |
//! | `${v^}` `${v^^}` `${v,}` `${v,,}` | first or all in upper or lower case |
//! | `${v#x}` `${v##x}` `${v%x}` `${v%%x}` | without the shortest or longest beginning or end that matches `x` |
//! | `${v/x/y}` `${v//x/y}` `${v/#x/y}` `${v/%x/y}` | with `y` for the first `x`, all, the one it begins or ends with |
//! | `$$` | `$`, and what follows is left alone |
//!
//! It is Drone's dialect of a shell's: `:+` and `:?` are defaults as `:-` is, replacements are texts and no patterns, and `$v` without
//! braces is left for the step's shell. `x` and `y` may hold further `${…}`. A value with a line break is put in double quotes, so that
//! lines stay where they are.

mod eval;
mod pattern;

use std::{collections::BTreeMap, fmt};

use self::eval::Eval;

/// One `${…}` inside another.
pub const NESTING_MAX: usize = 16;
/// Characters that patterns are compared with, in all, before it is refused: some tenths of a second.
pub const COMPARISONS_MAX: usize = 10_000_000;

/// Why a text can't be expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadExpansion {
    /// From 1.
    pub line: u32,
    /// The expression's beginning, as far as it was read.
    pub expression: String,
    pub reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("needs the name of a variable after ${{; write $${{ for a ${{ that is to stay")]
    NoName,
    #[error("is none of the known forms; write $${{ for a ${{ that is to stay")]
    UnknownForm,
    #[error("has no closing }}; write $${{ for a ${{ that is to stay")]
    Unclosed,
    #[error("has more than {NESTING_MAX} expressions inside one another")]
    TooDeep,
    #[error("would make the text longer than {} bytes", super::yaml::TEXT_BYTES_MAX)]
    TooLong,
    #[error("the configuration has more than {} bytes", super::yaml::TEXT_BYTES_MAX)]
    TextTooLong,
    #[error("is one of too many that search too much")]
    TooMuchWork,
}

/// The text with each expression replaced. At most [`super::yaml::TEXT_BYTES_MAX`] bytes.
///
/// # Errors
/// [`BadExpansion`], the first in the text.
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> Result<String, BadExpansion> {
    Eval::new(text, variables).whole()
}

impl fmt::Display for BadExpansion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::TextTooLong => write!(f, "{}", self.reason),
            _ => {
                write!(f, "line {}: the expression {} {}", self.line, super::yaml::shown(&self.expression), self.reason)
            }
        }
    }
}

impl std::error::Error for BadExpansion {}
