//! One pass over the text: what is read is replaced at once.

use std::{borrow::Cow, collections::BTreeMap};

use super::{BadExpansion, COMPARISONS_MAX, NESTING_MAX, Reason, pattern::Pattern};
use crate::pipeline::yaml::TEXT_BYTES_MAX;

/// Bytes of an expression that an error repeats.
const REPEATED_BYTES_MAX: usize = 80;

pub(super) struct Eval<'t> {
    text: &'t str,
    /// Bytes that are read.
    at: usize,
    /// Where the outermost expression begins.
    start: usize,
    variables: &'t BTreeMap<String, String>,
    comparisons: usize,
}

/// What ends an argument, and which escapes it knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Argument {
    /// Ends at `}`.
    Last,
    /// Ends at `:`, too.
    Offset,
    /// Ends at `/`, too; a backslash escapes one, or itself.
    Searched,
    /// Ends at `}`, with the escapes of `Searched`.
    Replacement,
}

// === impl Eval ===

impl<'t> Eval<'t> {
    pub fn new(text: &'t str, variables: &'t BTreeMap<String, String>) -> Self {
        Self { text, at: 0, start: 0, variables, comparisons: 0 }
    }

    pub fn whole(mut self) -> Result<String, BadExpansion> {
        if self.text.len() > TEXT_BYTES_MAX {
            return Err(self.bad(Reason::TextTooLong));
        }
        let mut out = String::with_capacity(self.text.len());
        while let Some(dollar) = self.rest().find('$') {
            self.append(&mut out, &self.rest()[..dollar])?;
            self.start = self.at + dollar;
            self.at = self.start + 1;
            match self.peek() {
                Some('$') => {
                    self.at += 1;
                    self.append(&mut out, "$")?;
                }
                Some('{') => {
                    self.at += 1;
                    let value = self.expression(1)?;
                    self.append(&mut out, &value)?;
                }
                _ => self.append(&mut out, "$")?,
            }
        }
        self.append(&mut out, self.rest())?;
        Ok(out)
    }

    /// What stands for the expression whose `${` is read; its `}` is read afterwards.
    fn expression(&mut self, depth: usize) -> Result<Cow<'t, str>, BadExpansion> {
        if depth > NESTING_MAX {
            return Err(self.bad(Reason::TooDeep));
        }
        let counts = self.take("#");
        let value = self.variable()?;
        if counts {
            self.close()?;
            return Ok(value.chars().count().to_string().into());
        }
        match self.peek() {
            Some('}') => {
                self.close()?;
                Ok(value)
            }
            Some('=') => {
                self.at += 1;
                self.default(value, depth)
            }
            Some(':') => {
                self.at += 1;
                if ["=", "-", "?", "+"].iter().any(|sign| self.take(sign)) {
                    self.default(value, depth)
                } else {
                    self.part(value, depth)
                }
            }
            Some(sign @ ('^' | ',')) => self.cased(value, sign),
            Some(sign @ ('#' | '%')) => self.trimmed(value, sign, depth),
            Some('/') => self.replaced(value, depth),
            None => Err(self.bad(Reason::Unclosed)),
            Some(_) => Err(self.bad(Reason::UnknownForm)),
        }
    }

    fn variable(&mut self) -> Result<Cow<'t, str>, BadExpansion> {
        let rest = self.rest();
        let end = rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len());
        if end == 0 {
            return Err(self.bad(Reason::NoName));
        }
        self.at += end;
        let variables = self.variables;
        let value = variables.get(&rest[..end]);
        // Whatever the form, it may look at all of it.
        self.compare(1, value.map_or(0, String::len))?;
        Ok(match value {
            // One line of the text stays one line.
            Some(value) if value.contains('\n') => quoted(value).into(),
            Some(value) => value.as_str().into(),
            None => "".into(),
        })
    }

    fn default(&mut self, value: Cow<'t, str>, depth: usize) -> Result<Cow<'t, str>, BadExpansion> {
        let default = self.argument(Argument::Last, depth)?;
        self.close()?;
        Ok(if value.is_empty() { default.into() } else { value })
    }

    fn part(&mut self, value: Cow<'t, str>, depth: usize) -> Result<Cow<'t, str>, BadExpansion> {
        let offset = self.argument(Argument::Offset, depth)?;
        let length = if self.take(":") { Some(self.argument(Argument::Last, depth)?) } else { None };
        self.close()?;
        let length = length.map(|length| length.trim().parse::<i64>());
        let (Ok(offset), Ok(length)) = (offset.trim().parse::<i64>(), length.transpose()) else {
            // What is no number says nothing.
            return Ok(value);
        };
        let count = value.chars().count();
        let from_end = |number: i64| count.saturating_sub(usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX));
        let from_start = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
        let start = if offset < 0 { from_end(offset) } else { from_start(offset) };
        let end = match length {
            None => count,
            Some(length) if length < 0 => from_end(length),
            Some(length) => start.saturating_add(from_start(length)),
        };
        Ok(value.chars().take(end).skip(start).collect::<String>().into())
    }

    fn cased(&mut self, value: Cow<'t, str>, sign: char) -> Result<Cow<'t, str>, BadExpansion> {
        self.at += 1;
        let all = self.peek() == Some(sign);
        self.at += usize::from(all);
        self.close()?;
        let first = value.chars().next().map_or(0, char::len_utf8);
        let (changed, kept) = value.split_at(if all { value.len() } else { first });
        let changed = if sign == '^' { changed.to_uppercase() } else { changed.to_lowercase() };
        Ok((changed + kept).into())
    }

    fn trimmed(&mut self, value: Cow<'t, str>, sign: char, depth: usize) -> Result<Cow<'t, str>, BadExpansion> {
        self.at += 1;
        let longest = self.peek() == Some(sign);
        self.at += usize::from(longest);
        let pattern = self.argument(Argument::Last, depth)?;
        self.close()?;
        self.compare(pattern.len(), value.len())?;
        let Ok(pattern) = Pattern::new(&pattern) else {
            // No pattern matches nothing.
            return Ok(value);
        };
        Ok(if sign == '#' {
            let count = pattern.beginning(value.chars(), longest).unwrap_or_default();
            value.chars().skip(count).collect::<String>().into()
        } else {
            let count = pattern.reversed().beginning(value.chars().rev(), longest).unwrap_or_default();
            let kept = value.chars().count() - count;
            value.chars().take(kept).collect::<String>().into()
        })
    }

    fn replaced(&mut self, value: Cow<'t, str>, depth: usize) -> Result<Cow<'t, str>, BadExpansion> {
        self.at += 1;
        let sign = self.peek().filter(|sign| matches!(sign, '/' | '#' | '%'));
        self.at += usize::from(sign.is_some());
        let searched = self.argument(Argument::Searched, depth)?;
        let replacement = if self.take("/") { self.argument(Argument::Replacement, depth)? } else { String::new() };
        self.close()?;
        if searched.is_empty() {
            return Ok(value);
        }
        Ok(match sign {
            Some('/') => {
                let count = value.matches(&searched).count();
                if count.saturating_mul(replacement.len()) > TEXT_BYTES_MAX {
                    return Err(self.bad(Reason::TooLong));
                }
                value.replace(&searched, &replacement).into()
            }
            Some('#') => match value.strip_prefix(&searched) {
                Some(rest) => format!("{replacement}{rest}").into(),
                None => value,
            },
            Some(_) => match value.strip_suffix(&searched) {
                Some(rest) => format!("{rest}{replacement}").into(),
                None => value,
            },
            None => value.replacen(&searched, &replacement, 1).into(),
        })
    }

    /// An argument, expressions in it replaced; what ends it is not read.
    fn argument(&mut self, argument: Argument, depth: usize) -> Result<String, BadExpansion> {
        let mut out = String::new();
        let escapes = matches!(argument, Argument::Searched | Argument::Replacement);
        while let Some(char) = self.peek() {
            match char {
                '}' => return Ok(out),
                ':' if argument == Argument::Offset => return Ok(out),
                '/' if argument == Argument::Searched => return Ok(out),
                '$' if self.take("${") => {
                    let value = self.expression(depth + 1)?;
                    self.append(&mut out, &value)?;
                }
                '$' if escapes && self.take("$$") => self.append(&mut out, "$")?,
                '\\' if escapes && self.take("\\/") => self.append(&mut out, "/")?,
                '\\' if escapes && self.take("\\\\") => self.append(&mut out, "\\")?,
                char => {
                    self.at += char.len_utf8();
                    out.push(char);
                }
            }
        }
        Err(self.bad(Reason::Unclosed))
    }

    fn close(&mut self) -> Result<(), BadExpansion> {
        if self.take("}") {
            return Ok(());
        }
        let reason = if self.rest().is_empty() { Reason::Unclosed } else { Reason::UnknownForm };
        Err(self.bad(reason))
    }

    fn append(&self, out: &mut String, text: &str) -> Result<(), BadExpansion> {
        if out.len() + text.len() > TEXT_BYTES_MAX {
            return Err(self.bad(Reason::TooLong));
        }
        out.push_str(text);
        Ok(())
    }

    fn compare(&mut self, pattern: usize, value: usize) -> Result<(), BadExpansion> {
        self.comparisons = self.comparisons.saturating_add(pattern.saturating_mul(value));
        if self.comparisons > COMPARISONS_MAX { Err(self.bad(Reason::TooMuchWork)) } else { Ok(()) }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Reads `sign`, if it comes next.
    fn take(&mut self, sign: &str) -> bool {
        let comes = self.rest().starts_with(sign);
        self.at += if comes { sign.len() } else { 0 };
        comes
    }

    fn bad(&self, reason: Reason) -> BadExpansion {
        let line = self.text[..self.start].bytes().filter(|byte| *byte == b'\n').count() + 1;
        let read = &self.text[self.start..self.at];
        let expression = read[..read.floor_char_boundary(REPEATED_BYTES_MAX)].to_owned();
        BadExpansion { line: u32::try_from(line).unwrap_or(u32::MAX), expression, reason }
    }
}

/// The value as YAML has it in double quotes.
fn quoted(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for char in value.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            char if char.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(char))),
            char => out.push(char),
        }
    }
    out.push('"');
    out
}
