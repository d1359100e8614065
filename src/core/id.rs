//! Names of things. Numbers are the delegate's own and never used twice; texts are somebody else's.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

number!(
    /// One acquisition of one upstream task: allotted with the intention to acquire, kept for all attempts.
    TaskId, "t-"
);
number!(
    /// One assignment of one task; the fencing token of every frame about it.
    LeaseId, "l-"
);
number!(
    /// One stage, from its setup to its cleanup.
    SessionId, "s-"
);
number!(
    /// One attached stream, in this process only.
    LinkId, "link-"
);
number!(
    /// One order of the operator, in this process only.
    RequestId, "order-"
);
number!(
    /// A position in the journal: the records up to it are durable or not.
    Lsn, "#"
);

text!(
    /// An upstream's name in the configuration.
    UpstreamName
);
text!(
    /// The upstream's own id of a task.
    ExternalId
);
text!(
    /// The operator's name for a runner.
    RunnerId
);
text!(
    /// One process of a runner.
    InstanceId
);
text!(
    /// Chooses the handler.
    TaskType
);
text!(
    /// Class whose slots a handler uses.
    SlotClass
);

/// Names one state directory; random, made at its first start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DelegateId(pub u128);

/// Trace of a task: the one it came with, else derived from names that every party knows; see
/// [`TraceScope`](super::trace::TraceScope).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TraceId(pub u128);

/// One span of a trace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SpanId(pub u64);

/// Hands out the numbers: tasks, leases and the delegate's own scopes share one sequence.
///
/// Numbers are reserved in blocks by a record before the first of them is used, and a process begins above all that an earlier
/// one had reserved. So no number is ever used twice, although most leave no trace in the journal and clocks go back.
#[derive(Debug)]
pub struct Ids {
    next: u64,
    reserved: u64,
}

/// Numbers in a block: a restart wastes at most so many of the store's 2^48, and a record in so many is about numbers.
const BLOCK: u64 = 1 << 16;

// === impl DelegateId ===

impl fmt::Display for DelegateId {
    /// As a UUID.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let h = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
    }
}

impl fmt::Debug for DelegateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl TraceId ===

impl fmt::Display for TraceId {
    /// 32 hex digits, as in a `traceparent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl SpanId ===

impl fmt::Display for SpanId {
    /// 16 hex digits, as in a `traceparent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl Ids ===

impl Ids {
    /// Goes on with `next`, of which nothing is reserved yet.
    pub fn resume(next: u64) -> Self {
        Self { next, reserved: next }
    }

    /// Whether the next number needs a reservation first; the last one of a block is kept for the record about the next block.
    pub fn is_used_up(&self) -> bool {
        self.next + 1 >= self.reserved
    }

    /// Reserves a block: the scope for the record that says so, and the first number that stays unreserved.
    pub fn reserve(&mut self) -> (u64, u64) {
        self.reserved = self.next + BLOCK;
        (self.allot(), self.reserved)
    }

    pub fn allot(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        id
    }
}
