//! The state directory: may it be used, is there room, and how long does a durable write take.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Delegate,
    finding::{Check, Findings, Verdict, words},
};
use crate::{
    config::Config,
    journal::{SPACE_LOW_BYTES, SPACE_OK_BYTES},
};

/// Writes whose median is told; each is awaited by the disk.
const FSYNCS: usize = 5;
/// As much as a page of the journal.
const FSYNC_BYTES: usize = 4096;
/// An ordinary SSD needs below a millisecond, a slow disk some ten.
const FSYNC_SLOW: Duration = Duration::from_millis(100);
/// A runner waits for several durable writes in a task's life, and its accept has seconds.
const FSYNC_TOO_SLOW: Duration = Duration::from_secs(1);
/// Points below the mark from which on a disk is nearly full.
const NEARLY_POINTS: u32 = 5;

/// Whether somebody holds the directory.
pub(super) async fn examine(config: &Config, delegate: &Delegate, findings: &mut Findings) -> bool {
    let path = &config.state_dir;
    let place = path.display().to_string();
    let verdict = usable(path, delegate);
    findings.add(Check::StateDir, &place, verdict);
    findings.add(Check::Disk, &place, room_of_journal(&nearest_existing(path)));
    let disk = &config.admission.disk_path;
    // The default is the state directory, which is made at the first start.
    let there = if disk == path { nearest_existing(path) } else { disk.clone() };
    findings.add(Check::Disk, disk.display().to_string(), use_of_disk(&there, config.admission.disk.high));
    let verdict = if path.is_dir() && may_write(path) {
        let path = path.clone();
        let timed = tokio::task::spawn_blocking(move || time_fsync(&path)).await;
        judge_fsync(timed.unwrap_or_else(|_| Err(io::Error::other("the look was broken off"))))
    } else {
        Verdict::skipped("there is no directory yet that this user may write to")
    };
    findings.add(Check::Fsync, place, verdict);
    matches!(holder(path), Ok(Some(_)))
}

// === rights and lock ===

fn usable(path: &Path, delegate: &Delegate) -> Verdict {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return makeable(path),
        Err(error) => return unreadable(path, &error),
    };
    if !metadata.is_dir() {
        return Verdict::failed("it is no directory", "the delegate does not start", "choose another state_dir");
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Verdict::failed(
            format!("others may write there (mode {mode:04o})"),
            "the delegate does not start: whoever writes there could take over its work",
            format!("chmod 700 {}", path.display()),
        );
    }
    if !may_write(path) {
        return Verdict::failed(
            format!("this user may not write there (owner is uid {})", metadata.uid()),
            "the delegate can't keep a journal there",
            format!("run doctor and delegate as that user, or: chown -R $(id -un) {}", path.display()),
        );
    }
    match (holder(path), delegate.is_there()) {
        (Ok(None), false) => Verdict::fine("usable; no delegate holds it"),
        (Ok(Some(pid)), true) => Verdict::fine(format!("held by the running delegate{pid}")),
        (Ok(Some(pid)), false) => Verdict::failed(
            format!("another process{pid} holds it, and no delegate answers at admin.socket"),
            "a second delegate does not start there, and this one can't be asked",
            "is it a delegate with another admin.socket, or one that hangs? look with ps; stop it, or choose another state_dir",
        ),
        (Ok(None), true) => Verdict::warned(
            "a delegate answers at admin.socket, and it does not hold this directory",
            "it was started with another state_dir",
            "name the configuration it was started with (--config), or restart it",
        ),
        (Err(error), _) => unreadable(&path.join("lock"), &error),
    }
}

fn makeable(path: &Path) -> Verdict {
    let parent = nearest_existing(path);
    if may_write(&parent) {
        return Verdict::fine(format!("not there yet; it can be made in {}", parent.display()));
    }
    Verdict::failed(
        format!("it is not there, and this user may not make it in {}", parent.display()),
        "the delegate does not start",
        format!("install -d -m 700 -o $(id -un) {}", path.display()),
    )
}

fn unreadable(path: &Path, error: &io::Error) -> Verdict {
    let next = "run the doctor as the delegate's user; check the rights of the directories above";
    Verdict::failed(format!("{} can't be read: {error}", path.display()), "the delegate does not start", next)
}

/// Who holds the directory, as a sentence goes on: ` (process 7)`. A delegate that starts in the very instant of this look would be
/// refused; there is no way to ask that shows the lock only.
fn holder(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path.join("lock")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let pid = io::read_to_string(io::Read::take(&file, 32)).unwrap_or_default();
            let pid = pid.trim();
            Ok(Some(if pid.is_empty() { String::new() } else { format!(" (process {pid})") }))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn may_write(path: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// `path`, or the first directory above that is there.
fn nearest_existing(path: &Path) -> PathBuf {
    let existing = path.ancestors().filter(|above| !above.as_os_str().is_empty()).find(|above| above.exists());
    existing.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

// === room ===

fn room_of_journal(path: &Path) -> Verdict {
    let stat = match rustix::fs::statvfs(path) {
        Ok(stat) => stat,
        Err(error) => return Verdict::skipped(format!("its file system can't be looked at: {error}")),
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let what = format!("{} MiB free for the journal", free >> 20);
    let next = format!("free space on the file system of {}, or move state_dir", path.display());
    if free < SPACE_LOW_BYTES {
        let why = format!("below {} MiB the delegate is store_failing: nothing new is taken", SPACE_LOW_BYTES >> 20);
        Verdict::failed(what, why, next)
    } else if free < 2 * SPACE_OK_BYTES {
        let why = format!("at {} MiB the delegate stops taking tasks", SPACE_LOW_BYTES >> 20);
        Verdict::warned(what, why, next)
    } else {
        Verdict::fine(what)
    }
}

/// The figure that admission looks at, as `df` shows it.
fn use_of_disk(path: &Path, high: u32) -> Verdict {
    let stat = match rustix::fs::statvfs(path) {
        Ok(stat) => stat,
        Err(error) => {
            return Verdict::failed(
                format!("admission.disk_path can't be looked at: {error}"),
                "a full disk is not seen, and builds fail on it",
                "set admission.disk_path to the directory of the workspaces",
            );
        }
    };
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let all = used.saturating_add(stat.f_bavail).max(1);
    let percent = u32::try_from((u128::from(used) * 100).div_ceil(u128::from(all))).unwrap_or(100);
    let next = format!("free space on the file system of {}; admission.disk_high is the mark", path.display());
    if high >= 100 {
        Verdict::fine(format!("{percent} % in use; no mark is set (admission.disk_high)"))
    } else if percent > high {
        let what = format!("the disk is nearly full: {percent} % in use > {high} %");
        Verdict::failed(what, "no stage is begun and no task outside of stages is taken", next)
    } else if percent + NEARLY_POINTS > high {
        let what = format!("the disk fills up: {percent} % in use, and the mark is {high} %");
        Verdict::warned(what, "above the mark no stage is begun", next)
    } else {
        Verdict::fine(format!("{percent} % in use; the mark is {high} %"))
    }
}

// === fsync ===

/// The median of some durable writes. The file is gone afterwards.
fn time_fsync(directory: &Path) -> io::Result<Duration> {
    let path = directory.join(format!("doctor-{}.probe", std::process::id()));
    let timed = time_writes(&path);
    // It was made by this process alone.
    let _ = fs::remove_file(&path);
    timed
}

fn time_writes(path: &Path) -> io::Result<Duration> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut times = Vec::with_capacity(FSYNCS);
    for _ in 0..FSYNCS {
        let began = Instant::now();
        file.write_all(&[0; FSYNC_BYTES])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times[FSYNCS / 2])
}

fn judge_fsync(timed: io::Result<Duration>) -> Verdict {
    let next = "put state_dir on a local SSD; network file systems and busy disks are slow";
    match timed {
        Err(error) => Verdict::failed(
            format!("a durable write fails: {error}"),
            "nothing can be acknowledged, so nothing is taken",
            "check the disk, its room and its quota",
        ),
        Ok(took) if took >= FSYNC_TOO_SLOW => {
            Verdict::failed(format!("a durable write takes {}", words(took)), "accepts and results time out", next)
        }
        Ok(took) if took >= FSYNC_SLOW => {
            Verdict::warned(format!("a durable write takes {}", words(took)), "each step of a task waits for one", next)
        }
        Ok(took) => Verdict::fine(format!("a durable write takes {:.1} ms", took.as_secs_f64() * 1e3)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_disk_is_told_and_a_dead_one_fails() {
        assert_eq!(judge_fsync(Ok(Duration::from_millis(1))).word(), "ok");
        assert_eq!(judge_fsync(Ok(FSYNC_SLOW)).word(), "warning");
        assert_eq!(judge_fsync(Ok(FSYNC_TOO_SLOW)).word(), "failed");
        assert_eq!(judge_fsync(Err(io::Error::other("no"))).word(), "failed");
    }

    #[test]
    fn a_probe_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        time_fsync(directory.path()).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_held_or_open_to_others_is_no_place_for_a_delegate() {
        use std::os::unix::fs::PermissionsExt as _;
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("state");
        assert_eq!(usable(&path, &Delegate::Absent).word(), "ok", "it can be made");
        let held = crate::state_dir::StateDir::lock(&path).unwrap();
        let verdict = usable(&path, &Delegate::Absent);
        assert!(verdict.found().contains(&std::process::id().to_string()), "{verdict:?}");
        assert_eq!(usable(&path, &Delegate::Mute(String::new())).word(), "ok");
        drop(held);
        assert_eq!(usable(&path, &Delegate::Absent).word(), "ok");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(usable(&path, &Delegate::Absent).word(), "failed");
    }
}
