//! The model disk: batches are atomic, the order is kept, and it can be full. What was not committed is gone with the process.

use std::collections::BTreeMap;

use bytes::Bytes;
use dlite::journal::{Change, Error, NUMBER_MAX, Row, SCOPE_MAX, Store};

#[derive(Debug, Default)]
pub struct Disk {
    rows: BTreeMap<u64, Vec<Bytes>>,
    pub full: bool,
}

impl Store for Disk {
    fn load(&mut self) -> Result<Vec<Row>, Error> {
        Ok(self.rows().map(|(scope, number, body)| Row { scope, number, body: body.clone() }).collect())
    }

    fn commit(&mut self, batch: &[Change]) -> Result<(), Error> {
        if self.full {
            return Err(Error::Full);
        }
        for change in batch {
            match change {
                Change::Append { scope, number, body } => {
                    if *scope > SCOPE_MAX || *number > NUMBER_MAX {
                        return Err(Error::OutOfBounds { scope: *scope, number: *number });
                    }
                    let rows = self.rows.entry(*scope).or_default();
                    if rows.len() != *number as usize {
                        return Err(Error::OutOfOrder { scope: *scope, number: *number });
                    }
                    rows.push(body.clone());
                }
                Change::End { scope } => {
                    self.rows.remove(scope);
                }
            }
        }
        Ok(())
    }
}

// === impl Disk ===

impl Disk {
    /// All rows, by scope, then by number.
    pub fn rows(&self) -> impl Iterator<Item = (u64, u32, &Bytes)> {
        self.rows
            .iter()
            .flat_map(|(scope, rows)| rows.iter().zip(0..).map(move |(body, number)| (*scope, number, body)))
    }
}
