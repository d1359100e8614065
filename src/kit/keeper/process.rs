//! Processes as `/proc` shows them.
//!
//! A process is named by pid and start time together: a pid alone may belong to somebody else a moment later.

use std::{fs, io};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// Which process, since the host's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub pid: i32,
    /// Clock ticks after the host's start.
    pub started: u64,
}

/// One process as it was when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub stamp: Stamp,
    pub parent: i32,
    pub group: i32,
    /// It has ended, and its parent has not asked for its status.
    pub is_zombie: bool,
}

// === impl Process ===

impl Process {
    /// The process `pid`; `None` if there is none.
    pub fn read(pid: i32) -> Option<Self> {
        parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// All that can be seen.
    pub fn all() -> Vec<Self> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries.flatten().filter_map(|entry| Self::read(entry.file_name().to_str()?.parse().ok()?)).collect()
    }

    /// Bytes of memory that are its alone, nearly: what is resident without what is mapped from files.
    pub fn memory(&self) -> u64 {
        let Ok(text) = fs::read_to_string(format!("/proc/{}/statm", self.stamp.pid)) else { return 0 };
        let mut pages = text.split_ascii_whitespace().skip(1).map(|number| number.parse::<u64>().unwrap_or(0));
        let (resident, shared) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
        resident.saturating_sub(shared) * rustix::param::page_size() as u64
    }

    /// Its environment, as it was started with, holds `entry` (`NAME=value`).
    pub fn has_environment(&self, entry: &str) -> bool {
        fs::read(format!("/proc/{}/environ", self.stamp.pid))
            .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|one| one == entry.as_bytes()))
    }

    /// Kills exactly this process; one that is gone is fine.
    pub fn kill(&self) -> io::Result<()> {
        self.stamp.kill()
    }
}

// === impl Stamp ===

impl Stamp {
    /// The process `pid` as it is now.
    pub fn of(pid: i32) -> Option<Self> {
        Process::read(pid).map(|process| process.stamp)
    }

    /// It is still there, be it as a zombie.
    pub fn exists(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    fn kill(&self) -> io::Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(()) };
        // The descriptor holds on to one process; the check after it is about the process that it holds.
        let held = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(held) => held,
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if !self.exists() {
            return Ok(());
        }
        match pidfd_send_signal(held, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Children of `ancestor`, their children, and so on; of those in `all`.
pub(super) fn descendants(ancestor: i32, all: &[Process]) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent) {
            // Parents change while `/proc` is read, so that a loop is possible in what was read.
            if !found.contains(process) {
                found.push(*process);
                parents.push(process.stamp.pid);
            }
        }
    }
    found
}

/// The program's name stands in brackets and may hold anything, brackets and spaces too.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<i32>().ok();
    Some(Process {
        stamp: Stamp { pid, started: fields.get(19)?.parse().ok()? },
        parent: number(1)?,
        group: number(2)?,
        is_zombie: matches!(fields.first(), Some(&"Z" | &"X")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) (c) S 1 5 5 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        let expected = Process { stamp: Stamp { pid: 7, started: 4242 }, parent: 1, group: 5, is_zombie: false };
        assert_eq!(parse(7, stat), Some(expected));
        assert_eq!(parse(7, "nonsense"), None);
    }

    #[test]
    fn descendants_are_found_through_generations_and_nobody_else() {
        let process = |pid, parent| Process { stamp: Stamp { pid, started: 1 }, parent, group: 1, is_zombie: false };
        let all = [process(2, 1), process(3, 2), process(4, 3), process(5, 1), process(6, 5)];
        let mut pids: Vec<i32> = descendants(2, &all).iter().map(|process| process.stamp.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [3, 4]);
    }

    #[test]
    fn a_process_that_took_over_a_pid_is_not_killed() {
        let me = Stamp::of(rustix::process::getpid().as_raw_nonzero().get()).expect("this process");
        Stamp { started: me.started + 1, ..me }.kill().expect("nobody to kill");
    }
}
