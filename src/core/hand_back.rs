//! Giving a task back to its upstream for another delegate: at most once, whatever is lost on the way.
//!
//! ```text
//!  finished, another delegate may do it ─► intent durable ─► one request ─┬─ 2xx ───────────────► handed back
//!                                               ▲                         ├─ a clear no ────────► the failure is reported
//!                                               └─ certainly not taken in ┤
//!                                                  (unsent, 401)          └─ nobody knows, crash ► counts as handed back
//! ```
//!
//! A second request after an unclear answer could take the task away from the delegate that has it by then, so it is never sent. A
//! task that was handed back and is listed again is a new acquisition, and is answered here for good: it must not go round for ever.

use std::{sync::Arc, time::Duration};

use super::{
    Core,
    effect::{Effect, Note},
    id::{TaskId, UpstreamName},
    input::ReportError,
    past::{End, Past},
    planted::planted,
    record::{Record, scope_of},
    time::Now,
    timer::Timer,
    upstream::ReportClock,
};
use crate::reason::Reason;

/// How long a task that was handed back is remembered, and how many; the oldest make room.
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);
const REMEMBERED_MAX: usize = 10_000;

impl Core {
    pub(super) fn hand_back_answered(
        &mut self,
        now: Now,
        name: &UpstreamName,
        id: TaskId,
        result: Result<(), ReportError>,
    ) {
        match result {
            Ok(()) => self.handed_back(now, id, "the upstream took it", true),
            Err(ReportError::Gone(text)) => self.bury(now, id, Reason::TaskGone, &text),
            Err(ReportError::Refused(text)) => {
                self.record(scope_of(id), Record::HandBackRefused);
                if let Some(clock) = self.upstreams.get_mut(name).and_then(|up| up.reports.get_mut(&id)) {
                    *clock = ReportClock::new(clock.until);
                }
                self.note(Note::HandBackRefused { task: id, upstream: name.clone(), reason: text });
                self.report_due(id);
            }
            Err(ReportError::Unauthorized(text) | ReportError::Unsent(text)) => {
                self.hand_back_later(now, name, id, &text)
            }
            Err(ReportError::Fault(text) | ReportError::Unanswered(text)) if planted!(self, HandBackRepeated) => {
                self.hand_back_later(now, name, id, &text);
            }
            Err(ReportError::Fault(text) | ReportError::Unanswered(text)) => self.handed_back(now, id, &text, false),
        }
    }

    /// The request that did leave, if one did, was certainly not taken in.
    fn hand_back_later(&mut self, now: Now, name: &UpstreamName, id: TaskId, text: &Arc<str>) {
        let until = self.upstreams.get(name).and_then(|up| up.reports.get(&id)).map(|clock| clock.until);
        let (pause, _) = self.note_failure(name, id, text, false);
        if until.is_none_or(|until| until <= now.mono) {
            self.bury(now, id, Reason::ReportAgeMax, text);
        } else {
            self.timers.set(Timer::Report(id), now.mono + pause);
        }
    }

    /// The task is not ours any more.
    pub(super) fn handed_back(&mut self, now: Now, id: TaskId, reason: &str, answered: bool) {
        let Some(task) = self.ledger.task(id) else { return };
        let (upstream, external_id) = (task.upstream.clone(), task.external_id.clone());
        let task_type = task.spec.task_type.clone();
        self.tell_life(id, now.wall, None, (!answered).then_some(Reason::HandBackUnanswered.word()));
        self.pasts.push(Past {
            upstream: upstream.clone(),
            external_id: external_id.clone(),
            task: Some(id),
            task_type: Some(task_type),
            end: End::HandedBack(reason.into()),
            at: now.wall,
        });
        self.forget_report(now, id);
        if let Some(up) = self.upstreams.get_mut(&upstream) {
            let remembered = &mut up.handed_back;
            remembered.retain(|_, at| now.mono.since(*at) < REMEMBERED_FOR);
            if remembered.len() >= REMEMBERED_MAX
                && let Some(oldest) = remembered.iter().min_by_key(|(_, at)| **at).map(|(id, _)| id.clone())
            {
                remembered.remove(&oldest);
            }
            remembered.insert(external_id.clone(), now.mono);
        }
        self.record(scope_of(id), Record::ScopeEnded);
        let note = Note::HandedBack { task: id, upstream, external_id, reason: reason.into(), answered };
        self.promise(Effect::Note(note));
    }
}
