//! The whole delegate between servers and a runner of the SDK.

use std::{collections::BTreeMap, time::Duration};

use dlite::{
    config::{self, LoadOptions},
    core::effect::Note,
    daemon::{self, Daemon},
    doubles::drone::{Calls, Drone, Fault, NewBuild, NewStage, Options, Route},
    proto::upstream::drone::v1::StageInfo,
    sdk::{Context, Failure, Handler, Payload, Runner},
    upstreams::{self, drone::STAGE_INFO},
};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::support::{SOON, TOKEN};

struct Place {
    servers: Vec<Drone>,
    daemon: Option<Daemon>,
    stop_runner: Option<oneshot::Sender<()>>,
    directory: TempDir,
}

impl Place {
    /// A delegate of so many servers, whose ids are all the same, and a runner with so many slots.
    async fn new(servers: usize, slots: u32) -> Self {
        let directory = TempDir::new().unwrap();
        let mut text =
            "state_dir = \"state\"\n[runners]\nsocket = \"r.sock\"\n[admin]\nsocket = \"a.sock\"\n".to_owned();
        let mut started = Vec::new();
        for nth in 0..servers {
            let options = Options { hold: Duration::from_secs(2), ..Options::new(TOKEN) };
            let server = Drone::start(options).await.unwrap();
            text += &format!(
                "[[upstreams]]\nname = \"drone-{nth}\"\nkind = \"drone\"\nendpoint = \"{}\"\nsecret = \"{TOKEN}\"\n\
                 heartbeat_interval = \"100ms\"\nreport_retry_min = \"50ms\"\nreport_retry_max = \"200ms\"\n",
                server.endpoint()
            );
            started.push(server);
        }
        std::fs::write(directory.path().join("dlite.toml"), text).unwrap();
        let mut place = Self { servers: started, daemon: None, stop_runner: None, directory };
        place.start().await;
        let socket = place.directory.path().join("r.sock");
        let (stop, stopped) = oneshot::channel();
        let handler = Handler::new("drone.stage.docker", stage)
            .match_label("os", "linux")
            .match_label("arch", "amd64")
            .extension(STAGE_INFO);
        let runner = Runner::new("docker-1")
            .handler(handler)
            .slots("default", slots)
            .connect(format!("unix:{}", socket.display()))
            .backoff(Duration::from_millis(20), Duration::from_millis(100));
        tokio::spawn(async move { runner.run(async { drop(stopped.await) }).await });
        place.stop_runner = Some(stop);
        place
    }

    async fn start(&mut self) {
        let file = self.directory.path().join("dlite.toml");
        let options = LoadOptions { environment: BTreeMap::new(), ..LoadOptions::of_process(Some(file)) };
        let config = config::load(&options).unwrap().config;
        let adapters = upstreams::from_config(&config).unwrap();
        let observer = Box::new(|_: &_, _: &Note| ());
        self.daemon = Some(daemon::start(&config, adapters, observer).await.unwrap());
    }

    async fn stop(&mut self) {
        self.daemon.take().unwrap().stop().await.unwrap();
    }

    async fn ended(&self, server: usize, stage: i64) -> String {
        let server = &self.servers[server];
        server.wait_until(|record| record.effective(stage).is_some(), SOON).await.unwrap();
        server.status(stage).unwrap()
    }
}

/// Does what the stage is called.
async fn stage(context: Context, _: Payload) -> Result<Payload, Failure> {
    let info: StageInfo = context.extension(STAGE_INFO).expect("asked for");
    match info.stage_name.as_str() {
        "good" => Ok(Payload::default()),
        "bad" => Err(Failure::failed("two tests failed")),
        _ => {
            context.cancelled().await;
            Err(Failure::cancelled())
        }
    }
}

fn build(name: &str) -> NewBuild {
    NewBuild::new(vec![NewStage::new(name, "docker")])
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stage_ends_at_its_own_server_although_their_ids_are_the_same() {
    let place = Place::new(2, 4).await;
    let mut stages = Vec::new();
    for nth in 0..20 {
        let (zero, one) = if nth % 2 == 0 { ("good", "bad") } else { ("bad", "good") };
        let zeroth = place.servers[0].submit(build(zero)).unwrap();
        assert_eq!(place.servers[1].submit(build(one)).unwrap(), zeroth, "the ids collide on purpose");
        stages.push((zeroth.stages[0], zero, one));
    }
    let status = |name: &str| if name == "good" { "success" } else { "failure" };
    for (stage, zero, one) in stages {
        assert_eq!(place.ended(0, stage).await, status(zero));
        assert_eq!(place.ended(1, stage).await, status(one));
    }
    for server in &place.servers {
        server.read(|record| {
            let totals = record.totals;
            assert_eq!((totals.effective, totals.repeats, totals.conflicts, totals.stale), (20, 0, 0, 0));
            assert_eq!((record.violations.total(), record.token_seen.total()), (0, 0));
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_build_stops_its_stage_within_a_second() {
    let place = Place::new(1, 1).await;
    let server = &place.servers[0];
    let submitted = server.submit(build("long")).unwrap();
    let stage = submitted.stages[0];
    let accepted = |record: &dlite::doubles::drone::Record| {
        record.stages[&stage].accepted_at.is_some() && record.totals.watches_open > 0
    };
    server.wait_until(accepted, SOON).await.unwrap();
    assert!(server.cancel(submitted.build));
    // The only slot is free again once the handler has stopped.
    let next = server.submit(build("good")).unwrap().stages[0];
    let began = std::time::Instant::now();
    assert_eq!(place.ended(0, next).await, "success");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(server.read(|record| record.totals.conflicts), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_and_a_restart_leave_one_true_end() {
    let mut place = Place::new(1, 2).await;
    for route in [Route::Accept, Route::UpdateStage] {
        place.servers[0].fault(route, Fault::CutBeforeAnswer, Calls::Next(1));
    }
    let good = place.servers[0].submit(build("good")).unwrap().stages[0];
    assert_eq!(place.ended(0, good).await, "success");
    let long = place.servers[0].submit(build("long")).unwrap();
    let watched = |record: &dlite::doubles::drone::Record| record.totals.watches_open > 0;
    place.servers[0].wait_until(watched, SOON).await.unwrap();
    place.stop().await;
    place.servers[0].wait_until(|record| record.totals.watches_open == 0, SOON).await.unwrap();
    place.start().await;
    place.servers[0].wait_until(watched, SOON).await.unwrap();
    assert!(place.servers[0].cancel(long.build));
    let next = place.servers[0].submit(build("good")).unwrap().stages[0];
    assert_eq!(place.ended(0, next).await, "success");
    place.servers[0].read(|record| {
        assert_eq!((record.totals.repeats, record.totals.conflicts), (0, 0));
        assert_eq!(record.violations.total(), 0);
    });
}
