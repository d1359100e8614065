//! What happens, as it happens, for whoever watches: the core's notes in the words of a person.
//!
//! Nothing is made while nobody watches, and nobody who watches holds anything up: one who does not keep up misses the oldest, and is
//! told how many.

use std::{sync::Arc, time::SystemTime};

use tokio::sync::broadcast;

use crate::{
    core::{
        effect::Note,
        id::{SessionId, TaskId},
    },
    runners::ids::Ids,
};

/// Events that wait for one watcher; further ones push the oldest out.
pub const EVENTS_MAX: usize = 1_024;

/// Where events come from. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Events(broadcast::Sender<Arc<Event>>);

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Category {
    Task,
    Session,
    Runner,
    Upstream,
    /// Drains.
    Drain,
    /// Deeds of operators.
    Admin,
    /// The journal, and how full the host is.
    Host,
}

/// One thing that happened. Never content, never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub at: SystemTime,
    pub category: Category,
    /// A stable word, such as "task_acquired".
    pub kind: &'static str,
    /// As the commands take it; empty: none, as for those below.
    pub task: String,
    pub session: String,
    pub upstream: String,
    /// The upstream's id of the task or stage.
    pub external_id: String,
    pub runner: String,
    /// A sentence.
    pub text: String,
}

// === impl Events ===

impl Events {
    pub fn new() -> Self {
        Self(broadcast::Sender::new(EVENTS_MAX))
    }

    /// Everything from now on.
    pub fn watch(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.subscribe()
    }

    /// Tells a note to those who watch; must not wait.
    pub fn note(&self, ids: &Ids, note: &Note) {
        if self.0.receiver_count() > 0
            && let Some(event) = event(ids, note)
        {
            // The last one may have gone just now.
            let _ = self.0.send(Arc::new(event));
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Category ===

impl Category {
    pub const ALL: [Category; 7] =
        [Self::Task, Self::Session, Self::Runner, Self::Upstream, Self::Drain, Self::Admin, Self::Host];

    pub fn word(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Session => "session",
            Self::Runner => "runner",
            Self::Upstream => "upstream",
            Self::Drain => "drain",
            Self::Admin => "admin",
            Self::Host => "host",
        }
    }
}

// === impl Event ===

impl Event {
    fn of(category: Category, kind: &'static str, text: impl Into<String>) -> Self {
        let none = String::new;
        Self {
            at: SystemTime::now(),
            category,
            kind,
            task: none(),
            session: none(),
            upstream: none(),
            external_id: none(),
            runner: none(),
            text: text.into(),
        }
    }

    fn task(mut self, ids: &Ids, task: TaskId) -> Self {
        self.task = ids.task(task);
        self
    }

    fn session(mut self, ids: &Ids, session: SessionId) -> Self {
        self.session = ids.session(session);
        self
    }

    fn upstream(mut self, upstream: &impl ToString) -> Self {
        self.upstream = upstream.to_string();
        self
    }

    fn external(mut self, external_id: &impl ToString) -> Self {
        self.external_id = external_id.to_string();
        self
    }

    fn runner(mut self, runner: &impl ToString) -> Self {
        self.runner = runner.to_string();
        self
    }
}

/// A note as an event; those for traces alone are none.
fn event(ids: &Ids, note: &Note) -> Option<Event> {
    Some(match note {
        Note::NotAcquired { .. }
        | Note::Acquired { .. }
        | Note::AcquireEnded { .. }
        | Note::Assigned { .. }
        | Note::Accepted { .. }
        | Note::AssignmentEnded { .. }
        | Note::LeaseLost { .. }
        | Note::Cancelled { .. }
        | Note::AbortNoted { .. }
        | Note::Finished { .. }
        | Note::StepsUntold { .. } => of_task(ids, note)?,
        Note::ReportFailed { .. }
        | Note::DeadLetter { .. }
        | Note::Reported(_)
        | Note::HandedBack { .. }
        | Note::HandBackRefused { .. }
        | Note::ReportReplayed { .. }
        | Note::ReportDropped { .. } => of_report(ids, note)?,
        Note::SessionOpened { .. }
        | Note::SessionClosing { .. }
        | Note::SessionOrphaned { .. }
        | Note::CleanupSynthesized { .. }
        | Note::SessionClosed { .. } => of_session(ids, note)?,
        Note::RunnerAttached { .. }
        | Note::RunnerDetached { .. }
        | Note::RunnerReplaced { .. }
        | Note::FrameRefused { .. } => of_runner(note)?,
        Note::UpstreamFailing { .. }
        | Note::UpstreamDenies { .. }
        | Note::UpstreamRecovered { .. }
        | Note::Moved { .. }
        | Note::SelfDestruct { .. }
        | Note::Registered { .. }
        | Note::Forgotten { .. } => of_upstream(note)?,
        Note::StagesEnded(_) => return None,
        other => of_delegate(ids, other)?,
    })
}

fn of_task(ids: &Ids, note: &Note) -> Option<Event> {
    let of = |kind, text: String| Event::of(Category::Task, kind, text);
    Some(match note {
        Note::NotAcquired { upstream, external_id, task_type, reason } => {
            let text = format!("{task_type} left with the upstream: {}: {reason}", reason.reason());
            of("task_left", text).upstream(upstream).external(external_id)
        }
        Note::Acquired { task, upstream, external_id, task_type, .. } => {
            of("task_acquired", format!("{task_type} acquired"))
                .task(ids, *task)
                .upstream(upstream)
                .external(external_id)
        }
        Note::AcquireEnded { upstream, external_id, reason } => {
            of("acquire_ended", format!("no task came of it: {reason}")).upstream(upstream).external(external_id)
        }
        Note::Assigned { task, runner, attempt } => {
            of("task_assigned", format!("try {attempt} offered to {runner}")).task(ids, *task).runner(runner)
        }
        Note::Accepted { task, runner } => {
            of("task_running", format!("accepted by {runner}")).task(ids, *task).runner(runner)
        }
        Note::AssignmentEnded { task, runner, reason, .. } => {
            of("assignment_ended", format!("not taken: {reason}")).task(ids, *task).runner(runner)
        }
        Note::LeaseLost { task, runner, reason, repeats, .. } => {
            let then = if *repeats { "tried again" } else { "not started again" };
            of("lease_lost", format!("{reason}; {then}")).task(ids, *task).runner(runner)
        }
        Note::Cancelled { task, external_id, reason } => {
            of("task_stopping", format!("to stop: {}", reason.word())).task(ids, *task).external(external_id)
        }
        Note::AbortNoted { upstream, external_id } => {
            of("abort_noted", "abort of a task that is not here".to_owned()).upstream(upstream).external(external_id)
        }
        Note::Finished { task, outcome, reason } => {
            let text =
                if reason.is_empty() { outcome.word().to_owned() } else { format!("{}: {reason}", outcome.word()) };
            of("task_finished", text).task(ids, *task)
        }
        Note::StepsUntold { task, upstream, reason } => {
            of("steps_untold", format!("no more of its steps is told: {reason}")).task(ids, *task).upstream(upstream)
        }
        _ => return None,
    })
}

fn of_report(ids: &Ids, note: &Note) -> Option<Event> {
    let of = |kind, text: String| Event::of(Category::Task, kind, text);
    Some(match note {
        Note::ReportFailed { task, upstream, tries, reason } => {
            of("report_failed", format!("try {tries}: {reason}")).task(ids, *task).upstream(upstream)
        }
        Note::DeadLetter { task, upstream, external_id, reason } => {
            of("dead_letter", reason.to_string()).task(ids, *task).upstream(upstream).external(external_id)
        }
        Note::Reported(summary) => of("task_reported", format!("{}, reported", summary.outcome.word()))
            .task(ids, summary.task)
            .upstream(&summary.upstream)
            .external(&summary.external_id),
        Note::HandedBack { task, upstream, external_id, reason, answered } => {
            let known = if *answered { "" } else { ", without an answer" };
            let event = of("task_handed_back", format!("back for another delegate{known}: {reason}")).task(ids, *task);
            event.upstream(upstream).external(external_id)
        }
        Note::HandBackRefused { task, upstream, reason } => {
            of("hand_back_refused", format!("not taken back: {reason}")).task(ids, *task).upstream(upstream)
        }
        Note::ReportReplayed { task, upstream, external_id } => {
            let event = of("report_replayed", "sent again, by the operator's order".to_owned()).task(ids, *task);
            event.upstream(upstream).external(external_id)
        }
        Note::ReportDropped { task, upstream, external_id, reason } => {
            let event = of("report_dropped", format!("given up by the operator: {reason}")).task(ids, *task);
            event.upstream(upstream).external(external_id)
        }
        _ => return None,
    })
}

fn of_session(ids: &Ids, note: &Note) -> Option<Event> {
    let of = |kind, text: String| Event::of(Category::Session, kind, text);
    Some(match note {
        Note::SessionOpened { session, upstream, external_id, set_up } => {
            let text = if *set_up { "opened" } else { "opened by a later task of it: it was set up elsewhere" };
            of("session_opened", text.to_owned()).session(ids, *session).upstream(upstream).external(external_id)
        }
        Note::SessionClosing { session, external_id, reason } => {
            of("session_closing", reason.to_string()).session(ids, *session).external(external_id)
        }
        Note::SessionOrphaned { session, external_id, runner } => {
            let text = "its runner stayed away for a lease_ttl".to_owned();
            of("session_orphaned", text).session(ids, *session).external(external_id).runner(runner)
        }
        Note::CleanupSynthesized { session, external_id, task } => {
            let event = of("cleanup_made", "the delegate cleans up by itself".to_owned()).session(ids, *session);
            event.task(ids, *task).external(external_id)
        }
        Note::SessionClosed { session, external_id, left_behind } => {
            let text = match left_behind {
                None => "closed".to_owned(),
                Some(reason) => format!("closed, and what its setup made may still be there: {reason}"),
            };
            of("session_closed", text).session(ids, *session).external(external_id)
        }
        _ => return None,
    })
}

fn of_runner(note: &Note) -> Option<Event> {
    let of = |kind, text: String| Event::of(Category::Runner, kind, text);
    Some(match note {
        Note::RunnerAttached { runner, held, .. } => {
            of("runner_attached", format!("attached, with {held} tasks in hand")).runner(runner)
        }
        Note::RunnerDetached { runner, .. } => of("runner_detached", "detached".to_owned()).runner(runner),
        Note::RunnerReplaced { runner, by } => of("runner_replaced", format!("replaced by {by}")).runner(runner),
        Note::FrameRefused { link, frame, reason } => {
            of("frame_refused", format!("a {frame} on {link} was refused: {reason}"))
        }
        _ => return None,
    })
}

fn of_upstream(note: &Note) -> Option<Event> {
    let of = |kind, text: String| Event::of(Category::Upstream, kind, text);
    Some(match note {
        Note::UpstreamFailing { upstream, reason } => of("upstream_failing", reason.to_string()).upstream(upstream),
        Note::UpstreamDenies { upstream, denial, reason } => {
            of("upstream_denies", format!("{denial}: {reason}")).upstream(upstream)
        }
        Note::UpstreamRecovered { upstream } => of("upstream_recovered", "answers again".to_owned()).upstream(upstream),
        Note::Moved { upstream, endpoint } => {
            of("upstream_moved", format!("the account lives at {endpoint} now")).upstream(upstream)
        }
        Note::SelfDestruct { upstream, reason } => {
            of("upstream_deletes", format!("it wants this delegate gone: {reason}")).upstream(upstream)
        }
        Note::Registered { upstream, delegate_id } => {
            of("registered", format!("registered as {delegate_id}")).upstream(upstream)
        }
        Note::Forgotten { upstream } => of("forgotten", "it does not know this delegate".to_owned()).upstream(upstream),
        _ => return None,
    })
}

fn of_delegate(ids: &Ids, note: &Note) -> Option<Event> {
    let drain = |kind, text: String| Event::of(Category::Drain, kind, text);
    let host = |kind, text: String| Event::of(Category::Host, kind, text);
    Some(match note {
        Note::Draining { mode, grace, reason, open } => {
            let grace = grace.as_secs();
            drain("draining", format!("{}, grace {grace} s, {open} tasks open: {reason}", mode.word()))
        }
        Note::DrainGraceOver { open } => drain("drain_grace_over", format!("{open} tasks are told to stop")),
        Note::Drained { cancelled, handed_back } => {
            drain("drained", format!("nothing is open; {cancelled} cancelled, {handed_back} handed back"))
        }
        Note::Resumed => drain("resumed", "work is taken again".to_owned()),
        Note::Audited(audit) => {
            let deed = &audit.deed;
            let text = format!("{}: {} {} ({})", deed.actor, deed.action, deed.arguments, audit.outcome);
            Event::of(Category::Admin, "deed", text)
        }
        Note::StoreFailing { reason } => host("store_failing", reason.to_string()),
        Note::StoreRecovered => host("store_recovered", "the journal writes again".to_owned()),
        Note::JournalRolledBack { task, .. } => {
            host("journal_rolled_back", "a runner holds an acknowledgement this journal lacks".to_owned())
                .task(ids, *task)
        }
        Note::Admission { runner, turn } => {
            let text = match &turn.closed {
                Some(refusal) => format!("no {}: {refusal}", turn.claim),
                None => format!("room again for {}", turn.claim),
            };
            let event = host("admission", text);
            match runner {
                Some(runner) => event.runner(runner),
                None => event,
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::id::DelegateId;

    #[tokio::test]
    async fn a_watcher_that_does_not_keep_up_misses_the_oldest_and_learns_how_many() {
        let events = Events::new();
        let ids = Ids::of(DelegateId(1));
        events.note(&ids, &Note::Resumed);
        let mut watcher = events.watch();
        for _ in 0..EVENTS_MAX + 5 {
            events.note(&ids, &Note::Resumed);
        }
        assert_eq!(watcher.recv().await, Err(broadcast::error::RecvError::Lagged(5)));
        assert_eq!(watcher.recv().await.unwrap().kind, "resumed");
    }
}
