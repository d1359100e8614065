//! Logs: no line is lost, leaked or late. Masking against a model, the spool on a real file system, sinks against the double.

mod files;
mod floods;
mod frames;
mod intake;
mod lab;
mod mask;
mod model;
mod random;
mod receipts;
mod spool;
mod whole;

#[path = "../support/mod.rs"]
mod support;
