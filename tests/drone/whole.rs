//! The whole delegate between servers and a runner of the SDK.

use std::{collections::BTreeMap, time::Duration};

use dlite::{
    config::{self, LoadOptions},
    core::effect::Note,
    daemon::{self, Daemon},
    doubles::drone::{Calls, Drone, Fault, NewBuild, NewStage, Options, Route},
    proto::upstream::drone::v1::StageInfo,
    sdk::{Context, Failure, Handler, Payload, Runner, Step, StepState},
    upstreams,
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
            "state_dir = \"state\"\n[runners]\nsocket = \"r.sock\"\n[admin]\nsocket = \"a.sock\"\n[http]\nlisten = \"off\"\n".to_owned();
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
            .extension::<StageInfo>();
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
    let info: StageInfo = context.extension().expect("asked for");
    match info.stage_name.as_str() {
        "good" => Ok(Payload::default()),
        "steps" => steps(context, Duration::ZERO).await,
        "slow-steps" => steps(context, Duration::from_millis(300)).await,
        "bad" => Err(Failure::failed("two tests failed")),
        _ => {
            context.cancelled().await;
            Err(Failure::cancelled())
        }
    }
}

/// Four steps, of which one runs beside the others and one fails and may; `pause` between any two changes.
async fn steps(context: Context, pause: Duration) -> Result<Payload, Failure> {
    let gone = |_| Failure::cancelled();
    let step = |number, name: &str| Step { image: "alpine:3.20".to_owned(), ..Step::pending(number, name) };
    let clone = step(1, "clone");
    let database = Step { detached: true, ..step(2, "database") };
    let lint = Step { ignore_error: true, depends_on: vec!["1".to_owned()], ..step(3, "lint") };
    let test = Step { depends_on: vec!["3".to_owned()], ..step(4, "test") };
    let plan = vec![clone.clone(), database.clone(), lint.clone(), test.clone()];
    context.plan(plan).await.map_err(gone)?;
    context.step(database.running()).await.map_err(gone)?;
    for (step, state, code) in
        [(clone, StepState::Succeeded, 0), (lint, StepState::Failed, 3), (test, StepState::Succeeded, 0)]
    {
        tokio::time::sleep(pause).await;
        let step = step.running();
        context.step(step.clone()).await.map_err(gone)?;
        tokio::time::sleep(pause).await;
        context.step(step.ended(state, code)).await.map_err(gone)?;
    }
    Ok(Payload::default())
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

/// Of each step: its name, how it ended, its code, and how often each PUT took hold.
fn ends(server: &Drone, stage: i64) -> Vec<(String, String, i64, Vec<String>)> {
    server.read(|record| {
        let steps = record.steps_of(stage).map(|step| {
            let puts = step.puts.iter().filter(|put| put.applied).map(|put| put.status.clone()).collect();
            (step.row.name.clone(), step.row.status.clone(), step.row.exit_code, puts)
        });
        steps.collect()
    })
}

fn ends_due() -> Vec<(String, String, i64, Vec<String>)> {
    let due = |name: &str, status: &str, code, puts: &[&str]| {
        (name.to_owned(), status.to_owned(), code, puts.iter().map(|put| (*put).to_owned()).collect())
    };
    vec![
        due("clone", "success", 0, &["running", "success"]),
        // Its end comes with the stage's.
        due("database", "success", 0, &["running"]),
        due("lint", "failure", 3, &["running", "failure"]),
        due("test", "success", 0, &["running", "success"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn four_steps_reach_the_server_each_as_it_went() {
    let place = Place::new(1, 1).await;
    let server = &place.servers[0];
    let submitted = server.submit(build("steps")).unwrap();
    let stage = submitted.stages[0];
    assert_eq!(place.ended(0, stage).await, "success");
    assert_eq!(ends(server, stage), ends_due());
    assert_eq!(server.build_status(submitted.build).as_deref(), Some("success"));
    server.read(|record| {
        let rows: Vec<_> = record.steps_of(stage).map(|step| &step.row).collect();
        assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!((rows[3].depends_on.as_slice(), rows[3].image.as_str()), (&["lint".to_owned()][..], "alpine:3.20"));
        assert!(rows[2].errignore && rows[1].detached);
        assert!(rows.iter().all(|row| row.started > 0 && row.stopped >= row.started && row.step_id == stage));
        let puts: Vec<_> = record.stages[&stage].puts.iter().map(|put| put.status.as_str()).collect();
        assert_eq!(puts, ["running", "success"]);
        assert_eq!(record.violations.iter().collect::<Vec<_>>(), Vec::<&String>::new());
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_in_mid_stage_loses_no_state_of_a_step() {
    let outage = std::env::var("DLITE_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let place = Place::new(1, 1).await;
    let server = &place.servers[0];
    let stage = server.submit(build("slow-steps")).unwrap().stages[0];
    let running =
        |record: &dlite::doubles::drone::Record| record.steps_of(stage).any(|step| step.row.status == "success");
    server.wait_until(running, SOON).await.unwrap();
    server.down();
    // The outage is what is tested, and outlasts the stage.
    tokio::time::sleep(Duration::from_secs(outage)).await;
    assert_eq!(server.status(stage).as_deref(), Some("running"));
    server.up();
    assert_eq!(place.ended(0, stage).await, "success");
    assert_eq!(ends(server, stage), ends_due());
    server.read(|record| assert_eq!((record.totals.conflicts, record.totals.repeats), (0, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegate_that_is_replaced_in_mid_stage_goes_on_where_the_last_one_was() {
    let mut place = Place::new(1, 1).await;
    let stage = place.servers[0].submit(build("slow-steps")).unwrap().stages[0];
    let running =
        |record: &dlite::doubles::drone::Record| record.steps_of(stage).any(|step| step.row.status == "success");
    place.servers[0].wait_until(running, SOON).await.unwrap();
    place.stop().await;
    place.start().await;
    assert_eq!(place.ended(0, stage).await, "success");
    assert_eq!(ends(&place.servers[0], stage), ends_due());
}
