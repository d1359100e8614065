//! Rules of the core, one by one: input in, exact effects and records out.

mod denials;
mod hand_back;
mod support;
mod unsupported;
