//! Adapters to the servers that own tasks.

pub mod harness;
pub mod tls;
