//! Programs that run for a task: started, watched, and ended with everything they started.
//!
//! Between runner and program stands a keeper, a process of its own for each program. It ends the program when the runner says so, and
//! also when the runner is gone. If both are killed, the next runner finds the rest by the records in the rooms.
//!
//! ```text
//!  runner ── Kept ── control ──► keeper ── program and its children
//!              └── Room: record.json, ended.json, events
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `host` | the runner's place: its state directory and groups |
//! | `kept` | the runner's end of one program |
//! | `watch`, `start` | the keeper process |
//! | `order` | what both tell each other |
//! | `room` | the directory of one program |
//! | `record` | what was left behind, and its end |
//! | `process`, `cgroup`, `limits` | processes as the system shows them; groups with limits; the limits |
//!
//! It is made for Linux.

mod cgroup;
mod host;
mod kept;
mod limits;
mod order;
mod process;
mod record;
mod room;
mod start;
mod watch;

use std::{path::Path, process::ExitCode};

pub(crate) use self::{
    cgroup::Parent,
    kept::Kept,
    order::{Ended, Exit, Order},
    record::{MARK, sweep},
    room::{Room, make_dir, read_bounded, write_private},
};
pub use self::{
    host::{Host, HostError},
    limits::Limits,
};

/// The keeper of the program in `room`: what `dlite runner keep` is.
pub fn keep(room: &Path) -> ExitCode {
    watch::run(room)
}
