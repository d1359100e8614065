//! Task and lease numbers as a runner sees them: text that names the state directory too, so that a runner which meets another
//! journal is not taken for one that holds this one's leases.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::core::id::{DelegateId, LeaseId, SessionId, TaskId};

/// Leases of other journals that one link may name, as many as a hello may list; more of them read as one.
const FOREIGN_MAX: usize = 10_000;
/// Set in the number of a foreign lease; numbers of our own stay below.
const FOREIGN: u64 = 1 << 63;

/// Writes and reads ids of one delegate, for one link.
#[derive(Clone, Debug)]
pub struct Ids {
    delegate: DelegateId,
    /// First 32 bits of the delegate's id: enough to tell the few delegates that a runner ever meets.
    mark: Arc<str>,
    /// Leases this journal never cut, by the number they were given here, so that the answer names them as the runner does.
    foreign: Arc<Mutex<Foreign>>,
}

/// Texts that name no lease of ours, each with its number here.
#[derive(Debug, Default)]
struct Foreign {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, usize>,
}

// === impl Ids ===

impl Ids {
    pub fn of(delegate: DelegateId) -> Self {
        Self { delegate, mark: format!("{:08x}", delegate.0 >> 96).into(), foreign: Arc::default() }
    }

    /// The same for a further link, which names its own foreign leases.
    pub fn for_link(&self) -> Self {
        Self { delegate: self.delegate, mark: self.mark.clone(), foreign: Arc::default() }
    }

    /// Whose ids they are.
    pub fn delegate(&self) -> DelegateId {
        self.delegate
    }

    pub fn task(&self, task: TaskId) -> String {
        format!("t-{}-{:x}", self.mark, task.0)
    }

    /// The task a text names, if it is one of this journal's.
    pub fn parse_task(&self, text: &str) -> Option<TaskId> {
        let number = text.strip_prefix("t-")?.strip_prefix(&*self.mark)?.strip_prefix('-')?;
        u64::from_str_radix(number, 16).ok().map(TaskId)
    }

    pub fn session(&self, session: SessionId) -> String {
        format!("s-{}-{:x}", self.mark, session.0)
    }

    /// The session a text names, if it is one of this journal's.
    pub fn parse_session(&self, text: &str) -> Option<SessionId> {
        let number = text.strip_prefix("s-")?.strip_prefix(&*self.mark)?.strip_prefix('-')?;
        u64::from_str_radix(number, 16).ok().map(SessionId)
    }

    pub fn lease(&self, lease: LeaseId) -> String {
        if lease.0 & FOREIGN != 0 {
            let foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
            let index = usize::try_from(lease.0 ^ FOREIGN).unwrap_or(usize::MAX);
            return foreign.names.get(index).map(ToString::to_string).unwrap_or_default();
        }
        format!("l-{}-{:x}", self.mark, lease.0)
    }

    /// The lease a text names; one of another journal, or no lease at all, gets a number that is never in force.
    pub fn parse_lease(&self, text: &str) -> LeaseId {
        let number = text.strip_prefix("l-").and_then(|rest| rest.strip_prefix(&*self.mark));
        let number = number.and_then(|rest| rest.strip_prefix('-'));
        match number.and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
            Some(number) if number & FOREIGN == 0 => LeaseId(number),
            _ => self.name_foreign(text),
        }
    }

    fn name_foreign(&self, text: &str) -> LeaseId {
        let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match foreign.numbers.get(text) {
            Some(index) => *index,
            None if foreign.names.len() < FOREIGN_MAX => {
                let name: Arc<str> = text.into();
                let index = foreign.names.len();
                foreign.names.push(name.clone());
                foreign.numbers.insert(name, index);
                index
            }
            None => FOREIGN_MAX - 1,
        };
        LeaseId(FOREIGN | u64::try_from(index).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_reads_back_and_a_foreign_one_keeps_its_name() {
        let ids = Ids::of(DelegateId(0x1234_5678 << 96));
        let lease = LeaseId(0xabc);
        assert_eq!(ids.lease(lease), "l-12345678-abc");
        assert_eq!(ids.parse_lease(&ids.lease(lease)), lease);
        for foreign in ["l-87654321-abc", "l-12345678-", "t-12345678-abc", "l-12345678-ffffffffffffffff"] {
            let lease = ids.parse_lease(foreign);
            assert_ne!(lease.0 & FOREIGN, 0, "{foreign}");
            assert_eq!(ids.lease(lease), foreign);
        }
    }

    #[test]
    fn a_runner_that_invents_leases_without_end_uses_bounded_memory() {
        let ids = Ids::of(DelegateId(1));
        for n in 0..3 * FOREIGN_MAX {
            ids.parse_lease(&format!("invented-{n}"));
        }
        assert_eq!(ids.foreign.lock().unwrap().names.len(), FOREIGN_MAX);
    }
}
