//! A journal in a directory of its own, a model of what it must hold, and events to wait for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use dlite::journal::{self, Change, Event, Opened, Pace, Row, Sqlite, Store};
use dlite::state_dir::StateDir;
use tempfile::TempDir;

/// Longer than anything here takes; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A state directory that is not locked between two openings.
pub struct Place {
    pub dir: TempDir,
}

/// An opened journal with the lock it depends on; fields drop in this order.
pub struct Held {
    pub store: Sqlite,
    pub rows: Vec<Row>,
    pub lock: StateDir,
}

impl Place {
    pub fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    /// A journal with these batches committed, closed again.
    pub fn with(batches: &[Vec<Change>]) -> Place {
        let place = Place::new();
        let mut held = place.open();
        batches.iter().for_each(|batch| held.store.commit(batch).unwrap());
        place
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn lock(&self) -> StateDir {
        StateDir::lock(self.path()).unwrap()
    }

    pub fn open(&self) -> Held {
        self.try_open().unwrap()
    }

    pub fn try_open(&self) -> Result<Held, journal::Error> {
        let lock = self.lock();
        let Opened { store, rows } = journal::open(&lock)?;
        Ok(Held { store, rows, lock })
    }

    /// The error of opening, which must be one.
    pub fn refusal(&self) -> journal::Error {
        match self.try_open() {
            Ok(held) => panic!("opened, with {} rows", held.rows.len()),
            Err(error) => error,
        }
    }

    /// Changes the database behind the journal's back.
    pub fn tamper(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.path().join("journal.db")).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    /// The files of a crashed process: a copy taken while the journal may still be open.
    pub fn copy(&self) -> Place {
        let copy = Place::new();
        for name in ["journal.db", "journal.db-wal", "journal.key"] {
            if self.path().join(name).exists() {
                std::fs::copy(self.path().join(name), copy.path().join(name)).unwrap();
            }
        }
        copy
    }
}

pub fn append(scope: u64, number: u32, body: impl Into<Bytes>) -> Change {
    Change::Append { scope, number, body: body.into() }
}

pub fn end(scope: u64) -> Change {
    Change::End { scope }
}

pub fn row(scope: u64, number: u32, body: impl Into<Bytes>) -> Row {
    Row { scope, number, body: body.into() }
}

/// What a store must hold after some changes.
#[derive(Clone, Default)]
pub struct Model(BTreeMap<(u64, u32), Bytes>);

impl Model {
    pub fn of<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Model {
        let mut model = Model::default();
        for change in changes {
            match change {
                Change::Append { scope, number, body } => drop(model.0.insert((*scope, *number), body.clone())),
                Change::End { scope } => model.0.retain(|(held, _), _| held != scope),
            }
        }
        model
    }

    pub fn rows(&self) -> Vec<Row> {
        self.0.iter().map(|(&(scope, number), body)| row(scope, number, body.clone())).collect()
    }
}

/// The `step`th batch of an endless history: scopes of eight rows, of which four stay open.
pub fn history(step: u64) -> Vec<Change> {
    let (scope, number) = (step / 8, u32::try_from(step % 8).unwrap());
    let body: Vec<u8> = (0..step * 37 % 3000).map(|at| u8::try_from((at + step) % 251).unwrap()).collect();
    let mut changes = vec![append(scope, number, body)];
    if number == 7 && scope >= 4 {
        changes.push(end(scope - 4));
    }
    changes
}

/// The rows after the steps `0..steps` of the history.
pub fn history_rows(steps: u64) -> Vec<Row> {
    // Earlier scopes have all ended; replaying them would make a long history quadratic.
    let first = (steps / 8).saturating_sub(8) * 8;
    let changes: Vec<Change> = (first..steps).flat_map(history).collect();
    let mut rows = Model::of(&changes).rows();
    let oldest_open = ((steps / 8).saturating_sub(1) + 1).saturating_sub(4);
    rows.retain(|row| row.scope >= oldest_open);
    rows
}

/// How many steps of the history made these rows; none if they are no state of it.
pub fn history_steps(rows: &[Row]) -> Option<u64> {
    let steps = rows.last().map_or(0, |row| row.scope * 8 + u64::from(row.number) + 1);
    (history_rows(steps) == rows).then_some(steps)
}

/// The usual pace, on a disk whose real free space is no matter of the test.
pub fn spacious() -> Pace {
    Pace { space_low_bytes: 0, ..Pace::default() }
}

/// A writer's events, to wait for.
pub struct Events(Receiver<Event>);

pub fn events() -> (impl FnMut(Event) + Send + 'static, Events) {
    let (tell, told): (Sender<Event>, _) = channel();
    let on_event = move |event| drop(tell.send(event));
    (on_event, Events(told))
}

impl Events {
    pub fn next(&self) -> Event {
        self.0.recv_timeout(PATIENCE).expect("an event was due")
    }

    /// What is left once the writer is gone.
    pub fn rest(self) -> Vec<Event> {
        self.0.into_iter().collect()
    }
}

#[test]
fn the_history_model_knows_its_own_states() {
    for steps in 0..200 {
        let changes: Vec<Change> = (0..steps).flat_map(history).collect();
        let rows = Model::of(&changes).rows();
        assert_eq!(history_rows(steps), rows, "after {steps} steps");
        assert_eq!(history_steps(&rows), Some(steps));
    }
    assert_eq!(history_steps(&history_rows(100)[1..]), None);
}
