//! Small text files that the kernel makes up when they are read.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// Longest file that is read; /proc/stat has about 100 bytes a core and a line of interrupts, and its first line is what counts.
const BYTES_MAX: u64 = 64 * 1024;

/// Why a source is left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeftOut {
    #[error("{} is not there", .0.display())]
    Absent(PathBuf),
    #[error("{} can't be read: {reason}", .path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("{} has no {wanted} that can be read", .path.display())]
    Garbage { path: PathBuf, wanted: &'static str },
    #[error("{} has no limit", .0.display())]
    Unlimited(PathBuf),
}

// === impl LeftOut ===

impl LeftOut {
    pub fn garbage(path: &Path, wanted: &'static str) -> Self {
        Self::Garbage { path: path.to_owned(), wanted }
    }

    pub fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Absent(path.to_owned()),
            _ => Self::Unreadable { path: path.to_owned(), reason: error.to_string() },
        }
    }
}

/// The beginning of a file, as text.
pub fn text(path: &Path) -> Result<String, LeftOut> {
    let unreadable = |error: std::io::Error| LeftOut::unreadable(path, &error);
    // Opening a pipe would block until somebody writes to it.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(LeftOut::garbage(path, "text"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(unreadable)?.take(BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| LeftOut::garbage(path, "text"))
}

/// The number behind a word at the beginning of a line, as in "MemTotal:  24105 kB" and "usage_usec 17".
pub fn number_after(text: &str, word: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(word)?.split_whitespace().next()?.parse().ok())
}

/// The share of the last ten seconds, from the line "some avg10=1.50 avg60=0.75 avg300=0.48 total=158752551".
pub fn stalled(path: &Path) -> Result<u8, LeftOut> {
    const WANTED: &str = "line \"some avg10=…\"";
    let text = text(path)?;
    let share = text.lines().find_map(|line| line.strip_prefix("some avg10=")?.split_whitespace().next());
    let share: f64 = share.and_then(|share| share.parse().ok()).ok_or(LeftOut::garbage(path, WANTED))?;
    if !(0.0..=100.0).contains(&share) {
        return Err(LeftOut::garbage(path, WANTED));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // it was just seen to be from 0 to 100
    Ok(share.round() as u8)
}

/// Whole percents of a whole, rounded up, so that what is full is 100 and nothing is more.
pub fn percent(part: u64, whole: u64) -> u8 {
    let percent = (u128::from(part) * 100).div_ceil(u128::from(whole.max(1))).min(100);
    u8::try_from(percent).unwrap_or(100)
}
