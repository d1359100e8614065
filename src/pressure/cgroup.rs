//! The limits of a control group (v2) and what is used of them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use super::{
    Of, Source,
    cpu::Smoothed,
    proc::Pressure,
    read::{LeftOut, number_after, percent, text},
};
use crate::core::admission::{Resource, Usage};

/// Where groups are mounted on every distribution with systemd.
const MOUNT: &str = "/sys/fs/cgroup";

/// `memory.current` against `memory.max`, less the cache that the kernel drops before anybody goes short.
struct Memory {
    directory: PathBuf,
}

/// `cpu.stat` against the quota of `cpu.max`.
struct Cpu {
    directory: PathBuf,
    smoothed: Smoothed,
}

/// This process' own group.
///
/// # Errors
/// If it is in none of version 2.
pub fn own(proc: &Path) -> Result<PathBuf, LeftOut> {
    let path = proc.join("self/cgroup");
    let text = text(&path)?;
    let group = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let group = group.ok_or(LeftOut::garbage(&path, "line \"0::/…\" of a control group of version 2"))?;
    let directory = Path::new(MOUNT).join(group);
    // A host that mixes both versions has such a line and no such group.
    let controllers = directory.join("cgroup.controllers");
    if controllers.exists() { Ok(directory) } else { Err(LeftOut::Absent(controllers)) }
}

pub fn sources(directory: &Path) -> Vec<Of> {
    vec![
        (Resource::Memory, Box::new(Memory { directory: directory.to_owned() })),
        (Resource::Cpu, Box::new(Cpu { directory: directory.to_owned(), smoothed: Smoothed::default() })),
        Pressure::of(directory.join("cpu.pressure"), Resource::CpuPressure),
        Pressure::of(directory.join("memory.pressure"), Resource::MemoryPressure),
        Pressure::of(directory.join("io.pressure"), Resource::IoPressure),
    ]
}

/// One number, alone in its file or before others.
fn first_number(path: &Path, text: &str) -> Result<u64, LeftOut> {
    let number = text.split_whitespace().next().and_then(|number| number.parse().ok());
    number.ok_or(LeftOut::garbage(path, "number"))
}

// === impl Memory ===

impl Source for Memory {
    fn name(&self) -> Arc<str> {
        "the control group's memory".into()
    }

    fn read(&mut self, _: Instant) -> Result<Usage, LeftOut> {
        let path = self.directory.join("memory.max");
        let limit = text(&path)?;
        if limit.trim() == "max" {
            return Err(LeftOut::Unlimited(path));
        }
        let limit = first_number(&path, &limit)?;
        let path = self.directory.join("memory.current");
        let current = first_number(&path, &text(&path)?)?;
        // Without it the whole of the cache counts, as the kernel counts it.
        let cache = text(&self.directory.join("memory.stat")).ok();
        let cache = cache.and_then(|stat| number_after(&stat, "inactive_file ")).unwrap_or(0);
        Ok(Usage::from([(Resource::Memory, percent(current.saturating_sub(cache), limit))]))
    }
}

// === impl Cpu ===

impl Source for Cpu {
    fn name(&self) -> Arc<str> {
        "the control group's cpu".into()
    }

    fn read(&mut self, now: Instant) -> Result<Usage, LeftOut> {
        let path = self.directory.join("cpu.max");
        let limit = text(&path)?;
        let mut words = limit.split_whitespace();
        let (quota, period) = (words.next(), words.next());
        if quota == Some("max") {
            return Err(LeftOut::Unlimited(path));
        }
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<u32>().ok()).filter(|number| *number > 0);
        let (Some(quota), Some(period)) = (number(quota), number(period)) else {
            return Err(LeftOut::garbage(&path, "quota and period"));
        };
        let path = self.directory.join("cpu.stat");
        let worked = number_after(&text(&path)?, "usage_usec ");
        let worked = worked.ok_or(LeftOut::garbage(&path, "number after \"usage_usec\""))?;
        let cores = f64::from(quota) / f64::from(period);
        let whole = |then| Some(now.saturating_duration_since(then).as_secs_f64() * 1e6 * cores);
        Ok(self.smoothed.look(now, worked, whole).map(|percent| (Resource::Cpu, percent)).into_iter().collect())
    }
}
