//! The state directory: everything of a delegate that outlives its process, held by one process at a time.
//!
//! ```text
//!  lock          whoever holds it owns the rest; holds the owner's pid
//!  journal.db    facts, with its write-ahead log beside it
//!  journal.key   what the facts are sealed with
//!  runner.token  what runners show over TCP
//!  admin.token   what operators show to the status page
//!  runners.sock  where runners attach
//!  admin.sock    where the operator's commands attach
//! ```
//!
//! It owns the lock, the paths and the modes; it never looks into a file other than the lock and the secrets it is asked for.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// More is no secret of ours; keeps a misplaced file from being read whole.
pub const SECRET_BYTES_MAX: u64 = 4096;

/// A process that does not even let a connection in within this time is taken to be alive.
const SOCKET_PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the state directory could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it.
    #[error("state directory {} is in use by {}; stop it or choose another state directory", path.display(), Holder(*pid))]
    Locked {
        path: PathBuf,
        /// `None` in the moment between the holder's lock and its writing the pid.
        pid: Option<u32>,
    },
    /// Something else has that name.
    #[error("{} is not a directory; choose another state directory", path.display())]
    NotADirectory { path: PathBuf },
    /// Others could put files there.
    #[error("state directory {} may be written by others (mode {mode:04o}); run: chmod 700 {}", path.display(), path.display())]
    Exposed { path: PathBuf, mode: u32 },
    /// Others could read the secret.
    #[error("secret file {} is open to others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    SecretExposed { path: PathBuf, mode: u32 },
    /// Not a file made by us.
    #[error("secret file {} is larger than {SECRET_BYTES_MAX} bytes", path.display())]
    SecretTooLarge { path: PathBuf },
    /// A live process listens there.
    #[error("socket {} is in use by another process; stop it or choose another socket", path.display())]
    SocketInUse { path: PathBuf },
    /// We remove nothing but sockets.
    #[error("{} exists and is not a socket; remove it or choose another socket", path.display())]
    NotASocket { path: PathBuf },
    /// The system refused.
    #[error("cannot {operation} {}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
}

/// A locked state directory. The lock goes with the value, or with the process.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    lock: File,
}

/// Bytes that do not print.
pub struct Secret(Vec<u8>);

// === impl StateDir ===

impl StateDir {
    /// Name of the journal's key.
    pub const KEY: &str = "journal.key";
    /// Name of the token that runners show over TCP.
    pub const TOKEN: &str = "runner.token";
    /// Name of the token that operators show to the status page.
    pub const ADMIN_TOKEN: &str = "admin.token";
    /// Name of the key that seals where logs go.
    pub const LOG_KEY: &str = "logs.key";

    /// Makes `path` (0700, its parents with the usual mode) if it is not there, and takes its lock. Comes before anything else
    /// in the directory is touched.
    ///
    /// # Errors
    /// [`Error::Locked`] with the holder's pid; [`Error::Exposed`] if group or others may write.
    pub fn lock(path: impl AsRef<Path>) -> Result<StateDir, Error> {
        let path = path.as_ref().to_owned();
        if !path.exists() {
            make_dir(&path).map_err(io_error("create", &path))?;
        }
        check_dir(&path)?;
        let lock = lock_file(&path)?;
        Ok(StateDir { path, lock })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The journal's database.
    pub fn database(&self) -> PathBuf {
        self.path.join("journal.db")
    }

    /// The journal's key.
    pub fn key(&self) -> PathBuf {
        self.path.join(Self::KEY)
    }

    /// The token that runners show over TCP.
    pub fn token(&self) -> PathBuf {
        self.path.join(Self::TOKEN)
    }

    /// The directory of logs on their way to their sinks.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Where runners attach unless configured otherwise.
    pub fn runner_socket(&self) -> PathBuf {
        self.path.join("runners.sock")
    }

    /// Where the operator's commands attach unless configured otherwise.
    pub fn admin_socket(&self) -> PathBuf {
        self.path.join("admin.sock")
    }

    /// The content of the secret file `name`; made from `make` (0600, durable, whole or not at all) if it is not there.
    ///
    /// # Errors
    /// [`Error::SecretExposed`] if group or others may do anything with it.
    pub fn secret_file(&self, name: &str, make: impl FnOnce() -> Vec<u8>) -> Result<Secret, Error> {
        let path = self.path.join(name);
        match File::open(&path) {
            Ok(file) => read_secret(file, &path),
            Err(error) if error.kind() == ErrorKind::NotFound => self.write_secret(&path, name, make()),
            Err(error) => Err(io_error("open", &path)(error)),
        }
    }

    /// Makes way for a listener at `path`, in this directory or elsewhere: a socket that nobody listens on any more is removed.
    /// Only the holder of the lock may do so, or two starting processes would remove each other's sockets.
    ///
    /// # Errors
    /// [`Error::SocketInUse`], [`Error::NotASocket`].
    pub fn claim_socket(&self, path: &Path) -> Result<(), Error> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error("look at", path)(error)),
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(Error::NotASocket { path: path.to_owned() });
            }
            Ok(_) => {}
        }
        if answers(path)? {
            return Err(Error::SocketInUse { path: path.to_owned() });
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", path)(error)),
            _ => Ok(()),
        }
    }

    /// Makes the directory's own entries durable.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&self) -> Result<(), Error> {
        sync_dir(&self.path).map_err(io_error("sync", &self.path))
    }

    fn write_secret(&self, path: &Path, name: &str, bytes: Vec<u8>) -> Result<Secret, Error> {
        let draft = self.path.join(format!("{name}.draft"));
        // A draft left by a crash may have any content.
        let _ = fs::remove_file(&draft);
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        written.map_err(io_error("write", &draft))?;
        fs::rename(&draft, path).map_err(io_error("write", path))?;
        self.sync()?;
        Ok(Secret(bytes))
    }
}

impl Drop for StateDir {
    /// Closing the file would do, were there not the moment between fork and exec in which a child of ours has it open too.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

// === impl Secret ===

impl Secret {
    /// The bytes, for their one use.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(masked)")
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        // Two processes may start at once; the lock decides.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => made?,
    }
    sync_dir(parent.unwrap_or(Path::new(".")))
}

fn check_dir(path: &Path) -> Result<(), Error> {
    let metadata = fs::metadata(path).map_err(io_error("look at", path))?;
    let mode = metadata.mode() & 0o7777;
    if !metadata.is_dir() {
        Err(Error::NotADirectory { path: path.to_owned() })
    } else if mode & 0o022 != 0 {
        Err(Error::Exposed { path: path.to_owned(), mode })
    } else {
        Ok(())
    }
}

fn lock_file(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = opened.map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::Locked { path: dir.to_owned(), pid: read_pid(&mut file) }),
        Err(TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
    }
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(io_error("write", &path))?;
    Ok(file)
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn read_secret(file: File, path: &Path) -> Result<Secret, Error> {
    let metadata = file.metadata().map_err(io_error("look at", path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::SecretExposed { path: path.to_owned(), mode });
    }
    if metadata.len() > SECRET_BYTES_MAX {
        return Err(Error::SecretTooLarge { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    Ok(Secret(bytes))
}

/// Whether a process listens at `path`. Connecting waits while the listener's backlog is full, hence the thread.
fn answers(path: &Path) -> Result<bool, Error> {
    let (tell, told) = sync_channel(1);
    let socket = path.to_owned();
    let probe = std::thread::Builder::new().name("dlite-probe".to_owned()).spawn(move || {
        let _ = tell.send(UnixStream::connect(&socket).map(drop));
    });
    probe.map_err(io_error("connect to", path))?;
    match told.recv_timeout(SOCKET_PROBE_TIMEOUT) {
        Ok(Ok(())) | Err(RecvTimeoutError::Timeout) => Ok(true),
        Ok(Err(error)) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(false),
        Ok(Err(error)) => Err(io_error("connect to", path)(error)),
        Err(RecvTimeoutError::Disconnected) => {
            Err(io_error("connect to", path)(io::Error::other("the probe ended early")))
        }
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { operation, path: path.to_owned(), source }
}

/// How a holder is named to a person.
struct Holder(Option<u32>);

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process"),
        }
    }
}
