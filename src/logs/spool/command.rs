//! What the spool's thread is told.

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::OwnedSemaphorePermit;

use super::{limits::Budget, log::Shared};
use crate::logs::receipt::{Receipt, Tally};

/// What the thread is told.
pub(super) enum Command {
    Create {
        log: Arc<Shared>,
        epoch: u64,
    },
    Append {
        log: Arc<Shared>,
        epoch: u64,
        frames: Vec<u8>,
        first_line: u64,
        /// What the log is behind them.
        tally: Box<Tally>,
        /// Room in the queue, given back with the command.
        _room: Option<OwnedSemaphorePermit>,
    },
    Close {
        log: Arc<Shared>,
        epoch: u64,
        receipt: Receipt,
    },
    Remove(Arc<Shared>),
}

// === impl Command ===

impl Command {
    pub fn log(&self) -> &Arc<Shared> {
        match self {
            Self::Create { log, .. } | Self::Append { log, .. } | Self::Close { log, .. } | Self::Remove(log) => log,
        }
    }

    /// Not of a time before the log was broken off.
    pub fn is_current(&self) -> bool {
        match self {
            Self::Create { log, epoch } | Self::Append { log, epoch, .. } | Self::Close { log, epoch, .. } => {
                *epoch == log.epoch.load(Ordering::Acquire)
            }
            Self::Remove(_) => true,
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::Append { frames, .. } => frames.len(),
            _ => 0,
        }
    }

    /// Gives back what it holds.
    pub fn discard(self, budget: &Budget) {
        let bytes = self.bytes() as u64;
        self.log().bytes.fetch_sub(bytes, Ordering::Relaxed);
        budget.give_back(bytes);
    }
}
