//! The daemon as a process of its own: how soon it is ready with a full journal, and what it costs when nothing happens.

use std::{
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    admin::client,
    cli::{
        chain,
        dev::{runner::NOOP, scene::Scene},
    },
    core::{
        id::{DelegateId, TaskType, TraceId},
        record::Record,
        task::{Identity, Kind, Offer, Payload, Spec},
        time::Wall,
    },
    journal::{self, Change, Store},
    proto::admin::v1::GetDelegateRequest,
    state_dir::StateDir,
};

/// Open tasks in the journal.
const TASKS: u32 = 10_000;
/// How long the idle daemon is watched.
const WATCH: Duration = Duration::from_secs(5);
/// Longest wait for the daemon to answer.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Idle {
    pub ready: Duration,
    pub resident_mib: f64,
    pub cpu_percent: f64,
}

pub async fn measure() -> Result<Idle, String> {
    let full = Scene::set(0, "").await.map_err(|error| chain(&error))?;
    fill(&full).map_err(|error| chain(&error))?;
    let (_daemon, ready) = start(&full).await?;

    // Memory and CPU of one that has nothing to do.
    let empty = Scene::set(0, "").await.map_err(|error| chain(&error))?;
    let (daemon, _) = start(&empty).await?;
    let pid = daemon.id().ok_or("the idle daemon ended")?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = cpu_seconds(pid)?;
    tokio::time::sleep(WATCH).await;
    let after = cpu_seconds(pid)?;
    Ok(Idle { ready, resident_mib: resident_mib(pid)?, cpu_percent: (after - before) / WATCH.as_secs_f64() * 100.0 })
}

/// Writes a journal with open tasks, as a delegate leaves it that was killed before it could assign them.
fn fill(scene: &Scene) -> Result<(), journal::Error> {
    let state = StateDir::lock(&scene.config.state_dir)?;
    let mut store = journal::open(&state)?.store;
    let identity = Arc::new(Identity { delegate_id: "bench".into(), instance_id: "bench".into() });
    let spec = Arc::new(Spec {
        payload: Some(Payload { content_type: "application/json".into(), content: Bytes::from(vec![b'7'; 2 << 10]) }),
        ..Spec::new(TaskType::from(NOOP), Kind::Standalone)
    });
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    let at = Wall(i64::try_from(now.as_micros()).unwrap_or(i64::MAX));
    let append = |scope, number, record: &Record| Change::Append { scope, number, body: record.encode() };
    let above = u64::from(TASKS) + 10;
    let mut batch = vec![
        append(1, 0, &Record::DelegateCreated { delegate: DelegateId(1) }),
        append(2, 0, &Record::NumbersReserved { below: above }),
    ];
    for n in 0..TASKS {
        let scope = 3 + u64::from(n);
        let intention = Record::IntentionOpened {
            upstream: "double".into(),
            external_id: format!("bench-{n}").into(),
            identity: identity.clone(),
            offer: Offer::default(),
            at,
        };
        batch.push(append(scope, 0, &intention));
        batch.push(append(scope, 1, &Record::TaskTaken { spec: spec.clone(), trace_id: TraceId(1), at }));
    }
    for part in batch.chunks(1_000) {
        store.commit(part)?;
    }
    Ok(())
}

/// Starts `dlite run` and waits until it answers.
async fn start(scene: &Scene) -> Result<(tokio::process::Child, Duration), String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let started = Instant::now();
    let daemon = tokio::process::Command::new(own)
        .args(["run", "--log-filter", "error", "--config"])
        .arg(&scene.config_file)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("no daemon: {error}"))?;
    while started.elapsed() < PATIENCE {
        if let Ok(mut client) = client::connect(&scene.config.admin.socket).await
            && client.get_delegate(GetDelegateRequest {}).await.is_ok()
        {
            return Ok((daemon, started.elapsed()));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Err(format!("the daemon did not answer within {PATIENCE:?}"))
}

fn resident_mib(pid: u32) -> Result<f64, String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse::<f64>().ok());
    kib.map(|kib| kib / 1_024.0).ok_or_else(|| "no VmRSS in /proc".to_owned())
}

/// User and system time of a process: fields 14 and 15 of its stat line, counted behind the name in parentheses.
fn cpu_seconds(pid: u32) -> Result<f64, String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| error.to_string())?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let per_second = rustix::param::clock_ticks_per_second();
    #[allow(clippy::cast_precision_loss)] // a hundred or a thousand
    Ok((ticks(11) + ticks(12)) / per_second as f64)
}
