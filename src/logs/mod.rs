//! Logs: from a runner's lines to where people read them.

pub mod mask;
pub mod receipt;
pub mod record;
pub mod spool;
