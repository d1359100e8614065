//! The process between runner and script, one for each running task.
//!
//! It starts the script in a process group of its own, adopts whatever the script's processes leave orphaned, and at the end kills
//! every one of them. It lives exactly as long as they do: it ends the script when the runner says so, and also when the runner
//! is gone, which it sees at its standard input. So nothing outlives a runner that was killed.
//!
//! It is one thread without a runtime, and it never touches the script's streams: those it inherits and hands on.
//!
//! ```text
//!  runner ─┬─ control ──► keeper (own session, adopts orphans)
//!          │                └── script (own process group) ── its children, and theirs
//!          ├── stdout, stderr, events ◄───────────┘
//! ```

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, retry_on_intr},
    process::{
        Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, kill_process_group, pidfd_open, set_child_subreaper,
        setsid, wait, waitpid,
    },
};

use super::{
    cgroup::Cgroup,
    order::{Ended, Exit, KILL, Order, TERMINATE},
    process::{Process, descendants},
    room::{Room, write_json},
    start,
};

/// Between two looks at the memory, where no cgroup bounds it. Shorter would cost more than a hundredth of a CPU on a busy host.
const MEMORY_WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// Between two looks for ended orphans.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// A killed process that is still there after this long hangs in the system; waiting longer does not help.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Between two rounds of killing: a killed process needs a moment to go.
const KILL_INTERVAL: Duration = Duration::from_millis(2);

/// A script that runs.
struct Keeper {
    control: File,
    leader: Pid,
    /// Becomes readable when the leader ends.
    leader_end: OwnedFd,
    cgroup: Option<Cgroup>,
    memory_max: Option<u64>,
}

/// Why the watch over a script ended.
#[derive(PartialEq, Eq)]
enum Cause {
    ItEnded,
    Killed,
    MemoryLimit,
    RunnerGone,
}

/// Keeps one task in `room`; the process is for nothing else. The exit code tells whether `ended.json` was written.
pub(super) fn run(room: &Path) -> ExitCode {
    let room = Room::at(room.to_owned());
    match keep(&room) {
        Ok(Some(ended)) if write_json(&room.ended(), &ended).is_ok() => ExitCode::SUCCESS,
        // Nobody else is left to do it.
        Ok(None) => {
            let _ = room.remove();
            ExitCode::FAILURE
        }
        // The runner clears up, or the next one: a room without an order may be no room at all.
        Ok(Some(_)) | Err(_) => ExitCode::FAILURE,
    }
}

/// `None`: the runner is gone.
fn keep(room: &Room) -> io::Result<Option<Ended>> {
    // First of all, so that it gets the number 3.
    let events = start::open_events(room)?;
    let mut control = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    // No terminal, and no signal meant for the runner's own group.
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    let (order, payload) = Order::read(&mut control)?;
    let started = start::start(room, &order, &payload, events.as_ref());
    drop((events, payload));
    let (leader, cgroup) = match started {
        Ok(started) => started,
        Err(error) => {
            let exit = Exit::NotStarted(error.to_string());
            return Ok(Some(Ended { exit, memory_limit: false, strays: 0, survivors: 0 }));
        }
    };
    let leader_end = pidfd_open(leader, PidfdFlags::empty()).inspect_err(|_| {
        let _ = kill_process_group(leader, Signal::KILL);
    })?;
    let memory_max = order.limits.memory.filter(|_| order.watch_memory);
    Keeper { control, leader, leader_end, cgroup, memory_max }.finish()
}

// === impl Keeper ===

impl Keeper {
    fn finish(mut self) -> io::Result<Option<Ended>> {
        // Whatever goes wrong from here on, the script must not outlive it.
        let cause = self.watch().unwrap_or(Cause::RunnerGone);
        let left = descendants(own_pid(), &Process::all());
        let strays = left.iter().filter(|process| !process.is_zombie && process.stamp.pid != raw(self.leader)).count();
        let (status, survivors) = self.kill_all();
        let out_of_memory = self.cgroup.as_ref().is_some_and(Cgroup::ran_out_of_memory);
        if let Some(cgroup) = &self.cgroup {
            cgroup.remove();
        }
        let exit = match status {
            Some(status) => match status.terminating_signal() {
                Some(signal) => Exit::Signal(signal),
                None => Exit::Code(status.exit_status().unwrap_or(-1)),
            },
            None => Exit::Signal(Signal::KILL.as_raw()),
        };
        let strays = if cause == Cause::ItEnded { u32::try_from(strays).unwrap_or(u32::MAX) } else { 0 };
        let memory_limit = cause == Cause::MemoryLimit || out_of_memory;
        Ok((cause != Cause::RunnerGone).then_some(Ended { exit, memory_limit, strays, survivors }))
    }

    /// Until the script has ended or has to.
    fn watch(&mut self) -> io::Result<Cause> {
        let interval = if self.memory_max.is_some() { MEMORY_WATCH_INTERVAL } else { REAP_INTERVAL };
        loop {
            let (has_ended, is_told) = self.wait(interval)?;
            // Before the commands: those behind an end come too late.
            if has_ended {
                return Ok(Cause::ItEnded);
            }
            if is_told {
                let mut command = [0];
                match self.control.read(&mut command)? {
                    0 => return Ok(Cause::RunnerGone),
                    _ if command == [TERMINATE] => drop(kill_process_group(self.leader, Signal::TERM)),
                    _ if command == [KILL] => return Ok(Cause::Killed),
                    _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "no such command")),
                }
            }
            let all = Process::all();
            self.reap_orphans(&all);
            if self.memory_max.is_some_and(|bytes_max| memory(&all) > bytes_max) {
                return Ok(Cause::MemoryLimit);
            }
        }
    }

    /// Whether the leader has ended, and whether control can be read.
    fn wait(&self, interval: Duration) -> io::Result<(bool, bool)> {
        let mut ends = [PollFd::new(&self.leader_end, PollFlags::IN), PollFd::new(&self.control, PollFlags::IN)];
        retry_on_intr(|| poll(&mut ends, Some(&timespec(interval))))?;
        Ok((!ends[0].revents().is_empty(), !ends[1].revents().is_empty()))
    }

    /// Asks for the status of ended orphans. The leader's is left: until it is asked for, its pid names its group.
    fn reap_orphans(&self, all: &[Process]) {
        let is_orphan = |process: &&Process| process.is_zombie && process.parent == own_pid();
        for orphan in all.iter().filter(is_orphan).filter_map(|process| Pid::from_raw(process.stamp.pid)) {
            if orphan != self.leader {
                let _ = waitpid(Some(orphan), WaitOptions::NOHANG);
            }
        }
    }

    /// Kills in rounds until no child is left; with those that fork meanwhile, since all orphans come to this process. Returns the
    /// leader's status, and how many could not be killed.
    fn kill_all(&self) -> (Option<WaitStatus>, u32) {
        if let Some(cgroup) = &self.cgroup {
            // Not there before Linux 5.14; the rounds below do without.
            let _ = cgroup.kill();
        }
        let _ = kill_process_group(self.leader, Signal::KILL);
        let give_up_at = Instant::now() + KILL_PATIENCE;
        let mut leader_status = None;
        loop {
            let living = descendants(own_pid(), &Process::all());
            for process in living.iter().filter(|process| !process.is_zombie) {
                let _ = process.kill();
            }
            loop {
                match retry_on_intr(|| wait(WaitOptions::NOHANG)) {
                    Ok(Some((pid, status))) if pid == self.leader => leader_status = Some(status),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(Errno::CHILD) => return (leader_status, 0),
                    Err(_) => break,
                }
            }
            if Instant::now() > give_up_at {
                return (leader_status, u32::try_from(living.len()).unwrap_or(u32::MAX));
            }
            std::thread::sleep(KILL_INTERVAL);
        }
    }
}

/// Of all processes below this one.
fn memory(all: &[Process]) -> u64 {
    descendants(own_pid(), all).iter().map(Process::memory).sum()
}

fn own_pid() -> i32 {
    raw(getpid())
}

fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}
