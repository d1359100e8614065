//! What runner and keeper tell each other.
//!
//! ```text
//!  runner ── standard input ──► keeper   lengths, order, payload; then one byte a command; its end: the runner is gone
//!  runner ◄── ended.json ────── keeper   how it ended
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::{cgroup::Parent, limits::Limits};

/// Command: SIGTERM to the script's process group.
pub(super) const TERMINATE: u8 = b'T';
/// Command: SIGKILL to all there is.
pub(super) const KILL: u8 = b'K';

/// The order holds command and environment, which the system bounds by 2 MiB; escaping doubles it at the most.
const ORDER_BYTES_MAX: u32 = 8 << 20;

/// Payloads are bounded by the delegate, lower than this.
const PAYLOAD_BYTES_MAX: u32 = 64 << 20;

/// What to run, and how. It travels by a pipe, since arguments and environment of the keeper can be seen by others.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub working_dir: PathBuf,
    /// Enforced through a group below this one.
    pub cgroups: Option<Parent>,
    pub limits: Limits,
    /// The keeper itself looks at the memory from time to time.
    pub watch_memory: bool,
}

/// The keeper's last word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub exit: Exit,
    /// It was killed for its memory.
    pub memory_limit: bool,
    /// Processes that the script had left running; they were killed.
    pub strays: u32,
    /// Processes that did not even go when they were killed.
    pub survivors: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
    /// It never ran, for this reason.
    NotStarted(String),
}

// === impl Order ===

impl Order {
    /// Lengths, order and payload as they go to the keeper; `None` if one is too long.
    pub fn frame(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let order = serde_json::to_vec(self).ok()?;
        let order_length = u32::try_from(order.len()).ok().filter(|length| *length <= ORDER_BYTES_MAX)?;
        let payload_length = u32::try_from(payload.len()).ok().filter(|length| *length <= PAYLOAD_BYTES_MAX)?;
        let mut frame = Vec::with_capacity(8 + order.len() + payload.len());
        frame.extend(order_length.to_be_bytes());
        frame.extend(payload_length.to_be_bytes());
        frame.extend(order);
        frame.extend(payload);
        Some(frame)
    }

    /// Order and payload, and not a byte more.
    pub fn read(from: &mut impl Read) -> io::Result<(Self, Vec<u8>)> {
        let mut lengths = [[0; 4]; 2];
        from.read_exact(lengths.as_flattened_mut())?;
        let [order, payload] = lengths.map(u32::from_be_bytes);
        if order > ORDER_BYTES_MAX || payload > PAYLOAD_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "lengths beyond all bounds"));
        }
        let mut read = |length: u32| {
            let mut bytes = vec![0; length as usize];
            from.read_exact(&mut bytes).map(|()| bytes)
        };
        let order = serde_json::from_slice(&read(order)?)?;
        Ok((order, read(payload)?))
    }
}

/// The environment may hold secrets.
impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order").field("command", &self.command.first()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_reads_back_and_leaves_the_commands_behind_it() {
        let order = Order {
            command: vec!["/bin/true".to_owned()],
            environment: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
            working_dir: "/".into(),
            cgroups: None,
            limits: Limits::default(),
            watch_memory: false,
        };
        let mut bytes = order.frame(b"payload").expect("short");
        bytes.push(TERMINATE);
        let mut rest = bytes.as_slice();
        let (read, payload) = Order::read(&mut rest).expect("whole");
        assert_eq!((read.command, read.environment, &payload[..]), (order.command, order.environment, &b"payload"[..]));
        assert_eq!(rest, [TERMINATE]);
    }

    #[test]
    fn a_torn_order_is_an_error() {
        assert!(Order::read(&mut &[0, 0, 0, 9, 0, 0, 0, 0, b'{'][..]).is_err());
        assert!(Order::read(&mut &[255; 8][..]).is_err());
    }
}
