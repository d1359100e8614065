//! Conditions of a pipeline (`trigger`) or a step (`when`): what a build must be for it to run.

/// `when` or `trigger`: all of it must match. An absent condition matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    pub action: Condition,
    pub branch: Condition,
    pub cron: Condition,
    pub event: Condition,
    pub instance: Condition,
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
