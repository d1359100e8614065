//! A delegate of one or more servers and a runner of the SDK, in this process.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use dlite::{
    config::{self, LoadOptions},
    core::effect::Note,
    daemon::{self, Daemon},
    doubles::drone::{Drone, NewBuild, NewStage, Options},
    proto::upstream::drone::v1::StageInfo,
    sdk::{Context, Failure, Handler, Log, Payload, Runner, Step, StepState},
    upstreams,
};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use crate::support::{SOON, TOKEN};

pub struct Place {
    pub servers: Vec<Drone>,
    daemon: Option<Daemon>,
    stop_runner: Option<oneshot::Sender<()>>,
    /// When steps were asked to stop, and slow ones were over.
    pub stops: mpsc::UnboundedReceiver<Instant>,
    directory: TempDir,
}

impl Place {
    /// A delegate of so many servers, whose ids are all the same, and a runner with so many slots.
    pub async fn new(servers: usize, slots: u32) -> Self {
        Self::held(servers, slots, Duration::from_secs(2)).await
    }

    /// Polls and watches are held for so long.
    pub async fn held(servers: usize, slots: u32, hold: Duration) -> Self {
        let directory = TempDir::new().unwrap();
        let mut text =
            "state_dir = \"state\"\n[runners]\nsocket = \"r.sock\"\n[admin]\nsocket = \"a.sock\"\n[http]\nlisten = \"off\"\n[admission]\ndisk_high = 100\n".to_owned();
        let mut started = Vec::new();
        for nth in 0..servers {
            let options = Options { hold, ..Options::new(TOKEN) };
            let server = Drone::start(options).await.unwrap();
            text += &format!(
                "[[upstreams]]\nname = \"drone-{nth}\"\nkind = \"drone\"\nendpoint = \"{}\"\nsecret = \"{TOKEN}\"\n\
                 heartbeat_interval = \"100ms\"\nreport_retry_min = \"50ms\"\nreport_retry_max = \"200ms\"\n",
                server.endpoint()
            );
            started.push(server);
        }
        std::fs::write(directory.path().join("dlite.toml"), text).unwrap();
        let (stopped, stops) = mpsc::unbounded_channel();
        let mut place = Self { servers: started, daemon: None, stop_runner: None, stops, directory };
        place.start().await;
        let socket = place.directory.path().join("r.sock");
        let heard = stopped;
        let (stop, stopped) = oneshot::channel();
        let handler = move |context, _: Payload| stage(context, heard.clone());
        let handler = Handler::new("drone.stage.docker", handler)
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

    pub async fn start(&mut self) {
        let file = self.directory.path().join("dlite.toml");
        let options = LoadOptions { environment: BTreeMap::new(), ..LoadOptions::of_process(Some(file)) };
        let config = config::load(&options).unwrap().config;
        let adapters = upstreams::from_config(&config).unwrap();
        let observer = Box::new(|_: &_, _: &Note| ());
        self.daemon = Some(daemon::start(&config, adapters, observer).await.unwrap());
    }

    pub async fn stop(&mut self) {
        self.daemon.take().unwrap().stop().await.unwrap();
    }

    pub async fn ended(&self, server: usize, stage: i64) -> String {
        let server = &self.servers[server];
        server.wait_until(|record| record.effective(stage).is_some(), SOON).await.unwrap();
        server.status(stage).unwrap()
    }
}

/// Does what the stage is called.
async fn stage(context: Context, stops: mpsc::UnboundedSender<Instant>) -> Result<Payload, Failure> {
    let info: StageInfo = context.extension().expect("asked for");
    match info.stage_name.as_str() {
        "good" => Ok(Payload::default()),
        "steps" => steps(context, Duration::ZERO).await,
        "slow-steps" => {
            let result = steps(context, Duration::from_millis(300)).await;
            let _ = stops.send(Instant::now());
            result
        }
        "secret" => {
            let gone = |_| Failure::cancelled();
            let step = Step::pending(1, "careless").running();
            context.plan(vec![Step::pending(1, "careless")]).await.map_err(gone)?;
            context.step(step.clone()).await.map_err(gone)?;
            context.log("1").line(format!("the password is {SECRET}")).await;
            context.step(step.ended(StepState::Succeeded, 0)).await.map_err(gone)?;
            Ok(Payload::default())
        }
        "bad" => Err(Failure::failed("two tests failed")),
        "step" => {
            let gone = |_| Failure::cancelled();
            context.plan(vec![Step::pending(1, "long")]).await.map_err(gone)?;
            context.step(Step::pending(1, "long").running()).await.map_err(gone)?;
            context.cancelled().await;
            let _ = stops.send(Instant::now());
            Err(Failure::cancelled())
        }
        "steps-for-ever" => {
            let gone = |_| Failure::cancelled();
            let names = (1..=1_000).map(|number| Step::pending(number, "again"));
            context.plan(names.clone().collect()).await.map_err(gone)?;
            for step in names {
                context.step(step.clone().running()).await.map_err(gone)?;
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(200)) => {}
                    _ = context.cancelled() => {
                        let _ = stops.send(Instant::now());
                        return Err(Failure::cancelled());
                    }
                }
                context.step(step.running().ended(StepState::Succeeded, 0)).await.map_err(gone)?;
            }
            Ok(Payload::default())
        }
        _ => {
            context.cancelled().await;
            Err(Failure::cancelled())
        }
    }
}

/// Four steps, of which one runs beside the others and one fails and may; `pause` between any two changes. Each writes [`LINES`].
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
    let background = tokio::spawn(write(context.log("2"), pause * 3));
    for (step, state, code) in
        [(clone, StepState::Succeeded, 0), (lint, StepState::Failed, 3), (test, StepState::Succeeded, 0)]
    {
        tokio::time::sleep(pause).await;
        let step = step.running();
        context.step(step.clone()).await.map_err(gone)?;
        write(context.log(&step.step_id), pause).await;
        context.step(step.ended(state, code)).await.map_err(gone)?;
    }
    background.await.map_err(|_| Failure::errored("LOG", "the detached step panicked"))?;
    Ok(Payload::default())
}

/// Of the repository, and in a log.
pub const SECRET: &str = "hunter2-and-more";

/// Lines of each step.
const LINES: usize = 20;

/// Spread over `pause`.
async fn write(log: Log, pause: Duration) {
    for nth in 0..LINES {
        log.line(format!("line {nth}")).await;
        tokio::time::sleep(pause / LINES as u32).await;
    }
}

/// Each step's log is stored once, whole, and with nothing live that it does not have.
pub fn check_logs(server: &Drone, stage: i64) {
    server.read(|record| {
        for step in record.steps_of(stage) {
            let name = &step.row.name;
            let stored = step.stored_lines().unwrap_or_else(|| panic!("{name} has no log"));
            let lines: Vec<_> = stored.iter().map(|line| (line.pos, line.out.clone())).collect();
            let due: Vec<_> = (0..LINES).map(|nth| (nth as i64, format!("line {nth}\n"))).collect();
            assert_eq!(lines, due, "{name}");
            assert!(step.live.iter().all(|line| stored.contains(line)), "{name}: {:?}", step.live);
            assert!(stored.iter().all(|line| (0..60).contains(&line.time)), "{name}: {stored:?}");
        }
        assert_eq!(record.violations.iter().collect::<Vec<_>>(), Vec::<&String>::new());
    });
}

pub fn build(name: &str) -> NewBuild {
    NewBuild::new(vec![NewStage::new(name, "docker")])
}
