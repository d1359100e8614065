//! What is wrong with a JSON text, told by the field and never by its value, which may be a secret.

use serde::de::DeserializeOwned;

/// Deepest path that is told; a deeper one is cut there.
const PATH_DEPTH_MAX: usize = 16;

/// Reads `text`, or says what is wrong and where, as in `setup_request.network.id: expected a string`.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    serde_json::from_slice(text).map_err(|error| {
        let what = describe(&error);
        match path_at(text, offset(text, error.line(), error.column())) {
            path if path.is_empty() => what,
            path => format!("{path}: {what}"),
        }
    })
}

/// The error without the values that serde puts into it.
fn describe(error: &serde_json::Error) -> String {
    if !error.is_data() {
        return format!("no valid JSON at line {}, column {}", error.line(), error.column());
    }
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let names_field = ["missing field", "unknown field", "duplicate field"].iter().any(|start| text.starts_with(start));
    match text.rsplit_once(", expected ") {
        _ if names_field => text.to_owned(),
        Some((_, expected)) => format!("expected {expected}"),
        None => "not as expected".to_owned(),
    }
}

/// The last byte that was read; lines and columns count from 1.
fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let lines_before = text.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1));
    (lines_before.map(<[u8]>::len).sum::<usize>() + column).saturating_sub(1)
}

/// A container on the way to a value.
enum Step {
    Object { key: String },
    Array { index: usize },
}

/// The path of the value that holds the byte at `target`, in a text that is valid JSON up to there.
fn path_at(text: &[u8], target: usize) -> String {
    let mut steps: Vec<Step> = Vec::new();
    let mut at = 0;
    let mut is_key = false;
    while at < text.len() && at <= target {
        match text[at] {
            b'{' if at < target => {
                steps.push(Step::Object { key: String::new() });
                is_key = true;
            }
            b'[' if at < target => steps.push(Step::Array { index: 0 }),
            b'}' | b']' => drop(steps.pop()),
            b',' => match steps.last_mut() {
                Some(Step::Array { index }) => *index += 1,
                Some(Step::Object { .. }) => is_key = true,
                None => {}
            },
            b'"' => {
                let end = string_end(text, at);
                if is_key && let Some(Step::Object { key }) = steps.last_mut() {
                    *key = String::from_utf8_lossy(&text[at + 1..end.min(text.len())]).into_owned();
                    is_key = false;
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    let mut path = String::new();
    for step in steps.iter().take(PATH_DEPTH_MAX) {
        match step {
            Step::Object { key } if path.is_empty() => path.push_str(key),
            Step::Object { key } => path.extend([".", key]),
            Step::Array { index } => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// The closing quote of the string that opens at `start`.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(rename = "id")]
        _id: String,
        #[serde(rename = "steps")]
        _steps: Vec<Step>,
        #[serde(default, rename = "envs")]
        _envs: BTreeMap<String, String>,
    }

    #[derive(Debug, Deserialize)]
    struct Step {
        #[serde(rename = "name")]
        _name: String,
        #[serde(default, rename = "kind")]
        _kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    enum Kind {
        Run,
    }

    #[test]
    fn the_field_is_named_and_its_value_is_not() {
        for (text, complaint) in [
            (r#"{"id":"a"}"#, "missing field `steps`"),
            (r#"{"id":"a","steps":[{"name":"b"},{"nam":"hush"}]}"#, "steps[1]: missing field `name`"),
            (r#"{"id":7,"steps":[]}"#, "id: expected a string"),
            (r#"{"id":{"hush":1},"steps":[]}"#, "id: expected a string"),
            ("{\"id\":\"a, \\\"b{\",\n  \"steps\":[ {\"name\": 5} ]}", "steps[0].name: expected a string"),
            (r#"{"id":"a","steps":"hush"}"#, "steps: expected a sequence"),
            (r#"{"id":"a","steps":[],"envs":{"A":"1","B":2}}"#, "envs.B: expected a string"),
            (r#"{"id":"a","steps":[],"hush":1}"#, "hush: unknown field `hush`, expected one of `id`, `steps`, `envs`"),
            (r#"{"id":"a","steps":[{"name":"b","kind":"hush"}]}"#, "steps[0].kind: expected `Run`"),
            (r#"{"id":"a" "steps""#, "id: no valid JSON at line 1, column 11"),
            ("", "no valid JSON at line 1, column 0"),
        ] {
            assert_eq!(parse::<Outer>(text.as_bytes()).expect_err(text), complaint, "{text}");
        }
        // The whole enum is named here, for it is the one way to read it.
        assert!(matches!(parse(br#""Run""#), Ok(Kind::Run)));
    }
}
