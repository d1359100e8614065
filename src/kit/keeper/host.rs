//! What programs need of the place they run in: a state directory with their rooms, and groups for their limits.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::warn;

use super::{Limits, Parent, sweep};
use crate::state_dir::{self, StateDir};

/// Why a place can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    StateDir(#[from] state_dir::Error),
    #[error("{} can't be used", path.display())]
    Rooms { path: PathBuf, source: io::Error },
}

/// The place of one runner.
#[derive(Debug)]
pub struct Host {
    /// This program, for `dlite runner keep`.
    pub(crate) keeper: PathBuf,
    pub(crate) rooms: PathBuf,
    /// Where groups with limits can be made.
    pub(crate) cgroups: Option<Parent>,
    /// Two runners would sweep each other's rooms.
    _lock: StateDir,
}

// === impl Host ===

impl Host {
    /// Takes the state directory's lock, ends what an earlier runner left there, and finds out how `limits` can be enforced.
    ///
    /// `keeper` is the `dlite` program. `is_alone`: the process is for this runner only, so that it may move to a cgroup below its
    /// own, which limits ask for.
    ///
    /// # Errors
    /// If the state directory is in use or can't be used.
    pub fn prepare(
        state_dir: &Path,
        keeper: PathBuf,
        limits: &[&Limits],
        is_alone: bool,
    ) -> Result<Arc<Self>, HostError> {
        let lock = StateDir::lock(state_dir)?;
        // Scripts start elsewhere, and find their files by these paths.
        let rooms = state_dir.join("rooms");
        let unusable = |source| HostError::Rooms { path: rooms.clone(), source };
        fs::create_dir_all(&rooms).map_err(unusable)?;
        let rooms = fs::canonicalize(&rooms).map_err(unusable)?;
        sweep(&rooms).map_err(unusable)?;
        let limited: Vec<&Limits> = limits.iter().copied().filter(|limits| !limits.is_empty()).collect();
        let cgroups = if limited.is_empty() { None } else { find_cgroups(&limited, is_alone) };
        Ok(Arc::new(Self { keeper, rooms, cgroups, _lock: lock }))
    }

    pub(crate) fn enforces_memory(&self) -> bool {
        self.cgroups.as_ref().is_some_and(Parent::enforces_memory)
    }
}

/// One warning, if anything is not enforced as asked.
fn find_cgroups(limited: &[&Limits], is_alone: bool) -> Option<Parent> {
    let unenforced = |parent: &Parent| {
        let mut names: Vec<&str> = limited.iter().flat_map(|limits| parent.unenforced(limits)).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let memory = "memory is watched instead: it is looked at every 50 ms, and a task above its limit is killed";
    match Parent::find(is_alone) {
        Ok(parent) => {
            let names = unenforced(&parent);
            if !names.is_empty() {
                warn!(limits = ?names, memory, "cgroup v2 does not enforce these limits here");
            }
            Some(parent)
        }
        Err(error) => {
            let names = unenforced(&Parent::none());
            let why = crate::kit::chain(&error);
            warn!(limits = ?names, %why, memory, "cgroup v2 does not enforce these limits here");
            None
        }
    }
}
