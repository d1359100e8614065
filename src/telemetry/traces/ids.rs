//! Ids of spans: derived, so that whoever knows the names of a task's part knows its span.

use crate::core::id::SpanId;

/// The span of a task's part: the first 8 bytes of the SHA-256 over the task's id, the lease's id (empty where the part has none) and
/// the part's name, with a zero byte between them. Ids as runners read them. Never zero, which means none.
pub fn span_id(task_id: &str, lease_id: &str, part: &str) -> SpanId {
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    for (nth, text) in [task_id, lease_id, part].into_iter().enumerate() {
        if nth > 0 {
            digest.update(&[0]);
        }
        digest.update(text.as_bytes());
    }
    let digest = digest.finish();
    let head: [u8; 8] = digest.as_ref()[..8].try_into().expect("a SHA-256 has 32 bytes");
    SpanId(u64::from_be_bytes(head).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_span_id_is_the_documented_one() {
        // printf 't-12345678-3\0l-12345678-4\0run' | sha256sum | cut -c 1-16
        assert_eq!(span_id("t-12345678-3", "l-12345678-4", "run").to_string(), "f2e93eecd0bbbaa0");
        assert_ne!(span_id("t-12345678-3", "", "run"), span_id("t-12345678-3", "l-12345678-4", "run"));
    }
}
