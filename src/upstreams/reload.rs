//! A value made from files, made anew when they change. What is in force stays so until its successor is whole.
//!
//! ```text
//!  files as taken ─ changed ─► restless ─ the same in two looks ─► load ─┬─ good ─► in force; who uses the old one keeps it to the end
//!        ▲                        │  changed again: wait                 └─ bad ──► told once; the old one stays in force
//!        └──── as before ─────────┘
//! ```
//!
//! Files are looked at when the value is used, at most once an interval, in a thread that may block. It watches no directory, so
//! that files behind links and mounts are seen as well, and holds no task of its own.

use std::{
    fmt,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::transport::chain;

/// Between two looks at the files. A change is in force after two of them and the next call, so within seconds.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for a look that somebody waits for. A file system that hangs costs a call so much, and no more.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// The value, and the files it is made from. Clones are the same one.
pub struct FromFiles<T> {
    shared: Arc<Shared<T>>,
}

/// Why a value could not be made.
pub type LoadError = Box<dyn std::error::Error + Send + Sync>;

type Load<T> = Box<dyn Fn() -> Result<T, LoadError> + Send + Sync>;

struct Shared<T> {
    /// In the words of a log line: "certificates", "account secret".
    what: &'static str,
    files: Vec<PathBuf>,
    interval: Duration,
    load: Load<T>,
    current: RwLock<Arc<T>>,
    looked: Mutex<Instant>,
    watch: Mutex<Watch>,
    /// Counts the values that came into force after the first.
    changes: watch::Sender<u64>,
}

struct Watch {
    /// As they were when they were last read, well or badly.
    taken: Vec<Option<Stamp>>,
    seen: Vec<Option<Stamp>>,
}

/// What tells one state of a file from another. The change time is there for copies that keep the time of their original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

// === impl FromFiles ===

impl<T: Send + Sync + 'static> FromFiles<T> {
    /// Loads for the first time.
    ///
    /// # Errors
    /// Whatever `load` says.
    pub fn load<E: Into<LoadError>>(
        what: &'static str,
        files: Vec<PathBuf>,
        interval: Duration,
        load: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // Before they are read: what changes meanwhile is then seen as a change.
        let stamps = stamps(&files);
        let current = RwLock::new(Arc::new(load()?));
        let watch = Mutex::new(Watch { taken: stamps.clone(), seen: stamps });
        let load: Load<T> = Box::new(move || load().map_err(Into::into));
        let looked = Mutex::new(Instant::now());
        Ok(Self {
            shared: Arc::new(Shared {
                what,
                files,
                interval,
                load,
                current,
                looked,
                watch,
                changes: watch::Sender::new(0),
            }),
        })
    }

    /// Is told whenever another value comes into force.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// What is in force. If it is time, the files are looked at meanwhile, for the benefit of later calls. Needs a runtime.
    pub fn get(&self) -> Arc<T> {
        if self.shared.is_due() {
            let shared = self.shared.clone();
            drop(tokio::task::spawn_blocking(move || shared.look(false)));
        }
        self.shared.current()
    }

    /// What is in force after a look at the files now, at rest or not: for whoever was refused with the value in force.
    pub async fn renewed(&self) -> Arc<T> {
        if !self.shared.files.is_empty() {
            let shared = self.shared.clone();
            let look = tokio::task::spawn_blocking(move || shared.look(true));
            // If it takes too long, it goes on by itself.
            let _ = tokio::time::timeout(LOOK_TIMEOUT, look).await;
        }
        self.shared.current()
    }
}

impl<T> Clone for FromFiles<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for FromFiles<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFiles").field("files", &self.shared.files).finish_non_exhaustive()
    }
}

// === impl Shared ===

impl<T> Shared<T> {
    fn current(&self) -> Arc<T> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_due(&self) -> bool {
        if self.files.is_empty() {
            return false;
        }
        let mut looked = lock(&self.looked);
        let due = looked.elapsed() >= self.interval;
        if due {
            *looked = Instant::now();
        }
        due
    }

    /// Blocks on the file system. Looks happen one after the other.
    fn look(&self, at_once: bool) {
        let mut watch = lock(&self.watch);
        let stamps = stamps(&self.files);
        let at_rest = stamps == watch.seen;
        watch.seen.clone_from(&stamps);
        if stamps == watch.taken || !(at_rest || at_once) {
            return;
        }
        match (self.load)() {
            Ok(value) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
                watch.taken = stamps;
                self.changes.send_modify(|changes| *changes += 1);
                tracing::info!(files = ?self.files, "{} read again, and in force for every new call", self.what);
            }
            // A pair of files may be written one after the other, so only files at rest are bad.
            Err(_) if !at_rest => {}
            Err(error) => {
                watch.taken = stamps;
                let error = chain(&*error);
                tracing::warn!(files = ?self.files, %error, "changed {} can't be used; those read before stay in force", self.what);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number in a file.
    struct Scene {
        directory: tempfile::TempDir,
        value: FromFiles<u32>,
    }

    impl Scene {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("n");
            std::fs::write(&path, "1").unwrap();
            let load = {
                let path = path.clone();
                move || std::fs::read_to_string(&path)?.parse::<u32>().map_err(LoadError::from)
            };
            let value = FromFiles::load("number", vec![path], Duration::ZERO, load).unwrap();
            Self { directory, value }
        }

        /// By a new file in the old one's place, as careful writers do.
        fn write(&self, text: &str) {
            let fresh = self.directory.path().join("fresh");
            std::fs::write(&fresh, text).unwrap();
            std::fs::rename(fresh, self.directory.path().join("n")).unwrap();
        }

        fn look(&self) -> u32 {
            self.value.shared.look(false);
            *self.value.shared.current()
        }
    }

    #[test]
    fn a_change_counts_once_it_came_to_rest() {
        let scene = Scene::new();
        assert_eq!(scene.look(), 1);
        scene.write("2");
        assert_eq!(scene.look(), 1, "it may be half written");
        scene.write("3");
        assert_eq!(scene.look(), 1);
        assert_eq!(scene.look(), 3);
    }

    #[test]
    fn a_broken_file_leaves_the_old_value_in_force_until_it_is_mended() {
        let scene = Scene::new();
        for broken in ["", "x"] {
            scene.write(broken);
            assert_eq!((scene.look(), scene.look(), scene.look()), (1, 1, 1));
        }
        std::fs::remove_file(scene.directory.path().join("n")).unwrap();
        assert_eq!((scene.look(), scene.look()), (1, 1));
        scene.write("4");
        assert_eq!((scene.look(), scene.look()), (1, 4));
    }

    #[tokio::test]
    async fn whoever_was_refused_need_not_wait_for_rest() {
        let scene = Scene::new();
        let old = scene.value.get();
        scene.write("2");
        assert_eq!((*old, *scene.value.renewed().await), (1, 2));
        scene.write("broken");
        assert_eq!(*scene.value.renewed().await, 2);
    }
}
