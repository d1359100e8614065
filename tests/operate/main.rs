//! What operates a delegate: the command line against the running binary, and what it finds, tells and hands over.

mod doctor;
#[allow(dead_code)] // The networks' target uses the rest of it.
#[path = "../networks/front.rs"]
mod front;
#[allow(dead_code)] // The processes' target uses the rest of it.
#[path = "../process/lab.rs"]
mod lab;
mod page;
#[path = "../support/mod.rs"]
mod support;
