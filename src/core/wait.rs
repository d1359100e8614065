//! What a task waits for: a closed set of names, and with each since when, and what would end it. How the core finds out which one it is
//! is the module `explain`'s.
//!
//! The names are for machines: the admin API, span events and the label of a metric have the same. The sentences are for people, and may
//! change.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use super::{
    effect::{Idle, NotAcquired},
    id::{RunnerId, SlotClass, TaskType, UpstreamName},
    task::Kind,
    time::Wall,
};

/// The one thing that a task waits for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    pub cause: Cause,
    /// Since when it waits for that.
    pub since: Wall,
    /// When the wait ends by itself at the latest, or is tried again; absent: nothing ends it but what it waits for.
    pub deadline: Option<Wall>,
}

/// What it is, with all that an operator needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// On offer, and left to others.
    Left { reason: NotAcquired, hint: Hint },
    /// Its upstream can't be reached, so it can't be acquired; `failures` in a row.
    UpstreamUnreachable { upstream: UpstreamName, failures: u32, error: Arc<str> },
    /// On offer and not looked at yet.
    Turn,
    /// An acquire is under way.
    Acquire { upstream: UpstreamName },
    /// An acquire brought no clear answer.
    AcquireRecovery { upstream: UpstreamName },
    /// The journal can't write, so nothing is handed out.
    Journal { reason: Arc<str> },
    /// Nobody has a handler.
    NoRunner { task_type: TaskType, hint: Hint },
    /// Somebody has a handler and gets nothing new.
    RunnerIdle { runner: RunnerId, why: Idle },
    /// All slots are in use.
    Slot { class: SlotClass, hint: Hint },
    /// A runner rejected it a moment ago.
    Retry,
    /// Its stage is being set up.
    SessionSetup { session: Arc<str> },
    /// Another task of its stage has to end first.
    SessionTask { session: Arc<str>, kind: Kind },
    /// An earlier stage of the same name is being cleaned up.
    SessionCleanup { session: Arc<str> },
    /// The runner that holds its stage is away; the stage is orphaned at the deadline.
    SessionOrphaned { session: Arc<str>, runner: RunnerId },
    /// A runner has it and did not answer yet.
    Accept { runner: RunnerId },
    /// A handler works.
    Runner { runner: RunnerId, progress: Option<Arc<str>> },
    /// Its runner is not heard; `attached`: its stream is open all the same.
    RunnerSilent { runner: RunnerId, attached: bool },
    /// Its runner was not heard for so long that the lease is all but over; `repeats`: it is tried again then.
    LeaseEnding { runner: RunnerId, repeats: bool },
    /// It was told to stop, and its handler has a grace.
    CancelGrace { runner: RunnerId, message: Arc<str> },
    /// Its logs are on their way to the disk, and the result does not leave before them.
    Logs,
    /// Its result is on the way.
    Report { upstream: UpstreamName },
    /// Its result was sent `tries` times and not taken.
    ReportRetry { upstream: UpstreamName, tries: u32, error: Arc<str> },
    /// It goes back to its upstream for another delegate.
    HandBack { upstream: UpstreamName },
    /// Its upstream is not in the configuration any more.
    UpstreamUnconfigured { upstream: UpstreamName },
    /// Its result is a dead letter.
    DeadLetter { reason: Arc<str> },
    /// It is over.
    Nothing,
}

/// What else is known, where it helps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// The attached type that is spelled most like the wanted one, and who has it; the same type: its labels are others.
    pub nearest: Option<(TaskType, RunnerId)>,
    /// Slots in use and slots in all, of the class, at runners with a handler for the type.
    pub slots: Option<(u32, u32)>,
}

macro_rules! names {
    ($($name:ident = $word:literal,)+) => {
        /// The name of a wait.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Name {
            $($name,)+
        }

        impl Name {
            /// All of them.
            pub const ALL: &[Name] = &[$(Name::$name,)+];

            /// The stable word, as machines see it.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Name::$name => $word,)+
                }
            }
        }
    };
}

names! {
    // on offer
    Turn = "turn",
    NoRunner = "no_runner",
    RunnerIdle = "runner_idle",
    Slot = "slot",
    Admission = "admission",
    StartRate = "start_rate",
    TasksMax = "tasks_max",
    SessionsMax = "sessions_max",
    SessionsRefused = "sessions_refused",
    Journal = "journal",
    Drain = "drain",
    UpstreamPaused = "upstream_paused",
    UpstreamDenies = "upstream_denies",
    UpstreamSilent = "upstream_silent",
    UpstreamUnreachable = "upstream_unreachable",
    SetAside = "set_aside",
    Aborted = "aborted",
    // being acquired
    Acquire = "acquire",
    AcquireRecovery = "acquire_recovery",
    // for a runner
    Retry = "retry",
    SessionSetup = "session_setup",
    SessionTask = "session_task",
    SessionCleanup = "session_cleanup",
    SessionOrphaned = "session_orphaned",
    Accept = "accept",
    // at a runner
    Runner = "runner",
    RunnerSilent = "runner_silent",
    LeaseEnding = "lease_ending",
    CancelGrace = "cancel_grace",
    // on the way back
    Logs = "logs",
    Report = "report",
    ReportRetry = "report_retry",
    HandBack = "hand_back",
    UpstreamUnconfigured = "upstream_unconfigured",
    DeadLetter = "dead_letter",
    Nothing = "nothing",
}

// === impl Name ===

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

// === impl Wait ===

impl Wait {
    pub fn name(&self) -> Name {
        self.cause.name()
    }

    /// What it waits for, after "waits for"; of an offer, why it is not taken.
    pub fn text(&self, now: Wall) -> String {
        let left = self.deadline.map(|at| at.since(now)).unwrap_or_default();
        match &self.cause {
            Cause::Left { reason, hint } => format!("{}: {reason}{hint}", reason.reason()),
            Cause::UpstreamUnreachable { upstream, failures, error } => {
                let retry = self.deadline.map(|_| format!(" in {}", short(left))).unwrap_or_default();
                format!("upstream {upstream} to answer (try {}{retry}; last: {error})", failures.saturating_add(1))
            }
            Cause::Turn => "its turn".to_owned(),
            Cause::Acquire { .. } => "a clear answer to the acquire".to_owned(),
            Cause::AcquireRecovery { upstream } => format!(
                "a clear answer to the acquire: upstream {upstream} gave none (asked again after a listing; given up in {})",
                short(left)
            ),
            Cause::Journal { .. } => "the journal to write again".to_owned(),
            Cause::NoRunner { task_type, hint } => format!("a runner with a handler for {task_type}{hint}"),
            Cause::RunnerIdle { runner, why } => format!("runner {runner}, which {why}, or another for its type"),
            Cause::Slot { class, hint } => format!("a free slot of class {class}{hint}"),
            Cause::Retry => format!("another try in {} ms", left.as_millis()),
            Cause::SessionSetup { session } => format!("the setup of session {session}"),
            Cause::SessionTask { session, kind } => format!("the {} of session {session} to end", kind.word()),
            Cause::SessionCleanup { session } => format!("session {session} of the same name to be cleaned up"),
            Cause::SessionOrphaned { session, runner } => {
                format!("runner {runner} to come back: it holds session {session} (given up in {} s)", left.as_secs())
            }
            Cause::Accept { runner } => format!("runner {runner} to accept it"),
            Cause::Runner { runner, progress: Some(progress) } => format!("runner {runner}: {progress}"),
            Cause::Runner { runner, progress: None } => format!("runner {runner} to finish it"),
            Cause::RunnerSilent { runner, attached: true } => {
                format!("runner {runner} to be heard again (lease ends in {} s)", left.as_secs())
            }
            Cause::RunnerSilent { runner, attached: false } | Cause::LeaseEnding { runner, .. } => {
                format!("runner {runner} to come back (lease ends in {} s)", left.as_secs())
            }
            Cause::CancelGrace { runner, message } => format!("runner {runner} to stop it ({message})"),
            Cause::Logs => format!("its logs to be closed (at most {} ms more)", left.as_millis()),
            Cause::Report { upstream } => format!("upstream {upstream} to answer the report"),
            Cause::ReportRetry { upstream, tries, error } => format!(
                "upstream {upstream} to take the result (try {} in {} ms; last: {error})",
                tries.saturating_add(1),
                left.as_millis()
            ),
            Cause::HandBack { upstream } => format!("upstream {upstream} to take the task back"),
            Cause::UpstreamUnconfigured { upstream } => format!("upstream {upstream} to be configured again"),
            Cause::DeadLetter { reason } => format!("the operator: {reason}"),
            Cause::Nothing => "nothing".to_owned(),
        }
    }

    /// What would end it, after "until"; with what happens at the deadline, if something does.
    pub fn ends(&self, now: Wall) -> String {
        let left = self.deadline.map(|at| short(at.since(now))).unwrap_or_default();
        match &self.cause {
            Cause::Left { reason, .. } => left_until(reason),
            Cause::UpstreamUnreachable { upstream, .. } => {
                format!("upstream {upstream} answers; see `dlite upstreams check {upstream}`")
            }
            Cause::Turn => "the next listing is gone through".to_owned(),
            Cause::Acquire { upstream } => format!("upstream {upstream} answers the acquire"),
            Cause::AcquireRecovery { upstream } => {
                format!("upstream {upstream} gives or refuses it clearly, or lists it again; at the latest in {left}")
            }
            Cause::Journal { reason } => format!("the journal's disk can be written ({reason})"),
            Cause::NoRunner { task_type, .. } if self.deadline.is_some() => {
                format!("a runner with a handler for {task_type} attaches, or it is given up with NO_RUNNER in {left}")
            }
            Cause::NoRunner { task_type, .. } => format!("a runner with a handler for {task_type} attaches"),
            Cause::RunnerIdle { runner, why } => idle_until(runner, *why),
            Cause::Slot { class, .. } => format!("a task of class {class} ends"),
            Cause::Retry => format!("{left} have passed"),
            Cause::SessionSetup { .. } => "the setup has ended".to_owned(),
            Cause::SessionTask { .. } => "that task has ended".to_owned(),
            Cause::SessionCleanup { .. } => "that cleanup has ended".to_owned(),
            Cause::SessionOrphaned { runner, .. } => {
                format!("runner {runner} attaches again, or the session is orphaned in {left} and its steps fail")
            }
            Cause::Accept { runner } => format!("runner {runner} answers, or it is assigned anew in {left}"),
            Cause::Runner { .. } if self.deadline.is_some() => {
                format!("the handler has ended, or its time is over in {left}")
            }
            Cause::Runner { .. } => "the handler has ended".to_owned(),
            Cause::RunnerSilent { runner, .. } => {
                format!("runner {runner} is heard, or the lease ends in {left}")
            }
            Cause::LeaseEnding { runner, repeats: true } => {
                format!("runner {runner} is heard, or the lease ends in {left} and the task is tried again")
            }
            Cause::LeaseEnding { runner, repeats: false } => {
                format!("runner {runner} is heard, or the lease ends in {left} and the task fails with LEASE_LOST")
            }
            Cause::CancelGrace { .. } => {
                format!(
                    "the handler has stopped, or its grace is over in {left} and the upstream is answered without it"
                )
            }
            Cause::Logs => format!("its logs are closed, or {left} have passed"),
            Cause::Report { upstream } | Cause::HandBack { upstream } => format!("upstream {upstream} answers"),
            Cause::ReportRetry { upstream, .. } => {
                format!("upstream {upstream} takes the result; the next try is in {left}")
            }
            Cause::UpstreamUnconfigured { upstream } => {
                format!("upstream {upstream} is in the configuration again and the delegate restarts")
            }
            Cause::DeadLetter { .. } => "the operator decides on the dead letter".to_owned(),
            Cause::Nothing => "it is forgotten".to_owned(),
        }
    }

    /// The facts of it by stable keys, for machines.
    pub fn details(&self) -> BTreeMap<&'static str, String> {
        let mut details = BTreeMap::new();
        let mut put = |key, value: &dyn fmt::Display| drop(details.insert(key, value.to_string()));
        match &self.cause {
            Cause::Left { reason, hint } => {
                put("reason", &reason.reason());
                hint.put(&mut put);
                match reason {
                    NotAcquired::NoSlot { class } => put("class", class),
                    NotAcquired::TasksMax { max } | NotAcquired::SessionsMax { max } => put("max", max),
                    NotAcquired::StartRate { per_second } => put("per_second", per_second),
                    NotAcquired::Admission(refusal) => {
                        put("resource", &refusal.resource.word());
                        put("percent", &refusal.percent);
                        put("mark", &refusal.mark);
                    }
                    NotAcquired::NotServing { runner, .. } => put("runner", runner),
                    _ => {}
                }
            }
            Cause::UpstreamUnreachable { upstream, failures: tries, error }
            | Cause::ReportRetry { upstream, tries, error } => {
                put("upstream", upstream);
                put("tries", tries);
                put("error", error);
            }
            Cause::Acquire { upstream }
            | Cause::AcquireRecovery { upstream }
            | Cause::Report { upstream }
            | Cause::HandBack { upstream }
            | Cause::UpstreamUnconfigured { upstream } => put("upstream", upstream),
            Cause::Journal { reason } | Cause::DeadLetter { reason } => put("error", reason),
            Cause::NoRunner { task_type, hint } => {
                put("task_type", task_type);
                hint.put(&mut put);
            }
            Cause::RunnerIdle { runner, why } => {
                put("runner", runner);
                put("reason", &why.reason());
            }
            Cause::Slot { class, hint } => {
                put("class", class);
                hint.put(&mut put);
            }
            Cause::SessionSetup { session } | Cause::SessionCleanup { session } => put("session", session),
            Cause::SessionTask { session, kind } => {
                put("session", session);
                put("kind", &kind.word());
            }
            Cause::SessionOrphaned { session, runner } => {
                put("session", session);
                put("runner", runner);
            }
            Cause::Accept { runner } | Cause::Runner { runner, .. } => put("runner", runner),
            Cause::RunnerSilent { runner, attached } => {
                put("runner", runner);
                put("attached", attached);
            }
            Cause::LeaseEnding { runner, repeats } => {
                put("runner", runner);
                put("repeats", repeats);
            }
            Cause::CancelGrace { runner, message } => {
                put("runner", runner);
                put("message", message);
            }
            Cause::Turn | Cause::Retry | Cause::Logs | Cause::Nothing => {}
        }
        details
    }
}

// === impl Cause ===

impl Cause {
    pub fn name(&self) -> Name {
        match self {
            Self::Left { reason, .. } => left_name(reason),
            Self::UpstreamUnreachable { .. } => Name::UpstreamUnreachable,
            Self::Turn => Name::Turn,
            Self::Acquire { .. } => Name::Acquire,
            Self::AcquireRecovery { .. } => Name::AcquireRecovery,
            Self::Journal { .. } => Name::Journal,
            Self::NoRunner { .. } => Name::NoRunner,
            Self::RunnerIdle { .. } => Name::RunnerIdle,
            Self::Slot { .. } => Name::Slot,
            Self::Retry => Name::Retry,
            Self::SessionSetup { .. } => Name::SessionSetup,
            Self::SessionTask { .. } => Name::SessionTask,
            Self::SessionCleanup { .. } => Name::SessionCleanup,
            Self::SessionOrphaned { .. } => Name::SessionOrphaned,
            Self::Accept { .. } => Name::Accept,
            Self::Runner { .. } => Name::Runner,
            Self::RunnerSilent { .. } => Name::RunnerSilent,
            Self::LeaseEnding { .. } => Name::LeaseEnding,
            Self::CancelGrace { .. } => Name::CancelGrace,
            Self::Logs => Name::Logs,
            Self::Report { .. } => Name::Report,
            Self::ReportRetry { .. } => Name::ReportRetry,
            Self::HandBack { .. } => Name::HandBack,
            Self::UpstreamUnconfigured { .. } => Name::UpstreamUnconfigured,
            Self::DeadLetter { .. } => Name::DeadLetter,
            Self::Nothing => Name::Nothing,
        }
    }
}

fn left_name(reason: &NotAcquired) -> Name {
    match reason {
        NotAcquired::NoRunner => Name::NoRunner,
        NotAcquired::NoSlot { .. } => Name::Slot,
        NotAcquired::TasksMax { .. } => Name::TasksMax,
        NotAcquired::StoreFailing => Name::Journal,
        NotAcquired::Denied(_) => Name::UpstreamDenies,
        NotAcquired::SetAside => Name::SetAside,
        NotAcquired::Aborted => Name::Aborted,
        NotAcquired::UpstreamSilent => Name::UpstreamSilent,
        NotAcquired::Draining => Name::Drain,
        NotAcquired::Admission(_) => Name::Admission,
        NotAcquired::StartRate { .. } => Name::StartRate,
        NotAcquired::SessionsMax { .. } => Name::SessionsMax,
        NotAcquired::SessionsRefused => Name::SessionsRefused,
        NotAcquired::Paused => Name::UpstreamPaused,
        NotAcquired::NotServing { .. } => Name::RunnerIdle,
    }
}

fn left_until(reason: &NotAcquired) -> String {
    match reason {
        NotAcquired::NoRunner => "a runner with a handler for its type and labels attaches",
        NotAcquired::NoSlot { .. } => "a task of the class ends, or a runner with more slots attaches",
        NotAcquired::TasksMax { .. } => "an open task ends",
        NotAcquired::StoreFailing => "the journal's disk can be written again",
        NotAcquired::Denied(_) => "the upstream accepts this delegate; see `dlite upstreams check`",
        NotAcquired::SetAside => "half a minute has passed and it is still on offer",
        NotAcquired::Aborted => "the upstream lists it no more",
        NotAcquired::UpstreamSilent => "the upstream answers the acquire that is under way",
        NotAcquired::Draining => "`dlite resume`, or another delegate takes it",
        NotAcquired::Admission(refusal) => {
            return format!("the host's {} is at or below its low mark again", refusal.resource);
        }
        NotAcquired::StartRate { .. } => "the next stage may begin, within a second",
        NotAcquired::SessionsMax { .. } => "a session ends",
        NotAcquired::SessionsRefused => "a runner of its type takes sessions again",
        NotAcquired::Paused => "`dlite upstreams resume`, or another delegate takes it",
        NotAcquired::NotServing { runner, why } => return idle_until(runner, *why),
    }
    .to_owned()
}

fn idle_until(runner: &RunnerId, why: Idle) -> String {
    match why {
        Idle::Drained => format!("`dlite runners resume {runner}`, or another runner for its type attaches"),
        Idle::Leaving => "another runner for its type attaches".to_owned(),
        Idle::Unhealthy => format!("runner {runner} says that it is healthy; see its log"),
    }
}

// === impl Hint ===

impl Hint {
    fn put(&self, put: &mut impl FnMut(&'static str, &dyn fmt::Display)) {
        if let Some((task_type, runner)) = &self.nearest {
            put("nearest", task_type);
            put("nearest_runner", runner);
        }
        if let Some((used, slots)) = self.slots {
            put("slots_used", &used);
            put("slots", &slots);
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((task_type, runner)) = &self.nearest {
            write!(f, " (nearest: {task_type} of runner {runner})")?;
        }
        if let Some((used, slots)) = self.slots {
            write!(f, " ({used}/{slots})")?;
        }
        Ok(())
    }
}

/// A span with the one unit that matters.
fn short(span: Duration) -> String {
    match span.as_secs() {
        0 => format!("{} ms", span.as_millis()),
        seconds @ 1..=180 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_and_each_its_own() {
        let words: std::collections::BTreeSet<&str> = Name::ALL.iter().map(|name| name.word()).collect();
        assert_eq!(words.len(), Name::ALL.len());
        assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
    }

    #[test]
    fn a_lease_that_ends_says_what_becomes_of_the_task() {
        let of = |repeats| Wait {
            cause: Cause::LeaseEnding { runner: "vm-1".into(), repeats },
            since: Wall(0),
            deadline: Some(Wall(9_000_000)),
        };
        assert_eq!(of(true).text(Wall(0)), "runner vm-1 to come back (lease ends in 9 s)");
        assert!(of(true).ends(Wall(0)).ends_with("in 9 s and the task is tried again"));
        assert!(of(false).ends(Wall(0)).ends_with("in 9 s and the task fails with LEASE_LOST"));
    }
}
