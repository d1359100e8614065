//! Runners: is there one for each task type that an upstream is told of.

use std::collections::BTreeSet;

use super::{
    Delegate,
    finding::{Check, Findings, Verdict},
};
use crate::{config::Config, config::nearest};

pub(super) fn examine(config: &Config, delegate: &Delegate, findings: &mut Findings) {
    let Delegate::Runs(status) = delegate else {
        let reason = "runners attach to a running delegate, and none answers";
        return findings.add(Check::Runners, config.runners.socket.display().to_string(), Verdict::skipped(reason));
    };
    let attached = status.runners.iter().filter(|runner| runner.state == "attached");
    let (names, types): (Vec<_>, Vec<_>) = attached.map(|runner| (&*runner.runner_id, &runner.task_types)).unzip();
    let types: BTreeSet<&str> = types.into_iter().flatten().map(String::as_str).collect();
    let place = config.runners.socket.display().to_string();
    findings.add(Check::Runners, place, judge_attached(&names, &types));
    for upstream in &config.upstreams {
        for wanted in upstream.task_types.iter().flatten().filter(|wanted| !types.contains(wanted.as_str())) {
            findings.add(
                Check::Runners,
                format!("upstreams[{}].task_types", upstream.name),
                judge_type(wanted, &types),
            );
        }
    }
}

fn judge_attached(names: &[&str], types: &BTreeSet<&str>) -> Verdict {
    if names.is_empty() {
        return Verdict::failed(
            "no runner is attached",
            "nothing can be done here, so nothing is taken; /readyz says 503",
            "start one: dlite runner exec --config exec.toml, or a program made with the SDK, on runners.socket",
        );
    }
    let types: Vec<_> = types.iter().copied().collect();
    Verdict::fine(format!("{} attached, for {}", names.join(", "), types.join(", ")))
}

fn judge_type(wanted: &str, types: &BTreeSet<&str>) -> Verdict {
    let nearest = nearest(wanted, types.iter().copied());
    let next = match &nearest {
        Some(nearest) => format!("the nearest type a runner has is {nearest}: is one of the two misspelt?"),
        None => format!("start a runner with a handler for {wanted}, or take it out of task_types"),
    };
    let why = "its upstream offers such tasks to this delegate, and they wait for ever";
    Verdict::failed(format!("no runner for the configured type {wanted}"), why, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_nobody_does_has_the_nearest_that_somebody_does() {
        let types = BTreeSet::from(["CI_EXECUTE", "CI_SETUP"]);
        let verdict = judge_type("CI_EXECUTES", &types);
        let trouble = verdict.trouble().unwrap();
        assert!(trouble.what.contains("CI_EXECUTES") && trouble.next.contains("CI_EXECUTE:"), "{trouble:?}");
        assert!(judge_type("OTHER", &types).trouble().unwrap().next.contains("start a runner"));
        assert_eq!(judge_attached(&[], &BTreeSet::new()).word(), "failed");
    }
}
