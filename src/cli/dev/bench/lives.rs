//! Whole task lives: offered, acquired, assigned, accepted, done, journalled, reported.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{OUTSTANDING, delegate_on, floors::Recording, spread::Spread, stub::Stub};
use crate::{
    cli::{
        chain,
        dev::{
            runner::NOOP,
            scene::{Scene, start_runner},
        },
    },
    daemon,
    doubles::manager::NewTask,
    proto::runner::v1::{
        self as proto, AttachRequest, attach_request::Frame as Out, attach_response::Frame as In,
        runner_service_client::RunnerServiceClient,
    },
    upstreams,
};

/// Longest wait for a whole run.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Lives {
    pub rate: f64,
    pub recording: Recording,
}

/// Throughput with the upstream in this process and a no-op runner in its own, over a Unix socket.
pub async fn stubbed(directory: &Path, tasks: u32, outstanding: u32) -> Result<Lives, String> {
    let stub = Stub::new();
    let (daemon, _config, recording, _place) = delegate_on(stub.clone(), directory, outstanding).await?;
    let _runner = start_runner(&daemon.runners_socket, outstanding).map_err(|error| error.to_string())?;
    // Connections and caches are warm before the clock starts.
    let warm = tasks.min(500);
    stub.offer(warm);
    stub.reported(warm, PATIENCE).await?;
    recording.batches.clear();
    let started = Instant::now();
    stub.offer(tasks);
    let ended = stub.reported(warm + tasks, PATIENCE).await?;
    let rate = f64::from(tasks) / (ended - started).as_secs_f64();
    daemon.stop().await.map_err(|error| chain(&error))?;
    Ok(Lives { rate, recording })
}

/// From the answer of an acquire to the start of its handler, one task at a time.
pub async fn one_at_a_time(directory: &Path, tasks: u32) -> Result<Spread, String> {
    let stub = Stub::new();
    let (daemon, _config, _, _place) = delegate_on(stub.clone(), directory, OUTSTANDING).await?;
    let _runner = start_runner(&daemon.runners_socket, OUTSTANDING).map_err(|error| error.to_string())?;
    for n in 1..=tasks {
        stub.offer(1);
        stub.reported(n, PATIENCE).await?;
    }
    daemon.stop().await.map_err(|error| chain(&error))?;
    Ok(Spread::of(stub.take_starts()))
}

/// The same with a new task each `pause`.
pub async fn paced(directory: &Path, tasks: u32, pause: Duration) -> Result<Spread, String> {
    let stub = Stub::new();
    let (daemon, _config, _, _place) = delegate_on(stub.clone(), directory, 1_000).await?;
    let _runner = start_runner(&daemon.runners_socket, 256).map_err(|error| error.to_string())?;
    let mut beat = tokio::time::interval(pause);
    for _ in 0..tasks {
        beat.tick().await;
        stub.offer(1);
    }
    stub.reported(tasks, PATIENCE).await?;
    daemon.stop().await.map_err(|error| chain(&error))?;
    Ok(Spread::of(stub.take_starts()))
}

/// Throughput with the manager's double behind real HTTP.
pub async fn through_double(tasks: u32, outstanding: u32) -> Result<f64, String> {
    let scene = Scene::set(0, &format!("tasks_max = {outstanding}\n")).await.map_err(|error| chain(&error))?;
    let mut config = scene.config.clone();
    for upstream in &mut config.upstreams {
        upstream.poll_interval = Duration::from_millis(10);
    }
    let adapters = upstreams::from_config(&config).map_err(|error| chain(&error))?;
    let daemon = daemon::start(&config, adapters, Box::new(|_, _| {})).await.map_err(|error| chain(&error))?;
    let _runner = start_runner(&daemon.runners_socket, outstanding).map_err(|error| error.to_string())?;
    let data = format!(r#"{{"fill":"{}"}}"#, "7".repeat(2_000));
    let warm = u64::from(tasks.min(500));
    let all = warm + u64::from(tasks);
    let manager = &scene.manager;
    // As many on offer as a busy manager has, so that polls bring what a real one brings.
    let mut submitted = 0_u64;
    let mut started = Instant::now();
    while submitted < all {
        if submitted == warm {
            wait(manager, warm).await?;
            started = Instant::now();
        }
        let ahead = (submitted + u64::from(outstanding)).min(if submitted < warm { warm } else { all });
        for _ in submitted..ahead {
            manager.submit(NewTask::new(NOOP, data.clone())).map_err(|error| chain(&error))?;
        }
        submitted = ahead;
        wait(manager, submitted.saturating_sub(u64::from(outstanding) * 2)).await?;
    }
    wait(manager, all).await?;
    let rate = f64::from(tasks) / started.elapsed().as_secs_f64();
    daemon.stop().await.map_err(|error| chain(&error))?;
    Ok(rate)
}

async fn wait(manager: &crate::doubles::manager::Manager, effective: u64) -> Result<(), String> {
    manager
        .wait_until(|record| record.totals().effective >= effective, PATIENCE)
        .await
        .map_err(|_| format!("fewer than {effective} results after {PATIENCE:?}"))
}

/// From sending a result to seeing its acknowledgement, at the runner, with `outstanding` tasks always open.
pub async fn acknowledgements(directory: &Path, tasks: u32, outstanding: u32) -> Result<Spread, String> {
    let stub = Stub::new();
    let (daemon, _config, _, _place) = delegate_on(stub.clone(), directory, outstanding).await?;
    let socket = daemon.runners_socket.clone();
    let measured = tokio::spawn(async move { runner(&socket, tasks, outstanding).await });
    stub.offer(tasks);
    let measured = measured.await.map_err(|error| error.to_string())?;
    daemon.stop().await.map_err(|error| chain(&error))?;
    measured
}

/// A runner of the bare protocol, since the SDK hides when an acknowledgement came.
async fn runner(socket: &Path, tasks: u32, slots: u32) -> Result<Spread, String> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move {
            let stream = tokio::net::UnixStream::connect(socket).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    let channel = tonic::transport::Endpoint::from_static("http://runner")
        .connect_with_connector(connector)
        .await
        .map_err(|error| chain(&error))?;
    let (frames, outbound) = tokio::sync::mpsc::channel(1_024);
    let hello = proto::Hello {
        runner_id: "bench".to_owned(),
        instance_id: "bench".to_owned(),
        handlers: vec![proto::Handler { task_type: NOOP.to_owned(), ..Default::default() }],
        capacity: Some(proto::Capacity { slots: [("default".to_owned(), slots)].into(), refuse_new_sessions: false }),
        ..Default::default()
    };
    let first = AttachRequest { sequence: 0, ack_sequence: 0, frame: Some(Out::Hello(hello)) };
    frames.send(first).await.map_err(|error| error.to_string())?;
    let outbound = tokio_stream::wrappers::ReceiverStream::new(outbound);
    let mut inbound = RunnerServiceClient::new(channel)
        .attach(outbound)
        .await
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    let (mut sequence, mut done) = (0_u64, 0_u32);
    // By the sequence of the frame: accepts that wait, and results with the time they left.
    let mut accepts = std::collections::VecDeque::new();
    let mut results = std::collections::VecDeque::new();
    let mut took = Vec::new();
    while done < tasks {
        let Some(frame) = inbound.message().await.map_err(|status| status.message().to_owned())? else {
            return Err("the delegate ended the stream".to_owned());
        };
        while results.front().is_some_and(|(sent, _)| *sent <= frame.ack_sequence) {
            if let Some((_, at)) = results.pop_front() {
                let at: Instant = at;
                took.push(at.elapsed());
                done += 1;
            }
        }
        while accepts.front().is_some_and(|(sent, _)| *sent <= frame.ack_sequence) {
            let Some((_, lease_id)) = accepts.pop_front() else { break };
            sequence += 1;
            let result = proto::TaskResult {
                lease_id,
                outcome: proto::TaskOutcome::Succeeded as i32,
                payload: Some(proto::Payload { content_type: String::new(), inline: "{}".into() }),
                ..Default::default()
            };
            results.push_back((sequence, Instant::now()));
            let frame = AttachRequest { sequence, ack_sequence: 0, frame: Some(Out::Result(result)) };
            frames.send(frame).await.map_err(|error| error.to_string())?;
        }
        if let Some(In::Assignment(work)) = frame.frame {
            sequence += 1;
            accepts.push_back((sequence, work.lease_id.clone()));
            let decision = proto::AssignmentDecision {
                lease_id: work.lease_id,
                decision: Some(proto::assignment_decision::Decision::Accepted(proto::Accepted {})),
            };
            let frame = AttachRequest { sequence, ack_sequence: 0, frame: Some(Out::Decision(decision)) };
            frames.send(frame).await.map_err(|error| error.to_string())?;
        }
    }
    Ok(Spread::of(took))
}
