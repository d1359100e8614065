//! The start of a script: its streams, its group, its limits, and the record of it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    },
    process::{Child, Command, Stdio},
};

use rustix::{
    fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create},
    io::{FdFlags, fcntl_setfd},
    process::{Pid, getpid},
};

use super::{
    cgroup::{self, Cgroup},
    order::Order,
    process::Stamp,
    record::Record,
    room::{Room, write_json},
};

/// The descriptor of the script's events.
const EVENTS: i32 = 3;

/// Why a script did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{program} can't be started: {source}")]
    Command { program: String, source: io::Error },
    #[error("the working directory can't be used: {0}")]
    WorkingDir(io::Error),
    #[error("its cgroup can't be set up: {0}")]
    Cgroup(io::Error),
    #[error("the keeper can't prepare it: {0}")]
    Keeper(#[from] io::Error),
}

/// The script's end of the events pipe, to be inherited; `None` if the room has none. An error if the runner does not listen.
pub(super) fn open_events(room: &Room) -> io::Result<Option<File>> {
    // Without it, opening would wait for a reader; with it, a missing reader is an error.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let events = match OpenOptions::new().write(true).custom_flags(nonblocking).open(room.events()) {
        Ok(events) => events,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    fcntl_setfl(&events, OFlags::empty())?;
    fcntl_setfd(&events, FdFlags::empty())?;
    Ok(Some(events))
}

/// Starts the script in a process group of its own; its leader.
pub(super) fn start(
    room: &Room,
    order: &Order,
    payload: &[u8],
    events: Option<&File>,
) -> Result<(Pid, Option<Cgroup>), Error> {
    let mut record = Record::of_keeper(Stamp::of(getpid().as_raw_nonzero().get()), order.cgroups.clone())?;
    // Before anything is there that it could tell of.
    write_json(&room.record(), &record)?;
    fs::metadata(&order.working_dir)
        .and_then(|entry| if entry.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) })
        .map_err(Error::WorkingDir)?;
    let stdin = in_memory(payload)?;
    let group = order.cgroups.as_ref().map(|parent| parent.create(&room.name(), &order.limits));
    let group = group.transpose().map_err(Error::Cgroup)?;
    let mut command = command(order, events);
    command
        .env_clear()
        .envs(&order.environment)
        .current_dir(&order.working_dir)
        .stdin(Stdio::from(stdin))
        .process_group(0);
    let child = match &group {
        Some(group) => spawn_in(group, &mut command, order).inspect_err(|_| group.remove())?,
        None => spawn(&mut command, order)?,
    };
    let leader = Pid::from_child(&child);
    record.leader = Stamp::of(leader.as_raw_nonzero().get());
    // Without it the room's name still leads to all that carry it.
    let _ = write_json(&room.record(), &record);
    Ok((leader, group))
}

/// Joins the group for the moment of the start, so that the script is in it from its first instruction on.
fn spawn_in(group: &Cgroup, command: &mut Command, order: &Order) -> Result<Child, Error> {
    let home = cgroup::own_group().ok_or_else(|| Error::Cgroup(io::ErrorKind::NotFound.into()))?;
    group.join().map_err(Error::Cgroup)?;
    let child = spawn(command, order);
    if let Err(error) = cgroup::join_group(&home) {
        // It takes this process along, and the runner ends what is left. Staying would mean to be killed with the script, unheard.
        let _ = group.kill();
        return Err(Error::Cgroup(error));
    }
    child
}

fn spawn(command: &mut Command, order: &Order) -> Result<Child, Error> {
    // The configured program, whatever is started in its stead.
    let program = || order.command.first().cloned().unwrap_or_default();
    command.spawn().map_err(|source| Error::Command { program: program(), source })
}

/// The events pipe has the number 3, since nothing else is open in a new process. Should a stray descriptor have been inherited there,
/// a shell puts the pipe in its place.
fn command(order: &Order, events: Option<&File>) -> Command {
    let mut words = order.command.iter();
    let mut command = match events.map(File::as_raw_fd) {
        Some(number) if number != EVENTS => {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", &format!("exec \"$@\" {EVENTS}>&{number} {number}>&-"), "sh"]);
            shell
        }
        _ => Command::new(words.next().map(String::as_str).unwrap_or_default()),
    };
    command.args(words);
    command
}

/// The payload as a file that no name leads to: a script that does not read it blocks nobody, one that does finds its end.
fn in_memory(payload: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("payload", MemfdFlags::CLOEXEC)?);
    file.write_all(payload)?;
    file.rewind()?;
    Ok(file)
}
