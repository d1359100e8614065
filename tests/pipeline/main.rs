//! Pipelines of type exec, from text to a plan and from a plan to what ran.

mod cases;
mod clone;
mod ends;
mod expand;
mod hostile;
mod lab;
mod lint;
mod memory;
mod order;
mod secrets;
mod when;
mod yaml;
