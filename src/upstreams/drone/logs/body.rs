//! A step's log as the server takes it: a JSON list of lines, live in batches and whole at the end, the same lines in both.
//!
//! | member | value |
//! |---|---|
//! | `pos` | the line's number, from 0 |
//! | `out` | its text and a newline; what is no UTF-8 is replaced |
//! | `time` | whole seconds since the step began, by the step's own start as the server has it |
//!
//! A gap is a line, too, so that people see it where it is. The whole has the newest [`UPLOAD_BYTES_MAX`] of text, as with the
//! server's own runners; what is older is a line that says so.

use std::io;

use bytes::Bytes;
use serde::Serialize;

use crate::{
    core::time::Wall,
    logs::{
        receipt::Receipt,
        record::{Record, Time},
        spool::Log,
    },
};

/// Text of a whole log, newlines included, in bytes: what the server's own runners upload at most.
pub(super) const UPLOAD_BYTES_MAX: u64 = 5 << 20;

const NANOS_A_SECOND: i64 = 1_000_000_000;

#[derive(Serialize)]
struct Line<'a> {
    pos: u64,
    out: &'a str,
    time: i64,
}

/// Writes the lines of one log, in order.
pub(super) struct Writer {
    started: Wall,
    /// Of the last line: gaps have no time.
    last: Time,
    text: String,
}

// === impl Writer ===

impl Writer {
    /// Of a step that began then.
    pub fn new(started: Wall) -> Self {
        Self { started, last: Time(started.0.saturating_mul(1_000)), text: String::new() }
    }

    /// A live batch.
    pub fn batch(&mut self, records: &[Record]) -> Bytes {
        let mut list = List::new();
        for record in records {
            self.put(&mut list, record);
        }
        list.end()
    }

    fn put(&mut self, list: &mut List, record: &Record) {
        self.text.clear();
        match record {
            Record::Line(line) => {
                self.last = line.time;
                // JSON has no other bytes.
                self.text.push_str(&String::from_utf8_lossy(&line.text));
            }
            Record::Gap(gap) => self.text.push_str(&gap.to_string()),
        }
        self.end_line(list, record.first());
    }

    /// Says how much is older than what is uploaded, in place of the last of it.
    fn put_surplus(&mut self, list: &mut List, pos: u64, lines: u64, bytes: u64) {
        self.text =
            format!("[the first {lines} lines are left out, {bytes} bytes: a log has at most {UPLOAD_BYTES_MAX} here]");
        self.end_line(list, pos);
    }

    fn end_line(&mut self, list: &mut List, pos: u64) {
        self.text.push('\n');
        // A runner's clock may be another one than its step's start is from.
        let nanos = self.last.0.saturating_sub(self.started.0.saturating_mul(1_000)).max(0);
        list.add(&Line { pos, out: &self.text, time: nanos / NANOS_A_SECOND });
    }
}

/// The whole log, which is closed; `null`, as the server's own runners say it, if it has no line. Reads files.
pub(super) fn whole(log: &Log, receipt: &Receipt, started: Wall) -> io::Result<Bytes> {
    let (mut writer, mut list) = (Writer::new(started), List::new());
    let mut surplus = (receipt.bytes + receipt.lines).saturating_sub(UPLOAD_BYTES_MAX);
    let (mut left_out, mut left_out_bytes) = (0, 0);
    if receipt.next_line == 0 {
        return Ok(EMPTY);
    }
    for record in log.read_from(0) {
        let record = record?;
        if let Record::Line(line) = &record
            && surplus > 0
        {
            let bytes = line.text.len() as u64 + 1;
            (left_out, left_out_bytes) = (left_out + 1, left_out_bytes + bytes);
            surplus = surplus.saturating_sub(bytes);
            writer.last = line.time;
            if surplus == 0 {
                writer.put_surplus(&mut list, line.number, left_out, left_out_bytes);
            }
        } else {
            writer.put(&mut list, &record);
        }
        if record.next() >= receipt.next_line {
            break;
        }
    }
    Ok(list.end())
}

/// The log of a step that wrote none.
pub(super) const EMPTY: Bytes = Bytes::from_static(b"null");

/// A JSON list under way.
struct List(Vec<u8>);

// === impl List ===

impl List {
    fn new() -> Self {
        Self(vec![b'['])
    }

    fn add(&mut self, line: &Line<'_>) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        serde_json::to_writer(&mut self.0, line).expect("numbers and texts always serialize, and memory does not fail");
    }

    fn end(mut self) -> Bytes {
        self.0.push(b']');
        self.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{
        record::{self, Gap, GapReason},
        spool::{Limits, LineHead, LogKey, Meta, Spool},
    };

    const STARTED: Wall = Wall(1_738_660_012_000_000);

    fn line(number: u64, millis: i64, text: &'static [u8]) -> Record {
        let time = Time((STARTED.0 / 1_000 + millis) * 1_000_000);
        Record::Line(record::Line { number, time, text: Bytes::from_static(text), ..record::Line::default() })
    }

    #[test]
    fn a_line_has_its_number_its_text_and_the_seconds_since_its_step_began() {
        let gap = Gap { first: 2, lines: 3, bytes: 5, reason: GapReason::NotReceived };
        let records = [
            line(0, -5_000, b"+ echo \"hello\""),
            line(1, 1_999, b"hello \xff"),
            Record::Gap(gap),
            line(5, 2_000, b""),
        ];
        let expected = concat!(
            r#"[{"pos":0,"out":"+ echo \"hello\"\n","time":0},{"pos":1,"out":"hello �\n","time":1},"#,
            r#"{"pos":2,"out":"[3 lines missing, 5 bytes: the runner did not send them]\n","time":1},"#,
            r#"{"pos":5,"out":"\n","time":2}]"#,
        );
        assert_eq!(String::from_utf8_lossy(&Writer::new(STARTED).batch(&records)), expected);
    }

    async fn logged(lines: u64, text: &[u8]) -> (Log, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(directory.path().join("spool"), Limits::default()).unwrap();
        let key = LogKey { lease_id: "l".into(), log_id: "step-s1".into() };
        let meta = Meta { key, task_id: "t".into(), step_id: "s1".into(), destination: Vec::new() };
        let mut appender = spool.open_log(meta).unwrap();
        for number in 0..lines {
            let time = Time((STARTED.0 + 1_000_000) * 1_000);
            appender.line(&LineHead { number, time, ..LineHead::default() }, text);
            appender.submit().await;
        }
        let log = appender.log();
        appender.close(Some(lines), false).await;
        let _ = log.watch().wait_for(|progress| progress.receipt.is_some()).await;
        (log, directory)
    }

    #[tokio::test]
    async fn a_whole_log_has_the_lines_of_its_batches_and_an_empty_one_is_null() {
        let (log, _directory) = logged(2, b"hello").await;
        let receipt = log.progress().receipt.unwrap();
        let body = whole(&log, &receipt, STARTED).unwrap();
        let records: Vec<Record> = log.read_from(0).map(Result::unwrap).collect();
        assert_eq!(body, Writer::new(STARTED).batch(&records));
        let (log, _directory) = logged(0, b"").await;
        assert_eq!(whole(&log, &log.progress().receipt.unwrap(), STARTED).unwrap(), EMPTY);
    }

    #[tokio::test]
    async fn a_log_that_is_too_long_keeps_its_newest_lines_and_says_so() {
        let (log, _directory) = logged(100, &[b'x'; 65_535]).await;
        let body = whole(&log, &log.progress().receipt.unwrap(), STARTED).unwrap();
        let lines: Vec<serde_json::Value> = serde_json::from_slice(&body).unwrap();
        // 80 lines are 5 MiB.
        assert_eq!(lines.len(), 81);
        assert_eq!((lines[0]["pos"].as_u64(), lines[1]["pos"].as_u64()), (Some(19), Some(20)));
        let first = lines[0]["out"].as_str().unwrap();
        assert_eq!(first, "[the first 20 lines are left out, 1310720 bytes: a log has at most 5242880 here]\n");
        assert_eq!(lines[80]["pos"], 99);
    }
}
