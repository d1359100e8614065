//! The limits that the Go client's own authors name, and that are none here: each by a test named after it.

#[allow(dead_code, reason = "shared with the SDK's own tests, which use all of it")]
#[path = "../sdk/delegate.rs"]
mod delegate;
mod extensions;
#[allow(dead_code, reason = "shared with the tests of whole processes, which use all of it")]
#[path = "../process/lab.rs"]
mod lab;
mod small_handlers;
#[path = "../support/mod.rs"]
mod support;
