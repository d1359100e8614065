//! What an operator does with a running delegate: asks why, takes something out and back in, stops one thing, and sees what became of it.

// `clippy.toml` names what the core must not use; tests are there to use it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod commands;
mod explain;
mod explain_stages;
mod explain_upstreams;
mod lab;
mod runners;
mod story;
mod upstreams;

#[path = "../metrics/ask.rs"]
#[allow(dead_code, reason = "shared with the tests of metrics, which use all of it")]
mod ask;
#[path = "../process/lab.rs"]
#[allow(dead_code, reason = "shared with the tests of whole processes, which use all of it")]
mod process;
#[path = "../support/mod.rs"]
mod support;
