//! Logs that go nowhere and a spool that is full hold up nothing else.

use std::time::{Duration, Instant};

use dlite::{doubles::manager::NewTask, proto::runner::v1::TaskOutcome};

use crate::{
    lab::{Lab, Work},
    support::peer::{Peer, hello, result},
};

const HEARTBEATS: usize = 300;
const BOUND: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_sink_and_a_full_spool_delay_neither_heartbeats_nor_assignments() {
    let lab = Lab::started("", "[logs]\nlog_max_mib = 2\nall_max_mib = 4").await;
    lab.service.set_down(true);
    let channel = connected(lab.path("r.sock")).await;
    let mut peer = Peer::open(channel, None).await.unwrap();
    peer.introduce(hello("calm-1", "instance-1", "CALM", 4)).await;
    // By now the manager knows the task type.
    calm(&lab, &mut peer).await;
    let flood: Vec<String> =
        (0..4).map(|n| lab.submit(&format!("flood-{n}"), Work { lines: 40_000, ..Work::default() })).collect();
    let mut took = Vec::new();
    let mut assigned = Vec::new();
    for nth in 0..HEARTBEATS {
        let sent = Instant::now();
        peer.heartbeat(&[]).await;
        peer.heartbeat_ack().await;
        took.push(sent.elapsed());
        if nth % 100 == 50 {
            assigned.push(calm(&lab, &mut peer).await);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for task in &flood {
        lab.finished(task).await;
    }
    took.sort();
    let p99 = took[took.len() * 99 / 100];
    println!("floods: heartbeats p50 {:?}, p99 {p99:?}; assignments {assigned:?}", took[took.len() / 2]);
    assert!(p99 < BOUND, "p99 {p99:?}");
    // Polls come every 50 ms.
    assert!(assigned.iter().all(|took| *took < Duration::from_secs(2)), "{assigned:?}");
    let logs = lab.spooled().iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum::<u64>();
    assert!(logs > 3 << 20 && logs < 5 << 20, "{logs} bytes on disk");
    // All of it is told once the sink is back.
    lab.service.set_down(false);
    for n in 0..4 {
        let blob = lab.blob(&format!("flood-{n}")).await;
        let last = crate::lab::texts(&blob).pop().unwrap();
        assert!(last.contains("lines missing") && last.contains("limit"), "{last}");
    }
}

/// Does one task; how long it took from the manager to the runner.
async fn calm(lab: &Lab, peer: &mut Peer) -> Duration {
    let submitted = Instant::now();
    let task = lab.manager.submit(NewTask::new("CALM", lab.data("calm", Work::default(), true))).unwrap();
    let lease = peer.start().await;
    let took = submitted.elapsed();
    peer.say_counted(result(&lease, TaskOutcome::Succeeded)).await;
    lab.finished(&task).await;
    took
}

async fn connected(socket: std::path::PathBuf) -> tonic::transport::Channel {
    let started = Instant::now();
    loop {
        let path = format!("unix:{}", socket.display());
        match tonic::transport::Endpoint::from_shared(path).unwrap().connect().await {
            Ok(channel) => return channel,
            Err(error) => assert!(started.elapsed() < crate::lab::PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
