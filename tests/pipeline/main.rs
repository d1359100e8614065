//! Pipelines of type exec, from text to a plan and from a plan to what ran.

mod expand;
mod hostile;
mod lint;
mod memory;
mod order;
mod when;
mod yaml;
