//! The exec runner as a process, real scripts under it, and a scripted delegate above it over a real Unix socket.

mod ends;
mod kills;
mod lab;
mod limits;
mod sessions;
mod streams;
mod surroundings;

#[path = "../sdk/delegate.rs"]
#[allow(dead_code)] // the SDK's own tests use the rest
mod delegate;
