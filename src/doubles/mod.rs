//! Doubles: servers that behave like the upstreams, quirks included, for tests and for `dlite dev`.

pub mod log_service;
pub mod manager;
