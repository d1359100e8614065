//! Limits through cgroup v2, where the runner may make groups below its own.
//!
//! ```text
//!  the runner's own group (delegated)
//!   ├── dlite-runner       the runner itself, once limits are to be handed down
//!   └── dlite-<room>       one for each running task; gone with it
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::limits::Limits;

/// A group in which groups for tasks can be made. Without a controller it still kills a whole task at one stroke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    path: PathBuf,
    memory: bool,
    pids: bool,
    cpu: bool,
}

/// One task's group.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

/// Why there is no [`Parent`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("no cgroup v2 file system is mounted")]
    NotMounted,
    #[error("cgroup {} can't be used; delegate it to the runner, with Delegate=yes under systemd", path.display())]
    Refused { path: PathBuf, source: io::Error },
}

// === impl Parent ===

impl Parent {
    /// The runner's own group, its controllers handed down. `may_move`: this process may put itself into a group below, which
    /// handing down asks for; it does only if it is alone in its group.
    pub fn find(may_move: bool) -> Result<Self, Unavailable> {
        let path = own_group().ok_or(Unavailable::NotMounted)?;
        let refused = |source| Unavailable::Refused { path: path.clone(), source };
        let controllers = fs::read_to_string(path.join("cgroup.controllers")).map_err(refused)?;
        let has = |name: &str| controllers.split_ascii_whitespace().any(|one| one == name);
        let parent = Self { path: path.clone(), memory: has("memory"), pids: has("pids"), cpu: has("cpu") };
        let names: Vec<&str> = ["memory", "pids", "cpu"].into_iter().filter(|name| has(name)).collect();
        let order = names.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
        let subtree = path.join("cgroup.subtree_control");
        match if names.is_empty() { Ok(()) } else { fs::write(&subtree, &order) } {
            Err(error) if may_move && error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
                parent.move_down().and_then(|()| fs::write(&subtree, &order)).map_err(refused)?;
            }
            other => other.map_err(refused)?,
        }
        // Writing the order is not yet the right to make groups.
        let probe = Cgroup { path: path.join(format!("dlite-probe-{}", std::process::id())) };
        fs::create_dir(&probe.path).map_err(refused)?;
        probe.remove();
        Ok(parent)
    }

    /// One that enforces nothing.
    pub fn none() -> Self {
        Self { path: PathBuf::new(), memory: false, pids: false, cpu: false }
    }

    /// Of `limits`, the names of those that this group can't enforce.
    pub fn unenforced(&self, limits: &Limits) -> Vec<&'static str> {
        let missing = [
            ("memory", limits.memory.is_some() && !self.memory),
            ("pids", limits.pids.is_some() && !self.pids),
            ("cpu", limits.cpu.is_some() && !self.cpu),
        ];
        missing.into_iter().filter(|(_, missing)| *missing).map(|(name, _)| name).collect()
    }

    pub fn enforces_memory(&self) -> bool {
        self.memory
    }

    /// The group of a room; it may not exist.
    pub fn group(&self, room: &str) -> Cgroup {
        Cgroup { path: self.path.join(format!("dlite-{room}")) }
    }

    /// Makes a group with `limits` for a room.
    pub fn create(&self, room: &str, limits: &Limits) -> io::Result<Cgroup> {
        let group = self.group(room);
        fs::create_dir(&group.path)?;
        let set = |file: &str, value: String| fs::write(group.path.join(file), value);
        if let Some(bytes) = limits.memory.filter(|_| self.memory) {
            set("memory.max", bytes.to_string())?;
            // All of the task ends, not a process of it that the others then wait for.
            set("memory.oom.group", "1".to_owned())?;
            // Not there without swap.
            let _ = set("memory.swap.max", "0".to_owned());
        }
        if let Some(pids) = limits.pids.filter(|_| self.pids) {
            set("pids.max", pids.to_string())?;
        }
        if let Some(thousandths) = limits.cpu.filter(|_| self.cpu) {
            set("cpu.max", format!("{} 100000", u64::from(thousandths) * 100))?;
        }
        Ok(group)
    }

    fn move_down(&self) -> io::Result<()> {
        let own = std::process::id().to_string();
        let members = fs::read_to_string(self.path.join("cgroup.procs"))?;
        if members.trim() != own {
            return Err(io::Error::other("other processes are in the runner's group"));
        }
        let below = self.path.join("dlite-runner");
        match fs::create_dir(&below) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::write(below.join("cgroup.procs"), own)
    }
}

// === impl Cgroup ===

impl Cgroup {
    /// Puts this process, and all it starts from now on, into the group.
    pub fn join(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), "0")
    }

    /// Kills all in it.
    pub fn kill(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.kill"), "1")
    }

    /// The system killed some of it for want of memory.
    pub fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        events.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
    }

    /// Only an empty group goes; one that stays is removed with the next sweep.
    pub fn remove(&self) {
        let _ = fs::remove_dir(&self.path);
    }
}

/// Puts this process back where it was.
pub(super) fn join_group(path: &Path) -> io::Result<()> {
    fs::write(path.join("cgroup.procs"), "0")
}

/// This process's group in the file system.
pub(super) fn own_group() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    own_group_in(&mounts, &groups)
}

fn own_group_in(mounts: &str, groups: &str) -> Option<PathBuf> {
    let mut fields = mounts.lines().map(|line| line.split(' ').skip(1));
    let mount = fields.find_map(|mut fields| fields.next().filter(|_| fields.next() == Some("cgroup2")))?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(Path::new(mount).join(group.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_below_the_mount_of_version_two() {
        let mounts = "proc /proc proc rw 0 0\ncgroup /c/memory cgroup rw 0 0\ncgroup2 /c/unified cgroup2 rw 0 0\n";
        let groups = "4:memory:/x\n0::/system.slice/a.service\n";
        assert_eq!(own_group_in(mounts, groups), Some("/c/unified/system.slice/a.service".into()));
        assert_eq!(own_group_in("proc /proc proc rw 0 0\n", groups), None);
        assert_eq!(own_group_in(mounts, "4:memory:/x\n"), None);
    }

    #[test]
    fn limits_that_no_controller_enforces_are_named() {
        let parent = Parent { path: "/c".into(), memory: true, pids: false, cpu: false };
        let limits = Limits { memory: Some(1), pids: Some(1), cpu: None };
        assert_eq!(parent.unenforced(&limits), ["pids"]);
    }
}
