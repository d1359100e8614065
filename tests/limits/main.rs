//! Each limit that the Go client's authors name, shown to be gone: against the real binary, with a manager's double.

#[allow(dead_code)]
#[path = "../process/lab.rs"]
mod lab;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
