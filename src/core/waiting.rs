//! Tasks of ours that have no lease, in the order in which they get one.
//!
//! They wait in flows: cleanups before all others, then upstreams by their weights, then the tenants of an upstream alike. Within
//! a flow priority counts, and so does age: a task is as good as one of the next higher priority that came [`AGEING`] later.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use super::{
    admission::Claim,
    id::{RunnerId, TaskId, TaskType, UpstreamName},
    share::Shares,
    task::{Priority, Task},
    time::Mono,
};

/// A runner that rejected a task is not asked again for at least this long.
const REJECTED_PAUSE_MIN: Duration = Duration::from_secs(1);
/// By so much an older task makes up for a lower priority, so that no stream of urgent tasks keeps one waiting for more than twice
/// as long. Half a minute is what a person who waits for a step takes for a hiccup.
pub const AGEING: Duration = Duration::from_secs(30);

/// Tasks that have the same right to a slot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// The first in order.
    claim: Urgency,
    pub upstream: UpstreamName,
    tenant: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Cleanup,
    Other,
}

/// A task's place in its flow: when it came, priority added.
pub type Place = (Mono, TaskId);

/// Task types that somebody has room for.
#[derive(Clone, Debug, Default)]
pub struct Room {
    pub any: BTreeSet<TaskType>,
    /// Has room for cleanups at least; holds `any`, too.
    pub cleanups: BTreeSet<TaskType>,
}

#[derive(Debug, Default)]
pub struct Waiting {
    flows: BTreeMap<Flow, BTreeMap<TaskType, BTreeSet<Place>>>,
    places: BTreeMap<TaskId, (Flow, Mono)>,
    upstreams: Shares<UpstreamName>,
    tenants: Shares<Flow>,
    /// Runners that rejected a task, and until when they are left alone with it.
    avoided: BTreeMap<TaskId, BTreeMap<RunnerId, Mono>>,
    /// A task that is not to be tried anywhere before a time.
    not_before: BTreeMap<TaskId, Mono>,
    /// Tasks acquired and without a result, waiting or not.
    pub unfinished: usize,
}

// === impl Waiting ===

impl Waiting {
    pub fn forget(&mut self, task: &Task) {
        self.unqueue(task);
        self.avoided.remove(&task.id);
        self.not_before.remove(&task.id);
    }

    pub fn queue(&mut self, task: &Task, now: Mono) {
        self.unqueue(task);
        let urgency = if Claim::of(task.spec.kind) == Claim::Cleanup { Urgency::Cleanup } else { Urgency::Other };
        let flow = Flow { claim: urgency, upstream: task.upstream.clone(), tenant: task.spec.tenant.clone() };
        let handicap = match task.spec.priority {
            Priority::High => Duration::ZERO,
            Priority::Normal => AGEING,
            Priority::Low => AGEING * 2,
        };
        let at = now + handicap;
        let queues = self.flows.entry(flow.clone()).or_default();
        queues.entry(task.spec.task_type.clone()).or_default().insert((at, task.id));
        self.places.insert(task.id, (flow, at));
    }

    pub fn unqueue(&mut self, task: &Task) {
        let Some((flow, at)) = self.places.remove(&task.id) else { return };
        let Some(queues) = self.flows.get_mut(&flow) else { return };
        if let Some(queue) = queues.get_mut(&task.spec.task_type) {
            queue.remove(&(at, task.id));
            if queue.is_empty() {
                queues.remove(&task.spec.task_type);
            }
        }
        if queues.is_empty() {
            self.flows.remove(&flow);
        }
    }

    /// The next task to try of those that there is room for, and that come after what was `tried` of their flow.
    pub fn next(&self, room: &Room, tried: &BTreeMap<Flow, Place>) -> Option<(Flow, Place)> {
        let heads = self.flows.iter().filter_map(|(flow, queues)| {
            let types = if flow.claim == Urgency::Cleanup { &room.cleanups } else { &room.any };
            let from = tried.get(flow).map_or(Bound::Unbounded, |tried| Bound::Excluded(*tried));
            let queues = types.iter().filter_map(|task_type| queues.get(task_type));
            let place = queues.filter_map(|queue| queue.range((from, Bound::Unbounded)).next()).min()?;
            Some((flow, *place))
        });
        let (flow, place) = heads.min_by_key(|(flow, place)| {
            (flow.claim, self.upstreams.standing(&flow.upstream), self.tenants.standing(flow), *place)
        })?;
        Some((flow.clone(), place))
    }

    /// One of the flow got a slot; `weight` is its upstream's.
    pub fn served(&mut self, flow: &Flow, weight: u32) {
        self.upstreams.charge(&flow.upstream, weight);
        self.tenants.charge(flow, 1);
    }

    /// Types that anybody waits for.
    pub fn all_types(&self) -> Room {
        let types: BTreeSet<TaskType> = self.flows.values().flat_map(|queues| queues.keys().cloned()).collect();
        Room { any: types.clone(), cleanups: types }
    }

    /// Leaves `runner` alone with the task; everyone else may have it after `delay`.
    pub fn avoid(&mut self, task: TaskId, runner: RunnerId, now: Mono, delay: Option<Duration>) {
        let delay = delay.unwrap_or_default();
        self.avoided.entry(task).or_default().insert(runner, now + delay.max(REJECTED_PAUSE_MIN));
        self.delay(task, now, delay);
    }

    pub fn delay(&mut self, task: TaskId, now: Mono, delay: Duration) {
        if !delay.is_zero() {
            self.not_before.insert(task, now + delay);
        }
    }

    /// When the task may be tried on this runner, if not now.
    pub fn earliest(&self, task: TaskId, runner: &RunnerId, now: Mono) -> Option<Mono> {
        let anywhere = self.not_before.get(&task).copied();
        let here = self.avoided.get(&task).and_then(|runners| runners.get(runner)).copied();
        anywhere.max(here).filter(|at| *at > now)
    }
}
