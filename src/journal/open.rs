//! Finds the database and its key, or makes both, and reads what is there.

use rusqlite::{Connection, OptionalExtension};

use super::schema::{connect, explain, prepare};
use super::seal::{MASTER_KEY_BYTES, MasterKey, random};
use super::{Error, Row, Sqlite, Store};
use crate::state_dir::StateDir;

/// A journal at start: where further changes go, and what was committed before.
pub struct Opened {
    pub store: Sqlite,
    /// By scope, then by number.
    pub rows: Vec<Row>,
}

/// Opens the journal in `dir`, whose lock keeps every other process away. Makes the database first, then the key, so that a key
/// without a database tells of a loss.
///
/// # Errors
/// A named one for each way in which the files are not exactly what was committed; see [`Error`].
pub fn open(dir: &StateDir) -> Result<Opened, Error> {
    let path = dir.database();
    let key_exists = dir.key().exists();
    let missing = || Error::DatabaseMissing { database: dir.database(), key: dir.key() };
    // Before SQLite looks: it would remove the log of an empty database, and with it what could still be rescued.
    if key_exists && std::fs::metadata(&path).map_or(0, |metadata| metadata.len()) == 0 {
        return Err(missing());
    }
    let (mut connection, fresh) = connect(&path)?;
    if fresh && key_exists {
        return Err(missing());
    }
    prepare(&mut connection, &path, fresh)?;
    let master = if key_exists || is_without_rows(&connection, dir)? {
        master_key(dir)?
    } else {
        return Err(Error::KeyMissing { path: dir.key() });
    };
    check_key(&connection, dir, &master, key_exists)?;
    dir.sync()?;
    let mut store = Sqlite::new(path, connection, master)?;
    let rows = store.load()?;
    Ok(Opened { store, rows })
}

fn is_without_rows(connection: &Connection, dir: &StateDir) -> Result<bool, Error> {
    let select = "SELECT NOT EXISTS (SELECT 1 FROM rows) AND NOT EXISTS (SELECT 1 FROM scopes)";
    connection.query_row(select, [], |row| row.get(0)).map_err(explain(&dir.database(), "read the rows"))
}

fn master_key(dir: &StateDir) -> Result<MasterKey, Error> {
    let made: [u8; MASTER_KEY_BYTES] = random()?;
    let secret = dir.secret_file(StateDir::KEY, || made.to_vec())?;
    let bytes = secret.expose();
    let size = || Error::KeySize { path: dir.key(), found: bytes.len(), expected: MASTER_KEY_BYTES };
    Ok(MasterKey::new(bytes.try_into().map_err(|_| size())?))
}

/// Compares the key with the mark in the database. A key made just now leaves its mark: there are no rows of another one.
fn check_key(connection: &Connection, dir: &StateDir, master: &MasterKey, key_existed: bool) -> Result<(), Error> {
    let path = dir.database();
    let select = connection.query_row("SELECT value FROM key_check", [], |row| row.get::<_, Vec<u8>>(0)).optional();
    match select.map_err(explain(&path, "check the key"))? {
        Some(mark) if mark == master.check() => Ok(()),
        Some(_) if key_existed => Err(Error::WrongKey { path: dir.key() }),
        _ => {
            let mark = "INSERT OR REPLACE INTO key_check (id, value) VALUES (0, ?1)";
            connection.execute(mark, [master.check()]).map_err(explain(&path, "mark the key"))?;
            Ok(())
        }
    }
}
