//! What one upstream offers and nobody here has taken yet, in an order that finds the next one without looking at all.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    effect::NotAcquired,
    id::{ExternalId, TaskType},
    task::Kind,
    time::Wall,
};

/// Offers of one kind stand or fall together: the first refusal speaks for all of them.
pub type Group = (TaskType, Kind);

/// An offer.
#[derive(Clone, Debug)]
pub struct Listed {
    pub task_type: TaskType,
    pub kind: Kind,
    pub unsupported: bool,
    /// Why it is not taken; absent: not judged yet.
    pub reason: Option<NotAcquired>,
    /// Since when for this reason.
    pub since: Wall,
    /// Its place in the order of first listings, over all upstreams.
    pub nth: u64,
}

#[derive(Debug, Default)]
pub struct Offers {
    by_id: BTreeMap<ExternalId, Listed>,
    /// Those that may be taken as soon as there is room, the longest listed first.
    queues: BTreeMap<Group, BTreeSet<(u64, ExternalId)>>,
    /// The same for those that are taken only to be refused.
    unsupported: BTreeSet<(u64, ExternalId)>,
}

// === impl Offers ===

impl Offers {
    /// Notes an offer that may be taken.
    pub fn queue(&mut self, id: ExternalId, listed: Listed) {
        self.remove(&id);
        let place = (listed.nth, id.clone());
        if listed.unsupported {
            self.unsupported.insert(place);
        } else {
            self.queues.entry((listed.task_type.clone(), listed.kind)).or_default().insert(place);
        }
        self.by_id.insert(id, listed);
    }

    /// Notes an offer that is to be left alone until the next listing.
    pub fn set_aside(&mut self, id: ExternalId, listed: Listed) {
        self.remove(&id);
        self.by_id.insert(id, listed);
    }

    pub fn remove(&mut self, id: &ExternalId) -> Option<Listed> {
        let listed = self.by_id.remove(id)?;
        let place = (listed.nth, id.clone());
        if listed.unsupported {
            self.unsupported.remove(&place);
        } else {
            let group = (listed.task_type.clone(), listed.kind);
            if let Some(queue) = self.queues.get_mut(&group) {
                queue.remove(&place);
                if queue.is_empty() {
                    self.queues.remove(&group);
                }
            }
        }
        Some(listed)
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub fn get_mut(&mut self, id: &ExternalId) -> Option<&mut Listed> {
        self.by_id.get_mut(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ExternalId, &Listed)> {
        self.by_id.iter()
    }

    /// The longest listed of each kind of this type.
    pub fn heads_of(&self, task_type: &TaskType) -> impl Iterator<Item = (&ExternalId, &Listed)> {
        let from = (task_type.clone(), Kind::Standalone)..=(task_type.clone(), Kind::Pipeline);
        self.queues.range(from).filter_map(|(_, queue)| self.head(queue))
    }

    /// The longest listed of those that are taken only to be refused.
    pub fn unsupported_head(&self) -> Option<(&ExternalId, &Listed)> {
        self.head(&self.unsupported)
    }

    fn head<'a>(&'a self, queue: &BTreeSet<(u64, ExternalId)>) -> Option<(&'a ExternalId, &'a Listed)> {
        let (_, id) = queue.first()?;
        self.by_id.get_key_value(id)
    }

    /// The offers that wait for room, group by group, and the first of each.
    pub fn groups(&self) -> Vec<Vec<ExternalId>> {
        let all = self.queues.values().chain(std::iter::once(&self.unsupported));
        all.map(|queue| queue.iter().map(|(_, id)| id.clone()).collect()).collect()
    }

    pub fn get(&self, id: &ExternalId) -> Option<&Listed> {
        self.by_id.get(id)
    }
}
