//! One attached runner: hello and its answer, numbered frames, heartbeats, and the end of the stream.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    Core,
    admission::{Amount, Usage},
    effect::{Close, Decision, Effect, Note, Order},
    id::{LeaseId, LinkId, SlotClass, TaskId},
    input::{Frame, Handler, Held, Hello},
    planted::planted,
    record::{Record, scope_of},
    roster::{Link, Seat, Use},
    session::{STATE_BYTES_MAX, StateUpdate},
    sessions::Unset,
    task::{Error, Kind, OUTPUTS_MAX, Outcome, Output, Retry, State},
    time::Now,
    timer::Timer,
};
use crate::reason::Reason;

/// Rows of one task above which updates are refused; the store keeps 2^15, and the end of a task must always find room.
const UPDATE_ROWS_MAX: u32 = 32_000;
const NOT_ACCEPTED: &str = "the lease is not in force or not accepted";

impl Core {
    pub(super) fn attached(&mut self, now: Now, id: LinkId, mut hello: Hello, peer: Arc<str>) {
        let holder =
            self.roster.of_runner(&hello.runner).map(|link| (link.id, link.instance.clone(), link.peer.clone()));
        if self.roster.was_replaced(&hello, now.mono) {
            return self.close(id, Close::Replaced);
        }
        if let Some((old, instance, holder)) = holder {
            if instance == hello.instance {
                self.close(old, Close::Superseded);
            } else if self.roster.is_contended(&hello.runner, now.mono) {
                return self
                    .close(id, Close::RunnerIdInUse { holder, newcomer: peer, retry_after: self.config.lease_ttl });
            } else {
                self.roster.replace(&hello.runner, &instance, now.mono);
                self.note(Note::RunnerReplaced { runner: hello.runner.clone(), by: peer.clone() });
                self.close(old, Close::Replaced);
            }
            self.detach(now, old);
        }

        let held_before = std::mem::take(&mut hello.held);
        for handler in &mut hello.handlers {
            handler.kind = self.kind_of(handler);
        }
        let reserve = if planted!(self, ReserveIgnored) { 0 } else { self.config.cleanup_reserve };
        let mut link = Link::new(id, hello, peer, reserve, now.wall, self.outbox.last());
        let mut decisions = Vec::new();
        for held in &held_before {
            let decision = self.decide(now, &link, held);
            if decision != Decision::Acknowledged {
                let used = self.account(&link, held.lease, decision == Decision::ResendDecision);
                link.hold(held.lease, used);
            }
            decisions.push((held.lease, decision));
        }
        // What this runner was given and does not hold: sent again if nothing of it can have started, else lost.
        let said: BTreeSet<LeaseId> = held_before.iter().map(|held| held.lease).collect();
        let theirs: Vec<(LeaseId, TaskId, bool)> = self
            .ledger
            .leases()
            .filter_map(|(lease, task)| {
                let held = self.ledger.task(task)?.lease()?;
                (held.runner == link.runner).then_some((lease, task, held.accepted.is_some()))
            })
            .filter(|(lease, ..)| !said.contains(lease))
            .collect();
        let mut again = Vec::new();
        let mut lost = Vec::new();
        for (lease, task, accepted) in theirs {
            let served = self.ledger.task(task).is_some_and(|task| link.handler_for(task).is_some());
            if accepted {
                lost.push(task);
            } else if served {
                let used = self.account(&link, lease, true);
                link.hold(lease, used);
                again.push((lease, task));
            }
        }
        let held = link.held().len();
        let runner = link.runner.clone();
        self.roster.insert(link);
        self.note(Note::RunnerAttached { runner, link: id, held });
        self.timers.set(Timer::Silence(id), now.mono + self.config.silence());

        self.send(id, Order::Welcome { decisions: decisions.clone() });
        let welcomed = self.outbox.last();
        if let Some(link) = self.roster.get_mut(id) {
            link.welcomed = welcomed;
        }
        self.tell_drain_to(id);
        for (lease, task) in again {
            self.timers.set(Timer::AcceptExpiry(lease), now.mono + self.config.accept_timeout);
            self.send_assignment(now, id, task);
        }
        for (lease, decision) in decisions {
            if decision == Decision::Keep {
                self.cancel_again(id, lease);
                if let Some(task) = self.ledger.task_of(lease).map(|task| task.id) {
                    self.note_wait(now, task);
                    self.arm_run_limit(now, id, task);
                    // It may have missed what others changed meanwhile.
                    self.tell_session(task, None);
                }
            }
        }
        for task in lost {
            self.lose_lease(now, task, "the runner came back without it");
        }
        self.announce_types(now);
        self.session_runners_changed(now);
        self.assign_waiting(now);
    }

    /// The table of `HeldTaskDisposition`: what the journal says against what the runner holds.
    fn decide(&mut self, now: Now, link: &Link, held: &Held) -> Decision {
        let Some(task) = self.ledger.task_of(held.lease) else {
            let answered = self.answered.contains(&held.lease);
            return if answered { Decision::Acknowledged } else { Decision::Abandon };
        };
        let (id, lease) = match task.lease() {
            Some(lease) if lease.runner == link.runner => (task.id, lease.clone()),
            _ => return Decision::Abandon,
        };
        let rolled_back = held.acknowledged_number > lease.updates
            || (held.accept_acknowledged && matches!(task.state, State::Assigned(_)));
        let decision = match &task.state {
            State::Assigned(_) => Decision::ResendDecision,
            State::Accepted(_) if held.finished => Decision::ResendResult,
            State::Accepted(_) => Decision::Keep,
            State::Waiting { .. } | State::Finished { .. } => Decision::Abandon,
        };
        if rolled_back {
            self.note(Note::JournalRolledBack { task: id, lease: lease.id });
        }
        if matches!(decision, Decision::Keep | Decision::ResendResult) {
            self.renew(now, lease.id, lease.idempotent);
        }
        decision
    }

    /// The part of a stage that a handler serves: what it says, else what its task type is known for.
    fn kind_of(&self, handler: &Handler) -> Kind {
        match handler.kind {
            Kind::Standalone => self.config.kinds.get(&handler.task_type).copied().unwrap_or_default(),
            kind => kind,
        }
    }

    /// What a lease counts for: the class it was cut in, else of no class the roster knows.
    fn account(&self, link: &Link, lease: LeaseId, undecided: bool) -> Use {
        match self.ledger.task_of(lease) {
            Some(task) => {
                let class = task.lease().map_or_else(|| SlotClass::from("default"), |lease| lease.class.clone());
                let seat = match link.handler_for(task) {
                    Some(handler) => Seat { class, ..Seat::at(handler, task.spec.kind) },
                    None => Seat { class, cleanup: false, amount: Amount::default() },
                };
                Use { task: task.id, seat, undecided }
            }
            // An abandoned task works on until it has stopped; which class it was is forgotten.
            None => {
                let class = link.handlers.first().map_or_else(|| "default".into(), |handler| handler.class.clone());
                let seat = Seat { class, cleanup: false, amount: Amount::default() };
                Use { task: TaskId(0), seat, undecided }
            }
        }
    }

    pub(super) fn detached(&mut self, now: Now, id: LinkId) {
        self.detach(now, id);
    }

    /// The link is gone; its leases live on, its credits do not.
    fn detach(&mut self, now: Now, id: LinkId) {
        let Some(link) = self.roster.remove(id) else { return };
        self.timers.clear(&Timer::Silence(id));
        for task in link.promised() {
            for up in self.upstreams.values_mut() {
                if let Some(acquire) = up.acquires.get_mut(task) {
                    acquire.reserved = None;
                }
            }
        }
        for task in link.held().values().map(|used| used.task).collect::<Vec<_>>() {
            self.note_wait(now, task);
        }
        self.note(Note::RunnerDetached { runner: link.runner, link: id });
        self.session_runners_changed(now);
        // Those that wait may have lost their only runner.
        self.assign_waiting(now);
    }

    fn close(&mut self, link: LinkId, close: Close) {
        self.send(link, Order::Close(close));
    }

    pub(super) fn fell_silent(&mut self, now: Now, link: LinkId) {
        self.close(link, Close::Silent);
        self.detach(now, link);
    }

    pub(super) fn received(&mut self, now: Now, id: LinkId, sequence: u64, frame: Frame) {
        let silence = now.mono + self.config.silence();
        let Some(link) = self.roster.get_mut(id) else { return };
        link.last_seen = now.wall;
        self.timers.set(Timer::Silence(id), silence);
        if !frame.counts(sequence) {
            if sequence != 0 {
                return self.refuse(
                    id,
                    sequence,
                    &frame,
                    Reason::SequenceInvalid,
                    "a frame of this kind has sequence 0",
                );
            }
            return self.receive(now, id, sequence, frame);
        }
        let received = link.received;
        if received.checked_add(1) != Some(sequence) {
            link.received = received.max(sequence);
            let text = format!("sequence {sequence} after {received}");
            self.refuse(id, sequence, &frame, Reason::SequenceInvalid, &text);
            // Refused is received; what a gap left out was never sent.
            if sequence > received {
                self.acknowledge(id, sequence, false);
            }
            return;
        }
        link.received = sequence;
        if link.received - link.acknowledged > link.unacknowledged_max() {
            self.close(id, Close::Overrun);
            return self.detach(now, id);
        }
        let accepts = matches!(frame, Frame::Accepted { .. });
        self.receive(now, id, sequence, frame);
        self.acknowledge(id, sequence, accepts);
    }

    /// Once what the frame caused is durable. Acknowledged means let out or waiting only for the journal.
    fn acknowledge(&mut self, id: LinkId, sequence: u64, accepts: bool) {
        let order = Order::Acknowledge { sequence };
        if accepts && planted!(self, StartBeforeDurable) {
            return self.outbox.now(Effect::Send { link: id, order });
        }
        self.send(id, order);
    }

    fn receive(&mut self, now: Now, id: LinkId, sequence: u64, frame: Frame) {
        match frame {
            Frame::Heartbeat { id: heartbeat, leases, healthy, usage } => {
                self.heartbeat_received(now, id, heartbeat, &leases, healthy);
                self.usage_received(now, id, usage);
            }
            Frame::Capacity { slots, refuses_sessions } => {
                if let Some(link) = self.roster.get_mut(id) {
                    (link.slots, link.refuses_sessions) = (slots, refuses_sessions);
                }
                self.fill(now, id);
            }
            Frame::Accepted { lease } => self.accepted(now, id, sequence, lease),
            Frame::Rejected { lease, error } => self.rejected(now, id, sequence, lease, error),
            Frame::Started { lease, number } => {
                let record = Record::HandlerStarted { lease, number, at: now.wall };
                self.updated(id, sequence, lease, number, record);
            }
            Frame::Outputs { lease, ref outputs, .. } if !self.has_room_for(lease, outputs) => {
                self.refuse(id, sequence, &frame, Reason::FrameInvalid, &outputs_text("update.outputs"));
            }
            Frame::Outputs { lease, number, ref outputs } => {
                let record = Record::OutputsAdded { lease, number, outputs: outputs.clone() };
                self.updated(id, sequence, lease, number, record);
            }
            Frame::Plan { .. } => self.steps_planned(now, id, sequence, &frame),
            Frame::Step { .. } => self.step_changed(now, id, sequence, &frame),
            Frame::Progress { lease, progress } => {
                if self.works_on(id, lease) {
                    self.progress.insert(lease, progress);
                }
            }
            Frame::Result { lease, ref finish, .. } if !self.has_room_for(lease, &finish.outputs) => {
                self.refuse(id, sequence, &frame, Reason::FrameInvalid, &outputs_text("result.outputs"));
            }
            Frame::State { lease, number, update } => self.state_updated(now, id, sequence, lease, number, &update),
            Frame::Result { lease, finish, state } => {
                self.result_received(now, id, sequence, lease, *finish, state.as_deref());
            }
            Frame::DrainNotice { grace } => self.leaves(now, id, grace.is_some()),
            Frame::Invalid { reason, ref message, .. } => self.refuse(id, sequence, &frame, reason, message),
        }
    }

    /// A refused frame counts as received and is not sent again as it is.
    pub(super) fn refuse(&mut self, id: LinkId, sequence: u64, frame: &Frame, reason: Reason, message: &str) {
        let (name, lease) = frame.subject();
        self.refuse_named(id, sequence, name, lease, reason, message);
    }

    fn refuse_named(
        &mut self,
        id: LinkId,
        sequence: u64,
        frame: &'static str,
        lease: Option<LeaseId>,
        reason: Reason,
        message: &str,
    ) {
        self.note(Note::FrameRefused { link: id, frame, reason });
        // The lease of a refused result stays open, and a heartbeat that left it out may have left before the runner knew.
        if let (Some(lease), Some(link)) = (lease.filter(|_| frame == "result"), self.roster.get_mut(id)) {
            link.set_undecided(lease, true);
        }
        self.send(id, Order::Refuse { sequence, lease, frame, reason, message: message.to_owned() });
    }

    fn heartbeat_received(&mut self, now: Now, id: LinkId, heartbeat: u64, leases: &[LeaseId], healthy: bool) {
        let Some(link) = self.roster.get_mut(id) else { return };
        let recovered = healthy && !link.healthy;
        link.healthy = healthy;
        let runner = link.runner.clone();
        let held = link.held().iter().filter(|(_, used)| !used.undecided).map(|(lease, _)| *lease);
        let held: Vec<LeaseId> = held.collect();
        let mut lost = Vec::new();
        for lease in leases {
            let in_force = self
                .ledger
                .task_of(*lease)
                .and_then(|task| task.lease().map(|held| (held, &task.state)))
                .filter(|(held, _)| held.runner == runner)
                .map(|(held, state)| (held.idempotent, matches!(state, State::Accepted(_))));
            match in_force {
                Some((idempotent, true)) => {
                    self.renew(now, *lease, idempotent);
                    if let Some(link) = self.roster.get_mut(id) {
                        link.set_undecided(*lease, false);
                    }
                }
                // Its accept is under way.
                Some((_, false)) => {}
                None => lost.push(*lease),
            }
        }
        let named: BTreeSet<LeaseId> = leases.iter().copied().collect();
        for lease in held.into_iter().filter(|lease| !named.contains(lease)) {
            let task = self.ledger.task_of(lease).map(|task| (task.id, matches!(task.state, State::Accepted(_))));
            match task {
                // Accepted on this stream, and left out without a result.
                Some((task, true)) => {
                    self.lose_lease(now, task, "missing in the runner's heartbeat");
                    self.return_credit(now, id, lease);
                }
                Some((_, false)) => {}
                None => self.return_credit(now, id, lease),
            }
        }
        let order = Order::HeartbeatAck { id: heartbeat, lost: lost.clone() };
        if lost.is_empty() {
            let welcomed = self.roster.get(id).map_or_else(|| self.outbox.last(), |link| link.welcomed);
            self.outbox.hold(welcomed, Effect::Send { link: id, order });
        } else {
            self.send(id, order);
        }
        if recovered {
            self.fill(now, id);
        }
    }

    /// How full the runner's host is. It counts for this link alone, since another runner may be elsewhere.
    fn usage_received(&mut self, now: Now, id: LinkId, usage: Usage) {
        let Some(link) = self.roster.get_mut(id) else { return };
        let turns = link.gate.read(&self.config.admission, usage);
        let runner = link.runner.clone();
        let opens = turns.iter().any(|turn| turn.closed.is_none());
        for turn in turns {
            self.note(Note::Admission { runner: Some(runner.clone()), turn });
        }
        if opens {
            self.fill(now, id);
        }
    }

    fn accepted(&mut self, now: Now, id: LinkId, sequence: u64, lease: LeaseId) {
        let runner = self.roster.get(id).map(|link| link.runner.clone());
        let found =
            self.ledger.task_of(lease).filter(|task| task.lease().map(|lease| &lease.runner) == runner.as_ref()).map(
                |task| (task.id, matches!(task.state, State::Assigned(_)), task.lease().is_some_and(|l| l.idempotent)),
            );
        match found {
            Some((task, true, idempotent)) => {
                self.timers.clear(&Timer::AcceptExpiry(lease));
                if let Some(link) = self.roster.get_mut(id) {
                    link.set_undecided(lease, false);
                }
                self.record(scope_of(task), Record::LeaseAccepted { lease, at: now.wall });
                if let Some(runner) = runner {
                    self.note(Note::Accepted { task, runner });
                }
                let handler = self.ledger.task(task).and_then(|task| self.roster.get(id)?.handler_for(task));
                let any_runner = handler.is_some_and(|handler| handler.any_runner);
                self.session_task_accepted(task, any_runner);
                self.tell_stages(task, 2);
                self.renew(now, lease, idempotent);
                self.arm_run_limit(now, id, task);
            }
            // Said again after a cut: the first one is in the journal.
            Some((_, false, _)) => {}
            None => {
                let text = "the assignment was withdrawn; the handler must not start";
                self.refuse_named(id, sequence, "decision", Some(lease), Reason::AssignmentWithdrawn, text);
                self.return_stale_credit(now, id, lease);
            }
        }
    }

    fn rejected(&mut self, now: Now, id: LinkId, sequence: u64, lease: LeaseId, error: Error) {
        let runner = self.roster.get(id).map(|link| link.runner.clone());
        let found = self
            .ledger
            .task_of(lease)
            .filter(|task| task.lease().map(|lease| &lease.runner) == runner.as_ref())
            .map(|task| (task.id, matches!(task.state, State::Assigned(_)), task.spec.hand_back));
        let (Some((task, true, hand_back)), Some(runner)) = (found, runner) else {
            let text = "there is no undecided assignment under this lease";
            self.refuse_named(id, sequence, "decision", Some(lease), Reason::AssignmentWithdrawn, text);
            return self.return_stale_credit(now, id, lease);
        };
        let word = if error.reason.is_empty() { "REJECTED".into() } else { error.reason.clone() };
        self.end_assignment(now, task, &word, &format!("rejected: {}: {}", error.reason, error.message));
        if !planted!(self, CreditLeak) {
            self.roster.get_mut(id).map(|link| link.release(lease));
        }
        if error.retry == Retry::Never || (error.retry == Retry::OtherDelegate && hand_back) {
            let finish = super::task::Finish::of(Outcome::Errored, Some(error));
            self.finish(now, task, None, finish);
        } else {
            let delay = error.retry_delay;
            let pause = if error.retry == Retry::SameRunner { delay.or(Some(Duration::from_secs(1))) } else { delay };
            self.waiting.avoid(task, runner, now.mono, pause);
            self.wait(now, task);
        }
        self.fill(now, id);
    }

    /// A runner wants to go: it gets no more work. One that says when has no time to decide on what it was just given.
    fn leaves(&mut self, now: Now, id: LinkId, hurried: bool) {
        let Some(link) = self.roster.get_mut(id) else { return };
        link.draining = true;
        let runner = link.runner.clone();
        let undecided = link.held().values().filter(|used| used.undecided).map(|used| used.task);
        let undecided: Vec<TaskId> = undecided.collect();
        for task in undecided.into_iter().filter(|_| hurried) {
            let here = self.ledger.task(task).is_some_and(|task| {
                matches!(task.state, State::Assigned(_)) && task.lease().is_some_and(|lease| lease.runner == runner)
            });
            if here {
                // Its credit stays with the runner until the runner names the lease finished.
                self.end_assignment(now, task, Reason::RunnerLeaving.word(), "the runner is about to go");
                self.wait(now, task);
            }
        }
    }

    fn has_room_for(&self, lease: LeaseId, outputs: &[Output]) -> bool {
        self.ledger.task_of(lease).is_none_or(|task| task.has_room_for(outputs))
    }

    /// Whether the runner of this link has the lease in force, accepted or not.
    fn has_in_force(&self, id: LinkId, lease: LeaseId) -> bool {
        let runner = self.roster.get(id).map(|link| &link.runner);
        self.ledger.task_of(lease).and_then(|task| task.lease()).is_some_and(|lease| Some(&lease.runner) == runner)
    }

    /// Whether the runner of this link has accepted the lease in force.
    fn works_on(&self, id: LinkId, lease: LeaseId) -> bool {
        self.has_in_force(id, lease)
            && self.ledger.task_of(lease).is_some_and(|task| matches!(task.state, State::Accepted(_)))
    }

    /// The runner is done with a lease that is not in force. One in force keeps its credit, whatever the runner said of it.
    fn return_stale_credit(&mut self, now: Now, id: LinkId, lease: LeaseId) {
        if !self.has_in_force(id, lease) {
            self.return_credit(now, id, lease);
        }
    }

    /// Started, outputs or steps: in the journal once, by its number within the lease.
    pub(super) fn updated(&mut self, id: LinkId, sequence: u64, lease: LeaseId, number: u64, record: Record) {
        let runner = self.roster.get(id).map(|link| link.runner.clone());
        let found = self.ledger.task_of(lease).and_then(|task| match &task.state {
            State::Accepted(held) if Some(&held.runner) == runner.as_ref() => Some((task.id, held.updates)),
            _ => None,
        });
        match found {
            Some((task, updates)) if number > updates && self.ledger.rows(scope_of(task)) >= UPDATE_ROWS_MAX => {
                let text = format!("the task has {UPDATE_ROWS_MAX} journalled updates already");
                self.refuse_named(id, sequence, "update", Some(lease), Reason::FrameInvalid, &text);
            }
            Some((task, updates)) if number > updates => self.record(scope_of(task), record),
            // Sent again after a cut.
            Some(_) => {}
            None => self.refuse_named(id, sequence, "update", Some(lease), Reason::LeaseLost, NOT_ACCEPTED),
        }
    }

    /// In the journal once, by its number within the lease, unless another was faster.
    fn state_updated(
        &mut self,
        now: Now,
        id: LinkId,
        sequence: u64,
        lease: LeaseId,
        number: u64,
        update: &StateUpdate,
    ) {
        let runner = self.roster.get(id).map(|link| &link.runner);
        let found = self.ledger.task_of(lease).and_then(|task| match &task.state {
            State::Accepted(held) if Some(&held.runner) == runner => Some((task.id, held.states.contains(&number))),
            _ => None,
        });
        let refused = match found {
            None => return self.refuse_named(id, sequence, "update", Some(lease), Reason::LeaseLost, NOT_ACCEPTED),
            // Sent again after a cut.
            Some((_, true)) => return,
            Some((task, _)) if self.ledger.rows(scope_of(task)) >= UPDATE_ROWS_MAX => (task, Unset::TooMany),
            Some((task, _)) => match self.set_state(now, task, update) {
                Ok(()) => {
                    self.record(scope_of(task), Record::StateUpdated { lease, number });
                    // The author learns the new etag by it.
                    return self.tell_session(task, None);
                }
                Err(unset) => (task, unset),
            },
        };
        self.refuse_state(id, sequence, "update", lease, refused.1);
    }

    /// A refused change says why; one that lost the race says against what, too.
    fn refuse_state(&mut self, id: LinkId, sequence: u64, frame: &'static str, lease: LeaseId, unset: Unset) {
        let field = format!("{frame}.session_state");
        let (reason, text) = match &unset {
            Unset::NoSession => (Reason::SessionNone, format!("{field}: the task belongs to no session")),
            Unset::Closed => (Reason::SessionClosed, "the session is gone".to_owned()),
            Unset::TooLarge(bytes) => (
                Reason::FrameInvalid,
                format!("{field}: state and sensitive_state would have {bytes} bytes, {STATE_BYTES_MAX} are allowed"),
            ),
            Unset::TooMany => (Reason::FrameInvalid, format!("{field}: the session or the task was changed too often")),
            Unset::Stale(session) => (
                Reason::SessionEtagStale,
                format!("the session's state was changed meanwhile; its etag is {}", session.etag()),
            ),
        };
        self.refuse_named(id, sequence, frame, Some(lease), reason, &text);
        if let Unset::Stale(session) = unset {
            self.send(id, Order::Session(session));
        }
    }

    fn result_received(
        &mut self,
        now: Now,
        id: LinkId,
        sequence: u64,
        lease: LeaseId,
        finish: super::task::Finish,
        state: Option<&StateUpdate>,
    ) {
        let Some(link) = self.roster.get(id) else { return };
        let found = self.ledger.task_of(lease).and_then(|task| match &task.state {
            State::Accepted(held) if held.runner == link.runner => Some(task.id),
            _ => None,
        });
        let unfenced = || {
            let held = link.held().get(&lease)?;
            self.ledger.task(held.task).filter(|task| !task.is_finished()).map(|task| task.id)
        };
        let found = if planted!(self, NoFencing) { found.or_else(unfenced) } else { found };
        let Some(task) = found else {
            if !self.answered.contains(&lease) {
                let text = "the lease is not in force or not accepted; the result is not wanted";
                self.refuse_named(id, sequence, "result", Some(lease), Reason::LeaseLost, text);
            }
            return self.return_stale_credit(now, id, lease);
        };
        if let Some(update) = state {
            match self.set_state(now, task, update) {
                Ok(()) => self.tell_session(task, Some(lease)),
                // Nobody is left to read it.
                Err(Unset::Closed) => {}
                Err(unset) => return self.refuse_state(id, sequence, "result", lease, unset),
            }
        }
        self.take_result(now, task, lease, finish);
        self.return_credit(now, id, lease);
    }
}

fn outputs_text(field: &str) -> String {
    format!("{field}: a task leaves at most {OUTPUTS_MAX} outputs in all")
}
