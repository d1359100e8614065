//! The real binary and real runner processes against the manager's double: killed, cut, restarted, and counted at the manager.

mod acquires;
mod commands;
mod kills;
mod lab;
mod outages;
mod refusals;
mod tasks;
