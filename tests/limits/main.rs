//! Each known limit of the Go client is gone: a test for each, against the real binary on real sockets.

#[path = "../process/lab.rs"]
#[allow(dead_code)] // each target uses its part of it
mod lab;

mod admission;
mod slots;
mod stages;
