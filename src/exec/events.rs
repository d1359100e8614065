//! What a script says on descriptor 3: one JSON object a line.
//!
//! ```text
//!  {"type":"progress","message":"half way","fraction":0.5}
//!  {"type":"output","name":"image","value":"sha256:…","sensitive":false,"export":false}
//! ```
//!
//! An output's value that is a text is told as text, any other as JSON; `export` is for texts, which the session's later tasks find then. A line that is none of these is logged and passed over.

use serde::Deserialize;
use tokio::{net::unix::pipe, sync::oneshot};
use tracing::warn;

use crate::{
    kit::lines::Lines,
    sdk::{Context, Output},
};

/// Of one line: an output's value of 64 KiB, each byte escaped.
const LINE_BYTES_MAX: usize = 512 * 1024;

/// Read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// Bad lines of one task that are logged one by one.
const COMPLAINTS_MAX: u32 = 20;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    Progress {
        #[serde(default)]
        message: String,
        #[serde(default)]
        fraction: Option<f32>,
    },
    Output {
        name: String,
        value: serde_json::Value,
        #[serde(default)]
        sensitive: bool,
        #[serde(default)]
        export: bool,
    },
}

/// Tells `context` what comes through the pipe, until `over` and all that was written before is told. The pipe itself has no end: the
/// runner holds it open for writing too, so that it does not end before a script opens it.
pub(super) async fn follow(pipe: pipe::Receiver, context: &Context, over: oneshot::Receiver<()>) {
    let mut over = std::pin::pin!(over);
    let mut is_over = false;
    let mut lines = Lines::new(LINE_BYTES_MAX);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut complaints = 0;
    loop {
        if !is_over {
            tokio::select! {
                readable = pipe.readable() => if readable.is_err() { return },
                _ = &mut over => is_over = true,
            }
        }
        match pipe.try_read(&mut chunk) {
            Ok(0) => return,
            Ok(length) => {
                let mut events = Vec::new();
                lines.push(&chunk[..length], |line| events.push(parse(line.bytes, line.cut)));
                for event in events {
                    tell(event, context, &mut complaints).await;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && !is_over => {}
            Err(_) => break,
        }
    }
    let mut last = None;
    lines.finish(|line| last = Some(parse(line.bytes, line.cut)));
    if let Some(event) = last {
        tell(event, context, &mut complaints).await;
    }
}

/// `Ok(None)`: an empty line.
fn parse(line: &[u8], cut: usize) -> Result<Option<Event>, String> {
    if cut > 0 {
        return Err(format!("longer than {LINE_BYTES_MAX} bytes"));
    }
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    // Its place only: its words may quote a sensitive value.
    serde_json::from_slice(line).map(Some).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => "no event: give type, and what belongs to it".to_owned(),
        _ => format!("no JSON, at column {}", error.column()),
    })
}

async fn tell(event: Result<Option<Event>, String>, context: &Context, complaints: &mut u32) {
    let told = match event {
        Ok(None) => Ok(()),
        Ok(Some(Event::Progress { message, fraction })) => {
            context.progress(message, fraction);
            Ok(())
        }
        Ok(Some(Event::Output { name, value, sensitive, export })) => match output(name, &value, sensitive, export) {
            Ok(output) => context.output(output).await.map_err(|error| error.to_string()),
            Err(why) => Err(why),
        },
        Err(why) => Err(why),
    };
    let Err(why) = told else { return };
    *complaints += 1;
    if *complaints <= COMPLAINTS_MAX {
        warn!(task_id = context.task_id(), %why, "a line on descriptor 3 is passed over");
    }
}

fn output(name: String, value: &serde_json::Value, sensitive: bool, export: bool) -> Result<Output, String> {
    let output = match value {
        serde_json::Value::String(text) if export => Output::exported(name, text),
        _ if export => return Err(format!("{name}: only a text can be exported")),
        serde_json::Value::String(text) => Output::text(name, text),
        value => Output::json(name, value).map_err(|error| error.to_string())?,
    };
    Ok(if sensitive { output.sensitive() } else { output })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read_and_the_rest_is_refused_without_quoting_it() {
        let progress = parse(br#"{"type":"progress","message":"half","fraction":0.5}"#, 0);
        assert_eq!(progress, Ok(Some(Event::Progress { message: "half".to_owned(), fraction: Some(0.5) })));
        let output = parse(br#"{"type":"output","name":"a","value":{"b":1},"sensitive":true}"#, 0);
        assert!(matches!(output, Ok(Some(Event::Output { sensitive: true, .. }))), "{output:?}");
        assert_eq!(parse(b"  ", 0), Ok(None));
        for bad in [&b"hunter22"[..], br#"{"type":"hunter22"}"#, br#"{"type":"output","name":"hunter22"}"#, b"\xff"] {
            let why = parse(bad, 0).expect_err("refused");
            assert!(!why.contains("hunter22"), "{why}");
        }
        assert!(parse(b"{", 1).is_err());
    }
}
