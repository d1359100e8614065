//! One record on disk.
//!
//! ```text
//!  checksum u32 │ length u32 │ body of so many bytes            the checksum is of length and body; numbers are little-endian
//!  line:  1 │ number u64 │ time i64 │ source u8 │ level u8 │ args length u32 │ args │ text
//!  gap:   2 │ first u64  │ lines u64 │ bytes u64 │ reason u8
//! ```

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};

use super::checksum::checksum;
use crate::logs::record::{Gap, GapReason, Level, Line, Record, Source, Time};

/// Checksum and length.
pub(super) const HEAD_BYTES: usize = 8;
/// Longest body: a frame of the runner protocol is at most 4 MiB, and a masked line may be longer than what came.
pub(super) const BODY_BYTES_MAX: usize = 8 << 20;
/// Of a line's body, without arguments and text.
const LINE_HEAD_BYTES: usize = 23;
/// Of a gap's frame.
pub(super) const GAP_BYTES: usize = HEAD_BYTES + 26;

const LINE: u8 = 1;
const GAP: u8 = 2;

/// Members of a line beside its text.
#[derive(Clone, Debug, Default)]
pub struct LineHead {
    pub number: u64,
    pub time: Time,
    pub source: Source,
    pub level: Level,
    pub args: BTreeMap<String, String>,
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A whole record, and the bytes it takes.
    Record(Record, usize),
    /// Not enough bytes to tell; at least so many are needed.
    More(usize),
    /// No record. If its length can be believed, the next one begins behind so many bytes.
    Broken { bytes: Option<usize> },
}

/// Size of a line's frame.
pub(super) fn line_bytes(head: &LineHead, text: &[u8]) -> usize {
    HEAD_BYTES + LINE_HEAD_BYTES + args(head).len() + text.len()
}

fn args(head: &LineHead) -> Vec<u8> {
    match head.args.is_empty() {
        true => Vec::new(),
        // A map of strings has nothing that can't be encoded.
        false => postcard::to_allocvec(&head.args).unwrap_or_default(),
    }
}

/// Appends the frame of a line to `out`; its size. Callers see to it that it is within [`BODY_BYTES_MAX`].
pub(super) fn put_line(out: &mut Vec<u8>, head: &LineHead, text: &[u8]) -> usize {
    let args = args(head);
    put(out, |out| {
        out.put_u8(LINE);
        out.put_u64_le(head.number);
        out.put_i64_le(head.time.0);
        out.put_u8(head.source as u8);
        out.put_u8(head.level as u8);
        out.put_u32_le(args.len() as u32);
        out.put_slice(&args);
        out.put_slice(text);
    })
}

/// Appends the frame of a gap to `out`; its size, which is [`GAP_BYTES`].
pub(super) fn put_gap(out: &mut Vec<u8>, gap: &Gap) -> usize {
    put(out, |out| {
        out.put_u8(GAP);
        out.put_u64_le(gap.first);
        out.put_u64_le(gap.lines);
        out.put_u64_le(gap.bytes);
        out.put_u8(gap.reason as u8);
    })
}

fn put(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = out.len();
    out.put_u64_le(0);
    body(out);
    let length = (out.len() - start - HEAD_BYTES) as u32;
    out[start + 4..start + HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
    let sum = checksum(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&sum.to_le_bytes());
    out.len() - start
}

/// Reads the record at the beginning of `bytes`.
pub(super) fn find(bytes: &Bytes) -> Found {
    let mut head = &bytes[..];
    if head.len() < HEAD_BYTES {
        return Found::More(HEAD_BYTES);
    }
    let (sum, length) = (head.get_u32_le(), head.get_u32_le() as usize);
    if length == 0 || length > BODY_BYTES_MAX {
        return Found::Broken { bytes: None };
    }
    let end = HEAD_BYTES + length;
    if bytes.len() < end {
        return Found::More(end);
    }
    let broken = Found::Broken { bytes: Some(end) };
    if checksum(&bytes[4..end]) != sum {
        return broken;
    }
    match read(bytes.slice(HEAD_BYTES..end)) {
        Some(record) => Found::Record(record, end),
        None => broken,
    }
}

fn read(mut body: Bytes) -> Option<Record> {
    match body.try_get_u8().ok()? {
        LINE => {
            let number = body.try_get_u64_le().ok()?;
            let time = Time(body.try_get_i64_le().ok()?);
            let source = match body.try_get_u8().ok()? {
                0 => Source::Stdout,
                1 => Source::Stderr,
                2 => Source::System,
                _ => return None,
            };
            let level = match body.try_get_u8().ok()? {
                0 => Level::Debug,
                1 => Level::Info,
                2 => Level::Warn,
                3 => Level::Error,
                _ => return None,
            };
            let length = body.try_get_u32_le().ok()? as usize;
            if length > body.len() {
                return None;
            }
            let args = match length {
                0 => BTreeMap::new(),
                _ => postcard::from_bytes(&body.split_to(length)).ok()?,
            };
            Some(Record::Line(Line { number, time, source, level, args, text: body }))
        }
        GAP => {
            let first = body.try_get_u64_le().ok()?;
            let lines = body.try_get_u64_le().ok()?;
            let bytes = body.try_get_u64_le().ok()?;
            let reason = match body.try_get_u8().ok()? {
                0 => GapReason::LogFull,
                1 => GapReason::SpoolFull,
                2 => GapReason::DiskFull,
                3 => GapReason::DiskSlow,
                4 => GapReason::NotReceived,
                5 => GapReason::Damaged,
                6 => GapReason::Unmaskable,
                _ => return None,
            };
            Some(Record::Gap(Gap { first, lines, bytes, reason }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_were_and_nothing_less_than_a_whole_one() {
        let args = BTreeMap::from([("key".to_owned(), "v\u{e4}lue".to_owned())]);
        let head =
            LineHead { number: 7, time: Time(-1), source: Source::Stderr, level: Level::Warn, args: args.clone() };
        let gap = Gap { first: 8, lines: 2, bytes: 30, reason: GapReason::Unmaskable };
        let mut out = Vec::new();
        let first = put_line(&mut out, &head, b"\xff text\0");
        assert_eq!(first, line_bytes(&head, b"\xff text\0"));
        assert_eq!(put_gap(&mut out, &gap), GAP_BYTES);
        let bytes = Bytes::from(out);
        let text = Bytes::from_static(b"\xff text\0");
        let line = Line { number: 7, time: Time(-1), source: Source::Stderr, level: Level::Warn, args, text };
        assert_eq!(find(&bytes), Found::Record(Record::Line(line), first));
        assert_eq!(find(&bytes.slice(first..)), Found::Record(Record::Gap(gap), GAP_BYTES));
        for end in 0..first {
            assert!(matches!(find(&bytes.slice(..end)), Found::More(_)), "{end} bytes");
        }
    }

    #[test]
    fn a_flipped_bit_makes_no_other_record() {
        let mut out = Vec::new();
        let end = put_line(&mut out, &LineHead::default(), b"text");
        for bit in 0..end * 8 {
            let mut flipped = out.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(find(&flipped.into()), Found::Record(..)), "bit {bit}");
        }
        assert_eq!(find(&Bytes::from_static(&[0; 64])), Found::Broken { bytes: None });
    }
}
