//! A script's result: standard output, or the file `$DLITE_RESULT_FILE` if it wrote one.

use std::{io, path::Path};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{config::RESULT_BYTES_MAX, room::read_bounded};
use crate::sdk::Payload;

/// Read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes up to a bound, and whether there were more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Captured {
    pub bytes: Vec<u8>,
    /// All there were, those beyond the bound too.
    pub length: u64,
}

/// Reads to the end; what is beyond `bytes_max` is counted and left out, so that the script never waits.
pub(super) async fn capture(mut from: impl AsyncRead + Unpin, bytes_max: u64) -> Captured {
    let mut captured = Captured::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    // An error is an end: the writer is gone.
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        captured.length += length as u64;
        let room = usize::try_from(bytes_max).unwrap_or(usize::MAX).saturating_sub(captured.bytes.len());
        captured.bytes.extend(&chunk[..length.min(room)]);
    }
    captured
}

/// The result file's content; `None` if the script wrote none.
pub(super) fn from_file(path: &Path) -> io::Result<Option<Captured>> {
    match read_bounded(path, RESULT_BYTES_MAX) {
        Ok(bytes) => Ok(Some(Captured { length: bytes.len() as u64, bytes })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// JSON if it is, else bytes of any kind.
pub(super) fn payload(content: Vec<u8>) -> Payload {
    let is_json = serde_json::from_slice::<&serde_json::value::RawValue>(&content).is_ok();
    let content_type = if is_json { "application/json" } else { "application/octet-stream" };
    Payload::new(content_type, Bytes::from(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_beyond_the_bound_is_read_and_counted() {
        let captured = capture(&b"0123456789"[..], 4).await;
        assert_eq!(captured, Captured { bytes: b"0123".to_vec(), length: 10 });
    }

    #[test]
    fn json_is_told_as_json_and_all_else_as_bytes() {
        assert_eq!(payload(b"{\"a\": 1}\n".to_vec()).content_type, "application/json");
        assert_eq!(payload(b"{} {}".to_vec()).content_type, "application/octet-stream");
        assert_eq!(payload(b"\"\xff\"".to_vec()).content_type, "application/octet-stream");
    }
}
