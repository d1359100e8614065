//! draft
pub mod config;
