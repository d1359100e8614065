//! The host as /proc shows it: meminfo, stat, pressure.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use super::{
    Of, Source,
    cpu::Smoothed,
    read::{LeftOut, number_after, percent, stalled, text},
};
use crate::core::admission::{Resource, Usage};

/// `MemAvailable` against `MemTotal`: the kernel's own estimate of what new processes can have.
struct Memory {
    path: PathBuf,
}

/// All cores' time that was neither idle nor spent waiting for a disk.
struct Cpu {
    path: PathBuf,
    smoothed: Smoothed,
    /// All time, at the last look.
    whole: Option<u64>,
}

/// One of the files of pressure stall information.
pub struct Pressure {
    path: PathBuf,
    resource: Resource,
}

pub fn sources(proc: &Path) -> Vec<Of> {
    let pressure = proc.join("pressure");
    vec![
        (Resource::Memory, Box::new(Memory { path: proc.join("meminfo") })),
        (Resource::Cpu, Box::new(Cpu { path: proc.join("stat"), smoothed: Smoothed::default(), whole: None })),
        Pressure::of(pressure.join("cpu"), Resource::CpuPressure),
        Pressure::of(pressure.join("memory"), Resource::MemoryPressure),
        Pressure::of(pressure.join("io"), Resource::IoPressure),
    ]
}

// === impl Memory ===

impl Source for Memory {
    fn name(&self) -> Arc<str> {
        "the host's memory".into()
    }

    fn read(&mut self, _: Instant) -> Result<Usage, LeftOut> {
        let text = text(&self.path)?;
        let number = |word, wanted| number_after(&text, word).ok_or(LeftOut::garbage(&self.path, wanted));
        let total = number("MemTotal:", "number after \"MemTotal:\"")?;
        let available = number("MemAvailable:", "number after \"MemAvailable:\"")?;
        Ok(Usage::from([(Resource::Memory, percent(total.saturating_sub(available), total))]))
    }
}

// === impl Cpu ===

impl Source for Cpu {
    fn name(&self) -> Arc<str> {
        "the host's cpu".into()
    }

    fn read(&mut self, now: Instant) -> Result<Usage, LeftOut> {
        let text = text(&self.path)?;
        let garbage = || LeftOut::garbage(&self.path, "line \"cpu …\" of eight numbers");
        let line = text.lines().find_map(|line| line.strip_prefix("cpu ")).ok_or_else(garbage)?;
        // user nice system idle iowait irq softirq steal; what guests use is in user already.
        let times: Vec<u64> = line.split_whitespace().take(8).map_while(|time| time.parse().ok()).collect();
        let [user, nice, system, idle, iowait, irq, softirq, steal] = times[..] else { return Err(garbage()) };
        let parts = [user, nice, system, irq, softirq, steal];
        let busy = parts.into_iter().fold(0_u64, u64::saturating_add);
        let whole = busy.saturating_add(idle).saturating_add(iowait);
        let before = self.whole.replace(whole);
        #[allow(clippy::cast_precision_loss)] // ticks between two looks
        let elapsed = |_| before.and_then(|before| whole.checked_sub(before)).map(|ticks| ticks as f64);
        Ok(self.smoothed.look(now, busy, elapsed).map(|percent| (Resource::Cpu, percent)).into_iter().collect())
    }
}

// === impl Pressure ===

impl Pressure {
    pub fn of(path: PathBuf, resource: Resource) -> Of {
        (resource, Box::new(Self { path, resource }))
    }
}

impl Source for Pressure {
    fn name(&self) -> Arc<str> {
        self.path.display().to_string().into()
    }

    fn read(&mut self, _: Instant) -> Result<Usage, LeftOut> {
        Ok(Usage::from([(self.resource, stalled(&self.path)?)]))
    }
}
