//! The globs of conditions, in the words of Drone's runners: `*` and `?` stop at a slash, `**` between slashes does not, `[a-z]` and
//! `[^a-z]` are classes, `{a,b}` are alternatives, and a backslash takes the next character as it is.
//!
//! A pattern becomes a small machine whose states are followed all at once, so that no pattern is slower than its length times the
//! value's.

/// Characters of a pattern.
pub const PATTERN_CHARS_MAX: usize = 1_024;

/// A pattern that can be matched.
#[derive(Clone, Debug)]
pub struct Glob {
    ops: Vec<Op>,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGlob {
    #[error("has more than {PATTERN_CHARS_MAX} characters")]
    TooLong,
    #[error("has a [ without its ]")]
    OpenClass,
    #[error("has an empty or broken class in [ ]; a - or ] in it needs a backslash")]
    BrokenClass,
    #[error("has a {{ without its }}")]
    OpenAlternatives,
    #[error("ends in a backslash")]
    EndsInBackslash,
}

/// The characters between `[` and `]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

#[derive(Clone, Debug)]
enum Op {
    Char(char),
    /// Any character but a slash.
    One,
    /// Any character.
    Any,
    /// No slash.
    Class(Class),
    /// Goes on at both places.
    Split(usize, usize),
    Jump(usize),
}

/// The pattern's text while it becomes a machine.
struct Compiler {
    chars: Vec<char>,
    at: usize,
    ops: Vec<Op>,
}

// === impl Glob ===

impl Glob {
    /// # Errors
    /// [`BadGlob`]
    pub fn new(pattern: &str) -> Result<Self, BadGlob> {
        let chars: Vec<char> = pattern.chars().take(PATTERN_CHARS_MAX + 1).collect();
        if chars.len() > PATTERN_CHARS_MAX {
            return Err(BadGlob::TooLong);
        }
        let mut compiler = Compiler { chars, at: 0, ops: Vec::new() };
        compiler.whole()?;
        Ok(Self { ops: compiler.ops })
    }

    /// Whether all of `value` matches.
    pub fn matches(&self, value: &str) -> bool {
        let mut states = Vec::new();
        let mut seen = vec![false; self.ops.len() + 1];
        self.follow(0, &mut states, &mut seen);
        for char in value.chars() {
            let mut next = Vec::with_capacity(states.len());
            seen.fill(false);
            for state in states {
                let takes = match self.ops.get(state) {
                    Some(Op::Char(wanted)) => *wanted == char,
                    Some(Op::One) => char != '/',
                    Some(Op::Any) => true,
                    Some(Op::Class(class)) => char != '/' && class.holds(char),
                    Some(Op::Split(..) | Op::Jump(_)) | None => false,
                };
                if takes {
                    self.follow(state + 1, &mut next, &mut seen);
                }
            }
            states = next;
            if states.is_empty() {
                return false;
            }
        }
        states.contains(&self.ops.len())
    }

    /// Adds `start` and all states that are reached from it without a character.
    fn follow(&self, start: usize, states: &mut Vec<usize>, seen: &mut [bool]) {
        let mut open = vec![start];
        while let Some(state) = open.pop() {
            if std::mem::replace(&mut seen[state], true) {
                continue;
            }
            match self.ops.get(state) {
                Some(Op::Split(one, other)) => open.extend([*one, *other]),
                Some(Op::Jump(to)) => open.push(*to),
                _ => states.push(state),
            }
        }
    }
}

// === impl Class ===

impl Class {
    /// The class whose `[` stands before `chars`, and how many of them it is, with its `]`.
    pub fn read(chars: &[char]) -> Result<(Self, usize), BadGlob> {
        let negated = chars.first() == Some(&'^');
        let mut at = usize::from(negated);
        let next = |at: &mut usize| {
            *at += 1;
            chars.get(*at - 1).copied().ok_or(BadGlob::OpenClass)
        };
        let mut ranges = Vec::new();
        loop {
            let low = match next(&mut at)? {
                ']' if !ranges.is_empty() => return Ok((Self { negated, ranges }, at)),
                ']' | '-' => return Err(BadGlob::BrokenClass),
                '\\' => next(&mut at)?,
                char => char,
            };
            let mut high = low;
            if chars.get(at) == Some(&'-') {
                at += 1;
                high = match next(&mut at)? {
                    ']' | '-' => return Err(BadGlob::BrokenClass),
                    '\\' => next(&mut at)?,
                    char => char,
                };
            }
            ranges.push((low, high));
        }
    }

    pub fn holds(&self, char: char) -> bool {
        self.negated != self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&char))
    }
}

// === impl Compiler ===

impl Compiler {
    fn whole(&mut self) -> Result<(), BadGlob> {
        while let Some(char) = self.next() {
            match char {
                '*' if self.is_double_star() => self.double_star(),
                '{' => self.alternatives()?,
                _ => self.term(char)?,
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Option<char> {
        let char = self.chars.get(self.at).copied();
        self.at += usize::from(char.is_some());
        char
    }

    /// Whether the star just read is the first of two that are alone between slashes.
    fn is_double_star(&self) -> bool {
        let starts = self.at < 2 || self.chars[self.at - 2] == '/';
        starts && self.chars.get(self.at) == Some(&'*') && matches!(self.chars.get(self.at + 1), None | Some('/'))
    }

    fn double_star(&mut self) {
        self.at += 1;
        let start = self.ops.len();
        match self.next() {
            // The rest, whatever it is.
            None => self.ops.extend([Op::Split(start + 1, start + 3), Op::Any, Op::Jump(start)]),
            // Any number of whole parts, each with its slash.
            Some(_) => {
                self.ops.push(Op::Split(start + 1, start + 6));
                self.ops.extend([Op::Split(start + 2, start + 4), Op::One, Op::Jump(start + 1)]);
                self.ops.extend([Op::Char('/'), Op::Jump(start)]);
            }
        }
    }

    fn term(&mut self, char: char) -> Result<(), BadGlob> {
        match char {
            '*' => {
                let start = self.ops.len();
                self.ops.extend([Op::Split(start + 1, start + 3), Op::One, Op::Jump(start)]);
            }
            '?' => self.ops.push(Op::One),
            '[' => {
                let (class, length) = Class::read(&self.chars[self.at..])?;
                self.at += length;
                self.ops.push(Op::Class(class));
            }
            '\\' => {
                let escaped = self.next().ok_or(BadGlob::EndsInBackslash)?;
                self.ops.push(Op::Char(escaped));
            }
            _ => self.ops.push(Op::Char(char)),
        }
        Ok(())
    }

    /// Those of Drone do not nest.
    fn alternatives(&mut self) -> Result<(), BadGlob> {
        let mut ends = Vec::new();
        loop {
            // Where it goes on if it is not this one; the last one's place is not used.
            let split = self.ops.len();
            self.ops.push(Op::Jump(split + 1));
            let closed = loop {
                match self.next().ok_or(BadGlob::OpenAlternatives)? {
                    ',' => break false,
                    '}' => break true,
                    char => self.term(char)?,
                }
            };
            if closed {
                break;
            }
            ends.push(self.ops.len());
            self.ops.push(Op::Jump(0));
            self.ops[split] = Op::Split(split + 1, self.ops.len());
        }
        let end = self.ops.len();
        for jump in ends {
            self.ops[jump] = Op::Jump(end);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_drones_do() {
        let cases = [
            ("main", "main", true),
            ("main", "mains", false),
            ("*", "main", true),
            ("*", "", true),
            ("*", "feature/tea", false),
            ("**", "feature/tea", true),
            ("**", "", true),
            ("feature/*", "feature/tea", true),
            ("feature/*", "feature/tea/cup", false),
            ("feature/**", "feature/tea/cup", true),
            ("feature/**", "feature", false),
            ("feature**", "feature/tea", false),
            ("feature**", "features", true),
            ("**/cup", "cup", true),
            ("**/cup", "feature/tea/cup", true),
            ("**/cup", "teacup", false),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a/**/z", "a/b/c/zz", false),
            ("refs/tags/**", "refs/tags/v1.2", true),
            ("refs/heads/release-*", "refs/heads/release-3", true),
            ("v?", "v☺", true),
            ("v?", "v/", false),
            ("v[0-9]", "v7", true),
            ("v[^0-9]", "v7", false),
            ("v[^0-9]", "vx", true),
            ("v[^0-9]", "v/", false),
            ("v[\\-x]", "v-", true),
            ("{main,release-*}", "release-9", true),
            ("{main,release-*}", "main", true),
            ("{main,release-*}", "maine", false),
            ("r{e,o}d", "rod", true),
            ("r{,oa}d", "rd", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("a*b*c*d", "axxbxxcxxd", true),
            ("a*b*c*d", "axxbxxcxx", false),
        ];
        for (pattern, value, expected) in cases {
            assert_eq!(Glob::new(pattern).unwrap().matches(value), expected, "{pattern} against {value}");
        }
    }

    #[test]
    fn texts_that_are_no_globs_say_why() {
        let cases = [
            ("[", BadGlob::OpenClass),
            ("a[bc", BadGlob::OpenClass),
            ("[]", BadGlob::BrokenClass),
            ("[-x]", BadGlob::BrokenClass),
            ("[x-]", BadGlob::BrokenClass),
            ("{a,b", BadGlob::OpenAlternatives),
            ("a\\", BadGlob::EndsInBackslash),
        ];
        for (pattern, expected) in cases {
            assert_eq!(Glob::new(pattern).unwrap_err(), expected, "{pattern}");
        }
        assert_eq!(Glob::new(&"a".repeat(PATTERN_CHARS_MAX + 1)).unwrap_err(), BadGlob::TooLong);
    }

    #[test]
    fn a_pattern_made_of_stars_takes_no_longer_than_its_length_times_the_values() {
        let pattern = "*a".repeat(PATTERN_CHARS_MAX / 2);
        assert!(!Glob::new(&pattern).unwrap().matches(&"a".repeat(500)));
        let pattern = format!("{}z", "**/".repeat(300));
        assert!(!Glob::new(&pattern).unwrap().matches(&"a/".repeat(500)));
    }
}
