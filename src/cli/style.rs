//! Colour, for a person at a terminal only.

use std::io::IsTerminal as _;

/// How a word is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Warning,
    Bad,
}

/// Whether words are painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    colour: bool,
}

// === impl Style ===

impl Style {
    /// Colour if standard output is a terminal and `NO_COLOR` (any text but an empty one) is not set.
    pub fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: std::io::stdout().is_terminal() && !refused }
    }

    /// Never any colour.
    pub fn plain() -> Self {
        Self { colour: false }
    }

    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => 32,
            Tone::Warning => 33,
            Tone::Bad => 31,
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_painted_only_where_colour_is_wanted() {
        assert_eq!(Style { colour: false }.paint(Tone::Bad, "failed"), "failed");
        assert_eq!(Style { colour: true }.paint(Tone::Bad, "failed"), "\x1b[31mfailed\x1b[0m");
    }
}
