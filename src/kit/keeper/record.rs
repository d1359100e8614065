//! What a runner that was killed together with its keepers left behind, and its end.
//!
//! A process is killed only if it is surely one of ours: it carries the room's name in its environment, or it is the very process
//! (pid and start time) that the record names, or it is in the group of one that is.

use std::{fs, io, path::Path, thread, time::Duration};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{
    cgroup::Parent,
    process::{Process, Stamp},
    room::{Room, read_json},
};

/// The variable that marks each process of a room.
pub(crate) const MARK: &str = "DLITE_EXEC_ROOM";

/// Rounds of killing: what forks while it is looked for is found in the next one.
const ROUNDS_MAX: u32 = 500;
const ROUND_INTERVAL: Duration = Duration::from_millis(10);

/// Who runs in a room.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// Start times count within one run of the host.
    boot_id: String,
    keeper: Option<Stamp>,
    pub leader: Option<Stamp>,
    cgroups: Option<Parent>,
}

// === impl Record ===

impl Record {
    pub fn of_keeper(keeper: Option<Stamp>, cgroups: Option<Parent>) -> io::Result<Self> {
        Ok(Self { boot_id: boot_id()?, keeper, leader: None, cgroups })
    }
}

/// Ends what is left in `rooms` and removes them. Comes before the first task, under the lock of the state directory: then nobody
/// else has a room here.
pub(crate) fn sweep(rooms: &Path) -> io::Result<()> {
    for entry in fs::read_dir(rooms)? {
        let room = Room::at(entry?.path());
        let killed = end(&room);
        match killed {
            Ok(0) => info!(room = %room.name(), "a task of an earlier runner had left its room"),
            Ok(processes) => {
                warn!(room = %room.name(), processes, "a task of an earlier runner still ran and was killed")
            }
            Err(left) => {
                // Its room stays, for the next sweep.
                warn!(room = %room.name(), left, "processes of an earlier runner can't be killed");
                continue;
            }
        }
        if let Err(error) = room.remove() {
            warn!(room = %room.name(), %error, "the room of an earlier task can't be removed");
        }
    }
    Ok(())
}

/// Ends and removes one room whose keeper is gone.
pub(super) fn clear(room: &Room) {
    if end(room).is_ok() {
        let _ = room.remove();
    }
}

/// Ends all that runs in a room.
fn end(room: &Room) -> Result<usize, usize> {
    let record = read_json::<Record>(&room.record()).ok();
    let record = record.filter(|record| boot_id().is_ok_and(|id| id == record.boot_id));
    let killed = kill_left(&room.name(), record.as_ref());
    if let Some(group) = record.and_then(|record| record.cgroups).map(|parent| parent.group(&room.name())) {
        let _ = group.kill();
        group.remove();
    }
    killed
}

/// How many were killed, or how many can't be.
fn kill_left(room: &str, record: Option<&Record>) -> Result<usize, usize> {
    let mark = format!("{MARK}={room}");
    let mut killed: Vec<Stamp> = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let all = Process::all();
        let victims = ours(&all, record, |process| process.has_environment(&mark));
        if victims.is_empty() {
            return Ok(killed.len());
        }
        for victim in victims {
            if victim.kill().is_ok() && !killed.contains(&victim.stamp) {
                killed.push(victim.stamp);
            }
        }
        thread::sleep(ROUND_INTERVAL);
    }
    Err(ours(&Process::all(), record, |process| process.has_environment(&mark)).len())
}

/// Those of `all` that surely belong to the room.
fn ours(all: &[Process], record: Option<&Record>, is_marked: impl Fn(&Process) -> bool) -> Vec<Process> {
    let keeper = record.and_then(|record| record.keeper);
    let leader = record.and_then(|record| record.leader);
    let is_named = |process: &Process| Some(process.stamp) == keeper || Some(process.stamp) == leader;
    let living = || all.iter().filter(|process| !process.is_zombie);
    let sure: Vec<Process> = living().filter(|process| is_named(process) || is_marked(process)).copied().collect();
    // A group's number is not given anew while one of it lives, so that a sure member vouches for the others; the keeper is in its own.
    let group = leader.map(|leader| leader.pid).filter(|group| sure.iter().any(|process| process.group == *group));
    living().filter(|process| sure.contains(process) || Some(process.group) == group).copied().collect()
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, started: u64, group: i32) -> Process {
        Process { stamp: Stamp { pid, started }, parent: 1, group, is_zombie: false }
    }

    fn record() -> Record {
        let stamp = |pid| Some(Stamp { pid, started: 100 });
        Record { boot_id: String::new(), keeper: stamp(10), leader: stamp(11), cgroups: None }
    }

    fn pids(all: &[Process], marked: &[i32]) -> Vec<i32> {
        let is_marked = |process: &Process| marked.contains(&process.stamp.pid);
        ours(all, Some(&record()), is_marked).iter().map(|process| process.stamp.pid).collect()
    }

    #[test]
    fn keeper_leader_and_the_leaders_group_are_ours() {
        let all = [process(10, 100, 10), process(11, 100, 11), process(12, 130, 11), process(13, 130, 13)];
        assert_eq!(pids(&all, &[]), [10, 11, 12]);
    }

    #[test]
    fn a_reused_pid_and_its_group_are_left_alone() {
        let all = [process(10, 900, 10), process(11, 900, 11), process(12, 901, 11)];
        assert_eq!(pids(&all, &[]), Vec::<i32>::new());
    }

    #[test]
    fn a_marked_process_is_ours_wherever_it_went_and_vouches_for_its_group() {
        let all = [process(12, 130, 11), process(13, 131, 11), process(14, 140, 14)];
        assert_eq!(pids(&all, &[12, 14]), [12, 13, 14]);
    }
}
