//! What an upstream offers, and whether to take it: polls and admission. How a task is then acquired is [`acquire`](super::acquire)'s.

use std::collections::BTreeSet;

use super::{
    Core,
    effect::{Call, Effect, NotAcquired, Note, Wanted},
    id::{LinkId, SlotClass, UpstreamName},
    input::{CallError, Listed as Offered, Listing},
    roster::Link,
    time::Now,
    timer::Timer,
    upstream::{Listed, Standing},
};

/// Listed tasks looked at in one poll; the rest is listed again by the next one.
const LISTED_MAX: usize = 10_000;
/// A poll's answer is old news about a task that ended after the poll was sent; polls take no longer than this.
const CLOSED_KEPT_FOR: std::time::Duration = std::time::Duration::from_secs(120);

impl Core {
    pub(super) fn poll(&mut self, now: Now, name: &UpstreamName) {
        let Some(up) = self.upstreams.get_mut(name) else { return };
        if up.polling.is_some() || up.standing != Standing::Registered {
            return;
        }
        let Some((_, delegate_id, _)) = self.ledger.registration(name) else { return };
        let delegate_id = delegate_id.clone();
        let wanted = self.wanted();
        let Some(up) = self.upstreams.get_mut(name) else { return };
        up.polling = Some(now.mono);
        self.timers.clear(&Timer::Poll(name.clone()));
        let call = Call::Poll { delegate_id, wanted };
        // Under an id that is not durable yet, tasks could be assigned to a delegate nobody remembers. What else waits for the
        // disk does not matter to a poll: aborts come by it.
        self.outbox.hold(up.registered, Effect::Call { upstream: name.clone(), call });
    }

    pub(super) fn polled(&mut self, now: Now, name: &UpstreamName, result: Result<Listing, CallError>) {
        let Some(up) = self.upstreams.get_mut(name) else { return };
        let Some(sent) = up.polling.take() else { return };
        let next = now.mono + self.random.around(up.config.poll_interval);
        self.timers.set(Timer::Poll(name.clone()), next);
        let Ok(listing) = result else { return };
        up.closed.retain(|_, at| now.mono.since(*at) < CLOSED_KEPT_FOR);
        up.set_aside.retain(|_, until| *until > now.mono);

        for external_id in listing.aborts {
            self.aborted(now, name, external_id);
        }
        self.forget_old_aborts(now);
        self.settle_intentions(now, name, sent, listing.tasks.iter().map(|listed| &listed.external_id).collect());

        if listing.quiet {
            return;
        }
        let Some(up) = self.upstreams.get_mut(name) else { return };
        let mut before = std::mem::take(&mut up.listed);
        for listed in listing.tasks.into_iter().take(LISTED_MAX) {
            let Some(up) = self.upstreams.get_mut(name) else { return };
            let old_news = up.closed.get(&listed.external_id).is_some_and(|at| *at >= sent);
            if old_news || self.ledger.open(name, &listed.external_id).is_some() {
                continue;
            }
            let since = before.remove(&listed.external_id).map(|was| (was.reason, was.since));
            self.consider(now, name, listed, since);
        }
    }

    /// Acquires a listed task, or notes why not.
    fn consider(
        &mut self,
        now: Now,
        name: &UpstreamName,
        listed: Offered,
        before: Option<(NotAcquired, super::time::Wall)>,
    ) {
        match self.admit(now, name, &listed) {
            Ok(seat) => self.intend(now, name, listed.external_id, seat),
            Err(reason) => {
                let news = before.as_ref().is_none_or(|(was, _)| *was != reason);
                let since = match before {
                    Some((was, since)) if was == reason => since,
                    _ => now.wall,
                };
                if news {
                    self.note(Note::NotAcquired {
                        upstream: name.clone(),
                        external_id: listed.external_id.clone(),
                        task_type: listed.task_type.clone(),
                        reason: reason.clone(),
                    });
                }
                if let Some(up) = self.upstreams.get_mut(name) {
                    let Offered { external_id, task_type, labels, unsupported } = listed;
                    up.listed.insert(external_id, Listed { task_type, labels, unsupported, reason, since });
                }
            }
        }
    }

    /// Whether to acquire at all, and on whose credit; one that is only taken to be refused needs none.
    fn admit(
        &self,
        now: Now,
        name: &UpstreamName,
        listed: &Offered,
    ) -> Result<Option<(LinkId, SlotClass)>, NotAcquired> {
        let Offered { external_id, task_type, labels, unsupported } = listed;
        if self.store_failing.is_some() {
            return Err(NotAcquired::StoreFailing);
        }
        if self.ledger.abort(name, external_id).is_some() {
            return Err(NotAcquired::Aborted);
        }
        let up = self.upstreams.get(name).ok_or(NotAcquired::NoRunner)?;
        if let Some(denial) = up.denied {
            return Err(NotAcquired::Denied(denial));
        }
        if up.set_aside.get(external_id).is_some_and(|until| *until > now.mono) {
            return Err(NotAcquired::SetAside);
        }
        if up.is_held_back() {
            return Err(NotAcquired::UpstreamSilent);
        }
        if self.unfinished_count() >= self.config.tasks_max {
            return Err(NotAcquired::TasksMax { max: self.config.tasks_max });
        }
        if *unsupported {
            return Ok(None);
        }
        let mut class = None;
        let mut best: Option<(u32, LinkId, SlotClass)> = None;
        for link in self.roster.with_type(task_type).filter(|link| link.takes_work()) {
            for handler in link.handlers.iter().filter(|handler| handler.takes(task_type, labels.as_ref())) {
                class.get_or_insert_with(|| handler.class.clone());
                let free = link.free(&handler.class);
                if free > best.as_ref().map_or(0, |(free, _, _)| *free) {
                    best = Some((free, link.id, handler.class.clone()));
                }
            }
        }
        match (best, class) {
            (Some((_, link, class)), _) => Ok(Some((link, class))),
            (None, Some(class)) => Err(NotAcquired::NoSlot { class }),
            (None, None) => Err(NotAcquired::NoRunner),
        }
    }

    /// A slot came free: takes what the last listing still offers.
    pub(super) fn take_listed(&mut self, now: Now) {
        for name in self.upstreams.keys().cloned().collect::<Vec<_>>() {
            // One more than there are slots would only note again what is known.
            while let Some(offered) = self.next_listed(now, &name) {
                let was = self.upstreams.get_mut(&name).and_then(|up| up.listed.remove(&offered.external_id));
                self.consider(now, &name, offered, was.map(|was| (was.reason, was.since)));
            }
        }
    }

    fn next_listed(&self, now: Now, name: &UpstreamName) -> Option<Offered> {
        let up = self.upstreams.get(name)?;
        if up.listed.is_empty() || !self.has_room() {
            return None;
        }
        // Tasks of one type and labels stand or fall together, so the first refusal of a sort speaks for the rest of it.
        let mut refused = BTreeSet::new();
        up.listed
            .iter()
            .filter(|(_, listed)| {
                matches!(
                    listed.reason,
                    NotAcquired::NoRunner
                        | NotAcquired::NoSlot { .. }
                        | NotAcquired::TasksMax { .. }
                        | NotAcquired::StoreFailing
                        | NotAcquired::UpstreamSilent
                )
            })
            .map(|(external_id, listed)| Offered {
                external_id: external_id.clone(),
                task_type: listed.task_type.clone(),
                labels: listed.labels.clone(),
                unsupported: listed.unsupported,
            })
            .find(|offered| {
                let sort = (offered.task_type.clone(), offered.labels.clone());
                !refused.contains(&sort) && (self.admit(now, name, offered).is_ok() || !refused.insert(sort))
            })
    }

    /// What there is room for, each once.
    fn wanted(&self) -> Vec<Wanted> {
        if !self.has_room() {
            return Vec::new();
        }
        let links = self.roster.links().filter(|link| link.takes_work());
        let handlers = links.flat_map(|link| link.handlers.iter().filter(|handler| link.free(&handler.class) > 0));
        let wanted: BTreeSet<Wanted> = handlers
            .map(|handler| Wanted { task_type: handler.task_type.clone(), labels: handler.match_labels.clone() })
            .collect();
        wanted.into_iter().collect()
    }

    /// Whether any task at all could be taken.
    pub(super) fn has_room(&self) -> bool {
        self.store_failing.is_none()
            && self.unfinished_count() < self.config.tasks_max
            && self.roster.links().any(Link::has_room)
    }

    pub(super) fn unfinished_count(&self) -> usize {
        self.waiting.unfinished + self.upstreams.values().map(super::upstream::Upstream::acquiring).sum::<usize>()
    }
}
