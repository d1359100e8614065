//! What is wrong with a configuration, all of it at once.

use std::fmt;

use super::source::Source;

/// One mistake, or with [`super::Loaded::warnings`] one thing to look at.
///
/// It never holds the value of a secret, nor the value of a key nobody knows: that may be a misspelt secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Complaint {
    /// The place to correct.
    pub source: Source,
    /// The key as the file spells it (`runners.lease_ttl`, `upstreams[harness].endpoint`), if the mistake is about one.
    pub key: Option<String>,
    /// Why it cannot stay.
    pub reason: String,
    /// What to do about it, as an order.
    pub fix: Option<String>,
    /// For an unknown key: the known one that looks most like it.
    pub nearest: Option<String>,
}

/// Every mistake in a configuration, by place. `Display` is the whole report: warnings, then mistakes, one a paragraph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.report())]
pub struct Complaints {
    mistakes: Vec<Complaint>,
    /// They may explain a mistake: a misspelt variable is why something is missing.
    warnings: Vec<Complaint>,
}

impl Complaint {
    pub(super) fn new(source: Source, key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { source, key: Some(key.into()), reason: reason.into(), fix: None, nearest: None }
    }

    /// A mistake that belongs to no key.
    pub(super) fn general(source: Source, reason: impl Into<String>) -> Self {
        Self { source, key: None, reason: reason.into(), fix: None, nearest: None }
    }

    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    pub(super) fn nearest(mut self, nearest: Option<String>) -> Self {
        self.nearest = nearest;
        self
    }
}

impl Complaints {
    /// Sorted by place: the file from top to bottom, then environment, then flags.
    pub(crate) fn new(mut mistakes: Vec<Complaint>, mut warnings: Vec<Complaint>) -> Self {
        mistakes.sort();
        mistakes.dedup();
        warnings.sort();
        Self { mistakes, warnings }
    }

    /// The mistakes; at least one.
    pub fn iter(&self) -> std::slice::Iter<'_, Complaint> {
        self.mistakes.iter()
    }

    fn report(&self) -> String {
        let mut report = String::new();
        for warning in &self.warnings {
            report.push_str(&format!("warning: {warning}\n"));
        }
        for mistake in &self.mistakes {
            report.push_str(&format!("{mistake}\n"));
        }
        let word = if self.mistakes.len() == 1 { "mistake" } else { "mistakes" };
        report.push_str(&format!("{} {word} in the configuration", self.mistakes.len()));
        report
    }
}

// === impl Complaint ===

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // "default" as the place of a mistake would say that the default is wrong, while the value is missing.
        if self.source != Source::Default {
            write!(f, "{}: ", self.source.precise())?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.reason)?;
        if let Some(nearest) = &self.nearest {
            write!(f, "\n    nearest known: {nearest}")?;
        }
        if let Some(fix) = &self.fix {
            write!(f, "\n    fix: {fix}")?;
        }
        Ok(())
    }
}
