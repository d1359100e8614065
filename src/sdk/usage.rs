//! How much of the runner's host is in use, by anyone: what heartbeats tell the delegate's admission.
//!
//! Read from `/proc` and from the workspaces' file system; what can't be read is left out, and never makes a heartbeat wait.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::proto::runner::v1::HostUsage;

/// Remembers what the next reading is compared with.
pub(crate) struct Meter {
    proc: PathBuf,
    cpu: Option<Cpu>,
    disk: Arc<Disk>,
}

/// Time of all cores since the host's start, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cpu {
    busy: u64,
    all: u64,
}

/// A file system that is looked at aside, since one that hangs, as a network's can, would stop the whole runner.
struct Disk {
    path: PathBuf,
    is_asked: AtomicBool,
    fraction: Mutex<Option<f32>>,
}

// === impl Meter ===

impl Meter {
    /// Of this host; `workspace` is a path in the file system that holds the workspaces.
    pub fn new(workspace: PathBuf) -> Self {
        Self::at("/proc".into(), workspace)
    }

    fn at(proc: PathBuf, path: PathBuf) -> Self {
        let cpu = read_cpu(&proc);
        let disk = Arc::new(Disk { path, is_asked: AtomicBool::new(false), fraction: Mutex::new(None) });
        disk.ask();
        Self { proc, cpu, disk }
    }

    /// The usage now; of the cores: since the last reading, of the disk: at the last reading. `None`: nothing is known.
    pub fn read(&mut self) -> Option<HostUsage> {
        let cpu = read_cpu(&self.proc);
        let cpu_fraction = self.cpu.zip(cpu).and_then(|(before, now)| before.fraction_until(now));
        self.cpu = cpu;
        let memory = fs::read_to_string(self.proc.join("meminfo")).ok();
        let memory_fraction = memory.and_then(|text| parse_memory(&text));
        let disk_fraction = self.disk.fraction.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.disk.ask();
        let usage = HostUsage { cpu_fraction, memory_fraction, disk_fraction };
        (usage != HostUsage::default()).then_some(usage)
    }
}

fn read_cpu(proc: &Path) -> Option<Cpu> {
    Cpu::parse(&fs::read_to_string(proc.join("stat")).ok()?)
}

/// Part of the memory that new processes can't have.
fn parse_memory(text: &str) -> Option<f32> {
    let kib = |name: &str| -> Option<u64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.trim().trim_end_matches("kB").trim().parse().ok()
    };
    let (total, available) = (kib("MemTotal:")?, kib("MemAvailable:")?);
    fraction(total.checked_sub(available)?, total)
}

fn fraction(part: u64, whole: u64) -> Option<f32> {
    (whole > 0).then(|| (part as f64 / whole as f64).clamp(0.0, 1.0) as f32)
}

// === impl Cpu ===

impl Cpu {
    /// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal; what follows is in user already.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks = line.split_ascii_whitespace().take(8).map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
        let [_, _, _, idle, iowait, ..] = ticks[..] else { return None };
        let all: u64 = ticks.iter().sum();
        Some(Self { busy: all - idle - iowait, all })
    }

    /// `None` if no tick has passed.
    fn fraction_until(self, now: Self) -> Option<f32> {
        fraction(now.busy.saturating_sub(self.busy), now.all.checked_sub(self.all)?)
    }
}

// === impl Disk ===

impl Disk {
    /// Has the file system looked at, unless the last look has not come back yet.
    fn ask(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.is_asked.swap(true, Ordering::AcqRel) {
            return;
        }
        let disk = self.clone();
        runtime.spawn_blocking(move || {
            let seen = disk.look();
            *disk.fraction.lock().unwrap_or_else(PoisonError::into_inner) = seen;
            disk.is_asked.store(false, Ordering::Release);
        });
    }

    /// What ordinary users can't have any more, as `df` counts it.
    fn look(&self) -> Option<f32> {
        let seen = rustix::fs::statvfs(&self.path).ok()?;
        let used = seen.f_blocks.checked_sub(seen.f_bfree)?;
        fraction(used, used + seen.f_bavail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_busy_by_what_they_did_between_two_readings() {
        let before = Cpu::parse("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3 4\n").expect("a line");
        assert_eq!(before, Cpu { busy: 150, all: 1000 });
        let now = Cpu::parse("cpu  160 0 65 825 50 0 0 0 7 7\n").expect("a line");
        assert_eq!(before.fraction_until(now), Some(0.75));
        assert_eq!(now.fraction_until(now), None);
        assert_eq!((Cpu::parse("intr 5"), Cpu::parse("cpu  1 x 3 4 5")), (None, None));
    }

    #[test]
    fn memory_counts_what_is_available_and_not_what_is_free() {
        let text = "MemTotal:        1000 kB\nMemFree:           10 kB\nMemAvailable:     250 kB\n";
        assert_eq!(parse_memory(text), Some(0.75));
        assert_eq!(parse_memory("MemTotal: 1000 kB\n"), None);
        assert_eq!(parse_memory("MemTotal: 0 kB\nMemAvailable: 0 kB\n"), None);
    }

    #[test]
    fn a_host_that_tells_nothing_has_no_usage() {
        let empty = tempfile::tempdir().expect("a directory");
        let mut meter = Meter::at(empty.path().into(), empty.path().join("absent"));
        assert_eq!(meter.read(), None);
    }

    #[tokio::test]
    async fn this_host_tells_its_memory_and_its_disk() {
        let mut meter = Meter::new("/".into());
        let seen = async {
            loop {
                let usage = meter.read().unwrap_or_default();
                if let (Some(memory), Some(disk)) = (usage.memory_fraction, usage.disk_fraction) {
                    return (memory, disk);
                }
                tokio::task::yield_now().await;
            }
        };
        let (memory, disk) = tokio::time::timeout(std::time::Duration::from_secs(20), seen).await.expect("in time");
        assert!(memory > 0.0 && (0.0..=1.0).contains(&disk), "{memory} {disk}");
    }
}
