//! The whole of the Harness wire: three dialects against golden files, both families, and each quirk of the manager by its number.

#[allow(dead_code)]
#[path = "../process/lab.rs"]
mod lab;
#[allow(dead_code)]
#[path = "../upstreams/support.rs"]
mod support;

mod account;
mod dialects;
mod hand_back;
mod quirks;
mod runner;
mod statuses;
