//! The configuration: each mistake is a finding.

use super::finding::{Check, Findings, Verdict};
use crate::config::{self, Complaint, Config, LoadOptions, Source};

/// The configuration, if it has no mistake.
pub(super) fn examine(options: &LoadOptions, findings: &mut Findings) -> Option<Config> {
    let from = match &options.file {
        Some(file) => file.display().to_string(),
        None => "environment and flags".to_owned(),
    };
    match config::load(options) {
        Ok(loaded) => {
            let upstreams: Vec<_> = loaded.config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
            let found = format!("delegate {}, upstreams {}", loaded.config.name, upstreams.join(", "));
            findings.add(Check::Config, from, Verdict::fine(found));
            for warning in &loaded.warnings {
                let why = "allowed, and seldom meant";
                findings.add(Check::Config, place(warning), Verdict::warned(what(warning), why, next(warning)));
            }
            Some(loaded.config)
        }
        Err(complaints) => {
            for complaint in complaints.iter() {
                let why = "`dlite run` does not start with it, and a reload changes nothing";
                findings.add(Check::Config, place(complaint), Verdict::failed(what(complaint), why, next(complaint)));
            }
            None
        }
    }
}

fn place(complaint: &Complaint) -> String {
    match &complaint.source {
        Source::Default => "configuration".to_owned(),
        source => source.to_string(),
    }
}

fn what(complaint: &Complaint) -> String {
    match &complaint.key {
        Some(key) => format!("{key}: {}", complaint.reason),
        None => complaint.reason.clone(),
    }
}

fn next(complaint: &Complaint) -> String {
    let nearest = complaint.nearest.as_ref().map(|nearest| format!("did you mean {nearest}?"));
    let parts: Vec<_> = complaint.fix.iter().cloned().chain(nearest).collect();
    if parts.is_empty() { "correct it; `dlite config check` shows all mistakes".to_owned() } else { parts.join("; ") }
}
