//! Which step is next, and how the stage ends: the steps of a plan and what became of them. Pure.
//!
//! ```text
//!            ┌─► Skipped     for its status condition, after exit 78, or with the stage
//!  Waiting ──┤
//!            └─► Running ──► Ended: code, error, killed
//!                   └─ detached: counts as over for those after it, and ends with the stage
//! ```

use crate::pipeline::{condition::RunPolicy, plan::Plan, yaml::Failure};

/// The exit code by which a step ends its stage early and well.
pub const EXIT_ENOUGH: i32 = 78;

/// The steps of one stage.
pub struct Board {
    steps: Vec<Entry>,
    parallel_max: usize,
    /// Nothing starts any more, and what runs is being killed.
    is_stopped: bool,
    /// When it was stopped, something still ran or was to come.
    was_cut: bool,
    /// A step has said that it is enough.
    is_enough: bool,
}

struct Entry {
    name: String,
    /// Indexes.
    after: Vec<usize>,
    run: RunPolicy,
    failure: Failure,
    detach: bool,
    state: State,
}

enum State {
    Waiting,
    Skipped,
    Running,
    Ended(End),
}

/// How a step has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Code(i32),
    /// It could not be executed.
    Error(String),
    Killed,
}

/// What to do next; steps by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    Start(usize),
    /// It is not needed, which is told.
    Skip(usize),
}

/// How the stage is going.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Names of the steps that have failed it.
    pub failed: Vec<String>,
}

/// How the stage has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Succeeded,
    /// A step failed.
    Failed {
        step: String,
        code: i32,
    },
    /// A step could not be executed.
    Errored {
        step: String,
        why: String,
    },
    /// Steps were killed or left out.
    Killed,
}

// === impl Board ===

impl Board {
    /// At most `parallel_max` steps run at once, detached ones not counted.
    pub fn new(plan: &Plan, parallel_max: usize) -> Self {
        let index = |number: &u32| (*number as usize).saturating_sub(1);
        let entry = |step: &crate::pipeline::plan::Step| Entry {
            name: step.name.clone(),
            after: step.after.iter().map(index).collect(),
            run: step.run,
            failure: step.failure,
            detach: step.detach,
            state: State::Waiting,
        };
        let steps = plan.steps.iter().map(entry).collect();
        Self { steps, parallel_max: parallel_max.max(1), is_stopped: false, was_cut: false, is_enough: false }
    }

    /// The next move, which is then taken to be made; ask again until there is none, and again after each end.
    pub fn next(&mut self) -> Option<Move> {
        if self.is_stopped {
            return None;
        }
        let has_failed = self.has_failed();
        for at in 0..self.steps.len() {
            let step = &self.steps[at];
            let is_due = self.is_enough || step.after.iter().all(|before| self.is_over(*before));
            if !matches!(step.state, State::Waiting) || !is_due {
                continue;
            }
            let is_wanted = match step.run {
                RunPolicy::Always => true,
                RunPolicy::OnSuccess => !has_failed,
                RunPolicy::OnFailure => has_failed,
            };
            if self.is_enough || !is_wanted {
                self.steps[at].state = State::Skipped;
                return Some(Move::Skip(at));
            }
            if self.running().count() < self.parallel_max {
                self.steps[at].state = State::Running;
                return Some(Move::Start(at));
            }
        }
        None
    }

    /// A step that ran has ended. A detached one ends with the stage, whenever and however its program does; only if it could not be
    /// executed, that counts.
    pub fn ended(&mut self, at: usize, end: End) {
        let Some(step) = self.steps.get_mut(at) else { return };
        if step.detach && !matches!(end, End::Error(_)) {
            return;
        }
        let (is_enough, is_failure) = (end == End::Code(EXIT_ENOUGH), end.fails());
        step.state = State::Ended(end);
        let is_fast = step.failure == Failure::Fast;
        self.is_enough |= is_enough;
        if is_failure && is_fast {
            self.stop();
        }
    }

    /// Nothing starts from now on; the caller kills what runs.
    pub fn stop(&mut self) {
        if !self.is_stopped {
            self.is_stopped = true;
            let is_waiting = self.steps.iter().any(|step| matches!(step.state, State::Waiting));
            self.was_cut = is_waiting || self.running().next().is_some();
        }
    }

    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// No step runs that has to be waited for, and none is to come.
    pub fn is_done(&self) -> bool {
        let is_waiting = !self.is_stopped && self.steps.iter().any(|step| matches!(step.state, State::Waiting));
        !is_waiting && self.running().next().is_none()
    }

    pub fn standing(&self) -> Standing {
        let failed = self.steps.iter().filter(|step| step.fails());
        Standing { failed: failed.map(|step| step.name.clone()).collect() }
    }

    /// How the stage has ended: by the first step that is not well.
    pub fn verdict(&self) -> Verdict {
        if self.was_cut {
            return Verdict::Killed;
        }
        let unwell = self.steps.iter().find_map(|step| match &step.state {
            State::Ended(End::Killed) => Some(Verdict::Killed),
            State::Ended(End::Error(why)) => Some(Verdict::Errored { step: step.name.clone(), why: why.clone() }),
            State::Ended(End::Code(code)) if step.fails() => {
                Some(Verdict::Failed { step: step.name.clone(), code: *code })
            }
            _ => None,
        });
        unwell.unwrap_or(Verdict::Succeeded)
    }

    /// Those that are waited for.
    fn running(&self) -> impl Iterator<Item = &Entry> {
        self.steps.iter().filter(|step| matches!(step.state, State::Running) && !step.detach)
    }

    /// Those after it need not wait for it any more.
    fn is_over(&self, at: usize) -> bool {
        self.steps.get(at).is_none_or(|step| match step.state {
            State::Waiting => false,
            State::Running => step.detach,
            State::Skipped | State::Ended(_) => true,
        })
    }

    fn has_failed(&self) -> bool {
        self.steps.iter().any(Entry::fails)
    }
}

// === impl Entry ===

impl Entry {
    fn fails(&self) -> bool {
        self.failure != Failure::Ignore && matches!(&self.state, State::Ended(end) if end.fails())
    }
}

// === impl End ===

impl End {
    fn fails(&self) -> bool {
        !matches!(self, Self::Code(0 | EXIT_ENOUGH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{
        plan::{Step, Work},
        yaml::Checkout,
    };

    fn step(number: u32, after: &[u32]) -> Step {
        Step {
            number,
            name: format!("s{number}"),
            after: after.to_vec(),
            run: RunPolicy::OnSuccess,
            failure: Failure::Fail,
            detach: false,
            work: Work::Clone(Checkout::default()),
        }
    }

    fn board(steps: Vec<Step>, parallel_max: usize) -> Board {
        Board::new(&Plan { steps, left_out: Vec::new() }, parallel_max)
    }

    fn moves(board: &mut Board) -> Vec<Move> {
        std::iter::from_fn(|| board.next()).collect()
    }

    use Move::{Skip, Start};

    #[test]
    fn steps_run_beside_each_other_up_to_the_limit_and_after_those_they_depend_on() {
        let mut board = board(vec![step(1, &[]), step(2, &[1]), step(3, &[1]), step(4, &[1]), step(5, &[2, 3, 4])], 2);
        assert_eq!(moves(&mut board), [Start(0)]);
        board.ended(0, End::Code(0));
        assert_eq!(moves(&mut board), [Start(1), Start(2)]);
        board.ended(2, End::Code(0));
        assert_eq!(moves(&mut board), [Start(3)]);
        board.ended(1, End::Code(0));
        board.ended(3, End::Code(0));
        assert_eq!(moves(&mut board), [Start(4)]);
        assert!(!board.is_done());
        board.ended(4, End::Code(0));
        assert!(board.is_done());
        assert_eq!(board.verdict(), Verdict::Succeeded);
    }

    #[test]
    fn after_a_failure_only_those_run_that_are_for_failures() {
        let on_failure = Step { run: RunPolicy::OnFailure, ..step(3, &[2]) };
        let always = Step { run: RunPolicy::Always, ..step(4, &[3]) };
        let mut board = board(vec![step(1, &[]), step(2, &[1]), on_failure, always], 4);
        assert_eq!(moves(&mut board), [Start(0)]);
        board.ended(0, End::Code(2));
        assert_eq!(board.standing().failed, ["s1"]);
        assert_eq!(moves(&mut board), [Skip(1), Start(2)]);
        board.ended(2, End::Code(0));
        assert_eq!(moves(&mut board), [Start(3)]);
        board.ended(3, End::Code(0));
        assert_eq!(board.verdict(), Verdict::Failed { step: "s1".to_owned(), code: 2 });
    }

    #[test]
    fn an_ignored_failure_fails_nothing_and_an_error_does() {
        let mut ignoring = board(vec![Step { failure: Failure::Ignore, ..step(1, &[]) }, step(2, &[1])], 4);
        assert_eq!(moves(&mut ignoring), [Start(0)]);
        ignoring.ended(0, End::Code(3));
        assert_eq!(moves(&mut ignoring), [Start(1)]);
        ignoring.ended(1, End::Code(0));
        assert_eq!(ignoring.verdict(), Verdict::Succeeded);
        let mut broken = board(vec![Step { failure: Failure::Ignore, ..step(1, &[]) }], 4);
        moves(&mut broken);
        broken.ended(0, End::Error("no shell".to_owned()));
        assert_eq!(broken.verdict(), Verdict::Errored { step: "s1".to_owned(), why: "no shell".to_owned() });
    }

    #[test]
    fn exit_78_is_well_and_enough() {
        let always = Step { run: RunPolicy::Always, ..step(3, &[2]) };
        let mut board = board(vec![step(1, &[]), step(2, &[1]), always], 4);
        moves(&mut board);
        board.ended(0, End::Code(EXIT_ENOUGH));
        assert_eq!(moves(&mut board), [Skip(1), Skip(2)]);
        assert!(board.is_done());
        assert_eq!(board.verdict(), Verdict::Succeeded);
    }

    #[test]
    fn a_detached_step_holds_nobody_up_and_its_end_is_the_stages() {
        let service = Step { detach: true, ..step(1, &[]) };
        let mut board = board(vec![service, step(2, &[1])], 1);
        assert_eq!(moves(&mut board), [Start(0), Start(1)]);
        board.ended(1, End::Code(0));
        assert!(board.is_done());
        board.ended(0, End::Killed);
        assert_eq!(board.verdict(), Verdict::Succeeded);
    }

    #[test]
    fn a_fast_failure_kills_the_stage_only_if_there_was_something_to_kill() {
        let fast = |after: &[u32]| Step { failure: Failure::Fast, ..step(2, after) };
        let mut cut = board(vec![step(1, &[]), fast(&[]), step(3, &[1])], 4);
        assert_eq!(moves(&mut cut), [Start(0), Start(1)]);
        cut.ended(1, End::Code(1));
        assert_eq!((moves(&mut cut), cut.is_stopped(), cut.is_done()), (vec![], true, false));
        cut.ended(0, End::Killed);
        assert!(cut.is_done());
        assert_eq!(cut.verdict(), Verdict::Killed);
        let mut last = board(vec![step(1, &[]), fast(&[1])], 4);
        moves(&mut last);
        last.ended(0, End::Code(0));
        moves(&mut last);
        last.ended(1, End::Code(9));
        assert!(last.is_done());
        assert_eq!(last.verdict(), Verdict::Failed { step: "s2".to_owned(), code: 9 });
    }
}
