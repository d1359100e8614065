//! Doubles: servers that behave like the upstreams, quirks included, for tests and for `dlite dev`.
//!
//! | file | owns |
//! |---|---|
//! | `manager`, `drone` | one double each |
//! | `door` | connections that can be cut, and a port that stays ours while the double is down |
//! | `faults` | what can be made to go wrong, route by route |
//! | `recent` | a count of everything and the newest of it |
//! | `at`, `wait` | a time by both clocks; waiting for what a record shows |

pub mod drone;
pub mod log_service;
pub mod manager;

mod at;
mod door;
mod faults;
mod recent;
mod wait;
