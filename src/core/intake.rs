//! From an upstream's offer to a task of ours: registration, polls, admission, acquisitions and their recovery.
//!
//! An acquire leaves only after its intention is durable, so a crash or a lost answer leaves a trace: the intention stays open
//! until the upstream says clearly whose the task is.
//!
//! ```text
//!  listed ─ admitted ─► intention ─► acquire ─┬─ given ──────────────► task taken
//!                           ▲                 ├─ refused twice, 5 s apart ► closed: a lost race
//!            not listed any more: again       ├─ given unassigned ───► closed, set aside 30 s
//!                           └─────────────────┴─ no clear answer: open; listed again ► closed, offered anew
//! ```

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Core,
    effect::{Call, Effect, NotAcquired, Note},
    id::{ExternalId, LinkId, SlotClass, TaskId, TaskType, UpstreamName},
    input::{AcquireError, Answer, CallError, Denial, Listed as Offered, Listing, Registered, Standing as Answered},
    planted::planted,
    record::{Record, scope_of},
    roster::Link,
    task::{Blame, CancelReason, Error, Finish, Identity, Outcome, Retry, Spec, State},
    time::Now,
    timer::Timer,
    upstream::{
        ACQUIRE_LATE_MAX, ACQUIRE_SILENCE, Acquire, Listed, REFUSALS_APART, REGISTER_DEBOUNCE, REGISTER_RETRY_MAX,
        REGISTER_RETRY_MIN, SET_ASIDE_FOR, Standing,
    },
};

/// How long an abort of an unknown task is kept for the acquire it may belong to.
const ABORT_KEPT_FOR: std::time::Duration = std::time::Duration::from_secs(600);
/// Noted aborts at once; the oldest make room.
const ABORTS_MAX: usize = 10_000;
/// What a frame holds beside the largest payload, in bytes: 4 MiB less the 3.5 MiB of the contract.
const FRAME_REST_BYTES: usize = 512 << 10;
/// Room for what an assignment says beside the task's own fields: ids, lease, trace, times, the lengths of all parts.
const ASSIGNMENT_BYTES: usize = 4 << 10;
/// The google.rpc.Code for what is larger than any frame.
const OUT_OF_RANGE: i32 = 11;
/// Listed tasks looked at in one poll; the rest is listed again by the next one.
const LISTED_MAX: usize = 10_000;
/// A poll's answer is old news about a task that ended after the poll was sent; polls take no longer than this.
const CLOSED_KEPT_FOR: std::time::Duration = std::time::Duration::from_secs(120);

impl Core {
    pub(super) fn resume_upstream(&mut self, now: Now, name: &UpstreamName) {
        let known = self.ledger.registration(name).is_some();
        let intentions: Vec<_> = self
            .ledger
            .intentions()
            .filter(|(_, intention)| intention.upstream == *name)
            .map(|(task, intention)| (task, intention.at))
            .collect();
        let Some(up) = self.upstreams.get_mut(name) else { return };
        for (task, at) in intentions {
            let acquire = Acquire {
                in_flight: false,
                concluded: now.mono,
                refused: None,
                reserved: None,
                silent: true,
                in_batch: false,
            };
            up.acquires.insert(task, acquire);
            let left = Self::remaining(now, at, up.config.acquire_recovery_max);
            self.timers.set(Timer::IntentionExpiry(task), now.mono + left);
        }
        if known {
            // The id holds over restarts; polls under it bring aborts and settle acquires before any runner is back.
            up.standing = Standing::Registered;
            self.timers.set(Timer::Poll(name.clone()), now.mono);
            self.timers.set(Timer::Heartbeat(name.clone()), now.mono);
        }
        if !up.wanted.is_empty() {
            self.timers.set(Timer::Register(name.clone()), now.mono);
        }
    }

    pub(super) fn answered(&mut self, now: Now, name: &UpstreamName, answer: Answer) {
        self.keep_standing(now, name, &answer);
        match answer {
            Answer::Register(result) => self.registered(now, name, result),
            Answer::Heartbeat(result) => self.heartbeat_answered(now, name, result),
            Answer::Poll(result) => self.polled(now, name, result),
            Answer::Acquire { task, result } => self.acquire_answered(now, name, task, result),
            Answer::Report { task, result } => self.report_answered(now, name, task, result),
        }
    }

    /// Tells a call that worked from one that did not, once for all kinds of calls.
    fn keep_standing(&mut self, now: Now, name: &UpstreamName, answer: &Answer) {
        use super::input::ReportError;
        let error = match answer {
            Answer::Register(Err(error)) | Answer::Heartbeat(Err(error)) | Answer::Poll(Err(error)) => match error {
                CallError::Denied(denial, text) => Some((Some(*denial), text)),
                CallError::Failed(text) => Some((None, text)),
                CallError::Deleted(_) | CallError::SelfDestruct(_) => None,
            },
            Answer::Acquire { result: Err(AcquireError::Unanswered(text)), .. } => Some((None, text)),
            Answer::Report { result: Err(ReportError::Unauthorized(text)), .. } => {
                Some((Some(Denial::Credentials), text))
            }
            Answer::Report { result: Err(ReportError::Unsent(text) | ReportError::Unanswered(text)), .. } => {
                Some((None, text))
            }
            // Nothing to learn: it spoke, of this one task.
            Answer::Report { result: Err(ReportError::Fault(_)), .. } => return,
            _ => None,
        };
        let Some(up) = self.upstreams.get_mut(name) else { return };
        let Some((denial, text)) = error else {
            // An address that may not register may still poll, and is not to take anything by it.
            if up.denied == Some(Denial::Address) && !matches!(answer, Answer::Register(_)) {
                return;
            }
            let recovered = up.last_error.take().is_some();
            up.denied = None;
            up.last_success = Some(now.wall);
            up.successes += 1;
            if recovered {
                // Reports that wait out a back-off of the outage go now.
                let waiting: Vec<TaskId> = up.reports.keys().copied().collect();
                for task in waiting {
                    if self.timers.get(&Timer::Report(task)).is_some() {
                        self.timers.clear(&Timer::Report(task));
                        self.report_due(task);
                    }
                }
                self.note(Note::UpstreamRecovered { upstream: name.clone() });
            }
            return;
        };
        let first = up.last_error.replace(text.clone()).is_none();
        // A report knows only that it was refused; why is for the calls about the delegate to say.
        let news = denial.filter(|denial| match denial {
            Denial::Credentials => up.denied.is_none(),
            denial => up.denied != Some(*denial),
        });
        if let Some(denial) = news {
            up.denied = Some(denial);
            self.note(Note::UpstreamDenies { upstream: name.clone(), denial, reason: text.clone() });
        } else if first {
            self.note(Note::UpstreamFailing { upstream: name.clone(), reason: text.clone() });
        }
    }

    // === registration and heartbeats ===

    /// Makes the runners' task types known to every upstream; called when a runner attached.
    pub(super) fn announce_types(&mut self, now: Now) {
        let types: Vec<TaskType> = self.roster.task_types().cloned().collect();
        for (name, up) in &mut self.upstreams {
            up.wanted.extend(types.iter().cloned());
            let news = !up.wanted.is_subset(&up.told);
            if !news || up.registering || self.timers.get(&Timer::Register(name.clone())).is_some() {
                continue;
            }
            let pause = match up.standing {
                Standing::Deleted => continue,
                Standing::Unregistered => std::time::Duration::ZERO,
                Standing::Registered if up.told.is_empty() => std::time::Duration::ZERO,
                Standing::Registered => REGISTER_DEBOUNCE,
            };
            self.timers.set(Timer::Register(name.clone()), now.mono + pause);
        }
    }

    pub(super) fn register(&mut self, name: &UpstreamName) {
        let Some(up) = self.upstreams.get_mut(name) else { return };
        if up.registering || up.standing == Standing::Deleted {
            return;
        }
        up.registering = true;
        up.told.clone_from(&up.wanted);
        let task_types = up.wanted.iter().cloned().collect();
        let host = self.ledger.registration(name).map(|(_, _, host)| host.clone());
        self.outbox.now(Effect::Call { upstream: name.clone(), call: Call::Register { task_types, host } });
    }

    fn registered(&mut self, now: Now, name: &UpstreamName, result: Result<Registered, CallError>) {
        let Some(up) = self.upstreams.get_mut(name) else { return };
        up.registering = false;
        match result {
            Ok(granted) => {
                up.register_tries = 0;
                up.forgotten = false;
                let first = up.standing != Standing::Registered;
                up.standing = Standing::Registered;
                let moved = granted.moved_to.clone().filter(|to| up.moved_to.as_ref() != Some(to));
                up.moved_to = granted.moved_to;
                let interval = up.config.heartbeat_interval;
                let changed = self
                    .ledger
                    .registration(name)
                    .map(|(scope, id, host)| (scope, *id != granted.delegate_id || *host != granted.host));
                if changed.is_none_or(|(_, changed)| changed) {
                    let scope = self.allot();
                    let (delegate_id, host) = (granted.delegate_id.clone(), granted.host);
                    self.record(scope, Record::DelegateRegistered { upstream: name.clone(), delegate_id, host });
                    if let Some((old, _)) = changed {
                        self.record(old, Record::ScopeEnded);
                    }
                    let registered = self.outbox.last();
                    if let Some(up) = self.upstreams.get_mut(name) {
                        up.registered = registered;
                    }
                }
                if let Some(endpoint) = moved {
                    self.note(Note::Moved { upstream: name.clone(), endpoint });
                }
                self.note(Note::Registered { upstream: name.clone(), delegate_id: granted.delegate_id });
                if first {
                    self.timers.set(Timer::Poll(name.clone()), now.mono);
                    self.timers.set(Timer::Heartbeat(name.clone()), now.mono + interval);
                }
                // Types that came while the call was under way.
                self.announce_types(now);
            }
            Err(CallError::SelfDestruct(reason)) => {
                self.note(Note::SelfDestruct { upstream: name.clone(), reason: reason.clone() });
                self.deleted(name, reason);
            }
            Err(CallError::Deleted(reason)) if up.forgotten => {
                self.note(Note::Forgotten { upstream: name.clone() });
                self.deleted(name, reason);
            }
            Err(CallError::Deleted(reason)) => {
                up.last_error = Some(reason);
                self.register_later(now, name);
            }
            Err(CallError::Denied(..) | CallError::Failed(_)) => self.register_later(now, name),
        }
    }

    /// Nothing more is taken from this upstream; what runs is finished, and what is owed reported.
    fn deleted(&mut self, name: &UpstreamName, reason: Arc<str>) {
        let Some(up) = self.upstreams.get_mut(name) else { return };
        up.standing = Standing::Deleted;
        up.last_error = Some(reason);
        up.listed.clear();
        for timer in [Timer::Poll(name.clone()), Timer::Heartbeat(name.clone()), Timer::Register(name.clone())] {
            self.timers.clear(&timer);
        }
    }

    fn register_later(&mut self, now: Now, name: &UpstreamName) {
        let Some(up) = self.upstreams.get_mut(name) else { return };
        up.told.clear();
        let pause = self.random.back_off(up.register_tries, REGISTER_RETRY_MIN, REGISTER_RETRY_MAX);
        up.register_tries += 1;
        self.timers.set(Timer::Register(name.clone()), now.mono + pause);
    }

    pub(super) fn heartbeat(&mut self, now: Now, name: &UpstreamName) {
        let Some(up) = self.upstreams.get_mut(name) else { return };
        self.timers.set(Timer::Heartbeat(name.clone()), now.mono + up.config.heartbeat_interval);
        if up.heartbeating || up.standing != Standing::Registered {
            return;
        }
        up.heartbeating = true;
        let running = self
            .ledger
            .tasks()
            .filter(|task| task.upstream == *name && !self.ledger.dead_letters().contains(&task.id))
            .map(|task| task.external_id.clone())
            .collect();
        let Some((_, delegate_id, host)) = self.ledger.registration(name) else { return };
        let call = Call::Heartbeat { delegate_id: delegate_id.clone(), host: host.clone(), running };
        self.outbox.now(Effect::Call { upstream: name.clone(), call });
    }

    fn heartbeat_answered(&mut self, now: Now, name: &UpstreamName, result: Result<Answered, CallError>) {
        let Some(up) = self.upstreams.get_mut(name) else { return };
        up.heartbeating = false;
        if matches!(result, Ok(Answered::Forgotten)) && !up.forgotten {
            up.forgotten = true;
            self.note(Note::Forgotten { upstream: name.clone() });
            self.timers.set(Timer::Register(name.clone()), now.mono);
        }
    }

    // === polls ===

    pub(super) fn poll(&mut self, now: Now, name: &UpstreamName) {
        let Some(up) = self.upstreams.get_mut(name) else { return };
        if up.polling.is_some() || up.standing != Standing::Registered {
            return;
        }
        let Some((_, delegate_id, _)) = self.ledger.registration(name) else { return };
        up.polling = Some(now.mono);
        self.timers.clear(&Timer::Poll(name.clone()));
        let call = Call::Poll { delegate_id: delegate_id.clone() };
        // Under an id that is not durable yet, tasks could be assigned to a delegate nobody remembers. What else waits for the
        // disk does not matter to a poll: aborts come by it.
        self.outbox.hold(up.registered, Effect::Call { upstream: name.clone(), call });
    }

    fn polled(&mut self, now: Now, name: &UpstreamName, result: Result<Listing, CallError>) {
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
                    let Offered { external_id, task_type, unsupported } = listed;
                    up.listed.insert(external_id, Listed { task_type, unsupported, reason, since });
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
        let Offered { external_id, task_type, unsupported } = listed;
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
            for handler in link.handlers.iter().filter(|handler| handler.task_type == *task_type) {
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
        // Tasks of one type stand or fall together, so the first refusal of a type speaks for the rest of it.
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
                unsupported: listed.unsupported,
            })
            .find(|offered| {
                !refused.contains(&offered.task_type)
                    && (self.admit(now, name, offered).is_ok() || !refused.insert(offered.task_type.clone()))
            })
    }

    /// Whether any task at all could be taken.
    fn has_room(&self) -> bool {
        self.store_failing.is_none()
            && self.unfinished_count() < self.config.tasks_max
            && self.roster.links().any(Link::has_room)
    }

    fn unfinished_count(&self) -> usize {
        self.waiting.unfinished + self.upstreams.values().map(super::upstream::Upstream::acquiring).sum::<usize>()
    }

    // === acquisitions ===

    /// Opens the intention to acquire; `seat`: whose slot it will use.
    fn intend(&mut self, now: Now, name: &UpstreamName, external_id: ExternalId, seat: Option<(LinkId, SlotClass)>) {
        let Some((_, delegate_id, _)) = self.ledger.registration(name) else { return };
        let identity =
            Arc::new(Identity { delegate_id: delegate_id.clone(), instance_id: self.delegate().to_string().into() });
        let task = TaskId(self.allot());
        let reserved = seat.as_ref().map(|(link, _)| *link);
        if let Some((link, class)) = seat
            && let Some(link) = self.roster.get_mut(link)
        {
            link.reserved.insert(task, class);
        }
        let Some(up) = self.upstreams.get_mut(name) else { return };
        let recovery_max = up.config.acquire_recovery_max;
        up.acquires.insert(
            task,
            Acquire { in_flight: true, concluded: now.mono, refused: None, reserved, silent: false, in_batch: true },
        );
        up.batch_open += 1;
        self.timers.set(Timer::IntentionExpiry(task), now.mono + recovery_max);
        self.timers.set(Timer::AcquireSilence(task), now.mono + ACQUIRE_SILENCE);
        let record = Record::IntentionOpened {
            upstream: name.clone(),
            external_id: external_id.clone(),
            identity: identity.clone(),
            at: now.wall,
        };
        let call = Call::Acquire { task, external_id, identity };
        if planted!(self, ForgottenIntention) {
            // The state knows, the journal does not.
            let _ = self.ledger.apply(scope_of(task), &record);
            return self.promise(Effect::Call { upstream: name.clone(), call });
        }
        self.record(scope_of(task), record);
        self.promise(Effect::Call { upstream: name.clone(), call });
    }

    fn acquire_answered(
        &mut self,
        now: Now,
        name: &UpstreamName,
        task: TaskId,
        result: Result<Box<Spec>, AcquireError>,
    ) {
        let Some(up) = self.upstreams.get_mut(name) else { return };
        let was_held_back = up.is_held_back();
        let Some(acquire) = up.acquires.get_mut(&task) else { return };
        acquire.in_flight = false;
        acquire.concluded = now.mono;
        let refused_before = acquire.refused;
        if acquire.in_batch {
            acquire.in_batch = false;
            up.batch_open -= 1;
            up.batch_won |= result.is_ok();
        }
        up.mute = matches!(result, Err(AcquireError::Unanswered(_)));
        self.timers.clear(&Timer::AcquireSilence(task));
        match result {
            Ok(spec) => self.take(now, name, task, *spec),
            Err(AcquireError::Refused(reason)) => match refused_before {
                Some(first) if now.mono.since(first) >= REFUSALS_APART => {
                    self.end_intention(now, name, task, &reason);
                }
                Some(_) => {}
                None => {
                    // Most likely another's: its slot does not wait for the second refusal.
                    acquire.refused = Some(now.mono);
                    if let Some(link) = acquire.reserved.take() {
                        self.roster.release_reservation(Some(link), task);
                        self.fill(now, link);
                    }
                }
            },
            Err(AcquireError::Unassigned) => {
                if let Some(intention) = self.ledger.intention(task) {
                    up.set_aside.insert(intention.external_id.clone(), now.mono + SET_ASIDE_FOR);
                }
                self.end_intention(now, name, task, "handed out without being assigned");
            }
            Err(AcquireError::Unanswered(reason)) => {
                if planted!(self, AmbiguousAcquireClosed) {
                    self.end_intention(now, name, task, &reason);
                }
                self.acquire_silent(now, task);
            }
        }
        if was_held_back {
            self.take_listed(now);
        }
        self.poll_again(now, name);
    }

    /// Nobody knows when its answer comes, if ever: others get its slot.
    pub(super) fn acquire_silent(&mut self, now: Now, task: TaskId) {
        self.timers.clear(&Timer::AcquireSilence(task));
        let Some(name) = self.ledger.intention(task).map(|intention| intention.upstream.clone()) else { return };
        let Some(acquire) = self.upstreams.get_mut(&name).and_then(|up| up.acquires.get_mut(&task)) else { return };
        acquire.silent = true;
        let Some(link) = acquire.reserved.take() else { return };
        self.roster.release_reservation(Some(link), task);
        self.fill(now, link);
        self.take_listed(now);
    }

    /// At once only if the last listing brought a task and there is room for more; else at the interval.
    fn poll_again(&mut self, now: Now, name: &UpstreamName) {
        let Some(up) = self.upstreams.get_mut(name) else { return };
        if up.batch_open > 0 || !up.batch_won {
            return;
        }
        up.batch_won = false;
        if self.has_room() {
            self.poll(now, name);
        }
    }

    /// Decides on every acquire without an answer in the light of a listing that was asked for well after it.
    fn settle_intentions(
        &mut self,
        now: Now,
        name: &UpstreamName,
        sent: super::time::Mono,
        listed: BTreeSet<&ExternalId>,
    ) {
        let Some(up) = self.upstreams.get(name) else { return };
        let open: Vec<(TaskId, Acquire)> = up
            .acquires
            .iter()
            .filter(|(_, acquire)| !acquire.in_flight && acquire.concluded + ACQUIRE_LATE_MAX <= sent)
            .map(|(task, acquire)| (*task, *acquire))
            .collect();
        for (task, acquire) in open {
            let Some(intention) = self.ledger.intention(task) else { continue };
            if listed.contains(&intention.external_id) {
                self.end_intention(now, name, task, "still on offer, so it was not assigned");
                continue;
            }
            if acquire.refused.is_some_and(|first| now.mono.since(first) < REFUSALS_APART) {
                continue;
            }
            let (external_id, identity) = (intention.external_id.clone(), intention.identity.clone());
            if let Some(acquire) = self.upstreams.get_mut(name).and_then(|up| up.acquires.get_mut(&task)) {
                acquire.in_flight = true;
            }
            self.promise(Effect::Call { upstream: name.clone(), call: Call::Acquire { task, external_id, identity } });
        }
    }

    pub(super) fn intention_expired(&mut self, now: Now, task: TaskId) {
        let Some(name) = self.ledger.intention(task).map(|intention| intention.upstream.clone()) else { return };
        let in_flight =
            self.upstreams.get(&name).and_then(|up| up.acquires.get(&task)).is_some_and(|acquire| acquire.in_flight);
        if in_flight {
            // The adapter bounds every call, so the answer comes.
            return self.timers.set(Timer::IntentionExpiry(task), now.mono + REFUSALS_APART);
        }
        self.end_intention(now, &name, task, "no clear answer within acquire_recovery_max");
    }

    fn end_intention(&mut self, now: Now, name: &UpstreamName, task: TaskId, reason: &str) {
        let Some(intention) = self.ledger.intention(task) else { return };
        let external_id = intention.external_id.clone();
        let released = self.drop_acquire(name, task);
        self.record(scope_of(task), Record::ScopeEnded);
        self.note(Note::AcquireEnded {
            upstream: name.clone(),
            external_id: external_id.clone(),
            reason: reason.into(),
        });
        if let Some(scope) = self.ledger.abort(name, &external_id) {
            self.record(scope, Record::ScopeEnded);
        }
        if let Some(link) = released {
            self.fill(now, link);
        }
        self.take_listed(now);
    }

    /// The acquire is over; says whose slot it had reserved, which the caller hands on.
    fn drop_acquire(&mut self, name: &UpstreamName, task: TaskId) -> Option<LinkId> {
        self.timers.clear(&Timer::IntentionExpiry(task));
        self.timers.clear(&Timer::AcquireSilence(task));
        let acquire = self.upstreams.get_mut(name)?.acquires.remove(&task)?;
        self.roster.release_reservation(acquire.reserved, task);
        acquire.reserved
    }

    /// The upstream gave us the task.
    fn take(&mut self, now: Now, name: &UpstreamName, task: TaskId, mut spec: Spec) {
        let Some(intention) = self.ledger.intention(task) else { return };
        let external_id = intention.external_id.clone();
        let task_type = spec.task_type.clone();
        // Once round is enough.
        spec.hand_back &= self.upstreams.get(name).is_none_or(|up| !up.handed_back.contains_key(&external_id));
        let released = self.drop_acquire(name, task);
        // Nobody will run it, so the journal need not carry it.
        let too_large = self.too_large(&spec);
        let spec = if too_large.is_some() { spec.without_content() } else { spec };
        self.record(scope_of(task), Record::TaskTaken { spec: Arc::new(spec), at: now.wall });
        self.waiting.unfinished += 1;
        let trace_id = self.ledger.task(task).map(|task| task.trace_id).unwrap_or_default();
        let upstream = name.clone();
        self.note(Note::Acquired { task, upstream, external_id: external_id.clone(), task_type, trace_id });
        self.arm_deadline(now, task);
        if let Some(scope) = self.ledger.abort(name, &external_id) {
            self.record(scope, Record::ScopeEnded);
            self.cancel(now, task, CancelReason::User, "aborted while it was being acquired");
        } else if let Some(error) = too_large {
            self.finish(now, task, None, Finish::of(Outcome::Failed, Some(error)));
        } else {
            self.wait(now, task);
        }
        // The reserved slot is another's if the task is over already or went elsewhere.
        if let Some(link) = released {
            self.fill(now, link);
        }
    }

    /// Why no frame can carry the task to a runner, if none can.
    fn too_large(&self, spec: &Spec) -> Option<Error> {
        let payload = spec.payload.as_ref().map_or(0, |payload| payload.content.len());
        let payload_max = self.config.payload_bytes_max;
        let rest = spec.other_bytes() + ASSIGNMENT_BYTES;
        let rest_max = FRAME_REST_BYTES + payload_max.saturating_sub(payload);
        let message = if payload > payload_max {
            format!("the payload has {payload} bytes, {payload_max} are allowed")
        } else if rest > rest_max {
            format!("labels, secrets and extensions have {rest} bytes, {rest_max} fit beside the payload")
        } else {
            return None;
        };
        Some(Error {
            code: OUT_OF_RANGE,
            reason: "PAYLOAD_TOO_LARGE".into(),
            message: message.into(),
            blame: Blame::TaskSpec,
            retry: Retry::Never,
            retry_delay: None,
            side_effects_possible: Some(false),
        })
    }

    // === aborts ===

    /// The upstream says so once; it is in the journal before anything else can fail.
    fn aborted(&mut self, now: Now, name: &UpstreamName, external_id: ExternalId) {
        if let Some(task) = self.ledger.open(name, &external_id)
            && self.ledger.task(task).is_some()
        {
            return self.cancel(now, task, CancelReason::User, "aborted by the upstream");
        }
        if planted!(self, AbortForgotten) || self.ledger.abort(name, &external_id).is_some() {
            return;
        }
        self.note(Note::AbortNoted { upstream: name.clone(), external_id: external_id.clone() });
        let scope = self.allot();
        self.record(scope, Record::AbortNoted { upstream: name.clone(), external_id, at: now.wall });
    }

    fn forget_old_aborts(&mut self, now: Now) {
        let surplus = self.ledger.abort_count().saturating_sub(ABORTS_MAX);
        let old: Vec<u64> = self
            .ledger
            .aborts()
            .enumerate()
            .filter(|(nth, (_, at))| *nth < surplus || now.wall.since(*at) >= ABORT_KEPT_FOR)
            .map(|(_, (scope, _))| scope)
            .collect();
        for scope in old {
            self.record(scope, Record::ScopeEnded);
        }
    }

    /// A deadline counts from the intention; a wall clock that went back never lengthens it.
    pub(super) fn arm_deadline(&mut self, now: Now, id: TaskId) {
        self.timers.clear(&Timer::Deadline(id));
        let Some(task) = self.ledger.task(id) else { return };
        if let (Some(timeout), false) = (task.spec.timeout, task.is_finished()) {
            let left = Self::remaining(now, task.intended, timeout);
            self.timers.set(Timer::Deadline(id), now.mono + left);
        }
    }

    /// A handler's own limit counts from its start; the task's deadline holds beside it.
    pub(super) fn arm_run_limit(&mut self, now: Now, link: LinkId, id: TaskId) {
        let Some(task) = self.ledger.task(id).filter(|task| task.cancel.is_none()) else { return };
        let (State::Accepted(lease), Some(link)) = (&task.state, self.roster.get(link)) else { return };
        let Some(limit) = link.handler_for(task).and_then(|handler| handler.default_timeout) else { return };
        let began = lease.started.or(lease.accepted).unwrap_or(lease.cut);
        let at = now.mono + Self::remaining(now, began, limit);
        if self.timers.get(&Timer::Deadline(id)).is_none_or(|deadline| deadline > at) {
            self.timers.set(Timer::Deadline(id), at);
        }
    }
}
