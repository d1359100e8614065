//! The manager double behaves as the manager does, seen through a plain HTTP client.

mod control;
mod faults;
mod identity;
mod runner;
mod support;
mod tasks;
mod tokens;
