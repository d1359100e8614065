//! A session as the core knows it: what the tasks of one stage share, and how far the stage is. What is decided about it is
//! the module `sessions`'s.
//!
//! ```text
//!  setup taken ─► SettingUp ─ succeeded ─► Ready ─ its runner stayed away ─► Orphaned
//!                     │ failed               │ cleanup came, closed, expired    │
//!                     └──────────────────────┴────────► Closing ◄───────────────┘
//!                                                          └─ cleanup over ─► gone
//! ```
//!
//! A stage whose setup this delegate never saw begins with its first task: as Ready, or as Closing if that is its cleanup.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    id::{RunnerId, SessionId, UpstreamName},
    record::Record,
    task::{Output, OutputValue, Payload, Spec},
    time::Wall,
};

/// Longest name an upstream may give a stage, in bytes; real ones are some twenty long.
pub const EXTERNAL_ID_BYTES_MAX: usize = 256;
/// State and sensitive state together, with their media types, in bytes: an assignment holds both beside the task's payload.
pub const STATE_BYTES_MAX: usize = 192 << 10;
/// Variables that later tasks of a session see, and their names and values in bytes, all together.
pub const VARIABLES_MAX: usize = 256;
pub const VARIABLES_BYTES_MAX: usize = 64 << 10;
/// The most that a session adds to an assignment, in bytes: state, variables with the lengths between them, ids.
pub const SESSION_BYTES_MAX: usize = STATE_BYTES_MAX + VARIABLES_BYTES_MAX + VARIABLES_MAX * 16 + (4 << 10);
/// Sessions at once. A host runs some dozens of stages; the rest is room for those nobody closed.
pub const SESSIONS_MAX: usize = 10_000;
/// Longest time that a session may be kept beyond its last news.
pub const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    SettingUp,
    Ready,
    Closing,
    Orphaned,
}

/// A value that one task leaves for the next. Printed as nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    pub value: Arc<str>,
    pub sensitive: bool,
}

/// One open session. Its state prints as sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub id: SessionId,
    pub upstream: UpstreamName,
    pub tenant: Arc<str>,
    /// The upstream's name for the stage.
    pub external_id: Arc<str>,
    pub phase: Phase,
    /// Grows with each change of the state.
    pub version: u64,
    pub state: Option<Payload>,
    pub sensitive_state: Option<Payload>,
    pub variables: BTreeMap<Arc<str>, Variable>,
    /// Who holds what the stage left on its host; absent: any may go on.
    pub runner: Option<RunnerId>,
    /// A runner has accepted the setup, so there may be something to clean up.
    pub started: bool,
    /// What the delegate's own cleanup is made from.
    pub setup: Option<Arc<Spec>>,
    pub created: Wall,
    pub expires: Wall,
}

/// A change as a runner asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateUpdate {
    /// The etag it was made from.
    pub expected: Arc<str>,
    /// Absent: unchanged.
    pub state: Option<Payload>,
    /// Absent: unchanged.
    pub sensitive_state: Option<Payload>,
    /// The session lives at least so long from now.
    pub extend_ttl: Option<Duration>,
}

// === impl Session ===

impl Session {
    /// The version as runners see it.
    pub fn etag(&self) -> Arc<str> {
        self.version.to_string().into()
    }

    /// State, sensitive or not, in bytes.
    pub fn state_bytes(&self) -> usize {
        size(self.state.as_ref()) + size(self.sensitive_state.as_ref())
    }

    /// The bytes of the state after `update`.
    pub fn bytes_after(&self, update: &StateUpdate) -> usize {
        size(update.state.as_ref().or(self.state.as_ref()))
            + size(update.sensitive_state.as_ref().or(self.sensitive_state.as_ref()))
    }

    /// Those of a task's outputs that become variables: exported, text, and within the bounds together with those that are here.
    pub fn exportable(&self, outputs: &[Output]) -> Vec<(Arc<str>, Variable)> {
        let mut all = self.variables.clone();
        let mut taken = Vec::new();
        for output in outputs.iter().filter(|output| output.exported) {
            let OutputValue::Text(value) = &output.value else { continue };
            let variable = Variable { value: value.clone(), sensitive: output.sensitive };
            let before = all.insert(output.name.clone(), variable.clone());
            let bytes: usize = all.iter().map(|(name, variable)| name.len() + variable.value.len()).sum();
            if all.len() > VARIABLES_MAX || bytes > VARIABLES_BYTES_MAX {
                match before {
                    Some(before) => all.insert(output.name.clone(), before),
                    None => all.remove(&output.name),
                };
                continue;
            }
            if before.as_ref() != Some(&variable) {
                taken.push((output.name.clone(), variable));
            }
        }
        taken
    }

    /// Makes a record of its scope part of it.
    ///
    /// # Errors
    /// If the record can't follow what the session is; it is unchanged then.
    pub fn apply(&mut self, record: &Record) -> Result<(), &'static str> {
        match record {
            Record::SessionStarted { runner } => {
                self.started = true;
                self.runner = runner.clone();
            }
            Record::SessionReady if self.phase == Phase::SettingUp => self.phase = Phase::Ready,
            Record::SessionExtended { expires } => self.expires = *expires,
            Record::SessionClosing if self.phase != Phase::Closing => self.phase = Phase::Closing,
            Record::SessionOrphaned => {
                self.runner = None;
                if self.phase != Phase::Closing {
                    self.phase = Phase::Orphaned;
                }
            }
            Record::SessionStateSet { state, sensitive_state } => {
                self.version += 1;
                self.state = state.clone().or(self.state.take());
                self.sensitive_state = sensitive_state.clone().or(self.sensitive_state.take());
            }
            Record::VariablesExported { variables } => self.variables.extend(variables.iter().cloned()),
            _ => return Err("news that does not fit the session's phase"),
        }
        Ok(())
    }
}

fn size(payload: Option<&Payload>) -> usize {
    payload.map_or(0, |payload| payload.content.len() + payload.content_type.len())
}

// === impl Variable: never its value ===

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Variable")
    }
}

// === impl Phase ===

impl Phase {
    /// One word for the operator.
    pub fn word(self) -> &'static str {
        match self {
            Self::SettingUp => "setting_up",
            Self::Ready => "ready",
            Self::Closing => "closing",
            Self::Orphaned => "orphaned",
        }
    }
}
