//! Each limit that the Go client's authors named, and each we found besides: a test named after it, against the real binary or real
//! sockets.

mod configuration;
mod errors;
mod interface;
// Shared with the tests of processes, each of which uses a part of it.
#[allow(dead_code)]
#[path = "../process/lab.rs"]
mod lab;
