//! Damage of the files is named, never served as rows.

use dlite::journal::{Damage, Error, Store};

use crate::support::{Place, append, history, history_rows, history_steps, row};

fn damaged(place: &Place) -> (u64, Damage) {
    match place.refusal() {
        Error::Damaged { scope, damage } => (scope, damage),
        other => panic!("not about a scope: {other}"),
    }
}

fn three_rows() -> Place {
    Place::with(&[vec![
        append(7, 0, "one"),
        append(7, 1, "two"),
        append(7, 2, "three"),
        append(8, 0, "four"),
        append(8, 1, "five"),
    ]])
}

#[test]
fn a_deleted_row_is_named() {
    let place = three_rows();
    place.tamper("DELETE FROM rows WHERE key = (7 << 15) + 1");
    assert_eq!(damaged(&place), (7, Damage::Gap { expected: 1, found: 2 }));

    let place = three_rows();
    place.tamper("DELETE FROM rows WHERE key = (7 << 15) + 2");
    assert_eq!(damaged(&place), (7, Damage::Tail { counted: 3, found: 2 }));

    let place = three_rows();
    place.tamper("DELETE FROM rows WHERE key >> 15 = 8");
    assert_eq!(damaged(&place), (8, Damage::Tail { counted: 2, found: 0 }));
}

#[test]
fn a_lost_or_false_count_is_named() {
    let place = three_rows();
    place.tamper("DELETE FROM scopes WHERE scope = 7");
    assert_eq!(damaged(&place), (7, Damage::Uncounted { number: 0 }));

    let place = three_rows();
    place.tamper("UPDATE scopes SET count = 2 WHERE scope = 7");
    assert_eq!(damaged(&place), (7, Damage::Uncounted { number: 2 }));

    let place = three_rows();
    place.tamper("UPDATE scopes SET count = -1 WHERE scope = 7");
    assert_eq!(damaged(&place), (7, Damage::Count { counted: -1 }));

    let place = three_rows();
    place.tamper("UPDATE rows SET key = -5 WHERE key = 7 << 15");
    assert_eq!(damaged(&place), (7, Damage::Tail { counted: 3, found: 0 }));
}

#[test]
fn a_row_that_was_changed_moved_or_cut_fails_its_seal() {
    for tampering in [
        "UPDATE rows SET sealed = substr(sealed, 1, length(sealed) - 1) WHERE key = (7 << 15) + 1",
        "UPDATE rows SET sealed = (SELECT sealed FROM rows WHERE key = (7 << 15)) WHERE key = (7 << 15) + 1",
        "UPDATE rows SET (nonce, sealed) = (SELECT nonce, sealed FROM rows WHERE key = 7 << 15) WHERE key = (7 << 15) + 1",
        "UPDATE rows SET (nonce, sealed) = (SELECT nonce, sealed FROM rows WHERE key = (8 << 15) + 1) WHERE key = (7 << 15) + 1",
        "UPDATE rows SET nonce = nonce + 1 WHERE key = (7 << 15) + 1",
        "UPDATE rows SET salt = 9 WHERE key = (7 << 15) + 1",
        "UPDATE rows SET sealed = x'' WHERE key = (7 << 15) + 1",
    ] {
        let place = three_rows();
        place.tamper(tampering);
        assert_eq!(damaged(&place), (7, Damage::Seal { number: 1 }), "{tampering}");
    }
    let place = three_rows();
    place.tamper("UPDATE salts SET salt = zeroblob(16)");
    assert_eq!(damaged(&place), (7, Damage::Seal { number: 0 }));
}

/// Not each bit carries something: there is free room in pages. But whatever opens must hold exactly what was committed.
#[test]
fn a_flipped_bit_is_named_or_harmless_and_never_becomes_a_row() {
    let steps = 60;
    let place = Place::with(&(0..steps).map(history).collect::<Vec<_>>());
    let database = std::fs::read(place.path().join("journal.db")).unwrap();
    let mut named = 0;
    for at in (0..database.len()).step_by(461) {
        let copy = place.copy();
        let mut bytes = database.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(copy.path().join("journal.db"), bytes).unwrap();
        match copy.try_open() {
            Ok(held) => assert_eq!(held.rows, history_rows(steps), "byte {at}"),
            Err(error) => {
                named += 1;
                assert!(!matches!(error, Error::Full | Error::OutOfOrder { .. }), "byte {at}: {error}");
            }
        }
    }
    assert!(named > 50, "most bytes are rows, yet only {named} flips were named");
}

/// SQLite drops what follows a broken frame of its log without a word. That can't be told from a crash before those commits, but
/// what is left must be whole batches from the first on.
#[test]
fn a_flipped_bit_in_the_log_leaves_whole_batches_from_the_first_on() {
    let place = Place::new();
    let mut held = place.open();
    let steps = 40;
    (0..steps).for_each(|step| held.store.commit(&history(step)).unwrap());
    let log = std::fs::read(place.path().join("journal.db-wal")).unwrap();
    let mut shortened = 0;
    for at in (0..log.len()).step_by(4999) {
        let copy = place.copy();
        let mut bytes = log.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(copy.path().join("journal.db-wal"), bytes).unwrap();
        match copy.try_open() {
            Ok(held) => {
                let left = history_steps(&held.rows).unwrap_or_else(|| panic!("byte {at}: no state of the history"));
                shortened += u32::from(left < steps);
            }
            Err(error) => assert!(matches!(error, Error::DatabaseMissing { .. }), "byte {at}: {error}"),
        }
    }
    assert!(shortened > 10, "only {shortened} flips were seen at all");
}

#[test]
fn a_file_of_rubbish_is_named() {
    for rubbish in [&b"rubbish"[..], &[0x55; 20_000], b"SQLite format 3\0 and then nothing of the kind"] {
        let place = Place::new();
        std::fs::write(place.path().join("journal.db"), rubbish).unwrap();
        let error = place.refusal();
        assert!(matches!(error, Error::DamagedFile { .. }), "{error}");
    }
}

#[test]
fn a_body_flipped_in_place_names_its_scope() {
    let place = Place::with(&[vec![append(1, 0, vec![b'x'; 3000])], vec![append(2, 0, vec![b'y'; 3000])]]);
    let (_, rows) = (place.copy(), place.open().rows);
    assert_eq!(rows, [row(1, 0, vec![b'x'; 3000]), row(2, 0, vec![b'y'; 3000])]);
    let connection = rusqlite::Connection::open(place.path().join("journal.db")).unwrap();
    let sealed: Vec<u8> =
        connection.query_row("SELECT sealed FROM rows WHERE key = 2 << 15", [], |row| row.get(0)).unwrap();
    drop(connection);
    let path = place.path().join("journal.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes
        .windows(64)
        .position(|window| window == &sealed[1000..1064])
        .expect("a row of this size lies in one page");
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(damaged(&place), (2, Damage::Seal { number: 0 }));
}
