//! The loop that performs what the engine decides: it moves frames, runs handlers and keeps the time.

use std::{
    any::Any,
    collections::HashMap,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};

use super::{
    backoff::{Backoff, WAIT_MAX, random_fraction},
    context::{Cancellation, Context, News},
    control::{Control, Settings},
    engine::{Effect, Engine, LinkEnd, Profile},
    error::{Ended, RunError},
    handler::Handler,
    holdings::LeaseId,
    link::{Link, LinkEvent, Lost},
    log::{Door, TaskLogs},
    outcome::{self, End, Failure, Success},
    reason,
    refusal::Refusal,
    session::Snapshot,
    target::{Target, Token},
    trace,
    usage::Meter,
};
use crate::proto::runner::v1::{FrameRejection, TaskAssignment, attach_response::Frame};

/// News of handlers that waits for the loop; beyond it progress is dropped and outputs wait.
const NEWS_BUFFERED: usize = 1024;

/// See the module.
pub(crate) struct Driver {
    engine: Engine,
    link: Link,
    target: Target,
    token: Option<Token>,
    log_door: Arc<Door>,
    backoff: Backoff,
    handlers: HashMap<String, Handler>,
    settings: watch::Receiver<Settings>,
    /// Keeps the settings' sender alive.
    _control: Control,
    meter: Meter,
    works: JoinSet<Result<Success, Failure>>,
    running: HashMap<Id, Running>,
    stops: HashMap<LeaseId, Stop>,
    tickets: HashMap<u64, oneshot::Sender<Result<(), Refusal>>>,
    last_ticket: u64,
    news_sender: mpsc::Sender<News>,
    news: mpsc::Receiver<News>,
}

/// A handler's task, as its end names it.
struct Running {
    lease_id: LeaseId,
    started: SystemTime,
}

/// The two ways to end a handler.
struct Stop {
    ask: watch::Sender<Option<Cancellation>>,
    abort: AbortHandle,
}

/// Which part of the shutdown comes next.
enum Shutdown {
    NotAsked,
    Asked { cancel_at: Option<Instant> },
    Cancelled { give_up_at: Instant },
}

// === impl Driver ===

impl Driver {
    pub fn new(
        profile: Profile,
        handlers: Vec<Handler>,
        control: Control,
        meter: Meter,
        target: Target,
        token: Option<Token>,
        backoff: Backoff,
    ) -> Self {
        let (news_sender, news) = mpsc::channel(NEWS_BUFFERED);
        Self {
            engine: Engine::new(profile),
            link: Link::Waiting(Instant::now()),
            log_door: Arc::new(Door::new(target.clone(), token.clone())),
            target,
            token,
            backoff,
            handlers: handlers.into_iter().map(|handler| (handler.declared.task_type.clone(), handler)).collect(),
            settings: control.subscribe(),
            _control: control,
            meter,
            works: JoinSet::new(),
            running: HashMap::new(),
            stops: HashMap::new(),
            tickets: HashMap::new(),
            last_ticket: 0,
            news_sender,
            news,
        }
    }

    pub async fn run(mut self, stop: impl Future<Output = ()>, grace: Option<Duration>) -> Result<(), RunError> {
        let mut stop = pin!(stop);
        let mut shutdown = Shutdown::NotAsked;
        self.settings.mark_changed();
        loop {
            // Also when frames keep coming: those of the select below are served first.
            while let Some(ended) = self.works.try_join_next_with_id() {
                self.ended(ended);
            }
            self.perform();
            self.write();
            if self.engine.is_done() && self.link.leave() {
                return Ok(());
            }
            let timeout = self.engine.poll_timeout().map(Instant::from_std);
            tokio::select! {
                // What has arrived comes before what time has brought: it may be the renewal that time ran out for.
                biased;
                event = self.link.next(self.engine.has_frame()) => self.link_event(event)?,
                Some(ended) = self.works.join_next_with_id() => self.ended(ended),
                Some(news) = self.news.recv() => self.news(news),
                Ok(()) = self.settings.changed() => {
                    let Settings { capacity, health } = self.settings.borrow_and_update().clone();
                    self.engine.set(capacity, health);
                }
                () = &mut stop, if matches!(shutdown, Shutdown::NotAsked) => {
                    self.engine.leave();
                    shutdown = Shutdown::Asked { cancel_at: grace.and_then(|grace| Instant::now().checked_add(grace)) };
                }
                () = shutdown.due() => shutdown = self.shut_down(grace.unwrap_or_default(), &shutdown)?,
                () = sleep_until(timeout.unwrap_or_else(Instant::now)), if timeout.is_some() => {
                    self.engine.handle_timeout(Instant::now().into_std());
                }
            }
        }
    }

    fn perform(&mut self) {
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Start { lease_id, assignment, deadline, session } => {
                    self.start(lease_id, *assignment, deadline, session);
                }
                Effect::Ask { lease_id, cancellation } => {
                    if let Some(stop) = self.stops.get(&lease_id) {
                        info!(%lease_id, reason = ?cancellation.reason, "a task is asked to stop");
                        stop.ask.send_replace(Some(cancellation));
                    }
                }
                Effect::Kill { lease_id } => {
                    if let Some(stop) = self.stops.get(&lease_id) {
                        info!(%lease_id, "a task is stopped");
                        // What the handler spawned is not dropped with it; it learns here that its lease is gone.
                        stop.ask.send_if_modified(|asked| {
                            let unasked = asked.is_none();
                            asked.get_or_insert_with(Cancellation::lease_lost);
                            unasked
                        });
                        stop.abort.abort();
                    }
                }
                Effect::Taken { ticket, outcome } => {
                    if let Some(taken) = self.tickets.remove(&ticket) {
                        // The handler may have stopped waiting; what was taken stays taken.
                        let _ = taken.send(outcome);
                    }
                }
                Effect::EndLink(end) => self.end_link(end),
            }
        }
    }

    fn write(&mut self) {
        if self.engine.wants_usage() {
            let usage = self.meter.read();
            self.engine.set_usage(usage);
        }
        while self.engine.has_frame()
            && let Some(permit) = self.link.try_reserve()
            && let Some(frame) = self.engine.poll_frame(Instant::now().into_std())
        {
            permit.send(frame);
        }
    }

    fn link_event(&mut self, event: LinkEvent) -> Result<(), RunError> {
        match event {
            LinkEvent::Due => {
                debug!(target = %self.target, "attaching");
                self.link = Link::attach(self.target.clone(), self.token.clone());
                self.engine.connected(Instant::now().into_std());
            }
            LinkEvent::Frame(frame) => {
                log(frame.frame.as_ref());
                let welcomed = self.engine.is_welcomed();
                self.engine.receive(Instant::now().into_std(), *frame);
                if !welcomed && self.engine.is_welcomed() {
                    info!(target = %self.target, "attached");
                    self.backoff.reset();
                }
            }
            LinkEvent::Opened | LinkEvent::Writable => {}
            LinkEvent::Lost(lost) => return self.lost(&lost),
        }
        Ok(())
    }

    fn lost(&mut self, lost: &Lost) -> Result<(), RunError> {
        self.engine.disconnected();
        if self.engine.is_done() {
            self.link = Link::Waiting(Instant::now());
            return Ok(());
        }
        let wait = match lost.classify() {
            Ended::Fatal(error) => return Err(error),
            Ended::After(wait) => wait.min(WAIT_MAX),
            Ended::Again => self.backoff.next_wait(),
        };
        warn!(target = %self.target, %lost, ?wait, "not attached");
        self.link = Link::Waiting(Instant::now() + wait);
        Ok(())
    }

    fn end_link(&mut self, end: LinkEnd) {
        let wait = match &end {
            LinkEnd::Reconnect { target, delay } => {
                self.target = self.target.follow(target).unwrap_or_else(|| self.target.clone());
                self.log_door.follow(&self.target);
                delay.min(&WAIT_MAX).mul_f64(1.0 + random_fraction())
            }
            LinkEnd::Silence | LinkEnd::Violation(_) => self.backoff.next_wait(),
        };
        warn!(target = %self.target, why = ?end, ?wait, "the link is given up");
        self.link = Link::Waiting(Instant::now() + wait);
    }

    fn start(
        &mut self,
        lease_id: LeaseId,
        mut assignment: TaskAssignment,
        deadline: Option<std::time::Instant>,
        session: Option<watch::Receiver<Arc<Snapshot>>>,
    ) {
        let task = assignment.task.get_or_insert_default();
        let payload = task.payload.take().unwrap_or_default();
        let handler = self.handlers.get(&task.task_type).cloned();
        debug!(task_id = %task.task_id, task_type = %task.task_type, %lease_id, "a task starts");
        let (ask, cancellation) = watch::channel(None);
        let deadline = deadline.map(Instant::from_std);
        let news = self.news_sender.clone();
        let logs = TaskLogs::new(Arc::clone(&self.log_door), lease_id.to_string());
        let context = Context::new(lease_id.clone(), assignment, deadline, cancellation, session, news, logs.clone());
        // The function itself runs inside the task too, so that its panic is the task's end and not the runner's.
        let abort = self.works.spawn(async move {
            let Some(handler) = handler else {
                return Err(Failure::errored("NO_HANDLER", "the engine accepted a task without a handler"));
            };
            let result = trace::traced(context.clone(), handler.start(context, payload)).await;
            logs.finish().await;
            result
        });
        self.running.insert(abort.id(), Running { lease_id: lease_id.clone(), started: SystemTime::now() });
        self.stops.insert(lease_id, Stop { ask, abort });
    }

    fn ended(&mut self, ended: Result<(Id, Result<Success, Failure>), JoinError>) {
        let (id, result) = match ended {
            Ok((id, Ok(success))) => (id, Some(success.into_end())),
            Ok((id, Err(failure))) => (id, Some(failure.into_end())),
            Err(error) => {
                let id = error.id();
                (id, error.try_into_panic().ok().map(|panic| End::from(outcome::panicked(panic_message(&*panic)))))
            }
        };
        let Some(Running { lease_id, started }) = self.running.remove(&id) else { return };
        self.stops.remove(&lease_id);
        self.take_news();
        let now = Instant::now().into_std();
        match result {
            Some(mut end) => {
                let times = |at: SystemTime| Some(prost_types::Timestamp::from(at));
                (end.result.start_time, end.result.end_time) = (times(started), times(SystemTime::now()));
                self.engine.finished(now, &lease_id, end);
            }
            None => self.engine.stopped(now, &lease_id),
        }
    }

    /// What a handler told before it ended comes before its result.
    fn take_news(&mut self) {
        for _ in 0..NEWS_BUFFERED {
            let Ok(news) = self.news.try_recv() else { return };
            self.news(news);
        }
    }

    fn news(&mut self, news: News) {
        match news {
            News::Progress { lease_id, progress } => self.engine.progress(&lease_id, progress),
            News::Output { lease_id, outputs, taken } => {
                let ticket = self.ticket(taken);
                self.engine.output(&lease_id, ticket, outputs);
            }
            News::Steps { lease_id, update, taken } => {
                let ticket = self.ticket(taken);
                self.engine.steps(&lease_id, ticket, update);
            }
            News::State { lease_id, change, written } => {
                let ticket = self.ticket(written);
                self.engine.set_state(&lease_id, ticket, change);
            }
        }
    }

    fn ticket(&mut self, answer: oneshot::Sender<Result<(), Refusal>>) -> u64 {
        self.last_ticket += 1;
        self.tickets.insert(self.last_ticket, answer);
        self.last_ticket
    }

    fn shut_down(&mut self, grace: Duration, shutdown: &Shutdown) -> Result<Shutdown, RunError> {
        let now = Instant::now();
        match shutdown {
            Shutdown::NotAsked | Shutdown::Asked { .. } => {
                self.engine.cancel_all(now.into_std(), "the runner stops");
                Ok(Shutdown::Cancelled { give_up_at: now + grace })
            }
            Shutdown::Cancelled { .. } => Err(RunError::Unacknowledged { count: self.engine.held_count() }),
        }
    }
}

// === impl Shutdown ===

impl Shutdown {
    async fn due(&self) {
        match self {
            Self::NotAsked | Self::Asked { cancel_at: None } => std::future::pending().await,
            Self::Asked { cancel_at: Some(at) } | Self::Cancelled { give_up_at: at } => sleep_until(*at).await,
        }
    }
}

/// Tells people what they may have to act on.
fn log(frame: Option<&Frame>) {
    match frame {
        Some(Frame::Drain(drain)) => info!(reason = %drain.reason, "the delegate hands out no more work"),
        Some(Frame::Rejection(FrameRejection { lease_id, frame, status, .. })) => {
            let reason = reason::reason(status.as_ref());
            let message = status.as_ref().map_or("", |status| &status.message);
            warn!(%lease_id, %frame, %reason, message, "the delegate refused a frame");
        }
        _ => {}
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
