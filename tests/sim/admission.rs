//! What admission and fair shares promise, against a second account of the host's readings and of what is on offer.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    core::{
        admission::{Claim, Resource, begins_a_stage},
        id::{ExternalId, TaskType, UpstreamName},
        input::{Answer, Input},
        record::Record,
        task::Kind,
    },
    plan::{MARGIN, MEMORY, Plan},
    queue::{At, SEC},
};

/// The promise that was broken, and how.
type Broken = (&'static str, String);

#[derive(Debug, Default)]
pub struct Admission {
    kinds: BTreeMap<ExternalId, Kind>,
    /// The process that all below is about.
    process: u32,
    /// Claims that do not pass, by the readings so far.
    closed: BTreeSet<Claim>,
    /// When stages began, as far back as the bucket of starts reaches.
    starts: Vec<At>,
    /// On offer by the newest listing of each upstream and not acquired since.
    offers: BTreeMap<UpstreamName, BTreeMap<ExternalId, TaskType>>,
    /// Acquires without an answer, by upstream.
    under_way: BTreeMap<UpstreamName, usize>,
    /// Turns that others had with an upstream's type since it had one.
    passed_over: BTreeMap<(UpstreamName, TaskType), u32>,
}

// === impl Admission ===

impl Admission {
    pub fn offered(&mut self, id: &ExternalId, kind: Kind) {
        self.kinds.insert(id.clone(), kind);
    }

    pub fn kind(&self, id: &ExternalId) -> Kind {
        self.kinds.get(id).copied().unwrap_or_default()
    }

    /// Before the core sees `input`.
    pub fn hears(&mut self, process: u32, input: &Input) {
        if process != self.process {
            let kinds = std::mem::take(&mut self.kinds);
            *self = Self { kinds, process, ..Self::default() };
        }
        match input {
            Input::Pressure(usage) => {
                let percent = usage.get(&Resource::Memory).copied().unwrap_or(0);
                for (claim, margin) in [(Claim::Beginning, 0), (Claim::Step, MARGIN)] {
                    if percent > MEMORY.high + margin {
                        self.closed.insert(claim);
                    } else if percent <= MEMORY.low + margin {
                        self.closed.remove(&claim);
                    }
                }
            }
            Input::Answered { upstream, answer: Answer::Poll(Ok(listing)) } => {
                let offers = listing.tasks.iter().map(|offer| (offer.external_id.clone(), offer.task_type.clone()));
                self.offers.insert(upstream.clone(), offers.collect());
            }
            Input::Answered { upstream, answer: Answer::Acquire { .. } } => {
                let open = self.under_way.entry(upstream.clone()).or_default();
                *open = open.saturating_sub(1);
            }
            _ => {}
        }
    }

    /// A record was made just now; those that say what is acquired are judged.
    pub fn decided(&mut self, now: At, plan: &Plan, body: &[u8]) -> Result<(), Broken> {
        let Ok(Record::IntentionOpened { upstream, external_id, .. }) = Record::decode(body) else { return Ok(()) };
        let kind = self.kind(&external_id);
        if self.closed.contains(&Claim::of(kind)) {
            return Err(("a full host takes nothing but cleanups", format!("{external_id}, {kind:?}")));
        }
        if let Some(starts) = plan.starts.filter(|_| begins_a_stage(kind)) {
            self.starts.push(now);
            // No window holds more than a burst and what comes in at the rate.
            for (nth, since) in self.starts.iter().enumerate() {
                let begun = (self.starts.len() - nth) as u64;
                let allowed = u64::from(starts.burst) + (now - since) * u64::from(starts.per_second) / SEC;
                if begun > allowed {
                    return Err(("stages begin no faster than configured", format!("{begun}, {allowed} are allowed")));
                }
            }
        }
        *self.under_way.entry(upstream.clone()).or_default() += 1;
        let task_type = self.offers.get_mut(&upstream).and_then(|offers| offers.remove(&external_id));
        match task_type {
            Some(task_type) if plan.calm => self.took_turn(plan, &upstream, &task_type),
            _ => Ok(()),
        }
    }

    /// Nobody with an offer of the same type waits for more turns of another than their weights say.
    fn took_turn(&mut self, plan: &Plan, upstream: &UpstreamName, task_type: &TaskType) -> Result<(), Broken> {
        self.passed_over.retain(|(other, _), _| other != upstream);
        for (other, offers) in &self.offers {
            // One whose first acquire has no answer yet gets no second.
            let waits = other != upstream
                && self.under_way.get(other).is_none_or(|open| *open == 0)
                && offers.values().any(|offer| offer == task_type);
            if !waits {
                continue;
            }
            let passed_over = self.passed_over.entry((other.clone(), task_type.clone())).or_default();
            *passed_over += 1;
            let bound = plan.upstreams[upstream].div_ceil(plan.upstreams[other]) + 1;
            if *passed_over > bound {
                let detail =
                    format!("{other} waits for {passed_over} turns of {upstream} at {task_type}, {bound} are due");
                return Err(("upstreams share by weight", detail));
            }
        }
        Ok(())
    }
}
