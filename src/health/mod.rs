//! How the delegate does, for those who watch it.
//!
//! ```text
//!  loop ── beat, reading (1/s) ──► Vitals ──► Readiness ──┬─► http     /metrics /healthz /readyz
//!                                                         ├─► grpc     health of each service
//!                                                         └─► systemd  WATCHDOG=1, STATUS=
//! ```
//!
//! It looks at what the loop leaves behind and never asks the loop, which may be what is stuck. A stuck loop may take the whole runtime
//! with it; so `http` has a thread of its own, and of the other two no answer and no sign of life mean the same as a bad one.

pub mod grpc;
pub mod http;
mod readiness;
pub mod systemd;
mod vitals;

pub use self::{
    readiness::{Condition, Readiness},
    vitals::{PULSE_AGE_MAX, PULSE_INTERVAL, Pulse, Vitals},
};
