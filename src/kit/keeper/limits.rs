//! What a program may take of the host.

use crate::kit::toml::{Section, value};

/// Bounds on all processes of one task together. `None`: no bound.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Bytes of memory; beyond it the task is killed and ends as `MEMORY_LIMIT`.
    pub memory: Option<u64>,
    /// Processes and threads; beyond it the system starts no more of them.
    pub pids: Option<u32>,
    /// Thousandths of a CPU; beyond it the task waits.
    pub cpu: Option<u32>,
}

// === impl Limits ===

impl Limits {
    pub(crate) fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            memory: section.take("memory", value::bytes),
            // The script is started by a process that is in its group for that moment.
            pids: section.take("pids", |value| value::count(value, 2, 4_194_304)),
            cpu: section.take("cpu", value::cpus),
        }
    }

    /// Each bound of this one, else that of `other`.
    pub(crate) fn or(self, other: Self) -> Self {
        Self { memory: self.memory.or(other.memory), pids: self.pids.or(other.pids), cpu: self.cpu.or(other.cpu) }
    }

    /// Nothing is bounded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
