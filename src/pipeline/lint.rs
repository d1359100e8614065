//! What would run, told without a server: mistakes, or each stage's steps as a graph.

mod graph;

use std::{collections::BTreeMap, fmt};

use super::{
    condition::{Build, Unmet},
    expand::{BadExpansion, expand},
    plan::{Plan, plan},
    yaml::{self, Mistakes, NoSuchPipeline, Pipeline, Platform, shown},
};

/// What it is told for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The one stage; absent: all.
    pub stage: Option<String>,
    pub build: Build,
    /// For `${…}`.
    pub variables: BTreeMap<String, String>,
}

/// What would run. `Display` is the whole of it, ending in a line break.
#[derive(Clone, Debug)]
pub struct Report {
    stages: Vec<Stage>,
}

/// Why nothing would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Expansion(#[from] BadExpansion),
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
    #[error(transparent)]
    NoSuchPipeline(#[from] NoSuchPipeline),
    #[error("the configuration has no pipeline of type exec")]
    NoPipeline,
}

#[derive(Clone, Debug)]
struct Stage {
    name: String,
    document: u32,
    line: u32,
    platform: Platform,
    depends_on: Vec<String>,
    /// Why the server would not start it.
    unmet: Option<Unmet>,
    plan: Plan,
}

/// What the configuration would do for a build.
///
/// # Errors
/// [`Refusal`]
pub fn lint(text: &str, options: &Options) -> Result<Report, Refusal> {
    let text = expand(text, &options.variables)?;
    let manifest = yaml::parse(&text)?;
    let pipelines = match &options.stage {
        Some(stage) => std::slice::from_ref(manifest.select(stage)?),
        None => manifest.pipelines.as_slice(),
    };
    if pipelines.is_empty() {
        return Err(Refusal::NoPipeline);
    }
    Ok(Report { stages: pipelines.iter().map(|pipeline| Stage::new(pipeline, &options.build)).collect() })
}

// === impl Stage ===

impl Stage {
    fn new(pipeline: &Pipeline, build: &Build) -> Self {
        Self {
            name: pipeline.name.clone(),
            document: pipeline.place.document,
            line: pipeline.place.line,
            platform: pipeline.platform.clone(),
            depends_on: pipeline.depends_on.clone(),
            unmet: pipeline.trigger.unmet(build),
            plan: plan(pipeline, build),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, document, line, platform, .. } = self;
        write!(f, "pipeline {}, document {document}, line {line}", shown(name))?;
        for (what, value) in [("os", &platform.os), ("arch", &platform.arch), ("variant", &platform.variant)] {
            if !value.is_empty() {
                write!(f, ", {what} {}", value.escape_debug())?;
            }
        }
        if !self.depends_on.is_empty() {
            let names: Vec<String> = self.depends_on.iter().map(|name| shown(name)).collect();
            write!(f, ", after {}", names.join(", "))?;
        }
        writeln!(f)?;
        if let Some(unmet) = &self.unmet {
            writeln!(f, "  the server would not start it: trigger.{}", told(unmet))?;
        }
        for line in graph::lines(&self.plan.steps) {
            writeln!(f, "  {line}")?;
        }
        for left_out in &self.plan.left_out {
            writeln!(f, "  - {} is left out: when.{}", left_out.name.escape_debug(), told(&left_out.unmet))?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, stage) in self.stages.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            stage.fmt(f)?;
        }
        Ok(())
    }
}

fn told(unmet: &Unmet) -> String {
    format!("{} does not match {}", unmet.condition, shown(&unmet.value))
}
