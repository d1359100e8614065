//! The Drone adapter against the double of its server: stages taken and answered, lost answers resolved, cancels heard.

mod answers;
mod bodies;
mod cancels;
mod double;
mod kills;
mod logs;
mod mixed;
mod place;
mod polls;
mod show;
mod steps;
mod stops;
mod support;
mod whole;
