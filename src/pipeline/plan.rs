//! What of a pipeline runs for one build, in which order.

use std::collections::BTreeMap;

use super::{
    condition::RunPolicy,
    yaml::{Checkout, Failure, Place, Value},
};

/// The steps of a stage as the upstream is to know them: those that may run, numbered from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the pipeline's order: clone, services, steps. A step's number is its index here plus 1.
    pub steps: Vec<Step>,
    /// Steps whose conditions do not match the build; the upstream never hears of them.
    pub left_out: Vec<LeftOut>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// From 1.
    pub number: u32,
    /// Unique in the plan.
    pub name: String,
    /// Numbers of the steps that must have ended (or be skipped) before, ascending. A detached one has ended, for this, once it runs.
    pub after: Vec<u32>,
    pub run: RunPolicy,
    pub failure: Failure,
    pub detach: bool,
    pub work: Work,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Fetches the sources.
    Clone(Checkout),
    /// A script of the pipeline.
    Script(Script),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub place: Place,
    pub shell: Option<String>,
    pub commands: Vec<String>,
    /// The pipeline's, overridden by the step's.
    pub environment: BTreeMap<String, Value>,
}

/// A step that does not run for this build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub name: String,
    /// The condition that does not match, as its key: `branch`.
    pub condition: &'static str,
    /// The build's value that it does not match.
    pub value: String,
}
