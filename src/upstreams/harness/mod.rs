//! The Harness manager's legacy family.

pub mod token;
