//! The runners' side: one gRPC service, one task pair for each attached runner.
//!
//! ```text
//!  runner ══ stream ══► reader ─ convert ─► driver's inbox
//!         ◄═ stream ═══ writer ◄─ convert ─ orders (bounded) ◄─ driver
//! ```
//!
//! It owns streams, frame checks and the translation between contract and core. It never decides about a task, and a peer that
//! does not read or sends nonsense loses its own link, nobody else's.

pub mod access;
pub mod convert;
pub mod ids;
pub mod link;
pub mod logs;
pub mod server;
pub mod service;
