//! Where logs go: the other side of the spool, behind one trait.

use std::{future::Future, pin::Pin};

use super::{receipt::Receipt, record::Record, spool::Log};
use crate::core::task::Spec;

/// A future of a sink, which ends within the sink's own bound.
pub type Sent<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// A place for logs, such as an upstream's log service.
pub trait Sink: Send + Sync + 'static {
    /// Where the log of a task's step goes, in the sink's own words; it may hold secrets and is sealed on disk. `None`: nowhere.
    fn destination(&self, task: &Spec, step_id: &str) -> Option<Vec<u8>>;

    /// Such a log is in the spool: told when it begins, and after a start for each one that is still there.
    fn begun(&self, _destination: &[u8], _log: &Log) {}

    /// Takes up one log. Nothing is sent yet.
    ///
    /// # Errors
    /// If the words can't be read, such as after a change of versions; says why.
    fn deliver(&self, destination: &[u8]) -> Result<Box<dyn Delivery>, String>;
}

/// One log on its way to a sink. Calls come one after the other.
pub trait Delivery: Send {
    /// Sends records to those who watch the log as it grows. Nobody depends on them: the whole log follows.
    fn live<'a>(&'a mut self, records: &'a [Record]) -> Sent<'a>;

    /// Sends the whole log, which is closed. Doing it again leaves the sink with the same.
    fn whole<'a>(&'a mut self, log: &'a Log, receipt: &'a Receipt) -> Sent<'a>;

    /// Whether the logs of several tries at a task have places of their own; else the last one's takes that of the others.
    fn keeps_every_try(&self) -> bool {
        false
    }
}

/// Why nothing is known to have arrived. The text holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Tried again.
    #[error("{0}")]
    Again(String),
    /// Nothing is wrong, and nobody can take it yet: asked again soon, with the same records.
    #[error("{0}")]
    Early(String),
    /// No further try can succeed.
    #[error("{0}")]
    Never(String),
}
