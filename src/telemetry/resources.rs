//! What this process costs its host. Where the system does not tell, nothing is made up.

use std::{fs, path::Path, time::Duration};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

/// A reading of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Memory in use that is in RAM.
    pub resident_bytes: Option<u64>,
    /// User and system, since the start.
    pub cpu_time: Option<Duration>,
    pub open_files: Option<u64>,
    /// Absent: no limit.
    pub open_files_max: Option<u64>,
    /// Database and write-ahead log.
    pub journal_bytes: u64,
}

impl Resources {
    /// Of this process, with its state in this directory. Blocks on the file system.
    pub fn of_process(state_dir: &Path) -> Self {
        let size = |name: &str| fs::metadata(state_dir.join(name)).map_or(0, |metadata| metadata.len());
        Self {
            resident_bytes: fs::read_to_string("/proc/self/statm").ok().and_then(|text| resident(&text)),
            cpu_time: fs::read_to_string("/proc/self/stat").ok().and_then(|text| cpu_time(&text)),
            open_files: open_files(),
            open_files_max: getrlimit(Resource::Nofile).current,
            journal_bytes: size("journal.db") + size("journal.db-wal"),
        }
    }
}

fn resident(statm: &str) -> Option<u64> {
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(page_size()).ok()?)
}

/// Fields 14 and 15 of proc(5), counted behind the name, which may hold blanks and parentheses.
fn cpu_time(stat: &str) -> Option<Duration> {
    let fields = stat.get(stat.rfind(')')? + 2..)?;
    let mut fields = fields.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()?.checked_add(ticks()?)?;
    Some(Duration::from_millis(ticks.checked_mul(1_000)? / clock_ticks_per_second().max(1)))
}

fn open_files() -> Option<u64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the look itself.
    u64::try_from(count.saturating_sub(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_s_lines_are_read_and_broken_ones_are_nothing() {
        let stat = "7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        let ticks = clock_ticks_per_second();
        assert_eq!(cpu_time(stat), Some(Duration::from_millis(300_000 / ticks)));
        assert_eq!((cpu_time("7"), cpu_time("7 (a"), cpu_time("7 (a) S 1")), (None, None, None));
        assert_eq!(resident("100 3 1"), Some(3 * u64::try_from(page_size()).unwrap()));
        assert_eq!((resident(""), resident("100 x")), (None, None));
    }
}
