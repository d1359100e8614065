#![doc = include_str!("../README.md")]
// `clippy.toml` names what the core must not use; everything around the core is there to use it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod admin;
pub mod cli;
pub mod config;
pub mod core;
pub mod daemon;
pub mod doubles;
pub mod driver;
pub mod journal;
pub mod proto;
pub mod runners;
pub mod sdk;
pub mod state_dir;
pub mod telemetry;
pub mod upstreams;
