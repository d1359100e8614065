//! Lines as the log service reads them, and a whole log as a body that is read from the disk while it leaves.

use std::{
    fmt,
    io::{self, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use reqwest::{RequestBuilder, header::CONTENT_LENGTH};
use serde::Serialize;
use tokio::sync::mpsc;

use super::destination::Destination;
use crate::logs::{
    receipt::Receipt,
    record::{Level, Record, Time},
    sink::Failure,
    spool::Log,
};

/// Bytes read ahead of the connection, in chunks.
const CHUNK_BYTES: usize = 256 << 10;
const CHUNKS_AHEAD: usize = 2;

/// One line. A gap is one, too, so that people see it where it is.
#[derive(Serialize)]
struct Line<'a> {
    level: &'a str,
    pos: u64,
    out: &'a str,
    time: Shown<Time>,
    args: Option<&'a std::collections::BTreeMap<String, String>>,
}

struct Shown<T>(T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Writes lines; remembers the time of the last one for gaps, which have none.
struct Writer {
    newline: &'static str,
    last: Time,
    text: String,
}

// === impl Writer ===

impl Writer {
    fn new(to: &Destination) -> Self {
        Self { newline: if to.trims_newline { "" } else { "\n" }, last: Time::default(), text: String::new() }
    }

    fn put(&mut self, out: &mut Vec<u8>, record: &Record) {
        self.text.clear();
        let (level, args) = match record {
            Record::Line(line) => {
                self.last = line.time;
                // JSON has no other bytes.
                self.text.push_str(&String::from_utf8_lossy(&line.text));
                (line.level, Some(&line.args).filter(|args| !args.is_empty()))
            }
            Record::Gap(gap) => {
                self.text.push_str(&gap.to_string());
                (Level::Warn, None)
            }
        };
        self.text.push_str(self.newline);
        let line = Line { level: level.as_str(), pos: record.first(), out: &self.text, time: Shown(self.last), args };
        // Nothing in it can't be written, and memory does not fail.
        let _ = serde_json::to_writer(out, &line);
    }
}

/// A live batch: a JSON array.
pub(super) fn batch(records: &[Record], to: &Destination) -> Bytes {
    let mut writer = Writer::new(to);
    let mut out = vec![b'['];
    for (nth, record) in records.iter().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        writer.put(&mut out, record);
    }
    out.push(b']');
    out.into()
}

/// A whole log: a JSON object a line. Its size is known, since object stores want it said before.
pub(super) struct Whole {
    log: Log,
    to: Destination,
    next_line: u64,
    bytes: u64,
}

impl Whole {
    /// Reads the log once, to know its size.
    pub async fn measure(log: &Log, receipt: &Receipt, to: &Destination) -> Result<Self, Failure> {
        let mut whole = Self { log: log.clone(), to: to.clone(), next_line: receipt.next_line, bytes: 0 };
        let measured = tokio::task::spawn_blocking(move || {
            let mut bytes = 0;
            whole.write(|chunk| {
                bytes += chunk.len() as u64;
                true
            })?;
            whole.bytes = bytes;
            Ok::<_, io::Error>(whole)
        });
        match measured.await {
            Ok(Ok(whole)) => Ok(whole),
            Ok(Err(error)) => Err(Failure::Again(format!("the log can't be read: {error}"))),
            Err(_) => Err(Failure::Again("the log can't be read: the reader panicked".to_owned())),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes it the body of a request. It is read as it leaves.
    pub fn attach(self, request: RequestBuilder) -> RequestBuilder {
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        let bytes = self.bytes;
        tokio::task::spawn_blocking(move || {
            let written = self.write(|chunk| sender.blocking_send(Ok(chunk)).is_ok());
            if let Err(error) = written {
                let _ = sender.blocking_send(Err(error));
            }
        });
        let body = reqwest::Body::wrap(Chunks { chunks, left: bytes });
        request.header(CONTENT_LENGTH, bytes).body(body)
    }

    /// Gives the body in chunks, until `take` wants no more.
    fn write(&self, mut take: impl FnMut(Bytes) -> bool) -> io::Result<()> {
        let mut writer = Writer::new(&self.to);
        let mut out = Vec::with_capacity(CHUNK_BYTES);
        for record in self.log.read_from(0) {
            let record = record?;
            writer.put(&mut out, &record);
            out.write_all(b"\n")?;
            if out.len() >= CHUNK_BYTES && !take(std::mem::take(&mut out).into()) {
                return Ok(());
            }
            if record.next() >= self.next_line {
                break;
            }
        }
        take(out.into());
        Ok(())
    }
}

/// What the reading thread gives.
struct Chunks {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let chunk = ready!(self.chunks.poll_recv(cx));
        Poll::Ready(chunk.map(|chunk| {
            chunk.map(|chunk| {
                self.left = self.left.saturating_sub(chunk.len() as u64);
                Frame::data(chunk)
            })
        }))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::record::{self, Gap, GapReason};

    #[test]
    fn a_line_has_the_members_of_the_wire_in_order_and_a_gap_is_one() {
        let to = Destination {
            url: String::new(),
            token: String::new(),
            account: String::new(),
            key: String::new(),
            is_direct: true,
            trims_newline: false,
        };
        let time = Time(1_789_992_000_123_456_789);
        let line = record::Line { time, text: Bytes::from_static(b"\"x\" \xff"), ..record::Line::default() };
        let gap = Gap { first: 1, lines: 2, bytes: 5, reason: GapReason::SpoolFull };
        let text = batch(&[Record::Line(line), Record::Gap(gap)], &to);
        let expected = concat!(
            r#"[{"level":"info","pos":0,"out":"\"x\" �\n","time":"2026-09-21T12:00:00.123456789Z","args":null},"#,
            r#"{"level":"warn","pos":1,"out":"[2 lines missing, 5 bytes: the logs on this machine have reached their limit "#,
            r#"together]\n","time":"2026-09-21T12:00:00.123456789Z","args":null}]"#,
        );
        assert_eq!(String::from_utf8_lossy(&text), expected);
    }
}
