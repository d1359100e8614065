//! The real binary and real runner processes against the manager's double: killed, cut, restarted, and counted at the manager.

mod acquires;
mod commands;
mod kills;
// Each target uses its part of it.
#[allow(dead_code)]
mod lab;
mod outages;
mod refusals;
mod tasks;
