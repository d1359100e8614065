//! What a running runner says of itself and its host.

use dlite::{
    proto::runner::v1::{Capacity, attach_request::Frame},
    sdk::{Runner, RunnerHealth},
};

use crate::{
    delegate::{Delegate, Link},
    handlers::echo,
};

async fn capacity(link: &mut Link) -> Capacity {
    match link.next().await.frame {
        Some(Frame::Capacity(capacity)) => capacity,
        other => panic!("wanted a capacity, got {other:?}"),
    }
}

#[tokio::test]
async fn slots_change_while_the_runner_runs_and_hello_tells_the_newest() {
    let mut delegate = Delegate::listen().await;
    let mut control = None;
    let runner = Runner::new("runner-1").handler(echo()).slots("default", 4);
    let _running = delegate.run_with(runner, |connection| {
        control = Some(connection.control());
        connection
    });
    let control = control.expect("a control");
    let mut link = delegate.link().await;
    assert_eq!(link.hello().await.capacity.expect("capacity").slots["default"], 4);
    link.welcome([]).await;
    control.set_slots("default", 1).expect("in bounds");
    assert_eq!(capacity(&mut link).await.slots["default"], 1);
    control.refuse_new_sessions(true);
    let told = capacity(&mut link).await;
    assert!(told.refuse_new_sessions && told.slots["default"] == 1, "{told:?}");
    link.end(tonic::Status::unavailable("cut")).await;
    assert_eq!(delegate.link().await.hello().await.capacity, Some(told));
}

#[tokio::test]
async fn heartbeats_tell_the_hosts_usage_and_the_health_that_was_set() {
    let mut delegate = Delegate::listen().await;
    let mut control = None;
    let _running = delegate.run_with(Runner::new("runner-1").handler(echo()), |connection| {
        control = Some(connection.control());
        connection
    });
    let mut link = delegate.link().await;
    link.hello().await;
    link.welcome([]).await;
    assert_eq!(link.heartbeat().await.health(), RunnerHealth::Ok);
    control.expect("a control").set_health(RunnerHealth::Degraded);
    loop {
        let heartbeat = link.heartbeat().await;
        let usage = heartbeat.usage.unwrap_or_default();
        let told = [usage.cpu_fraction, usage.memory_fraction, usage.disk_fraction];
        if heartbeat.health() == RunnerHealth::Degraded && told.iter().all(Option::is_some) {
            assert!(told.iter().flatten().all(|fraction| (0.0..=1.0).contains(fraction)), "{usage:?}");
            break;
        }
    }
}
