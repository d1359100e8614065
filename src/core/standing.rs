//! How an upstream and this delegate stand: registration, heartbeats, and what every answer says about the upstream itself.

use std::sync::Arc;

use super::{
    Core,
    effect::{Call, Effect, Note},
    id::{TaskId, TaskType, UpstreamName},
    input::{AcquireError, Answer, CallError, Denial, Registered, Standing as Answered},
    record::Record,
    time::Now,
    timer::Timer,
    upstream::{Acquire, REGISTER_DEBOUNCE, REGISTER_RETRY_MAX, REGISTER_RETRY_MIN, Standing},
};

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
                cleanup: false,
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
            Answer::Tell { task, result } => self.news_answered(now, name, task, result),
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
            Answer::Report { result: Err(ReportError::Unauthorized(text)), .. }
            | Answer::Tell { result: Err(ReportError::Unauthorized(text)), .. } => {
                Some((Some(Denial::Credentials), text))
            }
            Answer::Report { result: Err(ReportError::Unsent(text) | ReportError::Unanswered(text)), .. }
            | Answer::Tell { result: Err(ReportError::Unsent(text) | ReportError::Unanswered(text)), .. } => {
                Some((None, text))
            }
            Answer::Poll(Ok(listing)) if listing.quiet => return,
            // Nothing to learn: it spoke, of this one task.
            Answer::Report { result: Err(ReportError::Fault(_)), .. }
            | Answer::Tell { result: Err(ReportError::Fault(_)), .. } => return,
            // Said without a request.
            Answer::Tell { result: Ok(told), .. } if told.note.is_none() => return,
            _ => None,
        };
        let Some(up) = self.upstreams.get_mut(name) else { return };
        let Some((denial, text)) = error else {
            // An address that may not register may still poll, and is not to take anything by it.
            if up.denied == Some(Denial::Address) && !matches!(answer, Answer::Register(_)) {
                return;
            }
            let recovered = up.last_error.take().is_some();
            let was_away = std::mem::take(&mut up.is_away);
            up.failing_since = None;
            up.denied = None;
            up.last_success = Some(now.wall);
            up.successes += 1;
            if was_away {
                // Reports that wait out a back-off of the outage go now. One that fails while all else works keeps its pace.
                let waiting: Vec<TaskId> = up.reports.keys().copied().collect();
                let untold: Vec<TaskId> = up.untold.keys().copied().collect();
                for task in untold {
                    if self.timers.get(&Timer::Tell(task)).is_some() {
                        self.timers.clear(&Timer::Tell(task));
                        self.tell_due(task);
                    }
                }
                for task in waiting {
                    if self.timers.get(&Timer::Report(task)).is_some() {
                        self.timers.clear(&Timer::Report(task));
                        self.report_due(task);
                    }
                }
            }
            if recovered {
                self.note(Note::UpstreamRecovered { upstream: name.clone() });
            }
            return;
        };
        up.is_away |= matches!(answer, Answer::Register(_) | Answer::Heartbeat(_) | Answer::Poll(_));
        let first = up.last_error.replace(text.clone()).is_none();
        up.failing_since.get_or_insert(now.wall);
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
            .filter(|task| task.upstream == *name && !task.own && !self.ledger.dead_letters().contains(&task.id))
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
}
