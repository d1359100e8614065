//! What the HTTP side and the handles share: the tables behind their lock, what was ordered to go wrong, and who waits for changes.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    calls::Route,
    options::Options,
    record::{Arrival, Record},
    tables::Tables,
};
use crate::doubles::{
    at::At,
    door::House,
    faults::{Fault, Faults},
    wait::{self, TimedOut},
};

/// What handlers and handles share.
pub(super) struct Shared {
    pub(super) token: Option<String>,
    pub(super) hold: Duration,
    pub(super) cards: bool,
    pub(super) redis: bool,
    tables: Mutex<Tables>,
    script: Mutex<Scripted>,
    pub(super) changed: Notify,
    pub(super) down: AtomicBool,
    /// How often all that is held was cut.
    pub(super) cuts: AtomicU64,
}

/// What was ordered to happen.
#[derive(Debug, Default)]
pub(super) struct Scripted {
    pub(super) faults: Faults<{ Route::ALL.len() }>,
    pub(super) refuse_tokens: bool,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(options: Options) -> Self {
        Self {
            tables: Mutex::new(Tables::new(&options)),
            token: options.token,
            hold: options.hold,
            cards: options.cards,
            redis: options.redis,
            script: Mutex::default(),
            changed: Notify::new(),
            down: AtomicBool::new(false),
            cuts: AtomicU64::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Tables> {
        // A predicate that panicked in a test only read.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never taken while the tables are locked, nor the other way round.
    pub(super) fn script(&self) -> MutexGuard<'_, Scripted> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, looks for the token in it, and picks its fault.
    pub(super) fn arrived(&self, route: Route, query: &str, body: &[u8]) -> Option<Fault> {
        let holds_token = self.token.as_deref().is_some_and(|token| {
            !token.is_empty() && (query.contains(token) || String::from_utf8_lossy(body).contains(token))
        });
        let mut tables = self.lock();
        tables.record.calls[route as usize] += 1;
        tables.record.arrivals.push(Arrival { at: At::now(), route });
        if holds_token {
            tables.record.token_seen.push(route);
        }
        drop(tables);
        self.changed.notify_waiters();
        self.script().faults.take(route as usize)
    }

    pub(super) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }

    pub(super) fn no_route(&self) {
        self.lock().record.totals.no_route += 1;
        self.changed.notify_waiters();
    }

    pub(super) async fn wait_until(
        &self,
        mut predicate: impl FnMut(&Record) -> bool,
        timeout: Duration,
    ) -> Result<(), TimedOut> {
        wait::until(&self.changed, || predicate(&self.lock().record), timeout).await
    }
}

impl House for Shared {
    fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    fn hung_up(&self) {
        self.lock().record.totals.hung_up += 1;
        self.changed.notify_waiters();
    }
}
