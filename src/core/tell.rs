//! What an upstream is told of a task before its result: its steps, as they are now.
//!
//! ```text
//!  steps changed ─► due ─► sent ─┬─ told ─────────► its note is a record; again if it is behind, or something changed meanwhile
//!                    ▲           ├─ no answer ────► later
//!                    └───────────┤
//!                                ├─ refused ──────► nothing more of the steps; the result says the rest
//!                                └─ task unknown ─► the same, and the task is stopped
//! ```
//!
//! An adapter is given the steps and its own note of what the upstream knows; it moves the upstream one request nearer to them. So
//! what changed while the upstream was away needs no queue, and what a process that died had sent is found out by the next one.
//! The result waits until the upstream knows the steps.

use std::sync::Arc;

use super::{
    Core,
    effect::{Call, Effect, Note, Tellable},
    id::{LeaseId, LinkId, TaskId, UpstreamName},
    input::{Frame, ReportError, Told},
    record::{Record, scope_of},
    step::{BadSteps, Plan, Step},
    task::{CancelReason, Report, State},
    time::Now,
    timer::Timer,
    upstream::TELLS_IN_FLIGHT_MAX,
};

/// The same fault so often in a row means that it is about the steps.
const FAULTS_MAX: u32 = 5;

/// What is to be told of one task, as seen by this process.
#[derive(Clone, Debug, Default)]
pub struct TellClock {
    /// Something changed since the call under way left.
    changed: bool,
    pub tries: u32,
    faults: u32,
    /// The upstream is told no more of it.
    pub over: bool,
    pub last_error: Option<Arc<str>>,
}

impl Core {
    // === from the runner ===

    pub(super) fn steps_planned(&mut self, now: Now, id: LinkId, sequence: u64, frame: &Frame) {
        let Frame::Plan { lease, number, steps } = frame else { return };
        let known = self.ledger.task_of(*lease).and_then(|task| task.plan.as_ref());
        // One that is sent again has its number in the journal.
        let is_new = self.is_new(*lease, *number);
        let bad = Plan::check(steps).err();
        let again = known.is_some_and(|plan| plan.lease == *lease).then_some(BadSteps::PlannedAlready);
        if let Some(bad) = bad.or(again).filter(|_| is_new) {
            return self.refuse_steps(id, sequence, frame, bad);
        }
        let steps: Vec<Step> = steps.iter().map(|step| step.clone().at(now.wall)).collect();
        let record = Record::StepsPlanned { lease: *lease, number: *number, steps };
        self.updated(id, sequence, *lease, *number, record);
        self.steps_changed(*lease);
    }

    pub(super) fn step_changed(&mut self, now: Now, id: LinkId, sequence: u64, frame: &Frame) {
        let Frame::Step { lease, number, step } = frame else { return };
        let planned = self.ledger.task_of(*lease).and_then(|task| task.plan.as_ref());
        let plan = planned.filter(|plan| plan.lease == *lease);
        let bad = plan.map_or(Err(BadSteps::Unplanned), |plan| plan.check_change(step)).err();
        if let Some(bad) = bad.filter(|_| self.is_new(*lease, *number)) {
            return self.refuse_steps(id, sequence, frame, bad);
        }
        let step = Box::new((**step).clone().at(now.wall));
        let record = Record::StepChanged { lease: *lease, number: *number, step };
        self.updated(id, sequence, *lease, *number, record);
        self.steps_changed(*lease);
    }

    /// Whether an update of a lease in force has not come before.
    fn is_new(&self, lease: LeaseId, number: u64) -> bool {
        let held = self.ledger.task_of(lease).and_then(|task| task.lease());
        held.is_some_and(|held| number > held.updates)
    }

    fn steps_changed(&mut self, lease: LeaseId) {
        if let Some(task) = self.ledger.task_of(lease).map(|task| task.id) {
            self.owe_news(task);
        }
    }

    // === to the upstream ===

    /// The task's steps are not what the upstream may know of them.
    pub(super) fn owe_news(&mut self, id: TaskId) {
        // No upstream knows the delegate's own tasks.
        let Some(task) = self.ledger.task(id).filter(|task| task.plan.is_some() && !task.own) else { return };
        let name = task.upstream.clone();
        let Some(up) = self.upstreams.get_mut(&name) else { return };
        let clock = up.untold.entry(id).or_default();
        clock.changed = true;
        if clock.over || up.telling.contains(&id) || self.timers.get(&Timer::Tell(id)).is_some() {
            return;
        }
        up.tell_due.insert(id);
        self.send_news(&name);
    }

    /// Another try is due.
    pub(super) fn tell_due(&mut self, id: TaskId) {
        let Some(name) = self.ledger.task(id).map(|task| task.upstream.clone()) else { return };
        if let Some(up) = self.upstreams.get_mut(&name)
            && up.untold.get(&id).is_some_and(|clock| !clock.over)
            && !up.telling.contains(&id)
        {
            up.tell_due.insert(id);
        }
        self.send_news(&name);
    }

    /// Whether the result has to wait for the upstream to know the steps.
    pub(super) fn is_untold(&self, id: TaskId) -> bool {
        let up = self.ledger.task(id).and_then(|task| self.upstreams.get(&task.upstream));
        up.and_then(|up| up.untold.get(&id)).is_some_and(|clock| !clock.over)
    }

    fn send_news(&mut self, name: &UpstreamName) {
        loop {
            let Some(up) = self.upstreams.get_mut(name) else { return };
            if up.telling.len() >= TELLS_IN_FLIGHT_MAX {
                return;
            }
            let Some(id) = up.tell_due.pop_first() else { return };
            let Some(task) = self.ledger.task(id) else { continue };
            let (Some(plan), Some(clock)) = (&task.plan, up.untold.get_mut(&id)) else { continue };
            clock.changed = false;
            up.telling.insert(id);
            let news = Tellable {
                external_id: task.external_id.clone(),
                identity: task.acquired_as.clone(),
                reply: task.spec.reply.clone(),
                told: task.told.clone(),
                steps: plan.steps.clone(),
                started: task.times.started.unwrap_or(task.times.acquired),
            };
            let call = Call::Tell { task: id, news: Arc::new(news) };
            self.promise(Effect::Call { upstream: name.clone(), call });
        }
    }

    pub(super) fn news_answered(
        &mut self,
        now: Now,
        name: &UpstreamName,
        id: TaskId,
        result: Result<Told, ReportError>,
    ) {
        let Some(up) = self.upstreams.get_mut(name) else { return };
        up.telling.remove(&id);
        let Some(clock) = up.untold.get_mut(&id) else { return self.send_news(name) };
        match result {
            Ok(told) => {
                *clock = TellClock { changed: clock.changed, ..TellClock::default() };
                if (told.behind && told.note.is_some()) || clock.changed {
                    up.tell_due.insert(id);
                } else {
                    up.untold.remove(&id);
                }
                if let Some(note) = told.note {
                    self.record(scope_of(id), Record::UpstreamTold { note });
                }
            }
            Err(ReportError::Gone(text)) => {
                self.end_news(name, id, &text);
                self.cancel(now, id, CancelReason::UpstreamGone, &text, None);
            }
            Err(ReportError::Refused(text)) => self.end_news(name, id, &text),
            Err(error) => self.tell_later(now, name, id, error),
        }
        self.send_news(name);
        if !self.is_untold(id) {
            self.report_due(id);
        }
    }

    fn tell_later(&mut self, now: Now, name: &UpstreamName, id: TaskId, error: ReportError) {
        let Some(up) = self.upstreams.get_mut(name) else { return };
        let too_old = up.reports.get(&id).is_some_and(|clock| clock.until <= now.mono);
        let (min, max) = (up.config.report_retry_min, up.config.report_retry_max);
        let Some(clock) = up.untold.get_mut(&id) else { return };
        let fault = matches!(error, ReportError::Fault(_));
        let text = error.text().clone();
        clock.tries += 1;
        clock.faults = if fault { clock.faults + 1 } else { 0 };
        clock.last_error = Some(text.clone());
        let (tries, faults) = (clock.tries, clock.faults);
        if faults >= FAULTS_MAX || too_old {
            return self.end_news(name, id, &text);
        }
        let pause = self.random.back_off(tries - 1, min, max);
        self.timers.set(Timer::Tell(id), now.mono + pause);
        self.note(Note::ReportFailed { task: id, upstream: name.clone(), tries, reason: text });
    }

    /// The upstream is told no more of the steps; its last word is the result.
    fn end_news(&mut self, name: &UpstreamName, id: TaskId, text: &Arc<str>) {
        let Some(up) = self.upstreams.get_mut(name) else { return };
        let clock = up.untold.entry(id).or_default();
        clock.over = true;
        clock.last_error = Some(text.clone());
        up.tell_due.remove(&id);
        self.timers.clear(&Timer::Tell(id));
        self.note(Note::StepsUntold { task: id, upstream: name.clone(), reason: text.clone() });
    }

    /// The task has left.
    pub(super) fn forget_news(&mut self, name: &UpstreamName, id: TaskId) {
        self.timers.clear(&Timer::Tell(id));
        if let Some(up) = self.upstreams.get_mut(name) {
            up.untold.remove(&id);
            up.tell_due.remove(&id);
        }
    }

    /// After a start: what the last process told is in the journal, but for its last word.
    pub(super) fn resume_news(&mut self, id: TaskId) {
        let Some(task) = self.ledger.task(id) else { return };
        if !matches!(task.state, State::Finished { report: Report::Dead { .. } | Report::HandBack { .. }, .. }) {
            self.owe_news(id);
        }
    }

    fn refuse_steps(&mut self, id: LinkId, sequence: u64, frame: &Frame, bad: BadSteps) {
        self.refuse(id, sequence, frame, crate::reason::Reason::FrameInvalid, &bad.to_string());
    }
}
