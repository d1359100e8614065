//! What one upstream offers and nobody here has taken yet, in an order that finds the next one without looking at all.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    effect::NotAcquired,
    explain::Waited,
    id::{ExternalId, TaskType, UpstreamName},
    past::{End, Past},
    task::{Kind, Offer},
    time::{Now, Wall},
};

/// Offers of one group stand or fall together: the first refusal speaks for all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Usual(TaskType, Kind, Option<BTreeMap<String, String>>),
    /// Taken only to be refused.
    Unsupported,
    /// Not to be taken before the next listing.
    Apart,
}

/// An offer.
#[derive(Clone, Debug)]
pub struct Listed {
    pub task_type: TaskType,
    pub kind: Kind,
    /// As the task will have them, if the upstream tells before the acquire.
    pub labels: Option<BTreeMap<String, String>>,
    pub unsupported: bool,
    /// Not to be taken before the next listing.
    pub apart: bool,
    /// Why it is not taken; absent: not judged yet.
    pub reason: Option<NotAcquired>,
    /// Since when for this reason.
    pub since: Wall,
    /// Its place in the order of first listings, over all upstreams.
    pub nth: u64,
    pub offer: Offer,
    /// Why it was not taken so far, in order.
    pub waits: Vec<Waited>,
}

#[derive(Debug, Default)]
pub struct Offers {
    by_id: BTreeMap<ExternalId, Listed>,
    /// Those of each group, the longest listed first.
    queues: BTreeMap<Group, BTreeSet<(u64, ExternalId)>>,
}

// === impl Listed ===

impl Listed {
    pub fn group(&self) -> Group {
        match (self.apart, self.unsupported) {
            (true, _) => Group::Apart,
            (false, true) => Group::Unsupported,
            (false, false) => Group::Usual(self.task_type.clone(), self.kind, self.labels.clone()),
        }
    }

    /// What to remember of it now that it is not on offer any more.
    pub fn past(&self, now: Now, upstream: &UpstreamName, external_id: &ExternalId) -> Option<Past> {
        Some(Past {
            upstream: upstream.clone(),
            external_id: external_id.clone(),
            task: None,
            task_type: Some(self.task_type.clone()),
            end: End::Left { reason: self.reason.clone()?, since: self.since },
            at: now.wall,
        })
    }
}

// === impl Offers ===

impl Offers {
    pub fn insert(&mut self, id: ExternalId, listed: Listed) {
        self.remove(&id);
        self.queues.entry(listed.group()).or_default().insert((listed.nth, id.clone()));
        self.by_id.insert(id, listed);
    }

    pub fn remove(&mut self, id: &ExternalId) -> Option<Listed> {
        let listed = self.by_id.remove(id)?;
        let group = listed.group();
        if let Some(queue) = self.queues.get_mut(&group) {
            queue.remove(&(listed.nth, id.clone()));
            if queue.is_empty() {
                self.queues.remove(&group);
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

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn get_mut(&mut self, id: &ExternalId) -> Option<&mut Listed> {
        self.by_id.get_mut(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ExternalId, &Listed)> {
        self.by_id.iter()
    }

    /// The longest listed of each kind, and set of labels, of this type.
    pub fn heads_of(&self, task_type: &TaskType) -> impl Iterator<Item = (&ExternalId, &Listed)> {
        let is_of_type = move |group: &Group| matches!(group, Group::Usual(other, ..) if other == task_type);
        let from = Group::Usual(task_type.clone(), Kind::Standalone, None);
        let groups = self.queues.range(from..).take_while(move |(group, _)| is_of_type(group));
        groups.filter_map(|(_, queue)| self.head(queue))
    }

    /// The longest listed of those that are taken only to be refused.
    pub fn unsupported_head(&self) -> Option<(&ExternalId, &Listed)> {
        self.head(self.queues.get(&Group::Unsupported)?)
    }

    /// The longest listed of each group that may be taken.
    pub fn heads(&self) -> impl Iterator<Item = (&Group, &Listed)> {
        let groups = self.queues.iter().filter(|(group, _)| **group != Group::Apart);
        groups.filter_map(|(group, queue)| Some((group, self.head(queue)?.1)))
    }

    /// How many there are of each group.
    pub fn sizes(&self) -> impl Iterator<Item = (&Group, usize)> {
        self.queues.iter().map(|(group, queue)| (group, queue.len()))
    }

    /// All of a group, the longest listed first.
    pub fn of(&self, group: &Group) -> Vec<ExternalId> {
        self.queues.get(group).into_iter().flatten().map(|(_, id)| id.clone()).collect()
    }

    fn head<'a>(&'a self, queue: &BTreeSet<(u64, ExternalId)>) -> Option<(&'a ExternalId, &'a Listed)> {
        let (_, id) = queue.first()?;
        self.by_id.get_key_value(id)
    }
}
