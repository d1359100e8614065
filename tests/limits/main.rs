//! The known limits of the Go client, and what else was found in it: one test for each that shows it gone, against the real binary.

mod cancel;
mod deadlines;
mod drain;
mod found;
mod heartbeats;
// Each target uses its part of it.
#[allow(dead_code)]
#[path = "../process/lab.rs"]
mod lab;
