//! From an offer that was admitted to a task of ours: acquisitions and their recovery.
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
    effect::{Call, Effect, Note},
    id::{ExternalId, LinkId, TaskId, UpstreamName},
    input::AcquireError,
    offers::Listed,
    past::{End, Past},
    planted::planted,
    record::{Record, scope_of},
    roster::Seat,
    session::SESSION_BYTES_MAX,
    task::{CancelReason, Error, Finish, Identity, Outcome, Spec},
    time::Now,
    timer::Timer,
    upstream::{ACQUIRE_LATE_MAX, ACQUIRE_SILENCE, Acquire, REFUSALS_APART, SET_ASIDE_FOR},
};
use crate::reason::Reason;

/// What a frame holds beside the largest payload, in bytes: 4 MiB less the 3.5 MiB of the contract.
const FRAME_REST_BYTES: usize = 512 << 10;
/// Room for what an assignment says beside the task's own fields: ids, lease, trace, times, the lengths of all parts.
const ASSIGNMENT_BYTES: usize = 4 << 10;

impl Core {
    /// Opens the intention to acquire; `seat`: whose slot it will use.
    pub(super) fn intend(
        &mut self,
        now: Now,
        name: &UpstreamName,
        external_id: ExternalId,
        listed: Listed,
        seat: Option<(LinkId, Seat)>,
    ) {
        let Some((_, delegate_id, _)) = self.ledger.registration(name) else { return };
        let identity =
            Arc::new(Identity { delegate_id: delegate_id.clone(), instance_id: self.delegate().to_string().into() });
        let task = TaskId(self.allot());
        let offer = listed.offer;
        if !listed.waits.is_empty() {
            self.waits.insert(task, listed.waits);
        }
        let reserved = seat.as_ref().map(|(link, _)| *link);
        let cleanup = seat.as_ref().is_some_and(|(_, seat)| seat.cleanup);
        if let Some((link, seat)) = seat
            && let Some(link) = self.roster.get_mut(link)
        {
            link.reserve(task, seat);
        }
        let Some(up) = self.upstreams.get_mut(name) else { return };
        let recovery_max = up.config.acquire_recovery_max;
        up.acquires.insert(
            task,
            Acquire {
                in_flight: true,
                concluded: now.mono,
                refused: None,
                reserved,
                silent: false,
                in_batch: true,
                cleanup,
            },
        );
        up.batch_open += 1;
        self.timers.set(Timer::IntentionExpiry(task), now.mono + recovery_max);
        self.timers.set(Timer::AcquireSilence(task), now.mono + ACQUIRE_SILENCE);
        let record = Record::IntentionOpened {
            upstream: name.clone(),
            external_id: external_id.clone(),
            identity: identity.clone(),
            offer,
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

    pub(super) fn acquire_answered(
        &mut self,
        now: Now,
        name: &UpstreamName,
        task: TaskId,
        result: Result<Box<Spec>, AcquireError>,
    ) {
        let Some(up) = self.upstreams.get_mut(name) else { return };
        let was_held_back = up.is_held_back(false);
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
        self.note_wait(now, task);
        let Some(acquire) = self.upstreams.get_mut(&name).and_then(|up| up.acquires.get_mut(&task)) else { return };
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
    pub(super) fn settle_intentions(
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
        self.pasts.push(Past {
            upstream: name.clone(),
            external_id: external_id.clone(),
            task: Some(task),
            task_type: None,
            end: End::NotGiven(reason.into()),
            at: now.wall,
        });
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
        let trace_id = self.trace_of(name, &spec, &external_id);
        self.record(scope_of(task), Record::TaskTaken { spec: Arc::new(spec), trace_id, at: now.wall });
        self.waiting.unfinished += 1;
        let upstream = name.clone();
        self.note(Note::Acquired { task, upstream, external_id: external_id.clone(), task_type, trace_id });
        self.tell_stages(task, 3);
        self.arm_deadline(now, task);
        if let Some(scope) = self.ledger.abort(name, &external_id) {
            self.record(scope, Record::ScopeEnded);
            self.cancel(now, task, CancelReason::User, "aborted while it was being acquired", None);
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
        let session = if spec.session.is_some() { SESSION_BYTES_MAX } else { 0 };
        let rest = spec.other_bytes() + ASSIGNMENT_BYTES + session;
        let rest_max = FRAME_REST_BYTES + payload_max.saturating_sub(payload);
        let message = if payload > payload_max {
            format!("the payload has {payload} bytes, {payload_max} are allowed")
        } else if rest > rest_max {
            format!("labels, secrets, extensions and session have {rest} bytes, {rest_max} fit beside the payload")
        } else {
            return None;
        };
        Some(Error::of(Reason::PayloadTooLarge, message).side_effects(false))
    }
}
