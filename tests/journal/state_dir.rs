//! One process at a time, and nothing that others can read or replace.

use std::fs::{Permissions, set_permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use dlite::state_dir::{Error, StateDir};

use crate::support::{PATIENCE, Place};

const CHILD: &str = "DLITE_TEST_STATE_DIR_HOLDER";
const HELD: &str = "held";

#[test]
fn a_second_process_is_refused_by_the_pid_of_the_first() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let _held = StateDir::lock(dir).unwrap();
        println!("\n{HELD}");
        loop {
            std::thread::park();
        }
    }
    let place = Place::new();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "state_dir::a_second_process_is_refused_by_the_pid_of_the_first", "--nocapture"]);
    let mut holder = command.env(CHILD, place.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == HELD), "the holder ended early");

    let refusal = StateDir::lock(place.path()).unwrap_err();
    assert!(matches!(refusal, Error::Locked { pid: Some(pid), .. } if pid == holder.id()), "{refusal}");
    assert!(refusal.to_string().contains(&format!("process {}", holder.id())), "{refusal}");

    holder.kill().unwrap();
    holder.wait().unwrap();
    StateDir::lock(place.path()).unwrap();
}

#[test]
fn a_state_directory_is_made_for_its_owner_alone() {
    let place = Place::new();
    let path = place.path().join("var/lib/dlite");
    let dir = StateDir::lock(&path).unwrap();
    assert_eq!(std::fs::metadata(dir.path()).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(std::fs::metadata(path.join("lock")).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn a_directory_that_others_may_write_is_refused_with_the_fix() {
    let place = Place::new();
    for mode in [0o770, 0o702, 0o777] {
        set_permissions(place.path(), Permissions::from_mode(mode)).unwrap();
        let refusal = StateDir::lock(place.path()).unwrap_err();
        assert!(matches!(refusal, Error::Exposed { mode: found, .. } if found == mode), "{refusal}");
        assert!(refusal.to_string().ends_with(&format!("chmod 700 {}", place.path().display())), "{refusal}");
    }
    set_permissions(place.path(), Permissions::from_mode(0o700)).unwrap();
    StateDir::lock(place.path()).unwrap();
}

#[test]
fn a_file_in_its_place_is_named() {
    let place = Place::new();
    let path = place.path().join("file");
    std::fs::write(&path, "").unwrap();
    assert!(matches!(StateDir::lock(&path), Err(Error::NotADirectory { .. })));
}

#[test]
fn a_secret_is_made_once_for_its_owner_alone_and_does_not_print() {
    let place = Place::new();
    let dir = place.lock();
    let made = dir.secret_file("token", || b"a token".to_vec()).unwrap();
    assert_eq!(made.expose(), b"a token");
    assert!(!format!("{made:?}").contains("token"));
    assert_eq!(std::fs::metadata(place.path().join("token")).unwrap().mode() & 0o7777, 0o600);
    let found = dir.secret_file("token", || panic!("it is there")).unwrap();
    assert_eq!(found.expose(), b"a token");
}

#[test]
fn a_secret_open_to_others_is_refused_with_the_fix() {
    let place = Place::new();
    let dir = place.lock();
    dir.secret_file("token", || b"a token".to_vec()).unwrap();
    set_permissions(place.path().join("token"), Permissions::from_mode(0o640)).unwrap();
    let refusal = dir.secret_file("token", Vec::new).unwrap_err();
    assert!(matches!(refusal, Error::SecretExposed { mode: 0o640, .. }), "{refusal}");
    assert!(refusal.to_string().contains("chmod 600"), "{refusal}");
}

#[test]
fn a_draft_left_by_a_crash_is_no_secret() {
    let place = Place::new();
    std::fs::write(place.path().join("token.draft"), "half a tok").unwrap();
    let dir = place.lock();
    assert_eq!(dir.secret_file("token", || b"whole".to_vec()).unwrap().expose(), b"whole");
    assert!(!place.path().join("token.draft").exists());
}

#[test]
fn only_a_stale_socket_is_removed() {
    let place = Place::new();
    let dir = place.lock();
    let path = dir.runner_socket();
    dir.claim_socket(&path).unwrap();

    let listener = UnixListener::bind(&path).unwrap();
    assert!(matches!(dir.claim_socket(&path), Err(Error::SocketInUse { path: named }) if named == path));
    assert!(path.exists());

    drop(listener);
    assert!(path.exists(), "a closed listener leaves its socket");
    // A process that another test is just starting may hold the listener until it executes.
    let started = Instant::now();
    while UnixStream::connect(&path).is_ok() {
        assert!(started.elapsed() < PATIENCE, "the listener never closed");
        std::thread::yield_now();
    }
    dir.claim_socket(&path).unwrap();
    assert!(!path.exists());
    UnixListener::bind(&path).unwrap();

    let file = place.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    assert!(matches!(dir.claim_socket(&file), Err(Error::NotASocket { .. })));
    assert_eq!(std::fs::read(&file).unwrap(), b"kept");
}
