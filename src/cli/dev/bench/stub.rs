//! An upstream in this process: offers what it is told to, gives it at once, notes when what happened.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    cli::dev::runner::{NOOP, clock_nanos},
    config::{Config, LoadOptions},
    core::{
        effect::Call,
        id::{ExternalId, TaskType},
        input::{Answer, Listed, Listing, Registered, Standing, Told},
        record::Host,
        task::{Kind, Payload, Spec},
    },
    upstreams::Upstream,
};

/// Between two polls of the stub when nothing is on offer; the shortest the configuration allows.
pub const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Size of a task's payload, in bytes: a small CI step.
const PAYLOAD_BYTES: usize = 2 << 10;

pub struct Stub {
    state: Mutex<State>,
    reported: watch::Sender<u32>,
    payload: Bytes,
}

#[derive(Default)]
struct State {
    /// Offered and not acquired.
    offered: BTreeMap<ExternalId, ()>,
    next: u32,
    /// When the acquire of a task was answered, by the clock that all processes share.
    acquired: HashMap<ExternalId, u64>,
    /// From that answer to the handler's start, as the handler's result tells.
    starts: Vec<Duration>,
    last_report: Option<Instant>,
}

// === impl Stub ===

impl Stub {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            reported: watch::Sender::new(0),
            payload: Bytes::from(vec![b'7'; PAYLOAD_BYTES]),
        })
    }

    /// Offers `count` more tasks.
    pub fn offer(&self, count: u32) {
        let mut state = self.state();
        for _ in 0..count {
            state.next += 1;
            let id = format!("bench-{:08}", state.next);
            state.offered.insert(id.into(), ());
        }
    }

    /// Waits until so many results were reported in all; the time of the last one.
    pub async fn reported(&self, count: u32, patience: Duration) -> Result<Instant, String> {
        let mut reported = self.reported.subscribe();
        let all = reported.wait_for(|reported| *reported >= count);
        match tokio::time::timeout(patience, all).await {
            Ok(_) => Ok(self.state().last_report.unwrap_or_else(Instant::now)),
            Err(_) => Err(format!("{} of {count} results after {patience:?}", *self.reported.borrow())),
        }
    }

    /// From acquired to started, of all tasks so far.
    pub fn take_starts(&self) -> Vec<Duration> {
        std::mem::take(&mut self.state().starts)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, call: Call) -> Answer {
        match call {
            Call::Register { host, .. } => Answer::Register(Ok(Registered {
                delegate_id: "stub".into(),
                host: host.unwrap_or(Host { name: "bench".into(), ip: "127.0.0.1".into() }),
                moved_to: None,
            })),
            Call::Heartbeat { .. } => Answer::Heartbeat(Ok(Standing::Known)),
            Call::Poll { .. } => {
                let state = self.state();
                let tasks = state.offered.keys().take(1_000);
                let tasks = tasks
                    .map(|id| Listed {
                        external_id: id.clone(),
                        task_type: NOOP.into(),
                        kind: Kind::Standalone,
                        labels: None,
                        unsupported: false,
                    })
                    .collect();
                Answer::Poll(Ok(Listing { tasks, ..Listing::default() }))
            }
            Call::Acquire { task, external_id, .. } => {
                let mut state = self.state();
                state.offered.remove(&external_id);
                state.acquired.insert(external_id, clock_nanos());
                Answer::Acquire { task, result: Ok(Box::new(self.spec())) }
            }
            Call::Tell { task, .. } => Answer::Tell { task, result: Ok(Told::default()) },
            Call::Report { task, report } => {
                let mut state = self.state();
                let started = report.finish.payload.as_ref().and_then(|payload| {
                    std::str::from_utf8(&payload.content).ok()?.trim_matches('"').parse::<u64>().ok()
                });
                if let (Some(started), Some(acquired)) = (started, state.acquired.remove(&report.external_id)) {
                    state.starts.push(Duration::from_nanos(started.saturating_sub(acquired)));
                }
                state.last_report = Some(Instant::now());
                drop(state);
                self.reported.send_modify(|reported| *reported += 1);
                Answer::Report { task, result: Ok(()) }
            }
        }
    }

    fn spec(&self) -> Spec {
        Spec {
            payload: Some(Payload { content_type: "application/json".into(), content: self.payload.clone() }),
            timeout: Some(Duration::from_secs(600)),
            ..Spec::new(TaskType::from(NOOP), Kind::Standalone)
        }
    }
}

impl Upstream for Stub {
    fn kind(&self) -> &'static str {
        "stub"
    }

    fn perform(&self, call: Call) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        Box::pin(std::future::ready(self.answer(call)))
    }
}

/// The configuration of a delegate on the stub.
pub fn config(place: &Path, slots: u32) -> Result<Config, String> {
    let flag = |key: &str, value: String| (key.to_owned(), value);
    let path = |name: &str| place.join(name).display().to_string();
    let options = LoadOptions {
        file: None,
        environment: BTreeMap::new(),
        flags: vec![
            flag("name", "bench".to_owned()),
            flag("state_dir", path("state")),
            flag("runners.socket", path("r.sock")),
            flag("admin.socket", path("a.sock")),
            flag("http.listen", "off".to_owned()),
            flag("tasks_max", slots.to_string()),
            flag("upstreams[].name", "stub".to_owned()),
            flag("upstreams[].endpoint", "http://127.0.0.1:9".to_owned()),
            flag("upstreams[].account_id", "bench".to_owned()),
            flag("upstreams[].poll_interval", format!("{}ms", POLL_INTERVAL.as_millis())),
        ],
        ..LoadOptions::of_process(None)
    };
    let mut options = options;
    // A secret is refused as a flag; the stub asks for none.
    options.environment.insert("DLITE_ACCOUNT_SECRET".to_owned(), "0".repeat(32));
    Ok(crate::config::load(&options).map_err(|complaints| complaints.to_string())?.config)
}
