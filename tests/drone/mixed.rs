//! One delegate between two Drone servers and a Harness manager, whose ids are the same on purpose.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use dlite::{
    config::{self, LoadOptions},
    core::effect::Note,
    daemon::{self, Daemon},
    doubles::{
        drone::{Calls, Drone, Fault, Gate, NewBuild, NewStage, Options, Route},
        manager::{self, Manager, NewTask},
    },
    proto::upstream::drone::v1::StageInfo,
    sdk::{Context, Failure, Handler, Payload, Runner},
    upstreams,
};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::support::{SOON, TOKEN};

const SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
/// Long enough for a thousand short tasks on a busy machine.
const LONG: Duration = Duration::from_secs(120);
/// How long the `nth` stage or task works: no two neighbours end together.
fn work(nth: u64) -> Duration {
    Duration::from_millis(80 + nth * 37 % 160)
}

#[derive(serde::Deserialize)]
struct Nth {
    nth: u64,
}

struct Place {
    drones: Vec<Drone>,
    manager: Manager,
    _daemon: Daemon,
    _stop_runner: oneshot::Sender<()>,
    _directory: TempDir,
}

impl Place {
    /// Weights of the two Drone servers and of the manager.
    async fn new(weights: [u32; 3], slots: u32) -> Self {
        upstreams::tls::install_crypto_provider();
        let directory = TempDir::new().unwrap();
        let manager = Manager::start(manager::Options::new("acctMIX0000000000001", SECRET.parse().unwrap())).await;
        let manager = manager.unwrap();
        let mut text = format!(
            "state_dir = \"state\"\n[runners]\nsocket = \"r.sock\"\n[admin]\nsocket = \"a.sock\"\n[http]\nlisten = \"off\"\n\
             [admission]\ndisk_high = 100\nstarts_per_second = 10000\nstarts_burst = 10000\n\
             [[upstreams]]\nname = \"harness\"\nkind = \"harness\"\nendpoint = \"{}\"\naccount_id = \"acctMIX0000000000001\"\n\
             account_secret = \"{SECRET}\"\npoll_interval = \"50ms\"\nweight = {}\n",
            manager.endpoint(),
            weights[2]
        );
        let mut drones = Vec::new();
        for (nth, weight) in weights.into_iter().take(2).enumerate() {
            let drone = Drone::start(Options { hold: Duration::from_secs(2), ..Options::new(TOKEN) }).await.unwrap();
            text += &format!(
                "[[upstreams]]\nname = \"drone-{nth}\"\nkind = \"drone\"\nendpoint = \"{}\"\nsecret = \"{TOKEN}\"\n\
                 report_retry_min = \"50ms\"\nreport_retry_max = \"200ms\"\nweight = {weight}\n",
                drone.endpoint()
            );
            drones.push(drone);
        }
        std::fs::write(directory.path().join("dlite.toml"), text).unwrap();
        let file = directory.path().join("dlite.toml");
        let options = LoadOptions { environment: BTreeMap::new(), ..LoadOptions::of_process(Some(file)) };
        let config = config::load(&options).unwrap().config;
        let adapters = upstreams::from_config(&config).unwrap();
        let daemon = daemon::start(&config, adapters, Box::new(|_: &_, _: &Note| ())).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let stages = Handler::new("drone.stage.docker", stage)
            .match_label("os", "linux")
            .match_label("arch", "amd64")
            .extension::<StageInfo>();
        let tasks = Handler::new("WORK", |_: Context, payload: Payload| async move {
            let Nth { nth } = payload.parse()?;
            tokio::time::sleep(work(nth)).await;
            Ok::<_, Failure>(payload)
        });
        let runner = Runner::new("mixed-1")
            .handler(stages)
            .handler(tasks)
            .slots("default", slots)
            .connect(format!("unix:{}", directory.path().join("r.sock").display()));
        tokio::spawn(async move { runner.run(async { drop(stopped.await) }).await });
        Self { drones, manager, _daemon: daemon, _stop_runner: stop, _directory: directory }
    }

    fn stage(&self, drone: usize, name: &str) -> i64 {
        self.drones[drone].submit(NewBuild::new(vec![NewStage::new(name, "docker")])).unwrap().stages[0]
    }

    fn ended(&self) -> [u64; 3] {
        let drone = |nth: usize| self.drones[nth].read(|record| record.totals.effective);
        [drone(0), drone(1), self.manager.read(|record| record.totals().effective)]
    }

    async fn when(&self, what: &str, seen: impl Fn([u64; 3]) -> bool) -> [u64; 3] {
        let deadline = Instant::now() + LONG;
        loop {
            let ended = self.ended();
            if seen(ended) {
                return ended;
            }
            assert!(Instant::now() < deadline, "{what}: {ended:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Works a while and ends as it is called.
async fn stage(context: Context, _: Payload) -> Result<Payload, Failure> {
    let info: StageInfo = context.extension().expect("asked for");
    let nth = info.stage_name.rsplit('-').next().and_then(|nth| nth.parse().ok()).unwrap_or(0);
    tokio::time::sleep(work(nth)).await;
    if info.stage_name.starts_with("good") { Ok(Payload::default()) } else { Err(Failure::failed("it is bad")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_stages_and_tasks_end_each_at_its_own_server_and_slots_go_by_weight() {
    let place = Place::new([1, 2, 1], 8).await;
    let name = |good: bool, nth: i64| format!("{}-{nth}", if good { "good" } else { "bad" });
    // What is good at one server is bad at the other, under the same id.
    let zero: Vec<i64> = (0..250).map(|nth| place.stage(0, &name(nth % 2 == 0, nth))).collect();
    let one: Vec<i64> = (0..500).map(|nth| place.stage(1, &name(nth % 2 == 1, nth))).collect();
    assert_eq!(zero[..250], one[..250], "the ids collide on purpose");
    let tasks: Vec<String> = (1..=250)
        .map(|nth| {
            let task = NewTask::new("WORK", format!(r#"{{"nth":{nth}}}"#));
            place.manager.submit(NewTask { id: Some(nth.to_string()), ..task }).unwrap()
        })
        .collect();
    // All three have more than there are slots until here.
    let share = place.when("six hundred ends", |ended| ended.iter().sum::<u64>() >= 600).await;
    let all: u64 = share.iter().sum();
    for (ended, weight) in share.into_iter().zip([1, 2, 1]) {
        let due = all * weight / 4;
        assert!(ended.abs_diff(due) * 5 <= due, "within 20 % of {due}: {share:?}");
    }
    place.when("all ends", |ended| ended == [250, 500, 250]).await;
    for (nth, stage) in zero.iter().enumerate() {
        let due = if nth % 2 == 0 { "success" } else { "failure" };
        assert_eq!(place.drones[0].status(*stage).as_deref(), Some(due));
    }
    for (nth, stage) in one.iter().enumerate() {
        let due = if nth % 2 == 1 { "success" } else { "failure" };
        assert_eq!(place.drones[1].status(*stage).as_deref(), Some(due));
    }
    for task in &tasks {
        let answer = place.manager.effective(task).unwrap();
        let body = String::from_utf8_lossy(&answer.data).into_owned();
        assert!(body.contains(&format!(r#"{{"nth":{task}}}"#)), "{body}");
    }
    for drone in &place.drones {
        drone.read(|record| {
            assert_eq!((record.totals.repeats, record.totals.conflicts, record.totals.stale), (0, 0, 0));
            assert_eq!((record.violations.total(), record.token_seen.total()), (0, 0));
        });
    }
    place.manager.read(|record| assert_eq!((record.totals().repeats, record.totals().conflicts), (0, 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stalls_costs_the_others_nothing() {
    let place = Place::new([1, 1, 1], 8).await;
    let before = pick_up(&place).await;
    let gate = Gate::new();
    for route in Route::ALL {
        place.drones[1].fault(route, Fault::Hold(gate.clone()), Calls::All);
    }
    for _ in 0..20 {
        place.stage(1, "good");
    }
    let after = pick_up(&place).await;
    gate.open();
    assert!(after <= before + Duration::from_millis(100), "from {before:?} to {after:?}");
}

/// The median time from submission to accept, of stages that come one by one.
async fn pick_up(place: &Place) -> Duration {
    let mut times = Vec::new();
    for _ in 0..15 {
        let stage = place.stage(0, "good");
        let drone = &place.drones[0];
        drone.wait_until(|record| record.effective(stage).is_some(), SOON).await.unwrap();
        times.push(drone.read(|record| {
            let seen = &record.stages[&stage];
            seen.accepted_at.unwrap().mono.duration_since(seen.submitted_at.mono)
        }));
    }
    times.sort();
    times[times.len() / 2]
}
