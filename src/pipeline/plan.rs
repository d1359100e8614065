//! What of a pipeline runs for one build, in which order.

use std::{collections::BTreeMap, sync::Arc};

pub use super::condition::Build;
use super::{
    condition::{RunPolicy, Unmet},
    yaml::{self, Checkout, Failure, Pipeline, Place, Value},
};

/// The name of the step that fetches the sources.
pub const CLONE: &str = "clone";

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
    /// The pipeline's, once for all steps.
    shared: Arc<BTreeMap<String, Value>>,
    own: BTreeMap<String, Value>,
}

/// A step that does not run for this build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub name: String,
    pub unmet: Unmet,
}

/// A step of the pipeline, or the clone before all of them.
struct Candidate<'p> {
    name: &'p str,
    /// `None`: the clone.
    step: Option<&'p yaml::Step>,
    /// Indices of those before it, left out or not.
    before: Vec<usize>,
    unmet: Option<Unmet>,
}

/// What of the pipeline runs for the build. Its steps are as [`yaml::parse`] checked them: no cycle, no unknown name.
pub fn plan(pipeline: &Pipeline, build: &Build) -> Plan {
    let candidates = candidates(pipeline, build);
    let shared = Arc::new(pipeline.environment.clone());
    let mut numbers = vec![None; candidates.len()];
    let kept = candidates.iter().enumerate().filter(|(_, candidate)| candidate.unmet.is_none());
    for ((n, _), number) in kept.zip(1_u32..) {
        numbers[n] = Some(number);
    }
    let mut plan = Plan { steps: Vec::new(), left_out: Vec::new() };
    for (candidate, number) in candidates.iter().zip(&numbers) {
        match (number, &candidate.unmet) {
            (Some(number), _) => {
                let after = after(&candidates, &numbers, &candidate.before);
                plan.steps.push(candidate.planned(*number, after, pipeline, &shared));
            }
            (None, Some(unmet)) => {
                plan.left_out.push(LeftOut { name: candidate.name.to_owned(), unmet: unmet.clone() });
            }
            (None, None) => {}
        }
    }
    plan
}

fn candidates<'p>(pipeline: &'p Pipeline, build: &Build) -> Vec<Candidate<'p>> {
    let clones = !pipeline.clone.disable;
    let clone = clones.then_some(Candidate { name: CLONE, step: None, before: Vec::new(), unmet: None });
    let steps = pipeline.services.iter().chain(&pipeline.steps).map(|step| Candidate {
        name: &step.name,
        step: Some(step),
        before: Vec::new(),
        unmet: step.when.unmet(build),
    });
    let mut candidates: Vec<Candidate<'p>> = clone.into_iter().chain(steps).collect();
    let indices: BTreeMap<&str, usize> = candidates.iter().enumerate().map(|(n, step)| (step.name, n)).collect();
    let is_graph = pipeline.services.iter().chain(&pipeline.steps).any(|step| !step.depends_on.is_empty());
    for (n, candidate) in candidates.iter_mut().enumerate() {
        let named = candidate.step.map_or(&[][..], |step| &step.depends_on);
        candidate.before = match (is_graph, named) {
            (false, _) => n.checked_sub(1).into_iter().collect(),
            // The sources come before everything.
            (true, []) if clones && n > 0 => vec![0],
            (true, named) => named.iter().filter_map(|name| indices.get(name.as_str()).copied()).collect(),
        };
    }
    candidates
}

/// Numbers of the steps before one. In the place of one that is left out are those before that.
fn after(candidates: &[Candidate<'_>], numbers: &[Option<u32>], before: &[usize]) -> Vec<u32> {
    let mut seen = vec![false; candidates.len()];
    let mut open = before.to_vec();
    let mut after = Vec::new();
    while let Some(n) = open.pop() {
        if std::mem::replace(&mut seen[n], true) {
            continue;
        }
        match numbers[n] {
            Some(number) => after.push(number),
            None => open.extend(&candidates[n].before),
        }
    }
    after.sort_unstable();
    after
}

// === impl Candidate ===

impl Candidate<'_> {
    fn planned(
        &self,
        number: u32,
        after: Vec<u32>,
        pipeline: &Pipeline,
        shared: &Arc<BTreeMap<String, Value>>,
    ) -> Step {
        let name = self.name.to_owned();
        let Some(step) = self.step else {
            let (run, failure) = (RunPolicy::Always, Failure::Fail);
            return Step { number, name, after, run, failure, detach: false, work: Work::Clone(pipeline.clone) };
        };
        let script = Script {
            place: step.place,
            shell: step.shell.clone(),
            commands: step.commands.clone(),
            shared: shared.clone(),
            own: step.environment.clone(),
        };
        Step {
            number,
            name,
            after,
            run: step.when.run_policy(),
            failure: step.failure,
            detach: step.detach,
            work: Work::Script(script),
        }
    }
}

// === impl Script ===

impl Script {
    /// Its variables: the pipeline's, and its own, which go before.
    pub fn environment(&self) -> impl Iterator<Item = (&str, &Value)> {
        let shared = self.shared.iter().filter(|(name, _)| !self.own.contains_key(*name));
        shared.chain(&self.own).map(|(name, value)| (name.as_str(), value))
    }
}
