//! What operates a delegate: the command line against the running binary, and what it finds, tells and hands over.

// `clippy.toml` names what the core must not use; tests are there to use it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[allow(dead_code)] // The metrics' target uses the rest of it.
#[path = "../metrics/ask.rs"]
mod ask;
mod audit;
mod bundle;
mod commands;
mod doctor;
mod events;
mod explain;
mod explain_stages;
mod explain_upstreams;
#[allow(dead_code)] // The networks' target uses the rest of it.
#[path = "../networks/front.rs"]
mod front;
#[allow(dead_code)] // The processes' target uses the rest of it.
#[path = "../process/lab.rs"]
mod lab;
mod log;
mod operator;
mod page;
mod reports;
mod runners;
mod say;
mod story;
#[path = "../support/mod.rs"]
mod support;
mod taken_out;
mod upstreams;
