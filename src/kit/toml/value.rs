//! Single values of the file, each within its bounds.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use toml::de::DeValue;

use crate::config::parse_duration;

/// Why a value is refused, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub reason: String,
    pub fix: String,
}

/// Longest text, command line and environment value: what Linux takes as one argument.
const TEXT_BYTES_MAX: usize = 128 * 1024 - 1;

/// Most entries of a list or table.
const ENTRIES_MAX: usize = 256;

const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Units of sizes, longest first.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Of one size; far above any host.
const BYTES_MAX: u64 = 1 << 50;

/// What can be read of a result at all; the delegate's own bound is lower.
pub(crate) const RESULT_BYTES_MAX: u64 = 16 << 20;

pub(crate) fn refuse<T>(reason: impl Into<String>, fix: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { reason: reason.into(), fix: fix.into() })
}

pub(crate) fn text(value: &DeValue<'_>) -> Result<String, Refusal> {
    let Some(text) = value.as_str() else {
        return refuse(format!("{} where a text is needed", kind(value)), "put a text in double quotes");
    };
    if text.is_empty() {
        return refuse("empty", "write a value, or remove the key");
    }
    checked(text)
}

/// May be empty.
fn checked(text: &str) -> Result<String, Refusal> {
    if text.len() > TEXT_BYTES_MAX {
        return refuse(format!("{} bytes long", text.len()), format!("use at most {TEXT_BYTES_MAX} bytes"));
    }
    if text.contains('\0') {
        return refuse("holds a NUL byte", "remove it: no argument, path or environment value may hold one");
    }
    Ok(text.to_owned())
}

/// A name as the runner protocol takes it.
pub(crate) fn name(value: &DeValue<'_>) -> Result<String, Refusal> {
    let text = text(value)?;
    if text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text);
    }
    refuse("is not a simple name", "use 1 to 64 characters of visible ASCII")
}

pub(crate) fn target(value: &DeValue<'_>) -> Result<String, Refusal> {
    let text = text(value)?;
    let path = text.strip_prefix("unix:").is_some_and(|path| path.starts_with('/'));
    let url = text.strip_prefix("http://").is_some_and(|rest| rest.contains(':'));
    if path || url {
        return Ok(text);
    }
    refuse(format!("{text:?} is no target"), "write \"unix:/path/of/socket\" or \"http://host:port\"")
}

pub(crate) fn path(value: &DeValue<'_>) -> Result<PathBuf, Refusal> {
    text(value).map(PathBuf::from)
}

pub(crate) fn absolute(value: &DeValue<'_>) -> Result<PathBuf, Refusal> {
    let path = path(value)?;
    if path.is_absolute() { Ok(path) } else { refuse("a relative path", "write it from / on") }
}

pub(crate) fn boolean(value: &DeValue<'_>) -> Result<bool, Refusal> {
    match value.as_bool() {
        Some(value) => Ok(value),
        None => refuse(format!("{} where true or false is needed", kind(value)), "write true or false, without quotes"),
    }
}

pub(crate) fn count(value: &DeValue<'_>, min: u32, max: u32) -> Result<u32, Refusal> {
    let fix = format!("write a whole number from {min} to {max}");
    match integer(value) {
        Some(number) => match u32::try_from(number).ok().filter(|number| (min..=max).contains(number)) {
            Some(number) => Ok(number),
            None => refuse("out of bounds", fix),
        },
        None => refuse(format!("{} where a whole number is needed", kind(value)), fix),
    }
}

pub(crate) fn duration(value: &DeValue<'_>) -> Result<Duration, Refusal> {
    let fix = "write a text with a whole number and its unit, ms, s, m or h, for example \"30m\"; up to 168h";
    let Some(text) = value.as_str() else {
        return refuse(format!("{} where a duration is needed", kind(value)), fix);
    };
    match parse_duration(text.trim()) {
        Some(duration) if duration <= DURATION_MAX && !duration.is_zero() => Ok(duration),
        Some(_) => refuse("out of bounds", fix),
        None => refuse(format!("{text:?} is no duration"), fix),
    }
}

/// A size: whole bytes as a number, or a text with its unit.
pub(crate) fn bytes(value: &DeValue<'_>) -> Result<u64, Refusal> {
    let fix = "write a text with a whole number and its unit, for example \"512MiB\" or \"2GiB\"";
    let size = match (integer(value), value.as_str()) {
        (Some(number), _) => u64::try_from(number).ok(),
        (None, Some(text)) => size(text.trim()),
        (None, None) => return refuse(format!("{} where a size is needed", kind(value)), fix),
    };
    match size {
        Some(size) if (1..=BYTES_MAX).contains(&size) => Ok(size),
        Some(_) => refuse("out of bounds", fix),
        None => refuse("no size", fix),
    }
}

pub(crate) fn result_bytes(value: &DeValue<'_>) -> Result<u64, Refusal> {
    let size = bytes(value)?;
    if size <= RESULT_BYTES_MAX { Ok(size) } else { refuse("out of bounds", "write at most \"16MiB\"") }
}

fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// CPUs, in thousandths.
pub(crate) fn cpus(value: &DeValue<'_>) -> Result<u32, Refusal> {
    let number = match value {
        DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
        value => integer(value).map(|number| number as f64),
    };
    match number.map(|cpus| (cpus * 1000.0).round()) {
        Some(thousandths) if (10.0..=1_024_000.0).contains(&thousandths) => Ok(thousandths as u32),
        _ => refuse("no number of CPUs", "write a number from 0.01 to 1024, for example 1.5"),
    }
}

/// A program and its arguments; the program by its whole path, so that no PATH chooses it.
pub(crate) fn command(value: &DeValue<'_>) -> Result<Vec<String>, Refusal> {
    let Some(items) = value.as_array() else {
        return refuse(
            format!("{} where a list is needed", kind(value)),
            "write [\"/path/of/program\", \"argument\"]; for a line that a shell reads, add shell = true",
        );
    };
    if items.len() > ENTRIES_MAX {
        return refuse(format!("{} entries", items.len()), format!("use at most {ENTRIES_MAX}"));
    }
    let words: Vec<String> = items
        .iter()
        .map(|item| match item.get_ref().as_str() {
            Some(text) => checked(text),
            None => {
                refuse(format!("{} among the arguments", kind(item.get_ref())), "put each argument in double quotes")
            }
        })
        .collect::<Result<_, _>>()?;
    match words.first() {
        Some(program) if program.starts_with('/') => Ok(words),
        Some(program) => refuse(format!("{program:?} is not a whole path"), "write the program's path from / on"),
        None => refuse("empty", "write [\"/path/of/program\", \"argument\"]"),
    }
}

/// A line for `/bin/sh -c`.
pub(crate) fn shell_line(value: &DeValue<'_>) -> Result<Vec<String>, Refusal> {
    match value.as_str() {
        Some(_) => Ok(vec!["/bin/sh".to_owned(), "-c".to_owned(), text(value)?]),
        None => refuse(
            format!("{} where one text is needed", kind(value)),
            "with shell = true, write the line that the shell reads in double quotes",
        ),
    }
}

/// Names of environment variables.
pub(crate) fn variables(value: &DeValue<'_>) -> Result<Vec<String>, Refusal> {
    let fix = "write a list of names, for example [\"HTTP_PROXY\"]";
    let Some(items) = value.as_array().filter(|items| items.len() <= ENTRIES_MAX) else {
        return refuse("no list of at most 256 names", fix);
    };
    let names = items.iter().map(|item| item.get_ref().as_str().filter(|name| is_variable(name)).map(str::to_owned));
    match names.collect::<Option<Vec<_>>>() {
        Some(names) => Ok(names),
        None => refuse("holds something that is no name of a variable", fix),
    }
}

/// Environment variables with their values.
pub(crate) fn environment(value: &DeValue<'_>) -> Result<BTreeMap<String, String>, Refusal> {
    let fix = "write { NAME = \"value\" }";
    let Some(table) = value.as_table().filter(|table| table.len() <= ENTRIES_MAX) else {
        return refuse("no table of at most 256 texts", fix);
    };
    let mut environment = BTreeMap::new();
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        if !is_variable(name) {
            return refuse(
                format!("{name:?} is no name of a variable"),
                "use letters, digits and \"_\", no digit first",
            );
        }
        if name.starts_with("DLITE_") {
            return refuse(format!("{name} is set by the runner"), "choose a name that does not begin with DLITE_");
        }
        let Some(value) = value.get_ref().as_str() else {
            return refuse(format!("the value of {name} is {}", kind(value.get_ref())), "put it in double quotes");
        };
        environment.insert(name.to_owned(), checked(value)?);
    }
    Ok(environment)
}

/// One number for the class "default", or a table of classes.
pub(crate) fn slots(value: &DeValue<'_>) -> Result<BTreeMap<String, u32>, Refusal> {
    let fix = "write a number from 1 to 10000, or { default = 4, big = 1 } for several classes";
    let slots = match value {
        DeValue::Table(table) => {
            let mut slots = BTreeMap::new();
            for (class, value) in table {
                slots.insert(class.get_ref().as_ref().to_owned(), count(value.get_ref(), 1, 10_000)?);
            }
            slots
        }
        value => BTreeMap::from([("default".to_owned(), count(value, 1, 10_000)?)]),
    };
    let all: u64 = slots.values().copied().map(u64::from).sum();
    if (1..=16).contains(&slots.len()) && all <= 10_000 {
        Ok(slots)
    } else {
        refuse("no classes, more than 16, or more than 10,000 slots", fix)
    }
}

pub(crate) fn is_variable(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    match value {
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok(),
        _ => None,
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
