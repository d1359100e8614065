//! The limits that the Go client's own authors name, and that are none here: each by a test named after it.

#[allow(dead_code, reason = "shared with the SDK's own tests, which use all of it")]
#[path = "../sdk/delegate.rs"]
mod delegate;
mod extensions;
mod small_handlers;
