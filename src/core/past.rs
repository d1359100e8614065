//! What became of tasks that are not here any more, so that a question about one has an answer for a while. In memory only, and bounded:
//! the oldest make room.

use std::{collections::VecDeque, sync::Arc};

use super::{
    effect::NotAcquired,
    id::{ExternalId, TaskId, TaskType, UpstreamName},
    status::TaskName,
    task::Outcome,
    time::Wall,
};

/// Tasks remembered: some hours of a busy delegate.
const PASTS_MAX: usize = 1_000;

/// One that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    pub upstream: UpstreamName,
    pub external_id: ExternalId,
    /// Absent: it never was ours.
    pub task: Option<TaskId>,
    /// Absent: it was not known.
    pub task_type: Option<TaskType>,
    pub end: End,
    pub at: Wall,
}

/// How it went from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Its upstream does not list it any more. Why it was not taken, and since when it was not.
    Left { reason: NotAcquired, since: Wall },
    /// The acquire brought no task: why.
    NotGiven(Arc<str>),
    /// The upstream has its result.
    Reported(Outcome),
    /// It went back for another delegate.
    HandedBack(Arc<str>),
}

#[derive(Debug, Default)]
pub struct Pasts(VecDeque<Past>);

// === impl Pasts ===

impl Pasts {
    pub fn push(&mut self, past: Past) {
        if self.0.len() >= PASTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(past);
    }

    /// The newest of this name at each upstream.
    pub fn find(&self, name: &TaskName) -> Vec<&Past> {
        let mut found: Vec<&Past> = Vec::new();
        for past in self.0.iter().rev().filter(|past| past.is(name)) {
            if found.iter().all(|newer| newer.upstream != past.upstream) {
                found.push(past);
            }
        }
        found
    }
}

// === impl Past ===

impl Past {
    fn is(&self, name: &TaskName) -> bool {
        match name {
            TaskName::Ours(task) => self.task == Some(*task),
            TaskName::Theirs(external_id) => self.external_id == *external_id,
        }
    }

    /// One sentence's end: what became of it.
    pub fn text(&self) -> String {
        match &self.end {
            End::Left { reason, .. } => {
                format!(
                    "was left to others and is not on offer any more; it was not taken for {}: {reason}",
                    reason.reason()
                )
            }
            End::NotGiven(reason) => format!("was not given to this delegate: {reason}"),
            End::Reported(outcome) => format!("ended here as {}, and its upstream has the result", outcome.word()),
            End::HandedBack(reason) => format!("went back to its upstream for another delegate: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(upstream: &str, nth: usize) -> Past {
        Past {
            upstream: upstream.into(),
            external_id: "e".into(),
            task: None,
            task_type: None,
            end: End::NotGiven(nth.to_string().into()),
            at: Wall(0),
        }
    }

    #[test]
    fn the_newest_of_each_upstream_is_found_and_the_oldest_makes_room() {
        let mut pasts = Pasts::default();
        pasts.push(past("b", 0));
        for nth in 1..PASTS_MAX {
            pasts.push(past("a", nth));
        }
        let name = TaskName::Theirs("e".into());
        assert_eq!(pasts.find(&name), [&past("a", PASTS_MAX - 1), &past("b", 0)]);
        pasts.push(past("a", PASTS_MAX));
        assert_eq!(pasts.find(&name), [&past("a", PASTS_MAX)], "the other is forgotten");
    }
}
