//! Between the journal's writer and its store: how long a commit takes, and whether it works.

use std::time::Instant;

use super::Metrics;
use crate::journal::{Change, Error, Row, Space, Store};

/// A store that is watched.
pub struct Timed<S> {
    store: S,
    metrics: Metrics,
}

impl<S> Timed<S> {
    pub fn new(store: S, metrics: Metrics) -> Self {
        Self { store, metrics }
    }
}

impl<S: Store> Store for Timed<S> {
    fn load(&mut self) -> Result<Vec<Row>, Error> {
        self.store.load()
    }

    fn commit(&mut self, batch: &[Change]) -> Result<(), Error> {
        let began = Instant::now();
        let done = self.store.commit(batch);
        self.metrics.committed(began.elapsed(), done.is_ok());
        done
    }

    fn space(&self) -> Space {
        self.store.space()
    }
}
