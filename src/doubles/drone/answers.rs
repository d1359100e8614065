//! What the server answers: one function a call, each a turn under the lock and a reply; polls and watches wait in between.
//!
//! | call | 200 | else |
//! |---|---|---|
//! | any | | 401 wrong or no token; 403 the server has no secret |
//! | ping | empty | |
//! | request | an offer | 204 after the hold; 500 unreadable filter |
//! | accept | the stage | 409 it has a machine; 500 unknown |
//! | details | everything | 500 unknown |
//! | update stage, step | the body, with versions and ids | 409; 500 unreadable, unknown build, lost race for a step's end |
//! | watch | cancelled | 204 after the hold (with Redis 500) |
//! | batch | taken | 500 no live log, unreadable |
//! | upload | stored | 500 there already |
//! | card | stored | 400 no JSON; 404 an old server |

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use axum::{
    extract::Query,
    http::{HeaderMap, HeaderName, Uri},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    calls::{Call, Route},
    record::{Accept, LIVE_LINES_MAX, Poll},
    shared::Shared,
    tables::{BuildRow, Repo, Tables},
    wire::{Filter, Line, NO_ROWS, NO_STREAM, Reply, Stage, Step, read},
};
use crate::doubles::{at::At, wait};

pub(super) const TOKEN: HeaderName = HeaderName::from_static("x-drone-token");

/// How long Redis keeps a cancel for those who watch later.
const REDIS_KEEPS_CANCELS_FOR: Duration = Duration::from_secs(300);

impl Shared {
    /// Processes one call; none: its connection is to be cut.
    pub(super) async fn answer(&self, call: Call, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Option<Reply> {
        if let Some(refusal) = self.authorize(headers) {
            return Some(refusal);
        }
        let reply = match call.route {
            Route::Ping => Reply::empty(200),
            Route::Request => return self.request(body).await,
            Route::Watch => return self.watch(call.id).await,
            Route::Accept => {
                let query = Query::<BTreeMap<String, String>>::try_from_uri(uri);
                let machine = query.ok().and_then(|Query(mut query)| query.remove("machine"));
                self.lock().accept(call.id, machine.unwrap_or_default())
            }
            Route::Details => self.lock().details(call.id),
            Route::UpdateStage => match read::<Stage>(body) {
                Ok(stage) => self.lock().update_stage(stage),
                Err(error) => Reply::error(&error),
            },
            Route::UpdateStep => match read::<Step>(body) {
                Ok(step) => self.lock().update_step(step),
                Err(error) => Reply::error(&error),
            },
            Route::Batch => match read::<Option<Vec<Line>>>(body) {
                Ok(lines) => self.lock().batch(call.id, lines.unwrap_or_default()),
                Err(error) => Reply::error(&error),
            },
            Route::Upload => self.lock().upload(call.id, body),
            Route::Card if !self.cards => Reply::text(404, "404 page not found"),
            Route::Card => self.lock().card(call.id, body),
        };
        self.changed.notify_waiters();
        Some(reply)
    }

    fn authorize(&self, headers: &HeaderMap) -> Option<Reply> {
        let Some(token) = &self.token else { return Some(Reply::empty(403)) };
        let given = headers.get(TOKEN).map(|value| value.as_bytes());
        if given == Some(token.as_bytes()) && !self.script().refuse_tokens {
            return None;
        }
        self.lock().record.totals.unauthorized += 1;
        Some(Reply::empty(401))
    }

    async fn request(&self, body: &Bytes) -> Option<Reply> {
        let filter: Filter = match read(body) {
            Ok(filter) => filter,
            Err(error) => return Some(Reply::error(&error)),
        };
        let cuts = self.cuts();
        let mut offer = None;
        let open = Open::new(self, |record| &mut record.polls_open);
        let waited = wait::until(
            &self.changed,
            || {
                if self.cuts() == cuts {
                    offer = self.lock().offer(&filter);
                }
                offer.is_some() || self.cuts() != cuts
            },
            self.hold,
        );
        let waited = waited.await;
        drop(open);
        if waited.is_ok() && offer.is_none() {
            return None;
        }
        let reply = offer.as_ref().map_or_else(|| Reply::empty(204), Reply::json);
        let poll = Poll { at: At::now(), filter, stage: offer.map(|stage| stage.id) };
        self.lock().record.polls.push(poll);
        self.changed.notify_waiters();
        Some(reply)
    }

    async fn watch(&self, build: i64) -> Option<Reply> {
        let (began, cuts) = (Instant::now(), self.cuts());
        let open = Open::new(self, |record| &mut record.watches_open);
        let cancelled = || {
            self.lock().cancelled(build).is_some_and(|at| {
                // Without Redis only a cancel that comes while the watch is open is seen.
                at >= began || (self.redis && at.elapsed() < REDIS_KEEPS_CANCELS_FOR)
            })
        };
        let waited = wait::until(&self.changed, || cancelled() || self.cuts() != cuts, self.hold).await;
        drop(open);
        match waited {
            Ok(()) if self.cuts() != cuts => None,
            Ok(()) => {
                self.lock().told(build);
                self.changed.notify_waiters();
                Some(Reply::empty(200))
            }
            Err(_) if self.redis => Some(Reply::error("redis: nil")),
            Err(_) => Some(Reply::empty(204)),
        }
    }
}

/// Counts a call that is held, for as long as it is, however it ends.
struct Open<'a> {
    shared: &'a Shared,
    count: fn(&mut super::record::Totals) -> &mut u64,
}

impl<'a> Open<'a> {
    fn new(shared: &'a Shared, count: fn(&mut super::record::Totals) -> &mut u64) -> Self {
        *count(&mut shared.lock().record.totals) += 1;
        shared.changed.notify_waiters();
        Self { shared, count }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        *(self.count)(&mut self.shared.lock().record.totals) -= 1;
        self.shared.changed.notify_waiters();
    }
}

// === impl Tables ===

impl Tables {
    fn offer(&mut self, filter: &Filter) -> Option<Stage> {
        let stage = self.next_for(filter)?.clone();
        let seen = self.record.stages.get_mut(&stage.id)?;
        seen.offered += 1;
        seen.first_offered_at.get_or_insert_with(At::now);
        Some(stage)
    }

    fn accept(&mut self, id: i64, machine: String) -> Reply {
        let Some(seen) = self.record.stages.get_mut(&id) else { return Reply::error(NO_ROWS) };
        let won = seen.row.machine.is_empty();
        seen.accepts.push(Accept { at: At::now(), machine: machine.clone(), won });
        if !won {
            return Reply::conflict();
        }
        seen.accepted_at.get_or_insert_with(At::now);
        let row = &mut seen.row;
        row.machine = machine;
        // The status is not looked at: a stage that was cancelled a moment ago is pending again.
        row.status = "pending".to_owned();
        row.updated = At::now().unix();
        row.version += 1;
        Reply::json(row)
    }

    fn details(&self, id: i64) -> Reply {
        let Some(stage) = self.record.stages.get(&id).map(|seen| &seen.row) else { return Reply::error(NO_ROWS) };
        let (Some(build), Some(repo)) = (self.builds.get(&stage.build_id), self.repos.get(&stage.repo_id)) else {
            return Reply::error(NO_ROWS);
        };
        Reply::json(&json!({
            "build": self.build_with_stages(build),
            "stage": stage,
            "repository": repository(repo),
            "config": { "Data": STANDARD.encode(&build.config), "Hash": null },
            "netrc": { "machine": "git.example.test", "login": "x-token", "password": "tok-git-example" },
            "secrets": secrets(repo, &build.build.event),
            "system": {
                "proto": "https", "host": "ci.example.test", "link": "https://ci.example.test", "version": "2.24.0",
            },
        }))
    }

    fn build_with_stages(&self, row: &BuildRow) -> Value {
        let mut build = json!(row.build);
        build["stages"] = json!(self.stages_of(row.build.id).collect::<Vec<_>>());
        build
    }

    fn cancelled(&self, build: i64) -> Option<Instant> {
        self.builds.get(&build)?.cancelled
    }

    fn told(&mut self, build: i64) {
        for seen in self.record.stages.values_mut().filter(|seen| seen.row.build_id == build) {
            seen.told_at.get_or_insert_with(At::now);
        }
    }

    fn batch(&mut self, id: i64, lines: Vec<Line>) -> Reply {
        if !self.live.contains(&id) {
            // A server that was down has lost the live logs of what runs, which no client can know.
            if self.record.steps.get(&id).is_none_or(|seen| seen.row.status != "running") {
                self.record.violations.push(format!("step {id}: lines although it does not run"));
            }
            return Reply::error(NO_STREAM);
        }
        if let Some(seen) = self.record.steps.get_mut(&id) {
            seen.live.extend(lines);
            let surplus = seen.live.len().saturating_sub(LIVE_LINES_MAX);
            seen.live.drain(..surplus);
        }
        Reply::empty(200)
    }

    fn upload(&mut self, id: i64, body: &Bytes) -> Reply {
        let Some(seen) = self.record.steps.get_mut(&id) else {
            return Reply::error("FOREIGN KEY constraint failed");
        };
        seen.uploads += 1;
        if seen.row.status == "pending" {
            self.record.violations.push(format!("step {id}: a log before it has run"));
        }
        if seen.log.is_some() {
            return Reply::error("UNIQUE constraint failed: logs.log_id");
        }
        seen.log = Some(body.clone());
        Reply::empty(200)
    }

    fn card(&mut self, id: i64, body: &Bytes) -> Reply {
        if serde_json::from_slice::<Value>(body).is_err() {
            return Reply::json(&json!({ "message": "invalid card" })).with_status(400);
        }
        if let Some(seen) = self.record.steps.get_mut(&id) {
            seen.card = Some(body.clone());
        }
        Reply::empty(200)
    }
}

fn repository(repo: &Repo) -> Value {
    let slug = &repo.spec.slug;
    let (namespace, name) = slug.split_once('/').unwrap_or(("", slug));
    let link = format!("https://git.example.test/{slug}");
    json!({
        "id": repo.id, "uid": format!("forge-{}", repo.id), "user_id": 12, "namespace": namespace, "name": name, "slug": slug,
        "scm": "", "git_http_url": repo.spec.git_http_url.clone().unwrap_or_else(|| format!("{link}.git")), "git_ssh_url": format!("git@git.example.test:{slug}.git"),
        "link": link, "default_branch": "main", "private": repo.spec.private, "visibility": if repo.spec.private { "private" } else { "public" }, "active": true,
        "config_path": ".drone.yml", "trusted": false, "protected": false, "ignore_forks": false,
        "ignore_pull_requests": false, "auto_cancel_pull_requests": false, "auto_cancel_pushes": false,
        "auto_cancel_running": false, "timeout": repo.spec.timeout, "counter": repo.counter, "synced": 1_738_000_000,
        "created": 1_730_000_000, "updated": 1_738_600_000, "version": 9, "archived": false,
        "secret": "0123456789abcdefghijklmnopqrstuv",
    })
}

/// None of them is meant for pull requests.
fn secrets(repo: &Repo, event: &str) -> Value {
    let all = (1..).zip(&repo.spec.secrets).filter(|_| event != "pull_request");
    let all: Vec<Value> =
        all.map(|(id, (name, data))| json!({ "id": id, "repo_id": repo.id, "name": name, "data": data })).collect();
    if all.is_empty() { Value::Null } else { Value::Array(all) }
}
