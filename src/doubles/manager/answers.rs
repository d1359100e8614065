//! What the manager answers: one function a call, each a check of the body, a turn under the lock, and a reply.
//!
//! | call | 200 / 204 | else |
//! |---|---|---|
//! | any | | 500 without `Authorization: Delegate …`; 400 wrong or no `accountId`; 401 bad or expired token |
//! | register | envelope; also refusals | 400 unreadable body, other account; 204 scripted |
//! | heartbeat | envelope; `DELETED` for the unknown | 400 unreadable body |
//! | unregister | envelope, also without a match | 400 unreadable body |
//! | capacity | 204, also for the unknown | 400 unreadable body |
//! | task-events | the list; empty for the unknown | |
//! | acquire | the task | 500 for everything else |
//! | result, A | 204, also for unknown or finished tasks | 500 unreadable, `data` no object, unknown `type` or `code` |
//! | result, B or C | 204, also for unknown or finished tasks | 400 unreadable |
//! | runner-events | the list; empty for the unknown | |
//! | request | the one request | 404 for everything else |
//! | reconcile, daemon tasks | nothing is wanted | |

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::Query,
    http::{HeaderMap, Uri, header::AUTHORIZATION},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;

use super::{
    Shared,
    calls::Call,
    faults::RegisterAnswer,
    options::LOG_TOKEN,
    record::{Acquired, Answer, At, Dialect, Heartbeat, Register, Spec},
    tasks::Family,
    wire::{
        self, Abstractions, Assignee, EmptyObject, Event, HeartbeatEcho, Logging, Registered, Registration, Reply,
        ResultA, ResultB, Unregistration, to_json,
    },
};
use crate::upstreams::harness::token;

/// The part of the manager's enum of task types that CI programs use. Every type that was submitted belongs to it, too.
const TASK_TYPES: [&str; 9] = [
    "DLITE_CI_VM_INITIALIZE_TASK",
    "DLITE_CI_VM_EXECUTE_TASK",
    "DLITE_CI_VM_EXECUTE_TASK_V2",
    "DLITE_CI_VM_CLEANUP_TASK",
    "DLITE_CI_VM_CLEANUP_TASK_V2",
    "DLITE_CI_VM_CAPACITY_TASK",
    "CI_DOCKER_INITIALIZE_TASK",
    "CI_DOCKER_EXECUTE_TASK",
    "CI_DOCKER_CLEANUP_TASK",
];

/// The codes of dialect A.
const CODES: [&str; 3] = ["OK", "FAILED", "RETRY_ON_OTHER_DELEGATE"];

/// The query parameters of all calls.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    account_id: Option<String>,
    delegate_id: Option<String>,
    runner_id: Option<String>,
    delegate_instance_id: Option<String>,
    sync_only: Option<bool>,
}

impl Shared {
    /// Processes one call.
    pub(super) fn answer(&self, call: Call<'_>, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Reply {
        let parameters = match Query::<Parameters>::try_from_uri(uri) {
            Ok(Query(parameters)) => parameters,
            Err(_) => return Reply::error(400, "INVALID_REQUEST", "Invalid request: query"),
        };
        if let Err(refusal) = self.authorize(&parameters, headers) {
            if refusal.status == 401 {
                self.lock().record.totals.unauthorized += 1;
            }
            return refusal;
        }
        self.look_at_hash(headers);
        let reply = match call {
            Call::Register => self.register(body),
            Call::Heartbeat => self.heartbeat(body),
            Call::Unregister => self.unregister(body),
            Call::Capacity { delegate } => self.capacity(delegate, body),
            Call::Events { delegate } => {
                Ok(self.events(delegate, Family::Legacy, parameters.sync_only.unwrap_or(false)))
            }
            Call::RunnerEvents { runner } => Ok(self.events(runner, Family::Runner, false)),
            Call::Request { task } => self.request(task, &parameters),
            Call::ResultC { task } => {
                self.result_b(Dialect::C, task, parameters.runner_id.as_deref().unwrap_or(""), body)
            }
            Call::Reconcile => Ok(Reply::json(&br#"{"data":[]}"#[..])),
            Call::DaemonTasks => Ok(Reply::json(&br#"{"requests":[]}"#[..])),
            Call::Acquire { delegate, task } => {
                self.acquire(delegate, task, parameters.delegate_instance_id.as_deref())
            }
            Call::ResultA { task, delegate } => self.result_a(task, delegate, body),
            Call::ResultB { task } => {
                self.result_b(Dialect::B, task, parameters.delegate_id.as_deref().unwrap_or(""), body)
            }
        };
        reply.unwrap_or_else(|refusal| refusal)
    }

    /// Wire reference, 2.3: header, account, scripted refusal, key, expiry. Nothing else in the token is checked.
    fn authorize(&self, parameters: &Parameters, headers: &HeaderMap) -> Result<(), Reply> {
        let unauthorized = |code| Reply::error(401, code, "Unauthorized");
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((_, token)) = header.and_then(|value| value.split_once("Delegate ")) else {
            return Err(Reply::unexpected());
        };
        match parameters.account_id.as_deref() {
            Some(account) if *account == *self.account => {}
            Some("") | None => return Err(Reply::error(400, "INVALID_REQUEST", "Invalid request: accountId")),
            Some(_) => return Err(Reply::error(400, "INVALID_REQUEST", "Invalid request: no such account")),
        }
        if let Some(code) = self.script().token_refusal {
            return Err(unauthorized(code));
        }
        let claims = token::open(&self.secret, token.trim()).map_err(|_| unauthorized("INVALID_TOKEN"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if claims.exp <= now {
            return Err(unauthorized("EXPIRED_TOKEN"));
        }
        Ok(())
    }

    /// Wire reference, 2.4: leading zeros may be missing, and so may the header; it picks a token and proves nothing.
    fn look_at_hash(&self, headers: &HeaderMap) {
        let Some(hash) = headers.get("delegatetokenhash") else { return };
        let own = self.secret.hash();
        let is_right = hash.to_str().is_ok_and(|hash| hash.trim_start_matches('0') == own.trim_start_matches('0'));
        let totals = &mut self.lock().record.totals;
        if is_right {
            totals.token_hashes += 1;
        } else {
            totals.token_hashes_wrong += 1;
        }
    }

    fn registration(&self, body: &[u8]) -> Result<Registration, Reply> {
        let registration: Registration = serde_json::from_slice(body).map_err(|_| unreadable())?;
        // The body decides whose delegate it is.
        match registration.account_id.as_deref() {
            Some(account) if *account == *self.account => Ok(registration),
            _ => Err(Reply::error(400, "INVALID_REQUEST", "Invalid request: accountId of the body")),
        }
    }

    fn register(&self, body: &[u8]) -> Result<Reply, Reply> {
        let body = self.registration(body)?;
        let refusal = self.script().register.take();
        let delegate = match refusal {
            Some(_) => None,
            None => Some(self.enroll(&body)?),
        };
        let reply = match &refusal {
            Some(RegisterAnswer::NoContent) => Reply::empty(),
            refusal => Reply::envelope(&Registered {
                delegate_id: delegate.as_deref(),
                action: match refusal {
                    Some(RegisterAnswer::SelfDestruct) => Some("SELF_DESTRUCT"),
                    Some(RegisterAnswer::Migrate(_)) => Some("MIGRATE"),
                    _ => None,
                },
                migrate_url: match refusal {
                    Some(RegisterAnswer::Migrate(url)) => Some(url),
                    _ => None,
                },
                sequence_num: delegate.as_ref().map(|_| "1"),
                delegate_random_token: delegate.as_ref().and(body.delegate_random_token.as_ref()),
            }),
        };
        self.lock().record.registers.push(Register { at: At::now(), body, delegate, refusal });
        Ok(reply)
    }

    /// The delegate's id: the one it had, or a new one.
    fn enroll(&self, body: &Registration) -> Result<Arc<str>, Reply> {
        let mut state = self.lock();
        let (id, was_known) = state.delegates.register(body).map_err(|_| {
            Reply::error(400, "USAGE_LIMITS_EXCEEDED", "The account has as many delegates as it may have")
        })?;
        // 17.2, 12.
        if was_known && body.immutable == Some(true) {
            state.fail_tasks_of(&id);
        }
        Ok(id)
    }

    fn heartbeat(&self, body: &[u8]) -> Result<Reply, Reply> {
        let body = self.registration(body)?;
        let Some(id) = body.delegate_id.clone() else {
            return Err(Reply::error(400, "INVALID_ARGUMENT", "Invalid argument: delegateId"));
        };
        let now = At::now();
        let mut state = self.lock();
        let known = state.delegates.get(&id).is_some();
        if known && self.heartbeats_extend {
            for task in body.currently_executing_delegate_tasks.iter().flatten() {
                state.extend(task, &id, now.mono);
            }
        }
        state.record.heartbeats.push(Heartbeat { at: now, body, known });
        drop(state);
        Ok(Reply::envelope(&HeartbeatEcho {
            delegate_id: &id,
            status: if known { "ENABLED" } else { "DELETED" },
            use_cdn: false,
            jre_version: "17.0.0-double",
            delegate_random_token: None,
            sequence_number: None,
        }))
    }

    fn unregister(&self, body: &[u8]) -> Result<Reply, Reply> {
        let body: Unregistration = serde_json::from_slice(body).map_err(|_| unreadable())?;
        let (host_name, ip) = (body.host_name.unwrap_or_default(), body.ip_address.unwrap_or_default());
        let mut state = self.lock();
        state.record.totals.unregisters += 1;
        if let Some(gone) = state.delegates.unregister(body.ng.unwrap_or(false), &host_name, &ip) {
            state.fail_tasks_of(&gone);
        }
        Ok(Reply::envelope(&()))
    }

    fn capacity(&self, delegate: &str, body: &[u8]) -> Result<Reply, Reply> {
        let body: wire::Capacity = serde_json::from_slice(body).map_err(|_| unreadable())?;
        let mut state = self.lock();
        state.record.totals.capacities += 1;
        state.delegates.set_capacity(delegate, body.maximum_number_of_builds);
        Ok(Reply::empty())
    }

    fn events(&self, delegate: &str, family: Family, sync_only: bool) -> Reply {
        let listing = self.lock().list(delegate, family, sync_only, self.events_per_poll_max, At::now());
        let mut body = Vec::with_capacity(32 + listing.tasks.iter().map(|task| task.event.len() + 1).sum::<usize>());
        body.extend_from_slice(match family {
            Family::Legacy => br#"{"delegateTaskEvents":["#,
            Family::Runner => br#"{"delegateRunnerEvents":["#,
        });
        let mut separate = false;
        let mut add = |event: &[u8]| {
            if std::mem::replace(&mut separate, true) {
                body.push(b',');
            }
            body.extend_from_slice(event);
        };
        listing.tasks.iter().for_each(|task| add(&task.event));
        // The runner family knows no abort event.
        for aborted in listing.aborts.iter().filter(|_| family == Family::Legacy) {
            add(&to_json(&Event {
                event_type: "DelegateTaskAbortEvent",
                account_id: &self.account,
                delegate_task_id: aborted,
                sync: false,
                task_type: None,
            }));
        }
        body.extend_from_slice(b"]}");
        Reply::json(body)
    }

    /// The runner family's acquire. It can't hand a task out without assigning it.
    fn request(&self, task: &str, parameters: &Parameters) -> Result<Reply, Reply> {
        let gone = || Reply::error(404, "DEFAULT_ERROR_CODE", "The request is not available");
        let delegate = parameters.delegate_id.as_deref().unwrap_or("");
        let (spec, _) = self.assign(delegate, task, parameters.delegate_instance_id.as_deref()).ok_or_else(gone)?;
        let runner = spec.runner.as_ref().ok_or_else(gone)?;
        let request = wire::Request {
            id: &spec.id,
            account: &self.account,
            task: wire::RunnerTask {
                id: &spec.id,
                task_type: &spec.task_type,
                data: STANDARD.encode(spec.data.get()),
                driver: "",
                config: &runner.config,
                forward: &runner.forward,
                logger: &runner.logger,
            },
            secrets: &runner.secrets,
        };
        Ok(Reply::json(to_json(&wire::Requests { requests: [request] })))
    }

    fn assign(&self, delegate: &str, task: &str, instance: Option<&str>) -> Option<(Arc<Spec>, Acquired)> {
        let mut state = self.lock();
        let deadline = state.next_deadline();
        let acquired = state.acquire(task, delegate, instance, At::now());
        let is_sooner = state.next_deadline() != deadline;
        drop(state);
        if is_sooner {
            self.deadlines_changed.notify_one();
        }
        acquired
    }

    fn acquire(&self, delegate: &str, task: &str, instance: Option<&str>) -> Result<Reply, Reply> {
        let (spec, outcome) = self.assign(delegate, task, instance).ok_or_else(Reply::unexpected)?;
        let is_assigned = outcome != Acquired::Unassigned;
        Ok(Reply::json(to_json(&wire::Task {
            id: &spec.id,
            task_type: &spec.task_type,
            data: &spec.data,
            is_async: !spec.sync,
            runner_response: spec.runner_response,
            timeout: u64::try_from(spec.timeout.as_millis()).unwrap_or(u64::MAX),
            logging: Logging {
                token: Some(LOG_TOKEN),
                abstractions: Abstractions { account_id: &self.account, org_id: "default", project_id: "double" },
            },
            delegate: Assignee {
                id: is_assigned.then_some(delegate),
                instance_id: instance.filter(|_| is_assigned),
                token: None,
            },
            encryption_configs: EmptyObject {},
            secret_details: EmptyObject {},
            secrets: [],
            capabilities: [],
        })))
    }

    fn result_a(&self, task: &str, delegate: &str, body: &Bytes) -> Result<Reply, Reply> {
        let result: ResultA<'_> = serde_json::from_slice(body).map_err(|_| Reply::unexpected())?;
        // A raw value begins with its first own byte, so this alone tells an object.
        let is_object = result.data.get().starts_with('{');
        let mut state = self.lock();
        let is_known_type = TASK_TYPES.contains(&&*result.task_type) || state.knows_type(&result.task_type);
        if !is_object || !is_known_type || !CODES.contains(&&*result.code) {
            return Err(Reply::unexpected());
        }
        let answer = Answer {
            at: At::now(),
            dialect: Dialect::A,
            delegate: state.delegates.id(delegate),
            code: result.code.into_owned(),
            error: String::new(),
            data: body.slice_ref(result.data.get().as_bytes()),
            body: body.clone(),
        };
        state.answer(task, answer);
        Ok(Reply::empty())
    }

    /// Dialects B and C differ in the call only.
    fn result_b(&self, dialect: Dialect, task: &str, delegate: &str, body: &Bytes) -> Result<Reply, Reply> {
        let result: ResultB<'_> = serde_json::from_slice(body).map_err(|_| unreadable())?;
        let data = match &result.data {
            Some(data) => STANDARD.decode(data.as_bytes()).map_err(|_| unreadable())?,
            None => Vec::new(),
        };
        let mut state = self.lock();
        let answer = Answer {
            at: At::now(),
            dialect,
            delegate: state.delegates.id(delegate),
            code: result.code.into_owned(),
            error: result.error.map_or_else(String::new, |error| error.into_owned()),
            data: data.into(),
            body: body.clone(),
        };
        state.answer(task, answer);
        Ok(Reply::empty())
    }
}

fn unreadable() -> Reply {
    Reply::error(400, "DEFAULT_ERROR_CODE", "Unable to process JSON")
}
