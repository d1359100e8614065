//! Who ordered what, and what came of it: the operator's deeds, kept in the journal.
//!
//! A deed that changes the core is recorded in the same turn as the change, so both are durable or neither. One that happens outside,
//! such as a reload, is put on record when it is done. A question is no deed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Core,
    command::Refusal,
    effect::{Effect, Note},
    record::Record,
    time::{Now, Wall},
};

/// Deeds kept; the oldest make room. Some weeks of a busy operator, and a few MiB.
pub const AUDITS_MAX: usize = 10_000;
/// Longest text of a field, in bytes; what is beyond is cut off.
pub const AUDIT_TEXT_BYTES_MAX: usize = 1 << 10;
/// The outcome of a deed that was followed.
pub const FOLLOWED: &str = "ok";

/// Who gave an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The way it came: "admin socket", "page", "signal", "file".
    pub via: Arc<str>,
    /// Of the process at the other end, as the system says. Absent: there is none.
    pub uid: Option<u32>,
    pub pid: Option<u32>,
}

/// What somebody did. Never a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    pub actor: Actor,
    /// As the command line names it: "tasks cancel".
    pub action: Arc<str>,
    /// What it was done to, and how.
    pub arguments: Arc<str>,
}

/// A deed on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    pub deed: Deed,
    /// [`FOLLOWED`], or the reason why it was not.
    pub outcome: Arc<str>,
    pub at: Wall,
}

impl Core {
    /// Puts a deed on record; it is told once it is durable.
    pub(super) fn audit(&mut self, now: Now, deed: Deed, outcome: &str) {
        let audit = Arc::new(Audit { deed: deed.bounded(), outcome: bounded(outcome), at: now.wall });
        let scope = self.allot();
        self.record(scope, Record::DeedDone { audit: audit.clone() });
        while self.ledger.audit_count() > AUDITS_MAX {
            let Some(oldest) = self.ledger.oldest_audit() else { break };
            self.record(oldest, Record::ScopeEnded);
        }
        self.promise(Effect::Note(Note::Audited(audit)));
    }

    /// The newest deeds, the oldest of them first.
    pub fn audit_list(&self, limit: usize) -> Vec<Arc<Audit>> {
        let mut newest: Vec<_> = self.ledger.audits().rev().take(limit).cloned().collect();
        newest.reverse();
        newest
    }
}

pub(super) fn outcome(answer: &Result<(), Refusal>) -> &'static str {
    match answer {
        Ok(()) => FOLLOWED,
        Err(refusal) => refusal.reason().word(),
    }
}

fn bounded(text: &str) -> Arc<str> {
    text[..text.floor_char_boundary(AUDIT_TEXT_BYTES_MAX)].into()
}

// === impl Actor, Deed ===

impl Actor {
    /// One without a process of its own.
    pub fn of(via: &str) -> Self {
        Self { via: via.into(), uid: None, pid: None }
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.via)?;
        if let Some(uid) = self.uid {
            write!(f, " uid {uid}")?;
        }
        if let Some(pid) = self.pid {
            write!(f, " pid {pid}")?;
        }
        Ok(())
    }
}

impl Deed {
    pub fn new(actor: Actor, action: &str, arguments: impl Into<Arc<str>>) -> Self {
        Self { actor, action: action.into(), arguments: arguments.into() }
    }

    fn bounded(mut self) -> Self {
        self.arguments = bounded(&self.arguments);
        self
    }
}
