//! A stage's directory, for its owner alone. Nothing of it outlives the stage; what a killed runner left goes at the next one's start.
//!
//! ```text
//!  home/         $HOME, with .netrc (0600)
//!  tmp/          $TMPDIR
//!  scripts/      one file (0600) a step
//!  drone/src/    where steps start, or as `workspace` says
//! ```

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
};

use tracing::{info, warn};

use super::details::Netrc;
use crate::kit::keeper::{make_dir, write_private};

/// Where the sources are unless the pipeline says otherwise.
const SOURCES: &str = "drone/src";

/// Directories in a stage's directory that could not be opened to be removed, and were made so; a bound on hostile trees.
const OPENED_MAX: usize = 1_000_000;

/// The directory.
#[derive(Debug)]
pub struct StageDir {
    path: PathBuf,
    sources: PathBuf,
}

// === impl StageDir ===

impl StageDir {
    /// Makes the directory `name` below `stages`; `sources` is relative to it.
    pub fn make(stages: &Path, name: &str, sources: Option<&str>, netrc: Option<&Netrc>) -> io::Result<Self> {
        let path = stages.join(name);
        let sources = Path::new(sources.unwrap_or(SOURCES));
        let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if !sources.components().all(is_inside) {
            let text = format!("the workspace {} leads out of the stage's directory", sources.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let made = Self { sources: path.join(sources), path };
        // Half of it must not stay either.
        made.fill(netrc).inspect_err(|_| made.remove())?;
        Ok(made)
    }

    fn fill(&self, netrc: Option<&Netrc>) -> io::Result<()> {
        for directory in [self.path.clone(), self.home(), self.temporary(), self.scripts()] {
            make_dir(&directory)?;
        }
        fs::create_dir_all(&self.sources)?;
        match netrc.filter(|netrc| !netrc.machine.is_empty()) {
            Some(Netrc { machine, login, password }) => {
                let text = format!("machine {machine} login {login} password {password}\n");
                write_private(&self.home().join(".netrc"), text.as_bytes())
            }
            None => Ok(()),
        }
    }

    pub fn home(&self) -> PathBuf {
        self.path.join("home")
    }

    pub fn temporary(&self) -> PathBuf {
        self.path.join("tmp")
    }

    pub fn sources(&self) -> &Path {
        &self.sources
    }

    /// Makes the sources' directory empty again.
    pub fn clear_sources(&self) -> io::Result<()> {
        remove(&self.sources)?;
        fs::create_dir_all(&self.sources)
    }

    /// Writes a step's script; where it is.
    pub fn write_script(&self, number: u32, script: &str) -> io::Result<PathBuf> {
        let path = self.scripts().join(format!("{number}.sh"));
        write_private(&path, script.as_bytes())?;
        Ok(path)
    }

    /// Removes all of it. Whatever ran in it has ended.
    pub fn remove(&self) {
        if let Err(error) = remove(&self.path) {
            warn!(path = %self.path.display(), %error, "a stage's directory can't be removed; the next start tries again");
        }
    }

    fn scripts(&self) -> PathBuf {
        self.path.join("scripts")
    }
}

/// Removes what an earlier runner left in `stages`. Comes after the end of all that ran there, under the lock of the state directory.
pub fn sweep(stages: &Path) -> io::Result<()> {
    for entry in fs::read_dir(stages)? {
        let path = entry?.path();
        match remove(&path) {
            Ok(()) => info!(path = %path.display(), "a stage of an earlier runner had left its directory"),
            Err(error) => warn!(path = %path.display(), %error, "the directory of an earlier stage can't be removed"),
        }
    }
    Ok(())
}

/// Build tools leave directories that not even their owner may write.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Links are not followed.
fn open_up(path: &Path) -> io::Result<()> {
    let mut directories = vec![path.to_owned()];
    for _ in 0..OPENED_MAX {
        let Some(directory) = directories.pop() else { return Ok(()) };
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
        let entries = fs::read_dir(&directory)?.flatten();
        directories.extend(
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
    }
    Err(io::Error::other("too many directories"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn netrc() -> Netrc {
        Netrc { machine: "git.example.test".to_owned(), login: "x".to_owned(), password: "tok".to_owned() }
    }

    #[test]
    fn credentials_are_for_the_owner_and_go_with_the_stage() {
        let stages = tempfile::tempdir().expect("a directory");
        let dir = StageDir::make(stages.path(), "a", None, Some(&netrc())).expect("made");
        let file = dir.home().join(".netrc");
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(stages.path().join("a")).expect("there").permissions().mode() & 0o777, 0o700);
        assert!(fs::read_to_string(&file).expect("text").starts_with("machine git.example.test login x password tok"));
        dir.remove();
        assert_eq!(fs::read_dir(stages.path()).expect("there").count(), 0);
    }

    #[test]
    fn a_tree_without_write_permission_goes_as_well_and_links_lead_nowhere() {
        let stages = tempfile::tempdir().expect("a directory");
        let outside = tempfile::tempdir().expect("a directory");
        let kept = outside.path().join("kept");
        fs::write(&kept, "x").expect("written");
        let dir = StageDir::make(stages.path(), "a", Some("x/y"), None).expect("made");
        let closed = dir.sources().join("mod");
        fs::create_dir(&closed).expect("made");
        fs::write(closed.join("file"), "x").expect("written");
        std::os::unix::fs::symlink(outside.path(), closed.join("link")).expect("linked");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).expect("closed");
        open_up(dir.sources()).expect("opened");
        assert_eq!(fs::metadata(&closed).expect("there").permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).expect("closed");
        dir.remove();
        assert!(kept.exists() && fs::read_dir(stages.path()).expect("there").next().is_none());
    }

    #[test]
    fn a_workspace_stays_inside() {
        let stages = tempfile::tempdir().expect("a directory");
        for outside in ["../x", "/tmp/x", "a/../../x"] {
            assert!(StageDir::make(stages.path(), "a", Some(outside), None).is_err(), "{outside}");
        }
    }
}
