//! Adapters: each speaks one kind of upstream and translates it into the core's words, and back.
//!
//! An adapter performs single calls, bounded in time. When to call, what to call again and what an answer means for a task is
//! the core's; what the bytes on the wire look like is the adapter's alone.

pub mod harness;
pub mod tls;
pub mod transport;

use std::{future::Future, pin::Pin};

use crate::core::{effect::Call, input::Answer};

/// One configured upstream.
pub trait Upstream: Send + Sync + 'static {
    /// "harness", …: for display and for `Origin.upstream_kind`.
    fn kind(&self) -> &'static str;

    /// Performs one call. A failure is an answer, too; the future ends within the adapter's own bound.
    fn perform(&self, call: Call) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>>;
}
