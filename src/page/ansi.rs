//! A line of a log as HTML: colours as classes, and nothing else of what a terminal would do.
//!
//! A line is any bytes. Of escape sequences only colours and weight are followed (SGR); all others and all control characters are left
//! out, so that a line can neither hide nor move what is shown beside it. What is no UTF-8 is shown as U+FFFD.

use maud::{Markup, html};

/// Of one line, in bytes; the rest is counted.
pub(super) const LINE_BYTES_MAX: usize = 4 << 10;

/// How text looks; colours by their number in the palette of 16.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Look {
    colour: Option<u8>,
    is_bold: bool,
}

/// A line, escaped and coloured.
pub(super) fn line(bytes: &[u8]) -> Markup {
    let shown = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let text = String::from_utf8_lossy(shown);
    let left = bytes.len() - shown.len();
    html! {
        @for (look, text) in parts(&text) {
            @match look.class() {
                None => (text),
                Some(class) => span class=(class) { (text) },
            }
        }
        @if left > 0 { span.cut { " … " (left) " bytes more" } }
    }
}

// === impl Look ===

impl Look {
    fn class(self) -> Option<String> {
        let colour = self.colour.map(|colour| format!("a{colour}"));
        let weight = self.is_bold.then(|| "ab".to_owned());
        match (colour, weight) {
            (None, None) => None,
            (colour, weight) => Some(colour.into_iter().chain(weight).collect::<Vec<_>>().join(" ")),
        }
    }

    /// Follows the parameters of one SGR sequence.
    fn apply(&mut self, parameters: &str) {
        let mut numbers =
            parameters.split(';').map(|number| if number.is_empty() { Some(0) } else { number.parse().ok() });
        while let Some(number) = numbers.next() {
            match number {
                Some(0_u32) => *self = Self::default(),
                Some(1) => self.is_bold = true,
                Some(22) => self.is_bold = false,
                Some(number @ 30..=37) => self.colour = u8::try_from(number - 30).ok(),
                Some(number @ 90..=97) => self.colour = u8::try_from(number - 90 + 8).ok(),
                Some(39) => self.colour = None,
                // Of the palette of 256 only the first 16 are ours; the operands are no codes.
                Some(38) => match numbers.next() {
                    Some(Some(5)) => {
                        self.colour = numbers.next().flatten().and_then(|n| u8::try_from(n).ok()).filter(|n| *n < 16);
                    }
                    _ => return,
                },
                Some(48) => match numbers.next() {
                    Some(Some(5)) => drop(numbers.next()),
                    _ => return,
                },
                _ => {}
            }
        }
    }
}

/// The text without its controls, cut where its look changes.
fn parts(text: &str) -> Vec<(Look, String)> {
    let mut parts: Vec<(Look, String)> = Vec::new();
    let (mut look, mut rest) = (Look::default(), text.chars().peekable());
    while let Some(letter) = rest.next() {
        match letter {
            '\u{1b}' => match rest.peek() {
                Some('[') => {
                    rest.next();
                    let mut parameters = String::new();
                    // Ends with the first letter of this range, whatever it is.
                    for letter in rest.by_ref() {
                        if matches!(letter, '@'..='~') {
                            if letter == 'm' {
                                look.apply(&parameters);
                            }
                            break;
                        }
                        parameters.push(letter);
                    }
                }
                // A string, such as a title or a link, up to its end.
                Some(']' | 'P' | '_' | '^' | 'X') => {
                    while let Some(letter) = rest.next() {
                        if letter == '\u{7}' || (letter == '\u{1b}' && rest.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => drop(rest.next()),
            },
            '\t' => push(&mut parts, look, '\t'),
            letter if letter.is_control() || is_direction(letter) => {}
            letter => push(&mut parts, look, letter),
        }
    }
    parts
}

fn push(parts: &mut Vec<(Look, String)>, look: Look, letter: char) {
    match parts.last_mut() {
        Some((last, text)) if *last == look => text.push(letter),
        _ => parts.push((look, letter.to_string())),
    }
}

/// Marks that turn the direction of what follows, and so make a line read as another one.
fn is_direction(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        line(text.as_bytes()).into_string()
    }

    #[test]
    fn colours_are_classes_and_markup_is_text() {
        assert_eq!(shown("a \x1b[31;1mb\x1b[0m <b>&"), "a <span class=\"a1 ab\">b</span> &lt;b&gt;&amp;");
        assert_eq!(shown("\x1b[92mgreen\x1b[39m"), "<span class=\"a10\">green</span>");
        assert_eq!(shown("\x1b[38;5;9mred\x1b[38;5;200mplain"), "<span class=\"a9\">red</span>plain");
        assert_eq!(shown("\x1b[38;2;1;31;4mno colour of ours"), "no colour of ours");
        assert_eq!(shown("\x1b[48;5;31mno front"), "no front");
    }

    #[test]
    fn a_line_moves_hides_and_titles_nothing() {
        assert_eq!(shown("a\x1b[2J\x1b[1;1Hb\rc\x08d\u{0}"), "abcd");
        assert_eq!(shown("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\x1b]8;;\x1b\\c"), "abc");
        assert_eq!(shown("\u{202e}safe\u{2066}"), "safe");
        assert_eq!(shown("cut \x1b["), "cut ");
        assert_eq!(shown("\x1b]never ended"), "");
        assert_eq!(line(b"\xff\xfea").into_string(), "\u{fffd}\u{fffd}a");
    }

    #[test]
    fn a_long_line_is_cut_and_counted() {
        let long = "x".repeat(LINE_BYTES_MAX + 5);
        assert!(shown(&long).ends_with("<span class=\"cut\"> … 5 bytes more</span>"));
    }
}
