//! What this machine can do at best: a raw sync, and SQLite with the very rows and batches of a run.

use std::{
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::{Connection, TransactionBehavior, params};

use super::{spread::Spread, tempdir::TempDir};
use crate::journal::{Change, Error, Row, Space, Store};

/// The batches of a run, as its store saw them.
#[derive(Clone, Default)]
pub struct Recording {
    pub batches: Batches,
}

/// Shared with the store that records them.
#[derive(Clone, Default)]
pub struct Batches(Arc<Mutex<Vec<Vec<Change>>>>);

/// A store that remembers what goes through it. Bodies are shared, not copied.
pub struct Recorder<S> {
    store: S,
    recording: Recording,
}

// === impl Recording, Recorder ===

impl Batches {
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Recording {
    pub fn changes(&self) -> usize {
        self.batches.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Vec::len).sum()
    }
}

impl<S> Recorder<S> {
    pub fn new(store: S, recording: Recording) -> Self {
        Self { store, recording }
    }
}

impl<S: Store> Store for Recorder<S> {
    fn load(&mut self) -> Result<Vec<Row>, Error> {
        self.store.load()
    }

    fn commit(&mut self, batch: &[Change]) -> Result<(), Error> {
        self.store.commit(batch)?;
        self.recording.batches.0.lock().unwrap_or_else(PoisonError::into_inner).push(batch.to_vec());
        Ok(())
    }

    fn space(&self) -> Space {
        self.store.space()
    }
}

/// Appends of 4 KiB, each synced, with a pause before each: a disk and a processor that rested answer later than busy ones, so the
/// floor of a load is taken at the cadence of that load.
pub fn fdatasync(directory: &Path, pause: Duration) -> io::Result<Spread> {
    const ROUNDS: usize = 300;
    let place = TempDir::below(directory)?;
    let mut file = std::fs::File::create(place.path().join("sync"))?;
    let block = [7_u8; 4 << 10];
    let mut took = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        std::thread::sleep(pause);
        let started = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        took.push(started.elapsed());
    }
    Ok(Spread::of(took))
}

/// The rows of a run in the batches of that run, by nothing but SQLite with the journal's settings.
pub fn sqlite(directory: &Path, recording: &Recording) -> Result<Duration, rusqlite::Error> {
    let place = TempDir::below(directory).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let mut connection = Connection::open(place.path().join("bare.db"))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA locking_mode = EXCLUSIVE;
         CREATE TABLE rows (key INTEGER PRIMARY KEY, body BLOB NOT NULL);",
    )?;
    let batches = recording.batches.0.lock().unwrap_or_else(PoisonError::into_inner);
    let started = Instant::now();
    for batch in batches.iter() {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO rows (key, body) VALUES (?1, ?2)")?;
            let mut delete = transaction.prepare_cached("DELETE FROM rows WHERE key BETWEEN ?1 AND ?2")?;
            for change in batch {
                match change {
                    Change::Append { scope, number, body } => {
                        insert.execute(params![key(*scope, *number), &body[..]])?;
                    }
                    Change::End { scope } => {
                        delete.execute(params![key(*scope, 0), key(*scope, (1 << 15) - 1)])?;
                    }
                }
            }
        }
        transaction.commit()?;
    }
    Ok(started.elapsed())
}

fn key(scope: u64, number: u32) -> i64 {
    i64::try_from(scope << 15 | u64::from(number)).unwrap_or(i64::MAX)
}
