//! Where a value came from, in the operator's words.

use std::{fmt, path::Path, sync::Arc};

/// The layer a value came from and its place there. A later layer overrides an earlier one, in the order of the variants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// Nobody set it, and it is in force since its file exists at the place where it is looked for.
    Found,
    /// The file as a whole, where there is no line to point at.
    File(Arc<Path>),
    /// A place in the file. Line and column count from 1, the column in characters.
    Line { file: Arc<Path>, line: usize, column: usize },
    /// An environment variable, by its name.
    Environment(String),
    /// A flag with its dashes: `--name`, or `--set runners.lease_ttl`.
    Flag(String),
}

/// The layers by precedence, places left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LayerKind {
    Default,
    File,
    Environment,
    Flag,
}

impl Source {
    pub(super) fn layer(&self) -> LayerKind {
        match self {
            Self::Default | Self::Found => LayerKind::Default,
            Self::File(_) | Self::Line { .. } => LayerKind::File,
            Self::Environment(_) => LayerKind::Environment,
            Self::Flag(_) => LayerKind::Flag,
        }
    }

    /// Like `Display`, with the column too, as editors and terminals understand it.
    pub(super) fn precise(&self) -> String {
        match self {
            Self::Line { file, line, column } => format!("{}:{line}:{column}", file.display()),
            other => other.to_string(),
        }
    }
}

// === impl Source ===

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Found => f.write_str("default, found on this host"),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Line { file, line, .. } => write!(f, "{}:{line}", file.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}
