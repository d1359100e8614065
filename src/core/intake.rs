//! What an upstream offers, and whether to take it. How full the host may be is [`admission`](super::admission)'s, how a task is then
//! acquired [`acquire`](super::acquire)'s.
//!
//! Whoever has room takes the next offer: cleanups first, then the upstream whose turn it is by its weight, then the part of a
//! stage whose turn it is within it, and of those the one that was listed first. So no upstream and no part starves another, and
//! nothing that is served waits for ever behind its like.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Core,
    admission::{Amount, Claim, begins_a_stage},
    effect::{Call, Effect, NotAcquired, Note, Wanted},
    explain::remember,
    id::{ExternalId, LinkId, TaskType, UpstreamName},
    input::{CallError, Listed as Offered, Listing},
    offers::{Group, Listed, Offers},
    past::Past,
    planted::planted,
    roster::{Link, Seat},
    session::SESSIONS_MAX,
    task::{Kind, Offer},
    time::Now,
    timer::Timer,
    upstream::{Standing, Upstream},
    wait::{Cause, Hint},
};

/// Listed tasks looked at in one poll, cleanups first; the rest is listed again by the next one.
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
        let wanted = self.wanted(name);
        let Some(up) = self.upstreams.get_mut(name) else { return };
        up.polling = Some(now);
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
        let Ok(listing) = result else {
            up.poll_failures = up.poll_failures.saturating_add(1);
            return;
        };
        up.poll_failures = 0;
        up.closed.retain(|_, at| now.mono.since(*at) < CLOSED_KEPT_FOR);
        up.set_aside.retain(|_, until| *until > now.mono);

        for external_id in &listing.aborts {
            up.listed.remove(external_id);
        }
        for external_id in listing.aborts {
            self.aborted(now, name, external_id);
        }
        self.forget_old_aborts(now);
        self.settle_intentions(now, name, sent.mono, listing.tasks.iter().map(|listed| &listed.external_id).collect());
        if !listing.quiet {
            self.list(now, name, sent, listing.tasks);
            self.take_listed(now);
            self.judge_listed(now, name);
        }
        // A poll that is held paces itself; a timer would wait behind the frames of a busy moment.
        if self.upstreams.get(name).is_some_and(|up| up.config.offers_one_at_a_time) {
            self.poll(now, name);
        }
    }

    /// What the upstream offers from now on. An offer that stays keeps its place.
    fn list(&mut self, now: Now, name: &UpstreamName, sent: Now, tasks: Vec<Offered>) {
        let kind = |offered: &Offered| self.kind_of_offer(&offered.task_type, offered.kind);
        let is_cleanup = |offered: &Offered| Claim::of(kind(offered)) == Claim::Cleanup;
        let (cleanups, others): (Vec<Offered>, Vec<Offered>) = tasks.into_iter().partition(is_cleanup);
        let Some(up) = self.upstreams.get_mut(name) else { return };
        let mut before = std::mem::take(&mut up.listed);
        let mut offers = Offers::default();
        for offered in cleanups.into_iter().chain(others).take(LISTED_MAX) {
            let Some(up) = self.upstreams.get(name) else { return };
            let old_news = up.closed.get(&offered.external_id).is_some_and(|at| *at >= sent.mono);
            if old_news || self.ledger.open(name, &offered.external_id).is_some() {
                continue;
            }
            let (reason, since, nth, offer, waits) = match before.remove(&offered.external_id) {
                Some(was) => (was.reason, was.since, was.nth, was.offer, was.waits),
                None => {
                    let offer = Offer { polled: sent.wall, listed: now.wall };
                    (None, now.wall, self.next_offer, offer, Vec::new())
                }
            };
            self.next_offer = self.next_offer.max(nth + 1);
            let kind = self.kind_of_offer(&offered.task_type, offered.kind);
            let apart = if self.ledger.abort(name, &offered.external_id).is_some() {
                Some(NotAcquired::Aborted)
            } else {
                let set_aside = up.set_aside.get(&offered.external_id).is_some_and(|until| *until > now.mono);
                set_aside.then_some(NotAcquired::SetAside)
            };
            let Offered { external_id, task_type, labels, unsupported, .. } = offered;
            let apart_now = apart.is_some();
            let listed =
                Listed { task_type, kind, labels, unsupported, apart: apart_now, reason, since, nth, offer, waits };
            offers.insert(external_id.clone(), listed);
            if let Some(reason) = apart {
                self.judged(now, name, &mut offers, &external_id, &reason);
            }
        }
        // What is left of the last listing went elsewhere.
        let gone: Vec<Past> = before.iter().filter_map(|(id, listed)| listed.past(now, name, id)).collect();
        gone.into_iter().for_each(|past| self.pasts.push(past));
        if let Some(up) = self.upstreams.get_mut(name) {
            up.listed = offers;
        }
    }

    /// What the upstream says of it, else what its type is known for, else what its handlers are for.
    fn kind_of_offer(&self, task_type: &TaskType, said: Kind) -> Kind {
        if said != Kind::Standalone {
            return said;
        }
        if let Some(known) = self.config.kinds.get(task_type) {
            return *known;
        }
        let handlers = self.roster.with_type(task_type).flat_map(|link| &link.handlers);
        let mut handlers = handlers.filter(|handler| handler.task_type == *task_type);
        handlers.next().map_or(Kind::Standalone, |handler| handler.kind)
    }

    /// Why nothing of a group is taken right now.
    pub(super) fn reasons_now(&self, now: Now, up: &Upstream) -> BTreeMap<Group, NotAcquired> {
        let refused =
            up.listed.heads().filter_map(|(group, head)| Some((group.clone(), self.admit(now, up, head).err()?)));
        refused.collect()
    }

    /// Notes of each offer that was not taken why not. Offers of a group share their reason.
    pub(super) fn judge_listed(&mut self, now: Now, name: &UpstreamName) {
        let Some(reasons) = self.upstreams.get(name).map(|up| self.reasons_now(now, up)) else { return };
        let Some(up) = self.upstreams.get_mut(name) else { return };
        let mut offers = std::mem::take(&mut up.listed);
        for (group, reason) in reasons {
            for external_id in offers.of(&group) {
                self.judged(now, name, &mut offers, &external_id, &reason);
            }
        }
        if let Some(up) = self.upstreams.get_mut(name) {
            up.listed = offers;
        }
    }

    fn judged(&mut self, now: Now, name: &UpstreamName, offers: &mut Offers, id: &ExternalId, reason: &NotAcquired) {
        let Some(listed) = offers.get_mut(id) else { return };
        // Readings move within a reason, which is no news.
        if listed.reason.as_ref().map(NotAcquired::reason) != Some(reason.reason()) {
            listed.since = now.wall;
            let name_of = Cause::Left { reason: reason.clone(), hint: Hint::default() }.name();
            remember(&mut listed.waits, name_of, now.wall);
            self.note(Note::NotAcquired {
                upstream: name.clone(),
                external_id: id.clone(),
                task_type: listed.task_type.clone(),
                reason: reason.clone(),
            });
        }
        listed.reason = Some(reason.clone());
    }

    /// Whether to acquire an offer at all, and on whose credit; one that is only taken to be refused needs none.
    fn admit(&self, now: Now, up: &Upstream, listed: &Listed) -> Result<Option<(LinkId, Seat)>, NotAcquired> {
        // Who can tell may have come after the listing.
        let kind = self.kind_of_offer(&listed.task_type, listed.kind);
        let claim = Claim::of(kind);
        if self.leaves_offers(&up.config.name, kind) && !planted!(self, DrainAcquires) {
            return Err(NotAcquired::Draining);
        }
        if self.pause_leaves(&up.config.name, kind) {
            return Err(NotAcquired::Paused);
        }
        if self.store_failing.is_some() {
            return Err(NotAcquired::StoreFailing);
        }
        if let Some(denial) = up.denied {
            return Err(NotAcquired::Denied(denial));
        }
        // What lasts is said before what passes, so that the reason for a wait is the same from poll to poll.
        let seat =
            if listed.unsupported { None } else { Some(self.seat(&listed.task_type, kind, listed.labels.as_ref())?) };
        if up.is_held_back(claim == Claim::Cleanup) {
            return Err(NotAcquired::UpstreamSilent);
        }
        // A cleanup makes room; slots bound how many of them there are.
        if claim != Claim::Cleanup && self.unfinished_count() >= self.config.tasks_max {
            return Err(NotAcquired::TasksMax { max: self.config.tasks_max });
        }
        let next = self.ramp.next(self.config.admission.starts, now.mono);
        if seat.is_some() && begins_a_stage(kind) && next > now.mono && !planted!(self, RampIgnored) {
            let per_second = self.config.admission.starts.map_or(0, |starts| starts.per_second);
            return Err(NotAcquired::StartRate { per_second });
        }
        Ok(seat)
    }

    /// The slot for a task that is not here yet: with the runner that has the most room, on a host that is not too full.
    fn seat(
        &self,
        task_type: &TaskType,
        kind: Kind,
        labels: Option<&BTreeMap<String, String>>,
    ) -> Result<(LinkId, Seat), NotAcquired> {
        let claim = Claim::of(kind);
        let limits = &self.config.admission;
        let counted = limits.capacity != Amount::default();
        let declared = if counted { self.roster.declared() } else { Amount::default() };
        let here = self.gate_refusal(claim);
        let sets_up = kind == Kind::SessionSetup;
        if sets_up && self.ledger.session_count() >= SESSIONS_MAX {
            return Err(NotAcquired::SessionsMax { max: SESSIONS_MAX });
        }
        let (mut refusal, mut class, mut refused, mut idle) = (None, None, false, None);
        let mut best: Option<(u32, LinkId, Seat)> = None;
        for link in self.roster.with_type(task_type) {
            if let Some(why) = self.idle(link, kind) {
                if link.handlers.iter().any(|handler| handler.takes(task_type, labels)) {
                    idle.get_or_insert_with(|| NotAcquired::NotServing { runner: link.runner.clone(), why });
                }
                continue;
            }
            if sets_up && link.refuses_sessions {
                refused = true;
                continue;
            }
            for handler in link.handlers.iter().filter(|handler| handler.takes(task_type, labels)) {
                class.get_or_insert_with(|| handler.class.clone());
                let full = here.or_else(|| link.gate.refusal(limits, claim));
                if let Some(full) = full.or_else(|| limits.refuses(claim, declared, handler.amount)) {
                    refusal.get_or_insert(full);
                    continue;
                }
                let room = link.room(handler, kind == Kind::SessionCleanup);
                if room > best.as_ref().map_or(0, |(room, ..)| *room) {
                    best = Some((room, link.id, Seat::at(handler, kind)));
                }
            }
        }
        match (best, refusal, class) {
            (Some((_, link, seat)), ..) => Ok((link, seat)),
            (None, Some(refusal), _) => Err(NotAcquired::Admission(refusal)),
            (None, None, Some(class)) => Err(NotAcquired::NoSlot { class }),
            (None, None, None) if refused => Err(NotAcquired::SessionsRefused),
            (None, None, None) => Err(idle.unwrap_or(NotAcquired::NoRunner)),
        }
    }

    /// There may be room: takes what the last listings still offer, in turn.
    pub(super) fn take_listed(&mut self, now: Now) {
        let mut held_up = false;
        while let Some(Next { upstream: name, external_id, seat }) = self.next_listed(now, &mut held_up) {
            let Some(up) = self.upstreams.get_mut(&name) else { return };
            let weight = up.config.weight;
            let Some(listed) = up.listed.remove(&external_id) else { return };
            let standing = self.standing_of(&name);
            self.shares.charge_at(standing, &name, weight);
            let kind = self.kind_of_offer(&listed.task_type, listed.kind);
            self.part_shares.charge(&(name.clone(), kind), 1);
            if begins_a_stage(kind) {
                self.ramp.spend(self.config.admission.starts, now.mono);
            }
            self.intend(now, &name, external_id, listed, seat);
        }
        if held_up {
            self.arm_ramp(now);
        }
    }

    /// Whose turn it is, of those that may be acquired now. Looks at one offer of each kind, however many there are.
    fn next_listed(&self, now: Now, held_up: &mut bool) -> Option<Next> {
        let mut best: Option<(Turn, Next)> = None;
        for (name, up) in self.upstreams.iter().filter(|(_, up)| !up.listed.is_empty()) {
            if up.standing != Standing::Registered {
                continue;
            }
            let served = self.roster.task_types().flat_map(|task_type| up.listed.heads_of(task_type));
            for (external_id, listed) in served.chain(up.listed.unsupported_head()) {
                let seat = match self.admit(now, up, listed) {
                    Ok(seat) => seat,
                    Err(reason) => {
                        *held_up |= matches!(reason, NotAcquired::StartRate { .. });
                        continue;
                    }
                };
                let kind = self.kind_of_offer(&listed.task_type, listed.kind);
                let urgent = Claim::of(kind) == Claim::Cleanup;
                let part = self.part_shares.standing(&(name.clone(), kind));
                let standing = if planted!(self, SharesIgnored) { 0 } else { self.standing_of(name) };
                let turn = (!urgent, standing, name, part, listed.nth);
                if best.as_ref().is_none_or(|(other, _)| turn < *other) {
                    best = Some((turn, Next { upstream: name.clone(), external_id: external_id.clone(), seat }));
                }
            }
        }
        best.map(|(_, next)| next)
    }

    fn standing_of(&self, name: &UpstreamName) -> u64 {
        match self.upstreams.get(name) {
            Some(up) if up.config.offers_one_at_a_time => self.shares.late(name, up.config.weight),
            _ => self.shares.standing(name),
        }
    }

    /// What there is room for, each once. Where upstreams compete for slots, one that tells of tasks only while it is asked must be
    /// asked before a slot is free, or those whose offers are here already would have every turn.
    fn wanted(&self, name: &UpstreamName) -> Vec<Wanted> {
        let competes = |(other, up): (&UpstreamName, &Upstream)| other != name && up.standing == Standing::Registered;
        let contended = self.upstreams.iter().any(competes);
        if self.store_failing.is_some() || !(contended || self.has_room()) {
            return Vec::new();
        }
        let handlers = self.roster.links().filter(|link| link.takes_work()).flat_map(|link| &link.handlers);
        let sorts: BTreeSet<(Wanted, Kind)> = handlers
            .map(|handler| {
                let wanted = Wanted { task_type: handler.task_type.clone(), labels: handler.match_labels.clone() };
                (wanted, handler.kind)
            })
            .collect();
        let open = |(_, kind): &(Wanted, Kind)| !self.leaves_offers(name, *kind) && !self.pause_leaves(name, *kind);
        let has_seat = |(wanted, kind): &(Wanted, Kind)| match self.seat(&wanted.task_type, *kind, Some(&wanted.labels))
        {
            Ok(_) => true,
            Err(refusal) => contended && matches!(refusal, NotAcquired::NoSlot { .. }),
        };
        let wanted: BTreeSet<Wanted> =
            sorts.into_iter().filter(open).filter(has_seat).map(|(wanted, _)| wanted).collect();
        wanted.into_iter().collect()
    }

    /// Whether any task at all could be taken.
    pub(super) fn has_room(&self) -> bool {
        self.store_failing.is_none()
            && self.drain.is_none()
            && self.unfinished_count() < self.config.tasks_max
            && self.roster.links().any(Link::has_room)
    }

    pub(super) fn unfinished_count(&self) -> usize {
        self.waiting.unfinished + self.upstreams.values().map(super::upstream::Upstream::acquiring).sum::<usize>()
    }
}

/// The offer whose turn it is, and whose slot it will use.
struct Next {
    upstream: UpstreamName,
    external_id: ExternalId,
    seat: Option<(LinkId, Seat)>,
}

/// Cleanups first, then by the standing of the upstream, by its name so that it is not a matter of chance, by the standing of the
/// part of a stage, by age.
type Turn<'a> = (bool, u64, &'a UpstreamName, u64, u64);
