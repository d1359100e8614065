//! The Harness adapter against a manager that behaves as the real one does, and against servers that do not.

mod faults;
mod http;
mod identity;
mod lives;
mod secrets;
mod support;
mod tls;
