//! Metrics as scrapers and collectors get them, and health as probes and supervisors see it, in every state of the delegate.

// `clippy.toml` names what the core must not use; tests are there to use it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod ask;
mod bounds;
mod exposition;
mod health;
mod otlp;
mod packaging;
mod process;
mod scene;
mod watchdog;

#[allow(dead_code)]
#[path = "../process/lab.rs"]
mod lab;
#[path = "../support/mod.rs"]
mod support;
