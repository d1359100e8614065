//! The files `$DLITE_OUTPUT` and `$DLITE_EXPORT`: named values, one a line; those of the second one are for the session's later tasks, too.
//!
//! The dialect, all of it:
//!
//! * `KEY=value`: the value is all behind the first `=` to the line's end, as it stands. No quotes, no escapes, no expansion.
//! * `KEY<<WORD`: the lines that follow, up to the first that is exactly `WORD`, joined by newlines.
//! * Empty lines, and lines that begin with `#`, say nothing.
//! * `KEY` is 1 to 128 letters, digits, `_`, `-` and `.`; spaces around it are taken off. A later value replaces an earlier one.
//!
//! A value that is no UTF-8 is told as bytes, and can't be exported. A bad line is logged by its number and passed over.

use crate::sdk::Output;

/// Of the whole file.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;

/// Outputs of one result. From the protocol.
pub(super) const OUTPUTS_MAX: usize = 256;

const KEY_BYTES_MAX: usize = 128;

/// The outputs of a file by name, and what is wrong with it.
pub(super) fn parse(text: &[u8]) -> (Vec<Output>, Vec<String>) {
    let (values, complaints) = values(text);
    checked(values, complaints, |key, value| match String::from_utf8(value) {
        Ok(text) => Ok(Output::text(key, text)),
        Err(error) => Ok(Output::bytes(key, error.into_bytes())),
    })
}

/// The same, as variables for the session's later tasks.
pub(super) fn parse_exports(text: &[u8]) -> (Vec<Output>, Vec<String>) {
    let (values, complaints) = values(text);
    checked(values, complaints, |key, value| match String::from_utf8(value) {
        Ok(text) => Ok(Output::exported(key, text)),
        Err(_) => Err(format!("{key}: only UTF-8 can be exported")),
    })
}

type Values = Vec<(String, Vec<u8>)>;

fn checked(
    values: Values,
    mut complaints: Vec<String>,
    make: impl Fn(String, Vec<u8>) -> Result<Output, String>,
) -> (Vec<Output>, Vec<String>) {
    let mut outputs = Vec::new();
    for (key, value) in values {
        let output = make(key, value).and_then(|output| match output.check() {
            Ok(()) => Ok(output),
            Err(error) => Err(error.to_string()),
        });
        match output {
            Ok(output) => outputs.push(output),
            Err(complaint) => complaints.push(complaint),
        }
    }
    (outputs, complaints)
}

fn values(text: &[u8]) -> (Values, Vec<String>) {
    let mut values: Vec<(String, Vec<u8>)> = Vec::new();
    let mut complaints = Vec::new();
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).zip(1..);
    while let Some((line, number)) = lines.next() {
        if line.trim_ascii().is_empty() || line.starts_with(b"#") {
            continue;
        }
        let here = position(line, b"<<");
        let equals = position(line, b"=");
        let (key, value) = match (here, equals) {
            (Some(here), equals) if equals.is_none_or(|equals| here < equals) => {
                let word = line[here + 2..].trim_ascii();
                let mut value: Vec<&[u8]> = Vec::new();
                let mut is_ended = false;
                for (line, _) in lines.by_ref() {
                    if line == word {
                        is_ended = true;
                        break;
                    }
                    value.push(line);
                }
                if word.is_empty() || !is_ended {
                    complaints.push(format!("line {number}: the end of the text that begins there is missing"));
                    continue;
                }
                (&line[..here], value.join(&b'\n'))
            }
            (_, Some(equals)) => (&line[..equals], line[equals + 1..].to_vec()),
            _ => {
                complaints.push(format!("line {number}: neither KEY=value nor KEY<<WORD"));
                continue;
            }
        };
        let Some(key) = name(key) else {
            complaints.push(format!("line {number}: the key is not 1 to {KEY_BYTES_MAX} letters, digits, _, - and ."));
            continue;
        };
        values.retain(|(known, _)| *known != key);
        if values.len() == OUTPUTS_MAX {
            complaints.push(format!("line {number}: more than {OUTPUTS_MAX} outputs"));
            break;
        }
        values.push((key, value));
    }
    (values, complaints)
}

fn position(line: &[u8], part: &[u8]) -> Option<usize> {
    line.windows(part.len()).position(|window| window == part)
}

fn name(key: &[u8]) -> Option<String> {
    let key = key.trim_ascii();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    ((1..=KEY_BYTES_MAX).contains(&key.len()) && key.iter().all(is_plain))
        .then(|| String::from_utf8_lossy(key).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_as_they_stand() {
        let text =
            b"# made by build\nA=1=2\n\nB= \"quoted\" $HOME \nLONG<<EOF\nfirst\n\nEOF not yet\nEOF\nA=again\nC=a<<b\n";
        let (outputs, complaints) = parse(text);
        let expected = [
            Output::text("B", " \"quoted\" $HOME "),
            Output::text("LONG", "first\n\nEOF not yet"),
            Output::text("A", "again"),
            Output::text("C", "a<<b"),
        ];
        assert_eq!((outputs, complaints), (expected.to_vec(), Vec::new()));
    }

    #[test]
    fn bad_lines_are_named_and_the_others_count() {
        let (outputs, complaints) = parse(b"hello\nA B=1\nGOOD=yes\nBYTES=\xff\nOPEN<<EOF\nnever closed");
        assert_eq!(outputs, [Output::text("GOOD", "yes"), Output::bytes("BYTES", &b"\xff"[..])]);
        assert_eq!(complaints.len(), 3, "{complaints:?}");
        assert!(complaints[0].starts_with("line 1: "), "{complaints:?}");
        assert!(complaints[2].starts_with("line 5: "), "{complaints:?}");
    }

    #[test]
    fn only_text_is_exported() {
        let (exports, complaints) = parse_exports(b"SHA=11aa\nBYTES=\xff\n");
        assert_eq!(exports, [Output::exported("SHA", "11aa")]);
        assert_eq!(complaints, ["BYTES: only UTF-8 can be exported"]);
    }

    #[test]
    fn a_value_that_is_too_long_is_left_out_by_name() {
        let (outputs, complaints) = parse(format!("BIG={}\nA=1\n", "x".repeat(70_000)).as_bytes());
        assert_eq!(outputs, [Output::text("A", "1")]);
        assert!(complaints[0].contains("output BIG has 70000 bytes"), "{complaints:?}");
    }
}
