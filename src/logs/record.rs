//! What a log consists of: lines, and gaps where lines should be. The numbers of its records follow on each other without a hole.

use std::{
    collections::BTreeMap,
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// When a line was written, in nanoseconds since the Unix epoch: runners and sinks have them as fine as that. Until the year 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time(pub i64);

/// What a line came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    #[default]
    Stdout,
    Stderr,
    /// The runner itself.
    System,
}

/// How loud a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

/// One line of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// From 0.
    pub number: u64,
    pub time: Time,
    pub source: Source,
    pub level: Level,
    /// Structured members.
    pub args: BTreeMap<String, String>,
    /// Without its newline; any bytes.
    pub text: Bytes,
}

/// Lines that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Number of the first.
    pub first: u64,
    /// How many.
    pub lines: u64,
    /// Of their texts; 0 where nobody knows.
    pub bytes: u64,
    pub reason: GapReason,
}

/// Why lines are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The log has as many bytes as one log may have.
    LogFull,
    /// All logs have as many bytes together as they may have.
    SpoolFull,
    /// The disk has too little room.
    DiskFull,
    /// The disk did not keep up.
    DiskSlow,
    /// The runner skipped these numbers, or named a count that it never came to.
    NotReceived,
    /// They were there and can't be read any more.
    Damaged,
    /// The task's secrets are more than can be masked, so nothing may be written.
    Unmaskable,
}

/// A line or a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Line(Line),
    Gap(Gap),
}

// === impl Time ===

impl Time {
    /// The clock's time.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC, with nine digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NANOS: i64 = 1_000_000_000;
        let (seconds, nanos) = (self.0.div_euclid(NANOS), self.0.rem_euclid(NANOS));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
    }
}

/// Date of a day since the Unix epoch, by Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

// === impl Source ===

impl Source {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::System => "system",
        }
    }
}

// === impl Level ===

impl Level {
    /// As sinks write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

// === impl GapReason ===

impl GapReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::LogFull,
        Self::SpoolFull,
        Self::DiskFull,
        Self::DiskSlow,
        Self::NotReceived,
        Self::Damaged,
        Self::Unmaskable,
    ];

    /// A stable word: of metrics, and on record.
    pub fn word(self) -> &'static str {
        match self {
            Self::LogFull => "log_full",
            Self::SpoolFull => "spool_full",
            Self::DiskFull => "disk_full",
            Self::DiskSlow => "disk_slow",
            Self::NotReceived => "not_received",
            Self::Damaged => "damaged",
            Self::Unmaskable => "unmaskable",
        }
    }

    /// The reason of this word; none that this version knows, perhaps.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.word() == word)
    }
}

// === impl Gap ===

impl Gap {
    /// Number of the first line behind it.
    pub fn next(&self) -> u64 {
        self.first.saturating_add(self.lines)
    }

    /// Takes `other` in, which follows on this one for the same reason; false if it does not.
    pub fn extend(&mut self, other: &Gap) -> bool {
        let follows = other.first == self.next() && other.reason == self.reason;
        if follows {
            self.lines += other.lines;
            self.bytes += other.bytes;
        }
        follows
    }
}

impl fmt::Display for Gap {
    /// What a person reads in place of the lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gap { lines, bytes, reason, .. } = self;
        write!(f, "[{lines} line{} missing", if *lines == 1 { "" } else { "s" })?;
        if *bytes > 0 {
            write!(f, ", {bytes} bytes")?;
        }
        write!(f, ": {reason}]")
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LogFull => "the log has reached its limit",
            Self::SpoolFull => "the logs on this machine have reached their limit together",
            Self::DiskFull => "the disk is full",
            Self::DiskSlow => "the disk did not keep up",
            Self::NotReceived => "the runner did not send them",
            Self::Damaged => "the file they were in is damaged",
            Self::Unmaskable => "the task has more secrets than can be masked",
        })
    }
}

// === impl Record ===

impl Record {
    /// Number of its first line.
    pub fn first(&self) -> u64 {
        match self {
            Self::Line(line) => line.number,
            Self::Gap(gap) => gap.first,
        }
    }

    /// Number of the first line behind it.
    pub fn next(&self) -> u64 {
        match self {
            Self::Line(line) => line.number.saturating_add(1),
            Self::Gap(gap) => gap.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_a_date() {
        let time = |seconds: i64, nanos: i64| Time(seconds * 1_000_000_000 + nanos).to_string();
        assert_eq!(time(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(time(951_782_400, 1), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(time(1_789_992_000, 123_456_789), "2026-09-21T12:00:00.123456789Z");
        assert_eq!(time(-1, 0), "1969-12-31T23:59:59.000000000Z");
    }

    #[test]
    fn a_reason_has_one_word_on_disk_and_on_record() {
        for reason in GapReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.word());
            assert_eq!(GapReason::of_word(reason.word()), Some(reason));
        }
        assert_eq!(GapReason::of_word("fashion"), None);
    }

    #[test]
    fn a_gap_says_how_much_is_missing_and_why() {
        let mut gap = Gap { first: 3, lines: 1, bytes: 0, reason: GapReason::NotReceived };
        assert_eq!(gap.to_string(), "[1 line missing: the runner did not send them]");
        assert!(gap.extend(&Gap { first: 4, lines: 2, bytes: 90, reason: GapReason::NotReceived }));
        assert_eq!(gap.to_string(), "[3 lines missing, 90 bytes: the runner did not send them]");
        assert!(!gap.extend(&Gap { first: 7, ..gap }));
        assert!(!gap.extend(&Gap { first: 6, reason: GapReason::DiskFull, ..gap }));
    }
}
