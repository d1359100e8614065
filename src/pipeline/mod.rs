//! Pipelines of kind `pipeline` and type `exec`, as a Drone server hands them out: from text to what runs on this host.
//!
//! ```text
//! text ─► expand ─► yaml ─► select(stage) ─► plan(event) ─► steps in order or as a graph
//!         ${VAR}    model   one pipeline     when, clone,      runner: processes
//!                                            services
//! ```
//!
//! All of it but `runner` is a function of its inputs: no file, process, clock or network. A pipeline that a Drone runner of type `exec`
//! executes means the same here; what it would silently leave out, such as a misspelt key of a step, is refused with document, step and
//! line.

pub mod condition;
pub mod expand;
pub mod glob;
mod graph;
pub mod lint;
pub mod plan;
pub mod runner;
pub mod yaml;
