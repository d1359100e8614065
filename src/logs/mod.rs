//! Logs: from a runner's lines to where people read them.
//!
//! ```text
//!  runner ── StreamLogs ──► Desk ──► Intake ──► Masker ──► Spool ──► uploads ──► Sink
//!         ◄─ marks ────────────────────────────────────────┘  └────► `dlite tasks logs`
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `record` | what a log consists of: lines, and gaps where lines should be |
//! | `mask` | a task's secrets, found and hidden |
//! | `intake` | one log while its runner writes it |
//! | `spool` | logs on disk |
//! | `desk` | which logs are open, and what they need to know of their task |
//! | `uploads` | bringing logs to their sinks |
//! | `sink` | what a sink is |
//! | `files` | a directory as a sink |
//! | `receipt` | what a whole log came to |
//! | `seal` | where a log goes, unreadable on disk |
//!
//! A log never holds up a task, and the core knows nothing of logs but whose lease is in force.

pub mod desk;
pub mod files;
pub mod intake;
pub mod mask;
pub mod receipt;
pub mod record;
pub mod seal;
pub mod sink;
pub mod spool;
pub mod uploads;
