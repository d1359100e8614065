//! Which trace a task belongs to, and whose span its own hang below. Pure: the same names give the same ids, on any machine.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::id::{ExternalId, SpanId, TraceId};

/// Longest `tracestate` that is taken over, in bytes; what the W3C asks everybody to carry.
const STATE_BYTES_MAX: usize = 512;

/// What, beside a task's own id, its trace id is made from: both are known to the upstream, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceScope {
    /// Kind of the upstream, such as "harness".
    pub kind: Arc<str>,
    /// Whose tasks it offers.
    pub account: Arc<str>,
}

/// Somebody else's span, which a task came with (W3C Trace Context).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceParent {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub sampled: bool,
    /// `tracestate`, handed on as it came; empty: none.
    pub state: Arc<str>,
}

/// Why a text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

// === impl TraceScope ===

impl TraceScope {
    /// The trace of a task that brings none: the first 16 bytes of the SHA-256 over kind, account and external id with a zero byte
    /// between them. Never zero, which means none.
    pub fn trace_id(&self, external_id: &ExternalId) -> TraceId {
        let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
        digest.update(self.kind.as_bytes());
        digest.update(&[0]);
        digest.update(self.account.as_bytes());
        digest.update(&[0]);
        digest.update(external_id.as_str().as_bytes());
        let digest = digest.finish();
        let head: [u8; 16] = digest.as_ref()[..16].try_into().expect("a SHA-256 has 32 bytes");
        TraceId(u128::from_be_bytes(head).max(1))
    }
}

// === impl TraceParent ===

impl TraceParent {
    /// Reads a `traceparent` of this or a later version. A `tracestate` that is too long or no printable text is left out, as the W3C
    /// asks for: it never spoils the parent.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(parent: &str, state: Option<&str>) -> Result<Self, Malformed> {
        let mut parts = parent.splitn(5, '-');
        let mut part = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits);
            part.filter(|part| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
        };
        let version = part(2).filter(|version| *version != "ff").ok_or(Malformed("no version"))?;
        let trace_id = part(32).and_then(|hex| u128::from_str_radix(hex, 16).ok()).ok_or(Malformed("no trace id"))?;
        let span_id = part(16).and_then(|hex| u64::from_str_radix(hex, 16).ok()).ok_or(Malformed("no parent id"))?;
        let flags = part(2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).ok_or(Malformed("no flags"))?;
        if version == "00" && parts.next().is_some() {
            return Err(Malformed("more than version 00 has"));
        }
        if trace_id == 0 || span_id == 0 {
            return Err(Malformed("an id of zeros"));
        }
        let is_carried =
            |state: &&str| state.len() <= STATE_BYTES_MAX && state.bytes().all(|b| (b' '..=b'~').contains(&b));
        Ok(Self {
            trace_id: TraceId(trace_id),
            span_id: SpanId(span_id),
            sampled: flags & 1 == 1,
            state: state.filter(is_carried).unwrap_or_default().into(),
        })
    }
}

impl fmt::Display for TraceParent {
    /// As a `traceparent` of version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'harness\0acctEXAMPLE0000000001\0tskEXAMPLE-7f31' | sha256sum | cut -c 1-32`
    const VECTOR: &str = "bba4cf1adbd6e267c4db651994df53dc";

    #[test]
    fn the_trace_id_is_the_documented_one() {
        let scope = TraceScope { kind: "harness".into(), account: "acctEXAMPLE0000000001".into() };
        assert_eq!(scope.trace_id(&"tskEXAMPLE-7f31".into()).to_string(), VECTOR);
    }

    #[test]
    fn names_do_not_run_into_each_other() {
        let id = |account: &str, task: &str| {
            TraceScope { kind: "harness".into(), account: account.into() }.trace_id(&task.into())
        };
        assert_ne!(id("ab", "c"), id("a", "bc"));
        assert_ne!(id("ab", "c"), TraceScope { kind: "drone".into(), account: "ab".into() }.trace_id(&"c".into()));
    }

    #[test]
    fn a_traceparent_reads_back() {
        for text in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        ] {
            assert_eq!(TraceParent::parse(text, None).unwrap().to_string(), text);
        }
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-and-more";
        assert!(TraceParent::parse(later, None).unwrap().sampled);
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        for text in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333é-01",
        ] {
            assert!(TraceParent::parse(text, None).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bad_tracestate_does_not_spoil_the_parent() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let state = |state: &str| TraceParent::parse(text, Some(state)).unwrap().state;
        assert_eq!(&*state("a=1,b=2"), "a=1,b=2");
        assert_eq!(&*state("a=1\n"), "");
        assert_eq!(&*state(&"a".repeat(STATE_BYTES_MAX + 1)), "");
    }
}
