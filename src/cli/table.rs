//! Columns for people.

use std::fmt::Write as _;

/// Lays rows out in columns; the last one takes what is left and is never padded.
pub fn render(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heads.iter().map(|head| head.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    for row in std::iter::once(&heads).chain(rows) {
        for (n, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let last = n + 1 == row.len();
            let width = if last { 0 } else { *width };
            // Writing into a string can't fail.
            let _ = write!(text, "{cell:<width$}{}", if last { "" } else { "  " });
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// How long ago a time was, short: `12 s ago`.
pub fn ago(at: Option<prost_types::Timestamp>) -> String {
    let now = std::time::SystemTime::now();
    match at.and_then(|at| std::time::SystemTime::try_from(at).ok()) {
        None => "never".to_owned(),
        Some(at) => format!("{} ago", span(now.duration_since(at).unwrap_or_default())),
    }
}

/// How long ago a time was; zero: it is to come.
pub fn age(at: prost_types::Timestamp) -> std::time::Duration {
    let at = std::time::SystemTime::try_from(at).ok();
    at.and_then(|at| std::time::SystemTime::now().duration_since(at).ok()).unwrap_or_default()
}

/// How long it is to a time, short: `in 12 s`.
pub fn until(at: prost_types::Timestamp) -> String {
    let now = std::time::SystemTime::now();
    let left = std::time::SystemTime::try_from(at).ok().and_then(|at| at.duration_since(now).ok());
    left.map_or_else(|| "now".to_owned(), |left| format!("in {}", span(left)))
}

/// A size in the unit that matters.
pub fn bytes(count: u64) -> String {
    match count {
        0..0x1_0000 => format!("{count} bytes"),
        0x1_0000..0x400_0000 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}

/// A dash for what is not there.
pub fn dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// For scripts: RFC 3339, or nothing.
pub fn time(at: &Option<prost_types::Timestamp>) -> Option<String> {
    at.as_ref().map(ToString::to_string)
}

/// A span in the one or two units that matter.
pub fn span(span: std::time::Duration) -> String {
    match span.as_secs() {
        0 => format!("{} ms", span.as_millis()),
        seconds @ 1..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} m {} s", seconds / 60, seconds % 60),
        seconds @ 3_600..172_800 => format!("{} h {} m", seconds / 3_600, seconds % 3_600 / 60),
        seconds => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_blanks() {
        let rows = vec![vec!["a".to_owned(), "long cell".to_owned(), String::new()]];
        assert_eq!(render(&["ID", "STATE", "WHY"], &rows), "ID  STATE      WHY\na   long cell\n");
    }
}
