//! The database file: how it is opened, recognised and made.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::Error;

/// The format this version writes and reads. Any other one is refused. 2: a task says whether it can be handed back, and what of it
/// is not supported. 3: times and reasons for its trace, and the span it came with; sessions.
pub const FORMAT: i32 = 3;

/// "dlte": marks the file as ours, also for `file(1)`.
const APPLICATION_ID: i32 = 0x646c_7465;

/// A long batch leaves a long write-ahead log behind; beyond this it is cut back at the next checkpoint.
const WAL_BYTES_KEPT: i64 = 16 << 20;

/// `rows.key` is scope and number in one integer, so that a scope's rows lie side by side and end as one range.
/// `scopes.count` is how many rows the scope has: without it a missing tail could not be seen.
const TABLES: &str = "
    CREATE TABLE scopes (scope INTEGER PRIMARY KEY, count INTEGER NOT NULL) STRICT;
    CREATE TABLE rows (key INTEGER PRIMARY KEY, salt INTEGER NOT NULL, nonce INTEGER NOT NULL, sealed BLOB NOT NULL) STRICT;
    CREATE TABLE salts (id INTEGER PRIMARY KEY, salt BLOB NOT NULL) STRICT;
    CREATE TABLE key_check (id INTEGER PRIMARY KEY CHECK (id = 0), value BLOB NOT NULL) STRICT;
";

/// A connection to the database at `path`, which is made if need be (0600), and whether there was nothing in it.
///
/// The connection holds the file alone (`locking_mode`), so SQLite keeps its index of the log in memory, not in a shared file.
pub(super) fn connect(path: &Path) -> Result<(Connection, bool), Error> {
    // SQLite would make it with the umask's mode; its log takes over the mode of the database.
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    made.map_err(Error::failed("create the database"))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(explain(path, "open the database"))?;
    let configured = connection
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;");
    configured.map_err(explain(path, "open the database"))?;
    let fresh = recognise(&connection, path)?;
    Ok((connection, fresh))
}

/// Turns a connection that holds nothing yet, or our tables, into one whose commits are durable on return.
pub(super) fn prepare(connection: &mut Connection, path: &Path, fresh: bool) -> Result<(), Error> {
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(explain(path, "use a write-ahead log"))?;
    if mode != "wal" {
        return Err(Error::failed("use a write-ahead log")(format!("the file system only allows mode {mode}")));
    }
    // The full variants matter where fsync alone does not reach the disk (macOS); elsewhere they do nothing.
    let configured = connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;
         PRAGMA journal_size_limit = {WAL_BYTES_KEPT};"
    ));
    configured.map_err(explain(path, "open the database"))?;
    if fresh {
        let made = connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;"
        ));
        made.map_err(explain(path, "make the tables"))?;
    }
    Ok(())
}

/// Whether the database is still empty; an error if it is not ours to read.
fn recognise(connection: &Connection, path: &Path) -> Result<bool, Error> {
    let number = |pragma: &str| {
        connection.query_row(pragma, [], |row| row.get::<_, i32>(0)).map_err(explain(path, "read the database"))
    };
    let application_id = number("PRAGMA application_id")?;
    let found = number("PRAGMA user_version")?;
    let entries = number("SELECT count(*) FROM sqlite_schema")?;
    match (application_id, found, entries) {
        (0, 0, 0) => Ok(true),
        (APPLICATION_ID, FORMAT, _) => Ok(false),
        (APPLICATION_ID, _, _) => Err(Error::UnknownFormat { path: path.to_owned(), found, known: FORMAT }),
        _ => Err(Error::Foreign { path: path.to_owned(), application_id }),
    }
}

/// For `map_err`: the error's meaning for the journal at `path`.
pub(super) fn explain(path: &Path, operation: &'static str) -> impl FnOnce(rusqlite::Error) -> Error {
    move |error| match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::DamagedFile { path: path.to_owned(), source: error.into() }
        }
        // A value of another type or range than we wrote, or a table that is gone: the file was changed beneath us.
        None => Error::DamagedFile { path: path.to_owned(), source: error.into() },
        Some(_) => Error::Failed { operation, source: error.into() },
    }
}
