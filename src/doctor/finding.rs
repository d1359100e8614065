//! What an examination finds: one value for each thing that was looked at.

use std::{fmt, time::Duration};

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    Config,
    StateDir,
    Disk,
    Fsync,
    AdminSocket,
    Delegate,
    RunnerSocket,
    RunnerAddress,
    HttpAddress,
    Runners,
    /// The way to an upstream, stage by stage.
    Upstream,
    Clock,
    Certificate,
    OpenFiles,
    ControlGroup,
    Pressure,
}

/// One thing, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub check: Check,
    /// Where it is: a path, an address, an upstream with the stage.
    pub place: String,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine {
        found: String,
    },
    /// It can't be looked at now.
    Skipped {
        reason: String,
    },
    /// It works, and will hurt some day.
    Warned(Trouble),
    Failed(Trouble),
}

/// What is wrong, what comes of it, and what to do next. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub what: String,
    pub why: String,
    pub next: String,
}

/// All findings, in the order of the examination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

// === impl Check ===

impl Check {
    /// Stable; scripts read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::StateDir => "state_dir",
            Self::Disk => "disk",
            Self::Fsync => "fsync",
            Self::AdminSocket => "admin_socket",
            Self::Delegate => "delegate",
            Self::RunnerSocket => "runner_socket",
            Self::RunnerAddress => "runner_address",
            Self::HttpAddress => "http_address",
            Self::Runners => "runners",
            Self::Upstream => "upstream",
            Self::Clock => "clock",
            Self::Certificate => "certificate",
            Self::OpenFiles => "open_files",
            Self::ControlGroup => "control_group",
            Self::Pressure => "pressure",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

// === impl Verdict ===

impl Verdict {
    pub fn fine(found: impl Into<String>) -> Self {
        Self::Fine { found: found.into() }
    }

    pub fn skipped(reason: impl Into<String>) -> Self {
        Self::Skipped { reason: reason.into() }
    }

    pub fn warned(what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Warned(Trouble { what: what.into(), why: why.into(), next: next.into() })
    }

    pub fn failed(what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Failed(Trouble { what: what.into(), why: why.into(), next: next.into() })
    }

    /// Stable; scripts read it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Fine { .. } => "ok",
            Self::Skipped { .. } => "skipped",
            Self::Warned(_) => "warning",
            Self::Failed(_) => "failed",
        }
    }

    pub fn trouble(&self) -> Option<&Trouble> {
        match self {
            Self::Warned(trouble) | Self::Failed(trouble) => Some(trouble),
            Self::Fine { .. } | Self::Skipped { .. } => None,
        }
    }

    /// In a few words.
    pub fn found(&self) -> &str {
        match self {
            Self::Fine { found } => found,
            Self::Skipped { reason } => reason,
            Self::Warned(trouble) | Self::Failed(trouble) => &trouble.what,
        }
    }
}

// === impl Findings ===

impl Findings {
    pub fn add(&mut self, check: Check, place: impl Into<String>, verdict: Verdict) {
        self.0.push(Finding { check, place: place.into(), verdict });
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.0.iter()
    }

    /// How many checks failed.
    pub fn failed(&self) -> usize {
        self.iter().filter(|finding| matches!(finding.verdict, Verdict::Failed(_))).count()
    }

    pub fn warned(&self) -> usize {
        self.iter().filter(|finding| matches!(finding.verdict, Verdict::Warned(_))).count()
    }
}

/// A span in words that a sentence takes: `3 days`, `90 s`.
pub(super) fn words(span: Duration) -> String {
    match span.as_secs() {
        0 => format!("{} ms", span.as_millis()),
        seconds @ 1..600 => format!("{seconds} s"),
        seconds @ 600..7_200 => format!("{} minutes", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} hours", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
