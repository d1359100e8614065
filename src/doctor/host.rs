//! The host itself: what the kernel allows and tells.

use rustix::process::{Resource, getrlimit};

use super::finding::{Check, Findings, Verdict};
use crate::{config::Config, pressure};

/// A runner, an upstream's connection, a log: each is a file or two. Below this a busy delegate runs out of them.
const OPEN_FILES_MIN: u64 = 256;
/// What systemd gives a service, and enough for a thousand runners.
const OPEN_FILES_USUAL: u64 = 1_024;

pub(super) fn examine(config: Option<&Config>, findings: &mut Findings) {
    findings.add(Check::OpenFiles, "limit of this process", judge_open_files(getrlimit(Resource::Nofile).current));
    if !cfg!(target_os = "linux") {
        return findings.add(Check::ControlGroup, "-", Verdict::skipped("control groups are Linux's"));
    }
    let proc = config.map_or_else(|| "/proc".into(), |config| config.admission.proc_dir.clone());
    let own = config.and_then(|config| config.admission.cgroup_dir.clone());
    let verdict = match own.map_or_else(|| pressure::own_group(&proc), Ok) {
        Ok(group) => (group.display().to_string(), Verdict::fine("its limits are what admission looks at first")),
        Err(reason) => {
            let why = "admission looks at the whole host only, and the exec runner can't limit memory and CPU of tasks";
            let next = "mount version 2 of control groups (systemd.unified_cgroup_hierarchy=1), or leave it so";
            (proc.join("self/cgroup").display().to_string(), Verdict::warned(reason.to_string(), why, next))
        }
    };
    findings.add(Check::ControlGroup, verdict.0, verdict.1);
    let pressure = proc.join("pressure/memory");
    let verdict = if pressure.is_file() {
        Verdict::fine("the kernel tells it")
    } else {
        let why = "admission does without it, and sees a host short of memory later";
        let next = "boot the kernel with psi=1, or leave it so";
        Verdict::warned("the kernel tells no pressure (PSI)", why, next)
    };
    findings.add(Check::Pressure, pressure.display().to_string(), verdict);
}

/// Absent: no limit.
fn judge_open_files(limit: Option<u64>) -> Verdict {
    let next = "raise it: LimitNOFILE=65536 in the unit of systemd, or ulimit -n 65536";
    match limit {
        Some(limit) if limit < OPEN_FILES_MIN => Verdict::failed(
            format!("{limit} files may be open at once"),
            "runners and upstreams can't connect once they are used up",
            next,
        ),
        Some(limit) if limit < OPEN_FILES_USUAL => {
            Verdict::warned(format!("{limit} files may be open at once"), "many runners use them up", next)
        }
        Some(limit) => Verdict::fine(format!("{limit} files may be open at once")),
        None => Verdict::fine("any number of files may be open"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_open_files_are_told_before_they_are_used_up() {
        let word = |limit| judge_open_files(limit).word();
        assert_eq!((word(Some(64)), word(Some(512)), word(Some(1_024)), word(None)), ("failed", "warning", "ok", "ok"));
    }
}
