//! What comes back, and what is refused at the door.

use std::os::unix::fs::PermissionsExt;

use dlite::journal::{Error, FORMAT, NUMBER_MAX, SCOPE_MAX, Store};

use crate::support::{Place, append, end, row};

#[test]
fn what_was_committed_comes_back_after_reopening() {
    let place = Place::new();
    assert_eq!(place.open().rows, []);
    let mut held = place.open();
    held.store.commit(&[append(9, 0, "task"), append(2, 0, "other"), append(9, 1, "result")]).unwrap();
    drop(held);
    let mut held = place.open();
    assert_eq!(held.rows, [row(2, 0, "other"), row(9, 0, "task"), row(9, 1, "result")]);
    held.store.commit(&[append(9, 2, vec![5; 100_000]), end(2)]).unwrap();
    held.store.commit(&[append(2, 0, "")]).unwrap();
    drop(held);
    let rows = [row(2, 0, ""), row(9, 0, "task"), row(9, 1, "result"), row(9, 2, vec![5; 100_000])];
    assert_eq!(place.open().rows, rows);
}

#[test]
fn a_batch_that_does_not_follow_is_kept_out_whole() {
    let place = Place::with(&[vec![append(1, 0, "a"), append(1, 1, "b")]]);
    let mut held = place.open();
    for (batch, scope, number) in [
        (vec![append(2, 0, "x"), append(1, 1, "again")], 1, 1),
        (vec![append(2, 0, "x"), append(1, 3, "gap")], 1, 3),
        (vec![append(2, 0, "x"), append(2, 2, "gap in the batch")], 2, 2),
        (vec![append(3, 0, "x"), append(2, 1, "no first row")], 2, 1),
        (vec![append(1, 2, "x"), end(1), append(1, 2, "after the end")], 1, 2),
    ] {
        match held.store.commit(&batch) {
            Err(Error::OutOfOrder { scope: at, number: row }) => assert_eq!((at, row), (scope, number)),
            other => panic!("{batch:?}: {other:?}"),
        }
    }
    held.store.commit(&[append(1, 2, "c")]).unwrap();
    drop(held);
    assert_eq!(place.open().rows, [row(1, 0, "a"), row(1, 1, "b"), row(1, 2, "c")]);
}

#[test]
fn the_bounds_of_a_key_hold_and_beyond_them_is_refused() {
    let place = Place::new();
    let mut held = place.open();
    held.store
        .commit(&[append(SCOPE_MAX, 0, "last"), append(SCOPE_MAX - 1, 0, "last but one"), append(0, 0, "first")])
        .unwrap();
    held.store.commit(&[end(SCOPE_MAX - 1)]).unwrap();
    for batch in [append(SCOPE_MAX + 1, 0, "x"), append(5, NUMBER_MAX + 1, "x"), end(SCOPE_MAX + 1)] {
        assert!(matches!(held.store.commit(std::slice::from_ref(&batch)), Err(Error::OutOfBounds { .. })), "{batch:?}");
    }
    drop(held);
    assert_eq!(place.open().rows, [row(0, 0, "first"), row(SCOPE_MAX, 0, "last")]);
}

#[test]
fn bodies_are_not_on_the_disk_in_clear() {
    let place = Place::new();
    let mut held = place.open();
    held.store.commit(&[append(1, 0, "a secret of the task")]).unwrap();
    for name in ["journal.db", "journal.db-wal"] {
        let bytes = std::fs::read(place.path().join(name)).unwrap();
        assert!(!bytes.windows(8).any(|window| window == b"a secret"), "{name}");
    }
    drop(held);
    let bytes = std::fs::read(place.path().join("journal.db")).unwrap();
    assert!(!bytes.windows(8).any(|window| window == b"a secret"));
    for name in ["journal.db", "journal.key"] {
        let mode = std::fs::metadata(place.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn an_unknown_format_is_refused_by_both_numbers() {
    let place = Place::with(&[vec![append(1, 0, "a")]]);
    place.tamper("PRAGMA user_version = 77");
    let error = place.refusal();
    assert!(matches!(error, Error::UnknownFormat { found: 77, known: FORMAT, .. }), "{error}");
    assert!(error.to_string().contains("77") && error.to_string().contains(&format!("format {FORMAT}")), "{error}");
}

#[test]
fn a_database_of_another_program_is_refused_untouched() {
    let place = Place::new();
    place.tamper("CREATE TABLE notes (text); INSERT INTO notes VALUES ('mine')");
    let before = std::fs::read(place.path().join("journal.db")).unwrap();
    let error = place.refusal();
    assert!(matches!(error, Error::Foreign { application_id: 0, .. }), "{error}");
    assert_eq!(std::fs::read(place.path().join("journal.db")).unwrap(), before);
}

#[test]
fn rows_without_their_key_are_refused() {
    let place = Place::with(&[vec![append(1, 0, "a")]]);
    let key = place.path().join("journal.key");
    let bytes = std::fs::read(&key).unwrap();

    std::fs::remove_file(&key).unwrap();
    let error = place.refusal();
    assert!(matches!(error, Error::KeyMissing { .. }), "{error}");
    assert!(!key.exists(), "no new key may hide the loss");

    let other = Place::with(&[]);
    std::fs::copy(other.path().join("journal.key"), &key).unwrap();
    assert!(matches!(place.refusal(), Error::WrongKey { .. }));

    std::fs::write(&key, &bytes[1..]).unwrap();
    assert!(matches!(place.refusal(), Error::KeySize { found: 31, expected: 32, .. }));

    std::fs::write(&key, bytes).unwrap();
    assert_eq!(place.open().rows, [row(1, 0, "a")]);
}

#[test]
fn a_lost_key_is_replaced_while_there_are_no_rows() {
    let place = Place::with(&[vec![append(1, 0, "a")], vec![end(1)]]);
    std::fs::remove_file(place.path().join("journal.key")).unwrap();
    let mut held = place.open();
    held.store.commit(&[append(2, 0, "b")]).unwrap();
    drop(held);
    assert_eq!(place.open().rows, [row(2, 0, "b")]);
}

#[test]
fn a_key_whose_database_is_gone_tells_of_the_loss() {
    let place = Place::with(&[vec![append(1, 0, "a")]]);
    let database = place.path().join("journal.db");
    std::fs::write(&database, "").unwrap();
    assert!(matches!(place.refusal(), Error::DatabaseMissing { .. }));
    std::fs::remove_file(&database).unwrap();
    assert!(matches!(place.refusal(), Error::DatabaseMissing { .. }));
    std::fs::remove_file(place.path().join("journal.key")).unwrap();
    assert_eq!(place.open().rows, []);
}

#[test]
fn salts_that_no_row_needs_are_pruned() {
    let place = Place::with(&[vec![append(1, 0, "a"), append(2, 0, "kept")]]);
    for round in 0..20 {
        let mut held = place.open();
        held.store.commit(&[end(1), append(1, 0, format!("round {round}"))]).unwrap();
    }
    assert_eq!(place.open().rows, [row(1, 0, "round 19"), row(2, 0, "kept")]);
    let connection = rusqlite::Connection::open(place.path().join("journal.db")).unwrap();
    let salts: u32 = connection.query_row("SELECT count(*) FROM salts", [], |row| row.get(0)).unwrap();
    assert!(salts <= 3, "{salts} salts for rows of two openings");
}
