//! The span that a task came with, found in its data where the configuration says.
//!
//! Data is walked level by level and never opened as a whole: most of it is the handler's, and may be large.

use std::{borrow::Cow, collections::HashMap};

use serde_json::value::RawValue;
use tracing::debug;

use crate::core::trace::TraceParent;

/// What takes the place of a pointer's last part to find the state that goes with a parent.
const STATE_NAMES: [(&str, &str); 2] = [("traceparent", "tracestate"), ("TRACEPARENT", "TRACESTATE")];

/// The first `traceparent` that one of the JSON `pointers` leads to. One that is none is passed over: a task is never refused for its
/// trace.
pub(in super::super) fn parent(data: &[u8], pointers: &[String]) -> Option<TraceParent> {
    // Most tasks carry none, and a search through text costs far less than a parse.
    let data = std::str::from_utf8(data).ok()?;
    pointers.iter().filter(|pointer| last_part(pointer).is_some_and(|name| data.contains(name))).find_map(|pointer| {
        let text = text_at(data, pointer)?;
        let state = state_pointer(pointer).and_then(|pointer| text_at(data, &pointer));
        // Not the text itself, which is the task's.
        TraceParent::parse(&text, state.as_deref())
            .inspect_err(|malformed| debug!(pointer, reason = malformed.0, "no traceparent"))
            .ok()
    })
}

fn last_part(pointer: &str) -> Option<&str> {
    pointer.rsplit('/').next().filter(|name| !name.is_empty())
}

fn state_pointer(pointer: &str) -> Option<String> {
    STATE_NAMES.iter().find_map(|(parent, state)| Some(format!("{}{state}", pointer.strip_suffix(parent)?)))
}

/// The text at a JSON pointer (RFC 6901) into `data`.
fn text_at(data: &str, pointer: &str) -> Option<String> {
    let mut value: &RawValue = serde_json::from_str(data).ok()?;
    for part in pointer.strip_prefix('/')?.split('/') {
        let part = part.replace("~1", "/").replace("~0", "~");
        value = if value.get().starts_with('[') {
            let values: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
            *values.get(part.parse::<usize>().ok()?)?
        } else {
            let values: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(value.get()).ok()?;
            *values.get(&*part)?
        };
    }
    serde_json::from_str(value.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn found(data: &str, pointers: &[&str]) -> Option<String> {
        let pointers: Vec<String> = pointers.iter().map(|pointer| (*pointer).to_owned()).collect();
        parent(data.as_bytes(), &pointers).map(|parent| format!("{parent} {}", parent.state).trim_end().to_owned())
    }

    #[test]
    fn it_is_found_where_a_pointer_leads_to() {
        let data =
            format!(r#"{{"a":1,"context":{{"traceparent":"{PARENT}","tracestate":"x=1"}},"l":[{{"t":"{PARENT}"}}]}}"#);
        assert_eq!(found(&data, &["/traceparent", "/context/traceparent"]), Some(format!("{PARENT} x=1")));
        assert_eq!(found(&data, &["/l/0/t"]), Some(PARENT.to_owned()));
        assert_eq!(found(&data, &["/l/1/t", "/context/other", "/a/traceparent"]), None);
        let odd = format!(r#"{{"a/b":{{"c~d":"{PARENT}"}}}}"#);
        assert_eq!(found(&odd, &["/a~1b/c~0d"]), None, "the quick look is for the pointer's own spelling");
        assert_eq!(found(&format!(r#"{{"a/b":{{"cd":"{PARENT}"}}}}"#), &["/a~1b/cd"]), Some(PARENT.to_owned()));
    }

    #[test]
    fn a_bad_one_is_passed_over() {
        let data = format!(r#"{{"traceparent":"nonsense","context":{{"traceparent":"{PARENT}"}}}}"#);
        assert_eq!(found(&data, &["/traceparent", "/context/traceparent"]), Some(PARENT.to_owned()));
        for data in [
            "",
            "traceparent",
            "[]",
            r#"{"traceparent":7}"#,
            r#"{"traceparent":{}}"#,
            "\u{feff}{\"traceparent\":\"x\"}",
        ] {
            assert_eq!(found(data, &["/traceparent"]), None, "{data}");
        }
        assert_eq!(parent(b"\xff\xfetraceparent", &["/traceparent".to_owned()]), None);
    }
}
