//! The Drone adapter against the double of its server: stages taken and answered, lost answers resolved, cancels heard.

mod answers;
mod bodies;
mod cancels;
mod double;
mod kills;
mod mixed;
mod polls;
mod steps;
mod support;
mod whole;
