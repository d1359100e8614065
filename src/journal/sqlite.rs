//! The journal's store: one SQLite file, one connection.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::census::Census;
use super::schema::explain;
use super::seal::{MasterKey, RowKey, SALT_BYTES, Salt, Sealer, random};
use super::{Change, Damage, Error, NUMBER_MAX, Row, SCOPE_MAX, Space, Store};

/// How many low bits of a key are the row's number.
const NUMBER_BITS: u32 = NUMBER_MAX.count_ones();

/// Rows in SQLite: durable on return of a commit, sealed row by row, whole batches only.
pub struct Sqlite {
    path: PathBuf,
    connection: Connection,
    master: MasterKey,
    sealing: Sealing,
    page_limit: PageLimit,
    page_limit_set: u32,
}

/// What this opening seals with, and what of it the database knows.
struct Sealing {
    sealer: Sealer,
    salt_id: i64,
    salt: Salt,
    /// Whether the salt is in the database; it goes there with the first batch.
    committed: bool,
    /// Salts of earlier openings that no row needs any more; they go with the first batch too.
    unused: Vec<i64>,
}

impl Sqlite {
    /// `connection` holds our tables, of which `master` was seen to be the key.
    pub(super) fn new(path: PathBuf, connection: Connection, master: MasterKey) -> Result<Self, Error> {
        let last: Option<i64> = connection
            .query_row("SELECT max(id) FROM salts", [], |row| row.get(0))
            .map_err(explain(&path, "read the salts"))?;
        let salt = random()?;
        let sealing = Sealing {
            sealer: Sealer::new(master.row_key(&salt)),
            salt_id: last.map_or(0, |last| last.saturating_add(1)),
            salt,
            committed: false,
            unused: Vec::new(),
        };
        Ok(Sqlite { path, connection, master, sealing, page_limit: PageLimit::default(), page_limit_set: 0 })
    }

    /// A handle on the file's size that stays usable once the store has moved to its thread.
    pub fn page_limit(&self) -> PageLimit {
        self.page_limit.clone()
    }

    fn apply_page_limit(&mut self) -> Result<(), Error> {
        let wanted = self.page_limit.0.load(Ordering::Relaxed);
        if wanted != self.page_limit_set {
            let pages = if wanted == 0 { PageLimit::SQLITE_MAX } else { wanted };
            let set = self.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()));
            set.map_err(explain(&self.path, "limit the database"))?;
            self.page_limit_set = wanted;
        }
        Ok(())
    }

    fn transact(&mut self, batch: &[Change]) -> Result<(), Error> {
        // A rollback that itself failed would leave its transaction open, and each later one could not begin.
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK").map_err(explain(&self.path, "roll back"))?;
        }
        self.apply_page_limit()?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(explain(&self.path, "begin a batch"))?;
        if !self.sealing.committed {
            self.sealing.commit(&transaction).map_err(explain(&self.path, "write the salt"))?;
        }
        let mut writing = Writing { path: &self.path, transaction: &transaction, sealing: &mut self.sealing };
        writing.write(batch)?;
        transaction.commit().map_err(explain(&self.path, "commit a batch"))?;
        self.sealing.committed = true;
        Ok(())
    }

    /// Where the log can't grow (a full disk, a quota), not even a delete fits. What it holds moves into the database, and the
    /// next batch starts at the log's beginning, in room that is ours already. If that fails too, only free space helps.
    fn reclaim_log(&self) {
        let _ = self.connection.query_row("PRAGMA wal_checkpoint", [], |_| Ok(()));
    }

    fn salts(&self) -> Result<HashMap<i64, RowKey>, Error> {
        let failed = || explain(&self.path, "read the salts");
        let mut statement = self.connection.prepare("SELECT id, salt FROM salts").map_err(failed())?;
        let mut found = statement.query([]).map_err(failed())?;
        let mut keys = HashMap::new();
        while let Some(row) = found.next().map_err(failed())? {
            let salt: [u8; SALT_BYTES] = row.get(1).map_err(failed())?;
            keys.insert(row.get(0).map_err(failed())?, self.master.row_key(&salt));
        }
        Ok(keys)
    }

    fn counts(&self) -> Result<Vec<(u64, u32)>, Error> {
        let failed = || explain(&self.path, "read the scopes");
        let mut statement =
            self.connection.prepare("SELECT scope, count FROM scopes ORDER BY scope").map_err(failed())?;
        let mut found = statement.query([]).map_err(failed())?;
        let mut counts = Vec::new();
        while let Some(row) = found.next().map_err(failed())? {
            let scope: i64 = row.get(0).map_err(failed())?;
            let counted: i64 = row.get(1).map_err(failed())?;
            let scope = u64::try_from(scope).unwrap_or(u64::MAX);
            match u32::try_from(counted) {
                Ok(count @ 1..) => counts.push((scope, count)),
                _ => return Err(Error::Damaged { scope, damage: Damage::Count { counted } }),
            }
        }
        Ok(counts)
    }
}

// === impl Store ===

impl Store for Sqlite {
    /// Reads every page of the tables once: a broken page is seen by SQLite, a broken row by its seal, a missing one by the count.
    fn load(&mut self) -> Result<Vec<Row>, Error> {
        let keys = self.salts()?;
        let mut census = Census::new(self.counts()?);
        let mut used = HashSet::new();
        let mut rows = Vec::new();
        {
            let failed = || explain(&self.path, "read the rows");
            let select = "SELECT key, salt, nonce, sealed FROM rows ORDER BY key";
            let mut statement = self.connection.prepare(select).map_err(failed())?;
            let mut found = statement.query([]).map_err(failed())?;
            while let Some(row) = found.next().map_err(failed())? {
                let (scope, number) = place_of(row.get(0).map_err(failed())?);
                census.see(scope, number)?;
                let salt: i64 = row.get(1).map_err(failed())?;
                let nonce: i64 = row.get(2).map_err(failed())?;
                let sealed: Vec<u8> = row.get(3).map_err(failed())?;
                used.insert(salt);
                let body = keys.get(&salt).and_then(|key| key.open(nonce.cast_unsigned(), scope, number, sealed));
                let body = body.ok_or(Error::Damaged { scope, damage: Damage::Seal { number } })?;
                rows.push(Row { scope, number, body: Bytes::from(body) });
            }
        }
        census.finish()?;
        if !self.sealing.committed {
            self.sealing.unused = keys.into_keys().filter(|id| !used.contains(id)).collect();
        }
        Ok(rows)
    }

    fn commit(&mut self, batch: &[Change]) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let committed = self.transact(batch);
        if matches!(committed, Err(Error::Full | Error::Failed { .. })) {
            self.reclaim_log();
        }
        committed
    }

    fn space(&self) -> Space {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        match rustix::fs::statvfs(directory) {
            Ok(stat) => Space { free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize) },
            // Not knowing is no reason to stop intake: the commit itself tells.
            Err(_) => Space::UNBOUNDED,
        }
    }
}

// === impl Sealing ===

impl Sealing {
    fn commit(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        for id in &self.unused {
            transaction.execute("DELETE FROM salts WHERE id = ?1", [id])?;
        }
        transaction.execute("INSERT INTO salts (id, salt) VALUES (?1, ?2)", (self.salt_id, &self.salt))?;
        Ok(())
    }
}

/// One batch on its way into one transaction.
struct Writing<'a> {
    path: &'a Path,
    transaction: &'a Transaction<'a>,
    sealing: &'a mut Sealing,
}

/// The rows that a batch adds to a scope: `first..next`.
struct Growth {
    first: u32,
    next: u32,
}

// === impl Writing ===

impl Writing<'_> {
    fn write(&mut self, batch: &[Change]) -> Result<(), Error> {
        // Counts are written once a scope and batch, not once a row.
        let mut grown: BTreeMap<u64, Growth> = BTreeMap::new();
        for change in batch {
            match *change {
                Change::Append { scope, number, ref body } => {
                    let growth = grown.entry(scope).or_insert(Growth { first: number, next: number });
                    if number != growth.next {
                        return Err(Error::OutOfOrder { scope, number });
                    }
                    self.insert(scope, number, body)?;
                    growth.next += 1;
                }
                Change::End { scope } => {
                    grown.remove(&scope);
                    self.end(scope)?;
                }
            }
        }
        grown.into_iter().try_for_each(|(scope, growth)| self.count(scope, growth))
    }

    fn insert(&mut self, scope: u64, number: u32, body: &[u8]) -> Result<(), Error> {
        let key = key_of(scope, number).ok_or(Error::OutOfBounds { scope, number })?;
        let (nonce, sealed) = self.sealing.sealer.seal(scope, number, body)?;
        let insert = "INSERT INTO rows (key, salt, nonce, sealed) VALUES (?1, ?2, ?3, ?4)";
        let values = (key, self.sealing.salt_id, nonce.cast_signed(), sealed);
        match self.transaction.prepare_cached(insert).and_then(|mut statement| statement.execute(values)) {
            Ok(_) => Ok(()),
            Err(error) if is_conflict(&error) => Err(Error::OutOfOrder { scope, number }),
            Err(error) => Err(explain(self.path, "write a row")(error)),
        }
    }

    fn end(&self, scope: u64) -> Result<(), Error> {
        let (Some(first), Some(last)) = (key_of(scope, 0), key_of(scope, NUMBER_MAX)) else {
            return Err(Error::OutOfBounds { scope, number: 0 });
        };
        let rows = "DELETE FROM rows WHERE key BETWEEN ?1 AND ?2";
        let ended = self.transaction.prepare_cached(rows).and_then(|mut statement| statement.execute([first, last]));
        ended.map_err(explain(self.path, "end a scope"))?;
        let scopes = "DELETE FROM scopes WHERE scope = ?1";
        let ended =
            self.transaction.prepare_cached(scopes).and_then(|mut statement| statement.execute([scope.cast_signed()]));
        ended.map_err(explain(self.path, "end a scope"))?;
        Ok(())
    }

    /// The count goes from `first` to `next`; any other count means that the rows do not follow.
    fn count(&self, scope: u64, growth: Growth) -> Result<(), Error> {
        let out_of_order = Error::OutOfOrder { scope, number: growth.first };
        let counted = if growth.first == 0 {
            let insert = "INSERT INTO scopes (scope, count) VALUES (?1, ?2)";
            let values = (scope.cast_signed(), growth.next);
            self.transaction.prepare_cached(insert).and_then(|mut statement| statement.execute(values))
        } else {
            let update = "UPDATE scopes SET count = ?2 WHERE scope = ?1 AND count = ?3";
            let values = (scope.cast_signed(), growth.next, growth.first);
            self.transaction.prepare_cached(update).and_then(|mut statement| statement.execute(values))
        };
        match counted {
            Ok(1) => Ok(()),
            Ok(_) => Err(out_of_order),
            Err(error) if is_conflict(&error) => Err(out_of_order),
            Err(error) => Err(explain(self.path, "count a scope")(error)),
        }
    }
}

fn is_conflict(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}

fn key_of(scope: u64, number: u32) -> Option<i64> {
    let fits = scope <= SCOPE_MAX && number <= NUMBER_MAX;
    fits.then(|| (scope << NUMBER_BITS | u64::from(number)).cast_signed())
}

/// The inverse of [`key_of`]. A damaged, negative key becomes a scope beyond [`SCOPE_MAX`], which no count knows.
fn place_of(key: i64) -> (u64, u32) {
    let key = key.cast_unsigned();
    let number = u32::try_from(key & u64::from(NUMBER_MAX)).expect("23 bits fit into 32");
    (key >> NUMBER_BITS, number)
}

/// How many pages (4 KiB) the database may have: a bound for a small disk, and the way to imitate a full one. Takes effect with
/// the next commit; a bound below the present size keeps the file from growing.
#[derive(Clone, Debug, Default)]
pub struct PageLimit(Arc<AtomicU32>);

impl PageLimit {
    /// SQLite's own bound (`SQLITE_MAX_PAGE_COUNT`).
    const SQLITE_MAX: u32 = 4_294_967_294;

    /// `None`: as large as SQLite allows.
    pub fn set(&self, pages: Option<u32>) {
        self.0.store(pages.map_or(0, |pages| pages.max(1)), Ordering::Relaxed);
    }
}
