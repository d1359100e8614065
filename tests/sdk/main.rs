//! What the Rust runner SDK promises, shown against a scripted delegate over a real Unix socket.

mod cancel;
mod control;
mod delegate;
mod ends;
mod handlers;
mod layers;
mod leases;
mod outcomes;
mod python;
mod sessions;
mod stages;
mod tasks;
mod tcp;
#[path = "../python/toolchain.rs"]
mod toolchain;
