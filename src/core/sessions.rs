//! Stages: which session a task joins, what may start in it and where, and how it ends.
//!
//! | a task comes | no session of that name | SettingUp | Ready | Closing | Orphaned |
//! |---|---|---|---|---|---|
//! | setup | opens one | SESSION_DOUBLED | SESSION_DOUBLED | waits for its end | SESSION_DOUBLED |
//! | execute | opens one without state | waits for the setup | runs | SESSION_CLOSED | SESSION_LOST |
//! | cleanup | opens one without state | closes it | closes it | runs after the other | closes it |
//!
//! An execute of a stage that was set up elsewhere, or before the journal was lost, runs as it would without sessions: its runner
//! may know the stage. A setup that fails, is cancelled or lost after a runner had accepted it may have left half a machine, so the
//! delegate cleans up by itself, as it does when the operator or the ttl closes a session: with a task of its own, made from the
//! setup's payload, whose result goes nowhere.
//!
//! A setup that was doubled is refused rather than joined: two setups would make two machines, and one would stay.

use std::{sync::Arc, time::Duration};

use super::{
    Core,
    command::Refusal,
    effect::{Note, Order},
    id::{ExternalId, LeaseId, SessionId, TaskId},
    planted::planted,
    record::{Record, scope_of},
    roster::Link,
    session::{Phase, SESSIONS_MAX, STATE_BYTES_MAX, Session, StateUpdate, TTL_MAX},
    task::{CancelReason, Error, Finish, Kind, Outcome, Priority, Spec, State, Task},
    time::{Now, Wall},
    timer::Timer,
    wait::Cause,
};
use crate::reason::Reason;

/// How long the delegate's own cleanup may take; those of upstreams take seconds to minutes.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Rows of one session above which changes of its state are refused; the store keeps 2^15, and its end must always find room.
const ROWS_MAX: u32 = 32_000;
/// The ttl counts from the last task, and is written down when it has grown by this part of itself.
const TTL_PARTS: u32 = 16;

/// Whether a waiting task may be handed to a runner, as far as its stage goes.
#[derive(Debug)]
pub(super) enum Gate {
    Open,
    /// Something of the stage has to end first; the task is looked at again then.
    Shut,
    /// It will never start.
    Never(Error),
}

/// Why a change of a session's state is refused.
#[derive(Debug)]
pub(super) enum Unset {
    /// The task belongs to no session.
    NoSession,
    Stale(Arc<Session>),
    Closed,
    TooLarge(usize),
    TooMany,
}

impl Core {
    // === a task and its session ===

    /// Lets a waiting task into its session, and says whether it may start.
    pub(super) fn gate(&mut self, now: Now, id: TaskId) -> Gate {
        let Some(task) = self.ledger.task(id) else { return Gate::Shut };
        let kind = task.spec.kind;
        let Some(session) = task.session else { return self.enter(now, id) };
        let Some(session) = self.ledger.session(session) else {
            return Gate::Never(refusal(Reason::SessionClosed, "the session ended while the task waited"));
        };
        match (kind, session.phase) {
            (Kind::SessionCleanup, _) => {
                let mut members = self.ledger.members(session.id).filter_map(|member| self.ledger.task(member));
                let busy = members.any(|member| member.id != id && member.lease().is_some() && !is_execute(member));
                if busy { Gate::Shut } else { Gate::Open }
            }
            (Kind::SessionSetup, Phase::SettingUp) | (_, Phase::Ready) => Gate::Open,
            (_, Phase::SettingUp) => Gate::Shut,
            (_, Phase::Closing) => Gate::Never(closed(session)),
            (_, Phase::Orphaned) => Gate::Never(lost(session)),
        }
    }

    /// The table above, for a task that has no session yet.
    fn enter(&mut self, now: Now, id: TaskId) -> Gate {
        let Some(task) = self.ledger.task(id) else { return Gate::Shut };
        let spec = task.spec.clone();
        let Some(name) = spec.session.clone() else {
            return if spec.is_of_stage() {
                let text = format!("no session id in the payload of {}: see session_pointers", spec.task_type);
                Gate::Never(refusal(Reason::SessionIdMissing, &text))
            } else {
                Gate::Open
            };
        };
        let found =
            self.ledger.session_of(&task.upstream, &spec.tenant, &name).map(|session| (session.id, session.phase));
        match (spec.kind, found) {
            (_, None) if self.ledger.session_count() >= SESSIONS_MAX => {
                if spec.kind != Kind::SessionSetup {
                    // It is nobody's loss: the delegate knows nothing of that stage.
                    return Gate::Open;
                }
                let text = format!("{SESSIONS_MAX} sessions are open already");
                return Gate::Never(refusal(Reason::SessionsMax, &text));
            }
            (kind, None) => {
                let session = self.open_session(now, id, kind);
                self.join(now, id, session);
            }
            (Kind::SessionSetup, Some((_, Phase::Closing))) => return Gate::Shut,
            (Kind::SessionSetup, Some(_)) => {
                let text = format!("session {name} is open already");
                return Gate::Never(refusal(Reason::SessionDoubled, &text));
            }
            (Kind::SessionCleanup, Some((session, phase))) => {
                self.join(now, id, session);
                if phase == Phase::Closing {
                    self.withdraw_own_cleanup(now, session);
                } else {
                    self.begin_closing(now, session, "its cleanup came");
                }
            }
            (_, Some((session, Phase::SettingUp | Phase::Ready))) => self.join(now, id, session),
            (_, Some((session, _))) => {
                let Some(session) = self.ledger.session(session) else { return Gate::Shut };
                return Gate::Never(if session.phase == Phase::Closing { closed(session) } else { lost(session) });
            }
        }
        self.gate(now, id)
    }

    fn open_session(&mut self, now: Now, id: TaskId, kind: Kind) -> SessionId {
        let session = SessionId(self.allot());
        let task = self.ledger.task(id).expect("the caller has just read it");
        let (upstream, spec) = (task.upstream.clone(), task.spec.clone());
        let external_id: Arc<str> = spec.session.clone().unwrap_or_default();
        let phase = match kind {
            Kind::SessionSetup => Phase::SettingUp,
            Kind::SessionCleanup => Phase::Closing,
            _ => Phase::Ready,
        };
        let set_up = kind == Kind::SessionSetup;
        let record = Record::SessionOpened {
            upstream: upstream.clone(),
            tenant: spec.tenant.clone(),
            external_id: external_id.clone(),
            phase,
            setup: (set_up && spec.cleanup.is_some()).then_some(spec),
            at: now.wall,
            expires: now.wall + self.config.session_ttl,
        };
        self.record(session.0, record);
        self.note(Note::SessionOpened { session, upstream, external_id, set_up });
        session
    }

    fn join(&mut self, now: Now, id: TaskId, session: SessionId) {
        self.record(scope_of(id), Record::SessionJoined { session });
        self.extend(now, session, self.config.session_ttl);
    }

    /// Whether this runner may have the task, as far as its stage goes.
    pub(super) fn session_allows(&self, link: &Link, task: &Task) -> bool {
        match task.spec.kind {
            Kind::SessionSetup => !link.refuses_sessions,
            _ => self.session_runner(task).is_none_or(|runner| *runner == link.runner) || planted!(self, SessionAstray),
        }
    }

    /// Who holds what the task's stage left on a host.
    pub(super) fn session_runner<'a>(&'a self, task: &Task) -> Option<&'a super::id::RunnerId> {
        self.ledger.session(task.session?)?.runner.as_ref().filter(|_| task.spec.kind != Kind::SessionSetup)
    }

    /// A runner has accepted the task: what a setup leaves on its host is that runner's.
    pub(super) fn session_task_accepted(&mut self, id: TaskId, any_runner: bool) {
        let Some(task) = self.ledger.task(id) else { return };
        let (Kind::SessionSetup, Some(session), Some(lease)) = (task.spec.kind, task.session, task.lease()) else {
            return;
        };
        if self.ledger.session(session).is_some() {
            let runner = (!any_runner).then(|| lease.runner.clone());
            self.record(session.0, Record::SessionStarted { runner });
        }
    }

    /// Keeps what the task exports; just before its end becomes a record.
    pub(super) fn export(&mut self, id: TaskId, finish: &Finish) {
        let Some(task) = self.ledger.task(id) else { return };
        let Some(session) = task.session.and_then(|session| self.ledger.session(session)) else { return };
        let outputs: Vec<_> = task.outputs.iter().chain(&finish.outputs).cloned().collect();
        let variables = session.exportable(&outputs);
        let scope = session.id.0;
        if !variables.is_empty() && self.ledger.rows(scope) < ROWS_MAX {
            self.record(scope, Record::VariablesExported { variables });
        }
    }

    /// A task of a stage is over.
    pub(super) fn session_task_finished(&mut self, now: Now, id: TaskId, outcome: Outcome, reason: &str) {
        let Some(task) = self.ledger.task(id) else { return };
        let kind = task.spec.kind;
        let Some(session) = task.session.and_then(|session| self.ledger.session(session)).cloned() else { return };
        let id = session.id;
        self.extend(now, id, self.config.session_ttl);
        match (kind, session.phase) {
            (Kind::SessionSetup, Phase::SettingUp) if matches!(outcome, Outcome::Succeeded | Outcome::Skipped) => {
                self.record(id.0, Record::SessionReady);
                self.arm_orphan(now, id);
                self.wake(now, &session);
            }
            (Kind::SessionSetup, Phase::SettingUp) => {
                self.begin_closing(now, id, &format!("its setup {} ({reason})", outcome.word()));
                self.clean_up(now, id);
            }
            (Kind::SessionSetup, Phase::Closing) => self.wake(now, &session),
            (Kind::SessionCleanup, _) => {
                let more = self.cleanups(id).next().is_some();
                if more {
                    return self.wake(now, &session);
                }
                let left = session.started && outcome != Outcome::Succeeded;
                let left_behind = left.then(|| format!("its cleanup {} ({reason})", outcome.word()).into());
                self.end_session(now, id, left_behind);
            }
            _ => {}
        }
    }

    /// Looks again at what waits for something of this stage.
    fn wake(&mut self, now: Now, session: &Session) {
        let waiting: Vec<TaskId> = self
            .ledger
            .tasks()
            .filter(|task| {
                matches!(task.state, State::Waiting { .. })
                    && task.spec.session.as_ref() == Some(&session.external_id)
                    && task.upstream == session.upstream
                    && task.spec.tenant == session.tenant
            })
            .map(|task| task.id)
            .collect();
        for task in waiting {
            self.assign(now, task);
        }
    }

    // === state ===

    /// Compares and sets; whoever else works in the session is told.
    pub(super) fn set_state(&mut self, now: Now, id: TaskId, update: &StateUpdate) -> Result<(), Unset> {
        let Some(session) = self.ledger.task(id).and_then(|task| task.session) else { return Err(Unset::NoSession) };
        let held = self.ledger.session(session).ok_or(Unset::Closed)?;
        if update.expected != held.etag() && !planted!(self, StateUnchecked) {
            return Err(Unset::Stale(held.clone()));
        }
        let bytes = held.bytes_after(update);
        if bytes > STATE_BYTES_MAX {
            return Err(Unset::TooLarge(bytes));
        }
        if self.ledger.rows(session.0) >= ROWS_MAX {
            return Err(Unset::TooMany);
        }
        let (state, sensitive_state) = (update.state.clone(), update.sensitive_state.clone());
        self.record(session.0, Record::SessionStateSet { state, sensitive_state });
        if let Some(ttl) = update.extend_ttl {
            self.extend(now, session, ttl);
        }
        Ok(())
    }

    /// Tells every runner that works in the session of `id`; `but`: on any lease but this.
    pub(super) fn tell_session(&mut self, id: TaskId, but: Option<LeaseId>) {
        let Some(session) = self.ledger.task(id).and_then(|task| task.session) else { return };
        let Some(session) = self.ledger.session(session).cloned() else { return };
        let leases = self.ledger.members(session.id).filter_map(|member| self.ledger.task(member)?.lease());
        let links: std::collections::BTreeSet<_> = leases
            .filter(|lease| Some(lease.id) != but)
            .filter_map(|lease| Some(self.roster.of_runner(&lease.runner)?.id))
            .collect();
        for link in links {
            self.send(link, Order::Session(session.clone()));
        }
    }

    /// What of its stage a waiting task waits for, and until when at the latest.
    pub(super) fn session_wait(&self, now: Now, task: &Task) -> Option<(Cause, Option<Wall>)> {
        let name = task.spec.session.clone()?;
        let Some(session) = task.session else {
            let held = self.ledger.session_of(&task.upstream, &task.spec.tenant, &name)?;
            return (held.phase == Phase::Closing).then_some((Cause::SessionCleanup { session: name }, None));
        };
        let held = self.ledger.session(session)?;
        if task.spec.kind != Kind::SessionSetup && held.phase == Phase::SettingUp {
            return Some((Cause::SessionSetup { session: name }, None));
        }
        if task.spec.kind == Kind::SessionCleanup {
            let mut members = self.ledger.members(session).filter_map(|member| self.ledger.task(member));
            let busy = members.find(|member| member.id != task.id && member.lease().is_some() && !is_execute(member));
            if let Some(busy) = busy {
                return Some((Cause::SessionTask { session: name, kind: busy.spec.kind }, None));
            }
        }
        let runner = self.session_runner(task).filter(|runner| self.roster.of_runner(runner).is_none())?;
        let deadline = self.timers.get(&Timer::SessionOrphan(session)).map(|at| now.wall + at.since(now.mono));
        Some((Cause::SessionOrphaned { session: name, runner: runner.clone() }, deadline))
    }

    // === time ===

    /// The session lives at least so long from now.
    fn extend(&mut self, now: Now, id: SessionId, ttl: Duration) {
        let Some(session) = self.ledger.session(id) else { return };
        let expires = now.wall + ttl.min(TTL_MAX);
        if expires.since(session.expires) >= ttl / TTL_PARTS && self.ledger.rows(id.0) < ROWS_MAX {
            self.record(id.0, Record::SessionExtended { expires });
        }
        self.arm_expiry(now, id);
    }

    fn arm_expiry(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.ledger.session(id).filter(|session| session.phase != Phase::Closing) else { return };
        // Whatever the wall clock did.
        let left = session.expires.since(now.wall).clamp(self.config.lease_ttl, TTL_MAX);
        self.timers.set(Timer::SessionExpiry(id), now.mono + left);
    }

    pub(super) fn session_expired(&mut self, now: Now, id: SessionId) {
        if self.ledger.members(id).next().is_some() {
            return self.extend(now, id, self.config.session_ttl);
        }
        // A session that closes already has no more time to lose.
        let _ = self.close_session(now, id, "nothing was heard of it for its ttl", false);
    }

    /// The session's runner is away: it has a lease_ttl to come back.
    fn arm_orphan(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.ledger.session(id).filter(|session| session.phase != Phase::SettingUp) else { return };
        let away = session.runner.as_ref().is_some_and(|runner| self.roster.of_runner(runner).is_none());
        if away && self.timers.get(&Timer::SessionOrphan(id)).is_none() {
            self.timers.set(Timer::SessionOrphan(id), now.mono + self.config.lease_ttl);
        }
    }

    /// A runner came or went.
    pub(super) fn session_runners_changed(&mut self, now: Now) {
        let bound: Vec<_> =
            self.ledger.sessions().filter_map(|session| Some((session.id, session.runner.clone()?))).collect();
        for (id, runner) in bound {
            if self.roster.of_runner(&runner).is_some() {
                self.timers.clear(&Timer::SessionOrphan(id));
            } else {
                self.arm_orphan(now, id);
            }
        }
    }

    pub(super) fn session_runner_gone(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.ledger.session(id).cloned() else { return };
        let Some(runner) = session.runner.clone().filter(|runner| self.roster.of_runner(runner).is_none()) else {
            return;
        };
        self.record(id.0, Record::SessionOrphaned);
        self.note(Note::SessionOrphaned { session: id, external_id: session.external_id.clone(), runner });
        self.wake(now, &session);
    }

    /// After a start: every session gets at least a lease_ttl from here, for its runner and for its life.
    pub(super) fn resume_sessions(&mut self, now: Now) {
        let all: Vec<SessionId> = self.ledger.sessions().map(|session| session.id).collect();
        for id in all {
            self.arm_expiry(now, id);
            self.arm_orphan(now, id);
        }
    }

    // === the end ===

    /// Ends a session: what runs in it is cancelled, and a cleanup is run, unless `force`, or there is nothing to clean up. A drain
    /// calls it, and the operator.
    ///
    /// # Errors
    /// If there is no such session, or it closes already and is not to be forced.
    pub(super) fn close_session(&mut self, now: Now, id: SessionId, why: &str, force: bool) -> Result<(), Refusal> {
        let session = self.ledger.session(id).ok_or(Refusal::SessionUnknown)?;
        let (closing, started) = (session.phase == Phase::Closing, session.started);
        if closing && !force {
            return Err(Refusal::SessionClosing);
        }
        if !closing {
            self.begin_closing(now, id, why);
        }
        if force {
            let left: Vec<TaskId> = self.ledger.members(id).collect();
            self.end_session(now, id, started.then(|| why.into()));
            for task in left {
                self.cancel(now, task, CancelReason::SessionClosed, why, None);
            }
        } else {
            self.clean_up(now, id);
        }
        Ok(())
    }

    /// No more tasks but its cleanup.
    fn begin_closing(&mut self, now: Now, id: SessionId, why: &str) {
        let Some(session) = self.ledger.session(id).filter(|session| session.phase != Phase::Closing) else { return };
        let external_id = session.external_id.clone();
        self.record(id.0, Record::SessionClosing);
        self.timers.clear(&Timer::SessionExpiry(id));
        self.note(Note::SessionClosing { session: id, external_id, reason: why.into() });
        self.arm_orphan(now, id);
        let members = self.ledger.members(id).filter_map(|member| self.ledger.task(member));
        let others = members.filter(|task| task.spec.kind != Kind::SessionCleanup).map(|task| task.id);
        for task in others.collect::<Vec<_>>() {
            self.cancel(now, task, CancelReason::SessionClosed, &format!("its session closes: {why}"), None);
        }
    }

    /// Makes the cleanup that the upstream did not send, if a runner ever began the setup.
    fn clean_up(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.ledger.session(id).cloned() else { return };
        if self.cleanups(id).next().is_some() {
            return;
        }
        if !session.started || planted!(self, CleanupForgotten) {
            return self.end_session(now, id, None);
        }
        let Some((setup, task_type)) = session.setup.as_ref().and_then(|setup| Some((setup, setup.cleanup.clone()?)))
        else {
            return self.end_session(now, id, Some("no cleanup belongs to the type of its setup".into()));
        };
        let spec = Spec {
            task_type,
            kind: Kind::SessionCleanup,
            priority: Priority::Normal,
            timeout: Some(CLEANUP_TIMEOUT),
            reply: bytes::Bytes::new(),
            hand_back: false,
            cleanup: None,
            // The span that its setup came with is over, and knows of no further task.
            trace_parent: None,
            ..(**setup).clone()
        };
        let task = TaskId(self.allot());
        let external_id = ExternalId::from(format!("cleanup of {}", session.external_id));
        let record = Record::CleanupSynthesized {
            session: id,
            upstream: session.upstream.clone(),
            trace_id: self.trace_of(&session.upstream, &spec, &external_id),
            external_id,
            spec: Arc::new(spec),
            at: now.wall,
        };
        self.record(scope_of(task), record);
        self.waiting.unfinished += 1;
        self.note(Note::CleanupSynthesized { session: id, external_id: session.external_id.clone(), task });
        self.arm_deadline(now, task);
        self.wait(now, task);
    }

    /// The upstream's cleanup came after all, and before the delegate's own had a runner.
    fn withdraw_own_cleanup(&mut self, now: Now, id: SessionId) {
        let own = self.cleanups(id).find(|task| task.own && task.lease().is_none()).map(|task| task.id);
        if let Some(own) = own {
            self.cancel(now, own, CancelReason::SessionClosed, "the upstream's cleanup came", None);
        }
    }

    /// Cleanups that are not over.
    fn cleanups(&self, id: SessionId) -> impl Iterator<Item = &Task> {
        let members = self.ledger.members(id).filter_map(|member| self.ledger.task(member));
        members.filter(|task| task.spec.kind == Kind::SessionCleanup)
    }

    fn end_session(&mut self, now: Now, id: SessionId, left_behind: Option<Arc<str>>) {
        let Some(session) = self.ledger.session(id).cloned() else { return };
        for timer in [Timer::SessionExpiry(id), Timer::SessionOrphan(id)] {
            self.timers.clear(&timer);
        }
        self.record(id.0, Record::ScopeEnded);
        self.note(Note::SessionClosed { session: id, external_id: session.external_id.clone(), left_behind });
        self.wake(now, &session);
    }
}

fn is_execute(task: &Task) -> bool {
    !matches!(task.spec.kind, Kind::SessionSetup | Kind::SessionCleanup)
}

fn closed(session: &Session) -> Error {
    refusal(Reason::SessionClosed, &format!("session {} is closing", session.external_id))
}

fn lost(session: &Session) -> Error {
    refusal(
        Reason::SessionLost,
        &format!("the runner of session {} is gone, and what the stage left on its host with it", session.external_id),
    )
}

/// The task never started.
fn refusal(reason: Reason, message: &str) -> Error {
    Error::of(reason, message).side_effects(false)
}
