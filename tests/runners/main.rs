//! The runner service against peers of every kind: each bad frame and each bad peer gets a named refusal, and the neighbours on
//! the same daemon go on working.

// `clippy.toml` names what the core must not use; tests are there to use it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod admin;
mod disk;
mod doors;
mod ends;
mod floods;
mod frames;
mod held;
mod hellos;
mod identity;
mod intake;
mod leases;
mod python;
mod sessions;
mod sizes;

#[path = "../support/mod.rs"]
mod support;
#[path = "../python/toolchain.rs"]
mod toolchain;
