//! What the HTTP side and the handles share: the state behind its lock, what was ordered to go wrong, and who waits for changes.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::value::RawValue;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    calls::Route,
    delegates::Delegates,
    faults::RegisterAnswer,
    options::{NewTask, OPEN_TASKS_MAX, Options, SubmitError, TASK_TIMEOUT_MAX},
    record::{Arrival, Record, RunnerSpec, Spec},
    tasks::State,
    wire::{Event, RunnerEvent, to_json},
};
use crate::{
    doubles::{
        at::At,
        door::House,
        faults::{Fault, Faults, Script},
        wait::{self, TimedOut},
    },
    upstreams::harness::token::AccountSecret,
};

/// What handlers and handles share.
pub(super) struct Shared {
    pub(super) account: Arc<str>,
    pub(super) secret: AccountSecret,
    /// The forms in which the secret must never be seen.
    secret_forms: [String; 3],
    pub(super) events_per_poll_max: usize,
    pub(super) heartbeats_extend: bool,
    task_prefix: String,
    numbers: AtomicU64,
    state: Mutex<State>,
    script: Mutex<Scripted>,
    pub(super) changed: Notify,
    pub(super) deadlines_changed: Notify,
    pub(super) down: AtomicBool,
}

/// What was ordered to happen.
#[derive(Debug, Default)]
pub(super) struct Scripted {
    pub(super) faults: Faults<{ Route::ALL.len() }>,
    pub(super) register: Script<RegisterAnswer>,
    pub(super) token_refusal: Option<&'static str>,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(options: Options) -> Self {
        // Ids of two doubles differ, so that a delegate's journal can outlive one.
        let run = Uuid::new_v4().simple().to_string();
        let run = &run[..6];
        let text = options.secret.reveal();
        let delegates = Delegates::new(format!("dlg-{run}-"));
        Self {
            account: options.account.into(),
            secret_forms: [text.to_uppercase(), STANDARD.encode(&text), text],
            secret: options.secret,
            events_per_poll_max: options.events_per_poll_max.unwrap_or(usize::MAX),
            heartbeats_extend: options.heartbeats_extend,
            task_prefix: format!("task-{run}-"),
            numbers: AtomicU64::new(1),
            state: Mutex::new(State::new(delegates, options.hand_back, options.finished_tasks_max)),
            script: Mutex::default(),
            changed: Notify::new(),
            deadlines_changed: Notify::new(),
            down: AtomicBool::new(false),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A predicate that panicked in a test only read.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never taken while the state is locked, nor the other way round.
    pub(super) fn script(&self) -> MutexGuard<'_, Scripted> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, looks for the secret in it, and picks its fault.
    pub(super) fn arrived(&self, route: Route, query: &str, body: &[u8]) -> Option<Fault> {
        let holds_secret = self.secret_forms.iter().any(|form| contains(body, form) || query.contains(form.as_str()));
        let mut state = self.lock();
        state.record.calls[route as usize] += 1;
        state.record.arrivals.push(Arrival { at: At::now(), route });
        if holds_secret {
            state.record.secret_seen.push(route);
        }
        drop(state);
        self.changed.notify_waiters();
        self.script().faults.take(route as usize)
    }

    /// Counts a call that is for no route here.
    pub(super) fn no_route(&self) {
        self.lock().record.totals.no_route += 1;
        self.changed.notify_waiters();
    }

    pub(super) fn submit(&self, task: NewTask) -> Result<String, SubmitError> {
        let data: Box<RawValue> = serde_json::from_slice(&task.data)
            .map_err(|error| SubmitError::NotJson { line: error.line(), column: error.column() })?;
        let longest = task.timeout.max(task.queue_timeout.unwrap_or_default());
        if longest > TASK_TIMEOUT_MAX {
            return Err(SubmitError::TimeoutTooLong { timeout: longest });
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let id = task.id.unwrap_or_else(|| format!("{}{number}", self.task_prefix));
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)) {
            return Err(SubmitError::BadId { id });
        }
        let raw = |json: String| {
            RawValue::from_string(json)
                .map_err(|error| SubmitError::NotJson { line: error.line(), column: error.column() })
        };
        let runner = match task.runner {
            Some(runner) => Some(RunnerSpec {
                secrets: raw(runner.secrets)?,
                config: raw(runner.config)?,
                forward: raw(runner.forward)?,
                logger: raw(runner.logger)?,
            }),
            None => None,
        };
        let legacy_event = || {
            to_json(&Event {
                event_type: "DelegateTaskEvent",
                account_id: &self.account,
                delegate_task_id: &id,
                sync: task.sync,
                task_type: Some(&task.task_type),
            })
        };
        let event = match &runner {
            None => legacy_event(),
            Some(_) => to_json(&RunnerEvent {
                account_id: &self.account,
                task_id: &id,
                runner_type: "DOUBLE",
                task_type: &task.task_type,
            }),
        };
        let spec = Spec {
            id: id.as_str().into(),
            number,
            task_type: task.task_type,
            data,
            timeout: task.timeout,
            sync: task.sync,
            runner_response: task.runner_response,
            listed_to_all: task.listed_to_all,
            runner,
            event,
        };
        let mut state = self.lock();
        if state.knows_task(&id) {
            return Err(SubmitError::Exists { id });
        }
        if state.record.open() >= OPEN_TASKS_MAX {
            return Err(SubmitError::TooMany { max: OPEN_TASKS_MAX });
        }
        state.submit(spec, task.queue_timeout, At::now());
        drop(state);
        self.changed.notify_waiters();
        self.deadlines_changed.notify_one();
        Ok(id)
    }

    pub(super) fn abort(&self, id: &str) -> bool {
        let told = self.lock().abort(id, At::now());
        self.changed.notify_waiters();
        told
    }

    pub(super) async fn wait_until(
        &self,
        mut predicate: impl FnMut(&Record) -> bool,
        timeout: Duration,
    ) -> Result<(), TimedOut> {
        wait::until(&self.changed, || predicate(&self.lock().record), timeout).await
    }
}

impl House for Shared {
    fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    fn hung_up(&self) {
        self.lock().record.totals.hung_up += 1;
        self.changed.notify_waiters();
    }
}

/// Fails tasks as their time passes.
pub(super) async fn expire(shared: Arc<Shared>) {
    loop {
        let (any, next) = {
            let mut state = shared.lock();
            (state.expire(Instant::now()), state.next_deadline())
        };
        if any {
            shared.changed.notify_waiters();
        }
        let changed = shared.deadlines_changed.notified();
        match next {
            Some(next) => {
                let _ = tokio::time::timeout_at(next.into(), changed).await;
            }
            None => changed.await,
        }
    }
}

fn contains(body: &[u8], text: &str) -> bool {
    match std::str::from_utf8(body) {
        Ok(body) => body.contains(text),
        Err(_) => body.windows(text.len()).any(|window| window == text.as_bytes()),
    }
}
