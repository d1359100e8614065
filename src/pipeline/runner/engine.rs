//! The steps of a stage on their way: started as the board says, told as they change, stopped when asked.
//!
//! ```text
//!  Board ── Start, Skip ──► engine ──► one task a step ──► Workshop
//!    ▲                        │ told: plan, running, ended
//!    └──────── End ───────────┴──────────◄────────┘
//! ```

use std::{collections::HashMap, future::pending, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::sleep,
};
use tracing::debug;

use super::{
    Shop,
    board::{Board, EXIT_ENOUGH, End, Move, Verdict},
    clone,
    stage::Stage,
    step::{Job, Workshop},
};
use crate::{
    pipeline::{
        plan::{self, Work},
        yaml::Failure as OnFailure,
    },
    sdk::{CancelReason, Cancellation, Context, Failure, Log, Step, StepError, StepState, Success},
};

/// The SDK drops a handler when its grace has passed; what is killed this long before still has its result told.
const RESULT_MARGIN_MAX: Duration = Duration::from_secs(2);
/// For services and other detached steps once the stage is over: nobody waits for what they still do.
const DETACHED_GRACE: Duration = Duration::from_millis(500);

/// A stage that runs.
struct Engine {
    stage: Arc<Stage>,
    context: Context,
    workshop: Workshop,
    grace: Duration,
    board: Board,
    /// As they were told last.
    steps: Vec<Step>,
    running: JoinSet<End>,
    /// Which step each of the tasks is.
    tasks: HashMap<Id, usize>,
    /// With how much time all that runs is to end.
    stop: watch::Sender<Option<Duration>>,
}

/// Runs all steps of a stage; everything it started has ended when it returns.
pub(super) async fn run(shop: &Shop, stage: &Arc<Stage>, context: &Context) -> Result<Success, Failure> {
    let parallel_max = usize::try_from(shop.config.parallel_steps).unwrap_or(usize::MAX);
    let mut engine = Engine {
        board: Board::new(&stage.plan, parallel_max),
        steps: stage.plan.steps.iter().map(announced).collect(),
        stage: stage.clone(),
        context: context.clone(),
        workshop: shop.workshop(),
        grace: shop.config.grace,
        running: JoinSet::new(),
        tasks: HashMap::new(),
        stop: watch::Sender::new(None),
    };
    let cancellation = engine.run().await;
    engine.finish(cancellation)
}

// === impl Engine ===

impl Engine {
    /// To the end of all steps; why they were stopped, if they were.
    async fn run(&mut self) -> Option<Cancellation> {
        self.told(self.context.plan(self.steps.clone()).await);
        let mut cancellation = None;
        loop {
            while let Some(next) = self.board.next() {
                match next {
                    Move::Start(at) => self.start(at).await,
                    Move::Skip(at) => self.tell_end(at, StepState::Skipped, None, "").await,
                }
            }
            if self.board.is_stopped() {
                self.stop.send_if_modified(|stop| stop.replace(self.grace) != Some(self.grace));
            }
            if self.board.is_done() {
                break;
            }
            tokio::select! {
                Some(joined) = self.running.join_next_with_id() => self.joined(joined).await,
                asked = self.context.cancelled(), if cancellation.is_none() => {
                    debug!(task_id = self.context.task_id(), reason = ?asked.reason, "the stage is asked to stop");
                    let margin = (asked.grace / 4).min(RESULT_MARGIN_MAX);
                    self.grace = self.grace.min(asked.grace - margin);
                    cancellation = Some(asked);
                    self.board.stop();
                }
            }
        }
        let grace = if self.board.is_stopped() { self.grace } else { DETACHED_GRACE };
        self.stop.send_replace(Some(grace));
        while let Some(joined) = self.running.join_next_with_id().await {
            self.joined(joined).await;
        }
        cancellation
    }

    async fn start(&mut self, at: usize) {
        let step = &self.stage.plan.steps[at];
        // Before the start is told, so that it is told with a log.
        let log = self.context.log(&self.steps[at].step_id);
        self.steps[at] = self.steps[at].clone().running();
        self.told(self.context.step(self.steps[at].clone()).await);
        let attempt = Attempt {
            stage: self.stage.clone(),
            at,
            job: self.stage.job(step, &self.board.standing()),
            workshop: self.workshop.clone(),
            log,
            stop: self.stop.subscribe(),
        };
        self.tasks.insert(self.running.spawn(attempt.run()).id(), at);
    }

    async fn joined(&mut self, joined: Result<(Id, End), JoinError>) {
        let (id, end) = joined.unwrap_or_else(|error| (error.id(), End::Error(format!("its task broke: {error}"))));
        if let Some(at) = self.tasks.remove(&id) {
            self.ended(at, end).await;
        }
    }

    async fn ended(&mut self, at: usize, end: End) {
        self.board.ended(at, end.clone());
        match end {
            // It ends with the stage, however its program did.
            End::Code(_) | End::Killed if self.stage.plan.steps[at].detach => {}
            End::Code(code @ (0 | EXIT_ENOUGH)) => {
                self.tell_end(at, StepState::Succeeded, Some(code), "").await;
            }
            End::Code(code) => self.tell_end(at, StepState::Failed, Some(code), "").await,
            End::Error(why) => self.tell_end(at, StepState::Errored, None, &why).await,
            End::Killed => self.tell_end(at, StepState::Cancelled, None, "").await,
        }
    }

    async fn tell_end(&mut self, at: usize, state: StepState, code: Option<i32>, error: &str) {
        let step = Step { error: error.to_owned(), ..self.steps[at].clone().ended(state, code) };
        self.steps[at] = step.clone();
        self.told(self.context.step(step).await);
    }

    /// A task that nobody waits for any more is cancelled as well, and that is acted upon.
    fn told(&self, told: Result<(), StepError>) {
        if let Err(error) = told {
            debug!(task_id = self.context.task_id(), %error, "a step can't be told");
        }
    }

    fn finish(self, cancellation: Option<Cancellation>) -> Result<Success, Failure> {
        if let Some(cancellation) = cancellation {
            return Err(stopped(&cancellation));
        }
        match self.board.verdict() {
            Verdict::Succeeded => Ok(Success::new()),
            Verdict::Failed { step, code } => {
                Err(Failure::failed(format!("step {step} ended with exit code {code}")).exit_code(code))
            }
            Verdict::Errored { step, why } => Err(Failure::errored("STEP_BROKEN", format!("step {step}: {why}"))),
            Verdict::Killed => Err(Failure::cancelled()),
        }
    }
}

/// A stage that was asked to stop.
pub(super) fn stopped(cancellation: &Cancellation) -> Failure {
    match cancellation.reason {
        CancelReason::Deadline => Failure::timed_out("the stage was stopped since its time was over"),
        _ => Failure::cancelled(),
    }
}

/// A step in a task of its own.
struct Attempt {
    stage: Arc<Stage>,
    at: usize,
    job: Result<Job, String>,
    workshop: Workshop,
    log: Log,
    stop: watch::Receiver<Option<Duration>>,
}

// === impl Attempt ===

impl Attempt {
    async fn run(self) -> End {
        let job = match &self.job {
            Ok(job) => job,
            Err(why) => return End::Error(why.clone()),
        };
        let retries = match &self.stage.plan.steps[self.at].work {
            Work::Clone(checkout) => checkout.retries,
            Work::Script(_) => 0,
        };
        let mut failed = 0;
        loop {
            let end = self.workshop.run(job.clone(), &self.log, &self.stage.mask, self.stopped()).await;
            let code = match end {
                End::Code(code) if code != 0 && failed < retries => code,
                end => return end,
            };
            failed += 1;
            let pause = clone::pause(failed);
            let (next, all, seconds) = (failed + 1, retries + 1, pause.as_secs());
            self.log
                .line(format!("failed with exit code {code}; attempt {next} of {all} follows in {seconds} s"))
                .await;
            tokio::select! {
                () = sleep(pause) => {}
                _ = self.stopped() => return End::Killed,
            }
            if let Err(error) = self.stage.clear_sources() {
                return End::Error(format!("what is there of the sources can't be removed: {error}"));
            }
        }
    }

    /// How much time is left once the stage is stopped.
    async fn stopped(&self) -> Duration {
        let mut stop = self.stop.clone();
        let grace = stop.wait_for(Option::is_some).await.ok().and_then(|grace| *grace);
        match grace {
            Some(grace) => grace,
            // The engine is gone, and this task with it.
            None => pending().await,
        }
    }
}

/// A step as it is planned.
fn announced(step: &plan::Step) -> Step {
    Step {
        detached: step.detach,
        ignore_error: step.failure == OnFailure::Ignore,
        depends_on: step.after.iter().map(u32::to_string).collect(),
        ..Step::pending(step.number, &step.name)
    }
}
