//! The file system of the workspaces.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use super::{
    Source,
    read::{LeftOut, percent},
};
use crate::core::admission::{Resource, Usage};

/// Blocks in use of those that a user who is not root could ever have, as `df` shows it.
pub struct Disk {
    path: PathBuf,
}

// === impl Disk ===

impl Disk {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Source for Disk {
    fn name(&self) -> Arc<str> {
        format!("the file system of {}", self.path.display()).into()
    }

    fn read(&mut self, _: Instant) -> Result<Usage, LeftOut> {
        let stat = rustix::fs::statvfs(&self.path).map_err(|error| LeftOut::unreadable(&self.path, &error.into()))?;
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        if stat.f_blocks == 0 {
            return Err(LeftOut::Unlimited(self.path.clone()));
        }
        Ok(Usage::from([(Resource::Disk, percent(used, used.saturating_add(stat.f_bavail)))]))
    }
}
