//! The way back: every result is sent until the upstream's 2xx is durable, holding no slot meanwhile.
//!
//! ```text
//!  owed ─► due ─► sent ─┬─ 2xx ─────────────► reported (all rows go)
//!           ▲           ├─ no answer, 401, 5xx ► later, up to report_age_max ► dead letter
//!           └───────────┤
//!                       ├─ body refused ────► a minimal failure in its place, once; the original is kept as dead letter
//!                       └─ task unknown ────► dead letter
//! ```

use std::sync::Arc;

use super::{
    Core,
    effect::{Answerable, Call, Effect, Note, Summary},
    id::{TaskId, UpstreamName},
    input::ReportError,
    past::{End, Past},
    planted::planted,
    record::{Record, scope_of},
    task::{Finish, Outcome, Report, State},
    time::Now,
    timer::Timer,
    upstream::{REPORTS_IN_FLIGHT_MAX, ReportClock},
};
use crate::reason::Reason;

/// The same fault so often, while other calls succeed, means that it is about the body.
const FAULTS_MAX: u32 = 5;
/// Dead letters kept; the oldest make room.
const DEAD_LETTERS_MAX: usize = 1_000;

impl Core {
    /// The task's result is to be sent. How long is counted once, so that a clock set forward does not give it up.
    pub(super) fn owe(&mut self, now: Now, id: TaskId) {
        self.wait_for_logs(now, id);
        let waits = self.waits_for_logs(id) || self.is_untold(id);
        let Some(task) = self.ledger.task(id) else { return };
        let (Some(up), State::Finished { at, .. }) = (self.upstreams.get_mut(&task.upstream), &task.state) else {
            return;
        };
        let since = task.replayed.unwrap_or(*at);
        let until = now.mono + Self::remaining(now, since, up.config.report_age_max);
        up.reports.entry(id).or_insert_with(|| ReportClock::new(until));
        // What the steps came to is said before the result, and what the logs did goes with it.
        if !waits {
            up.due.insert(id);
        }
    }

    pub(super) fn report_due(&mut self, id: TaskId) {
        let Some(upstream) = self.ledger.task(id).map(|task| task.upstream.clone()) else { return };
        if self.waits_for_logs(id) {
            return;
        }
        if self.is_untold(id) {
            self.timers.clear(&Timer::Tell(id));
            return self.tell_due(id);
        }
        if let Some(up) = self.upstreams.get_mut(&upstream)
            && up.reports.contains_key(&id)
            && !up.reporting.contains(&id)
        {
            up.due.insert(id);
        }
        self.send_reports(&upstream);
    }

    pub(super) fn send_reports(&mut self, name: &UpstreamName) {
        loop {
            let Some(up) = self.upstreams.get_mut(name) else { return };
            if up.reporting.len() >= REPORTS_IN_FLIGHT_MAX {
                return;
            }
            let Some(id) = up.due.pop_first() else { return };
            let Some(task) = self.ledger.task(id) else { continue };
            let State::Finished { finish, report, at, .. } = &task.state else { continue };
            let finished = *at;
            let (refusal, hand_back, first) = match report {
                Report::Owed => (None, false, false),
                Report::OwedMinimal { refusal } => (Some(refusal.clone()), false, false),
                Report::HandBack { sent } => (None, true, !sent),
                Report::Dead { .. } | Report::Nowhere => continue,
            };
            let tries = up.reports.get(&id).map_or(0, |clock| clock.tries);
            let finish = if tries > 0 && planted!(self, ReportChanged) {
                Arc::new(Finish::of(Outcome::Errored, None))
            } else {
                finish.clone()
            };
            up.reporting.insert(id);
            let report = Answerable {
                external_id: task.external_id.clone(),
                identity: task.acquired_as.clone(),
                spec: task.spec.clone(),
                finish,
                steps: task.plan.as_ref().map(|plan| plan.steps.clone()).unwrap_or_default(),
                told: task.told.clone(),
                started: task.times.started,
                finished,
                refusal,
                hand_back,
            };
            if first {
                // Durable before the request leaves: whatever happens then, it counts as sent.
                self.record(scope_of(id), Record::HandBackSent);
            }
            let call = Call::Report { task: id, report: Arc::new(report) };
            self.promise(Effect::Call { upstream: name.clone(), call });
        }
    }

    pub(super) fn report_answered(
        &mut self,
        now: Now,
        name: &UpstreamName,
        id: TaskId,
        result: Result<(), ReportError>,
    ) {
        let Some(up) = self.upstreams.get_mut(name) else { return };
        up.reporting.remove(&id);
        let Some(task) = self.ledger.task(id) else { return };
        let State::Finished { report, .. } = &task.state else { return };
        if matches!(report, Report::HandBack { .. }) {
            self.hand_back_answered(now, name, id, result);
            return self.send_reports(name);
        }
        let minimal = matches!(report, Report::OwedMinimal { .. });
        let too_old = up.reports.get(&id).is_none_or(|clock| clock.until <= now.mono);
        match result {
            Ok(()) => self.reported(now, id),
            Err(ReportError::Gone(text)) => self.bury(now, id, Reason::TaskGone, &text),
            Err(ReportError::Refused(text)) if minimal => self.bury(now, id, Reason::ResultRefused, &text),
            Err(ReportError::Refused(text)) => self.minimize(name, id, text),
            Err(error) => {
                let (fault, text) = match error {
                    ReportError::Fault(text) => (true, text),
                    ReportError::Unauthorized(text) | ReportError::Unsent(text) | ReportError::Unanswered(text) => {
                        (false, text)
                    }
                    ReportError::Refused(_) | ReportError::Gone(_) => unreachable!("matched above"),
                };
                let (pause, persistent) = self.note_failure(name, id, &text, fault);
                if planted!(self, ReportDropped) {
                    self.bury(now, id, Reason::TaskGone, "planted");
                } else if persistent && minimal {
                    self.bury(now, id, Reason::ResultRefused, &text);
                } else if persistent {
                    self.minimize(name, id, text);
                } else if too_old {
                    self.bury(now, id, Reason::ReportAgeMax, &text);
                } else {
                    self.timers.set(Timer::Report(id), now.mono + pause);
                    self.note_wait(now, id);
                }
            }
        }
        self.send_reports(name);
    }

    /// Counts a failed try; says how long to wait, and whether the same fault came so often that it must be about the body.
    pub(super) fn note_failure(
        &mut self,
        name: &UpstreamName,
        id: TaskId,
        text: &Arc<str>,
        fault: bool,
    ) -> (std::time::Duration, bool) {
        let Some(up) = self.upstreams.get_mut(name) else { return (std::time::Duration::ZERO, false) };
        let successes = up.successes;
        let Some(clock) = up.reports.get_mut(&id) else { return (std::time::Duration::ZERO, false) };
        clock.tries += 1;
        clock.last_error = Some(text.clone());
        let mut persistent = false;
        if fault {
            // One more only if something else succeeded since the last: an upstream that fails everything, or comes and goes,
            // says nothing about this body.
            let count = match &clock.fault {
                Some((same, count, then)) if same == text => count + u32::from(successes > *then),
                _ => 1,
            };
            persistent = count >= FAULTS_MAX;
            clock.fault = Some((text.clone(), count, successes));
        } else {
            clock.fault = None;
        }
        let tries = clock.tries;
        let pause = self.random.back_off(tries - 1, up.config.report_retry_min, up.config.report_retry_max);
        self.note(Note::ReportFailed { task: id, upstream: name.clone(), tries, reason: text.clone() });
        (pause, persistent)
    }

    fn minimize(&mut self, name: &UpstreamName, id: TaskId, refusal: Arc<str>) {
        self.record(scope_of(id), Record::ReportMinimized { refusal });
        if let Some(clock) = self.upstreams.get_mut(name).and_then(|up| up.reports.get_mut(&id)) {
            *clock = ReportClock::new(clock.until);
        }
        self.report_due(id);
    }

    fn reported(&mut self, now: Now, id: TaskId) {
        let Some(task) = self.ledger.task(id) else { return };
        let State::Finished { finish, at, report, .. } = &task.state else { return };
        let minimal = matches!(report, Report::OwedMinimal { .. });
        let outcome = if minimal { Outcome::Errored } else { finish.outcome };
        let summary = Summary {
            task: id,
            upstream: task.upstream.clone(),
            external_id: task.external_id.clone(),
            task_type: task.spec.task_type.clone(),
            runner: task.runner.clone(),
            outcome,
            attempt: task.attempt,
            logs: task.logs.clone(),
            trace_id: task.trace_id,
            times: task.times,
            finished: *at,
            reported: now.wall,
        };
        self.tell_life(id, now.wall, minimal.then_some(Reason::ResultRefused.word()), None);
        self.pasts.push(Past {
            upstream: summary.upstream.clone(),
            external_id: summary.external_id.clone(),
            task: Some(id),
            task_type: Some(summary.task_type.clone()),
            end: End::Reported(outcome),
            at: now.wall,
        });
        if minimal {
            let reason = format!("{}: a minimal failure was reported in its place", Reason::ResultRefused);
            self.keep_dead(now, id, Record::MinimalReported { reason: reason.as_str().into() }, reason);
        } else {
            self.forget_report(now, id);
            self.record(scope_of(id), Record::ScopeEnded);
        }
        // Reported means that the 2xx is durable, too.
        self.promise(Effect::Note(Note::Reported(Box::new(summary))));
    }

    /// Ends the sending and keeps the result for the operator.
    pub(super) fn bury(&mut self, now: Now, id: TaskId, reason: Reason, text: &str) {
        self.tell_life(id, now.wall, None, Some(reason.word()));
        let reason = format!("{reason}: {text}");
        self.keep_dead(now, id, Record::ReportAbandoned { reason: reason.as_str().into() }, reason);
    }

    fn keep_dead(&mut self, now: Now, id: TaskId, record: Record, reason: String) {
        let Some(task) = self.ledger.task(id) else { return };
        let (upstream, external_id) = (task.upstream.clone(), task.external_id.clone());
        self.forget_report(now, id);
        self.record(scope_of(id), record);
        self.note(Note::DeadLetter { task: id, upstream, external_id, reason: reason.into() });
        while self.ledger.dead_letters().len() > DEAD_LETTERS_MAX {
            let Some(oldest) = self.ledger.dead_letters().first().copied() else { break };
            self.record(scope_of(oldest), Record::ScopeEnded);
        }
    }

    pub(super) fn forget_report(&mut self, now: Now, id: TaskId) {
        self.timers.clear(&Timer::Report(id));
        self.forget_logs(id);
        let Some(task) = self.ledger.task(id) else { return };
        let upstream = task.upstream.clone();
        self.forget_news(&upstream, id);
        let Some(task) = self.ledger.task(id) else { return };
        if let Some(up) = self.upstreams.get_mut(&task.upstream) {
            up.reports.remove(&id);
            up.due.remove(&id);
            up.closed.insert(task.external_id.clone(), now.mono);
        }
    }
}
