//! Conditions of a pipeline (`trigger`) or a step (`when`): what a build must be for it to run.

use super::glob::Glob;

/// `when` or `trigger`: all of it must match. An absent condition matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    pub action: Condition,
    pub branch: Condition,
    pub cron: Condition,
    pub event: Condition,
    pub instance: Condition,
    /// The key `ref`.
    pub reference: Condition,
    pub repo: Condition,
    /// Not matched with the others: it says how the stage must be going, which changes while it runs. See [`RunPolicy`].
    pub status: Condition,
    pub target: Condition,
}

/// Globs of which one must match a value (`include`, if there are any), and of which none may (`exclude`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    pub include: Vec<String>,
    pub exclude: Vec<String>,
}

/// What conditions are matched against; a value that a build does not have is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// `opened`, `synchronized`, …
    pub action: String,
    /// The target's: of a pull request, the one it wants into.
    pub branch: String,
    /// The name of the cron job.
    pub cron: String,
    pub event: String,
    /// The server's host.
    pub instance: String,
    pub reference: String,
    /// `namespace/name`.
    pub repo: String,
    /// What is deployed to.
    pub target: String,
}

/// How the stage must be going for a step to run, from `when.status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunPolicy {
    /// No step has failed so far.
    #[default]
    OnSuccess,
    /// A step has failed.
    OnFailure,
    Always,
}

/// The first condition that does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// Its key: `branch`.
    pub condition: &'static str,
    /// The build's value.
    pub value: String,
}

// === impl Conditions ===

impl Conditions {
    /// `None` if the build is what they ask for, whatever the status.
    pub fn unmet(&self, build: &Build) -> Option<Unmet> {
        let pairs: [(&'static str, &Condition, &String); 8] = [
            ("event", &self.event, &build.event),
            ("branch", &self.branch, &build.branch),
            ("ref", &self.reference, &build.reference),
            ("action", &self.action, &build.action),
            ("repo", &self.repo, &build.repo),
            ("target", &self.target, &build.target),
            ("cron", &self.cron, &build.cron),
            ("instance", &self.instance, &build.instance),
        ];
        pairs
            .into_iter()
            .find(|(_, condition, value)| !condition.matches(value))
            .map(|(condition, _, value)| Unmet { condition, value: value.clone() })
    }

    /// What `status` makes of the step. One that names neither success nor failure asks for neither, and runs on success as all do.
    pub fn run_policy(&self) -> RunPolicy {
        if self.status == Condition::default() || !self.status.matches("failure") {
            RunPolicy::OnSuccess
        } else if self.status.matches("success") {
            RunPolicy::Always
        } else {
            RunPolicy::OnFailure
        }
    }
}

// === impl Condition ===

impl Condition {
    /// Exclusion goes before inclusion. A glob that is none matches nothing; reading a configuration refuses it.
    pub fn matches(&self, value: &str) -> bool {
        let any = |globs: &[String]| globs.iter().any(|glob| Glob::new(glob).is_ok_and(|glob| glob.matches(value)));
        !any(&self.exclude) && (self.include.is_empty() || any(&self.include))
    }
}
