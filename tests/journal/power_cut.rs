//! Imitated power cuts: the files as they stood at some moment, cut short at some byte.

use dlite::journal::{Error, Store};

use crate::support::{Place, history, history_steps};

/// The log cut at any byte leaves whole batches from the first on, since a batch counts only with its last frame.
#[test]
fn a_cut_log_leaves_whole_batches_from_the_first_on() {
    let place = Place::new();
    let mut held = place.open();
    let steps = 40;
    (0..steps).for_each(|step| held.store.commit(&history(step)).unwrap());
    let log = std::fs::read(place.path().join("journal.db-wal")).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for cut in (0..=log.len()).step_by(3331).chain([log.len() - 1, log.len()]) {
        let copy = place.copy();
        std::fs::write(copy.path().join("journal.db-wal"), &log[..cut]).unwrap();
        match copy.try_open() {
            Ok(held) => {
                seen.insert(
                    history_steps(&held.rows).unwrap_or_else(|| panic!("cut at {cut}: no state of the history")),
                );
            }
            // The tables themselves are in the log until the first checkpoint.
            Err(error) => assert!(matches!(error, Error::DatabaseMissing { .. }), "cut at {cut}: {error}"),
        }
    }
    assert!(seen.contains(&steps), "the whole log holds all: {seen:?}");
    assert!(seen.len() > 10, "cuts at many places leave many states: {seen:?}");
}

#[test]
fn a_cut_database_is_named_or_made_whole_by_its_log() {
    let place = Place::new();
    let mut held = place.open();
    // Enough for a checkpoint (1,000 pages), so that database and log both hold something.
    let steps = 600;
    (0..steps).for_each(|step| held.store.commit(&history(step)).unwrap());
    let database = std::fs::read(place.path().join("journal.db")).unwrap();
    assert!(database.len() > 8 * 4096, "no checkpoint yet");
    let mut named = 0;
    for cut in (0..database.len()).step_by(4 * 4096 + 1999) {
        let copy = place.copy();
        std::fs::write(copy.path().join("journal.db"), &database[..cut]).unwrap();
        match copy.try_open() {
            Ok(held) => {
                assert!(history_steps(&held.rows).is_some(), "cut at {cut}: no state of the history");
            }
            Err(error) => {
                named += 1;
                let expected =
                    matches!(error, Error::DamagedFile { .. } | Error::Damaged { .. } | Error::DatabaseMissing { .. });
                assert!(expected, "cut at {cut}: {error}");
            }
        }
    }
    assert!(named > 0, "a cut before the last page must be seen");
}

/// A cut may come between any two writes, so the files of a running process are a fair sample.
#[test]
fn the_files_of_a_running_process_hold_all_it_acknowledged() {
    let place = Place::new();
    let mut held = place.open();
    for step in 0..120 {
        held.store.commit(&history(step)).unwrap();
        if step % 7 == 0 {
            assert_eq!(history_steps(&place.copy().open().rows), Some(step + 1));
        }
    }
}
