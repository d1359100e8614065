//! The whole delegate between servers and a runner of the SDK.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use dlite::{
    config::{self, LoadOptions},
    core::effect::Note,
    daemon::{self, Daemon},
    doubles::drone::{At, Calls, Drone, Fault, Gate, NewBuild, NewStage, Options, Record, Route, Submitted},
    proto::upstream::drone::v1::StageInfo,
    sdk::{Context, Failure, Handler, Log, Payload, Runner, Step, StepState},
    upstreams,
};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use crate::support::{SOON, TOKEN};

struct Place {
    servers: Vec<Drone>,
    daemon: Option<Daemon>,
    stop_runner: Option<oneshot::Sender<()>>,
    /// When steps were asked to stop.
    stops: mpsc::UnboundedReceiver<Instant>,
    directory: TempDir,
}

impl Place {
    /// A delegate of so many servers, whose ids are all the same, and a runner with so many slots.
    async fn new(servers: usize, slots: u32) -> Self {
        Self::held(servers, slots, Duration::from_secs(2)).await
    }

    /// Polls and watches are held for so long.
    async fn held(servers: usize, slots: u32, hold: Duration) -> Self {
        let directory = TempDir::new().unwrap();
        let mut text =
            "state_dir = \"state\"\n[runners]\nsocket = \"r.sock\"\n[admin]\nsocket = \"a.sock\"\n[http]\nlisten = \"off\"\n".to_owned();
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
async fn stage(context: Context, stops: mpsc::UnboundedSender<Instant>) -> Result<Payload, Failure> {
    let info: StageInfo = context.extension().expect("asked for");
    match info.stage_name.as_str() {
        "good" => Ok(Payload::default()),
        "steps" => steps(context, Duration::ZERO).await,
        "slow-steps" => steps(context, Duration::from_millis(300)).await,
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

/// Lines of each step.
const LINES: usize = 20;

/// Spread over `pause`.
async fn write(log: Log, pause: Duration) {
    for nth in 0..LINES {
        log.line(format!("line {nth}")).await;
        tokio::time::sleep(pause / LINES as u32).await;
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

/// Between the server's answer and the request to stop in the step.
const CANCEL_MAX: Duration = Duration::from_secs(1);

/// A stage with a step that runs until it is asked to stop, and its two watches.
async fn running_step(place: &Place) -> (Submitted, i64) {
    let server = &place.servers[0];
    let submitted = server.submit(build("step")).unwrap();
    let stage = submitted.stages[0];
    let runs = |record: &Record| {
        record.totals.watches_open == 2 && record.steps_of(stage).any(|step| step.row.status == "running")
    };
    server.wait_until(runs, SOON).await.unwrap();
    (submitted, stage)
}

/// Waits until the step has been asked to stop, and checks how long after the server's answer that was.
async fn stops_in_time(place: &mut Place, stage: i64, answered: impl Fn(&Record) -> Option<At>) {
    let heard = tokio::time::timeout(SOON, place.stops.recv()).await.expect("the step is never asked to stop").unwrap();
    let server = &place.servers[0];
    server.read(|record| {
        let answered = answered(record).expect("the server has answered").mono;
        assert!(heard.saturating_duration_since(answered) < CANCEL_MAX, "{:?}", heard - answered);
    });
    let closed = |record: &Record| record.stages[&stage].row.status == "killed";
    server.wait_until(closed, SOON).await.unwrap();
    assert_eq!(server.read(|record| record.totals.conflicts), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_the_step_within_a_second_of_a_watchs_answer() {
    // Both watches are open, or one has just been cut.
    for cuts in [0, 1] {
        let mut place = Place::held(1, 1, SOON).await;
        place.servers[0].fault(Route::Watch, Fault::CutBefore, Calls::Next(cuts));
        let server = place.servers[0].clone();
        let submitted = server.submit(build("step")).unwrap();
        let stage = submitted.stages[0];
        let runs = |record: &Record| {
            record.calls(Route::Watch) > u64::from(cuts)
                && record.totals.watches_open >= 1
                && record.steps_of(stage).any(|step| step.row.status == "running")
        };
        server.wait_until(runs, SOON).await.unwrap();
        assert!(server.cancel(submitted.build));
        stops_in_time(&mut place, stage, |record| record.stages[&stage].told_at).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_between_two_cut_watches_reaches_the_step_within_a_second_of_the_details() {
    let mut place = Place::held(1, 1, SOON).await;
    let (submitted, stage) = running_step(&place).await;
    let server = place.servers[0].clone();
    server.cut_held();
    assert!(server.cancel(submitted.build));
    let details =
        |record: &Record| record.arrivals.iter().filter(|call| call.route == Route::Details).map(|call| call.at).last();
    stops_in_time(&mut place, stage, details).await;
    assert!(server.read(|record| record.stages[&stage].told_at.is_none()), "no watch heard of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_no_watch_hears_stops_the_stage_at_its_next_put() {
    let mut place = Place::held(1, 1, Duration::from_secs(60)).await;
    let gate = Gate::new();
    place.servers[0].fault(Route::Watch, Fault::Hold(gate.clone()), Calls::All);
    let server = place.servers[0].clone();
    let submitted = server.submit(build("steps-for-ever")).unwrap();
    let stage = submitted.stages[0];
    let runs = |record: &Record| record.steps_of(stage).any(|step| step.row.status == "running");
    server.wait_until(runs, SOON).await.unwrap();
    assert!(server.cancel(submitted.build));
    let refused = |record: &Record| {
        let puts = record.steps_of(stage).flat_map(|step| step.puts.iter());
        puts.filter(|put| !put.applied).map(|put| put.at).next()
    };
    stops_in_time(&mut place, stage, refused).await;
    gate.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_whose_details_are_of_no_use_is_closed_as_an_error() {
    let place = Place::new(1, 1).await;
    for fault in [Fault::Status(500, "no forge today".to_owned()), Fault::Html, Fault::Malformed] {
        place.servers[0].fault(Route::Details, fault, Calls::All);
        let stage = place.servers[0].submit(build("good")).unwrap().stages[0];
        assert_eq!(place.ended(0, stage).await, "error");
        place.servers[0].read(|record| {
            let end = &record.effective(stage).unwrap().stage;
            assert!(end.exit_code == 255 && end.error.contains("details"), "{}", end.error);
        });
        place.servers[0].clear_faults();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_build_frees_its_slot() {
    let place = Place::new(1, 1).await;
    let server = &place.servers[0];
    let submitted = server.submit(build("long")).unwrap();
    let stage = submitted.stages[0];
    let accepted = |record: &Record| record.stages[&stage].accepted_at.is_some() && record.totals.watches_open > 0;
    server.wait_until(accepted, SOON).await.unwrap();
    assert!(server.cancel(submitted.build));
    // The only slot is free again once the handler has stopped.
    let next = server.submit(build("good")).unwrap().stages[0];
    assert_eq!(place.ended(0, next).await, "success");
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
    let watched = |record: &Record| record.totals.watches_open > 0;
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

/// Each step's log is stored once, whole, and with nothing live that it does not have.
fn check_logs(server: &Drone, stage: i64) {
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
        assert!(record.steps_of(stage).all(|step| step.uploads == 1));
    });
    check_logs(server, stage);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_in_mid_stage_loses_no_state_of_a_step_and_no_log_line() {
    let outage = std::env::var("DLITE_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let place = Place::new(1, 1).await;
    let server = &place.servers[0];
    let stage = server.submit(build("slow-steps")).unwrap().stages[0];
    let running = |record: &Record| record.steps_of(stage).any(|step| step.row.status == "success");
    server.wait_until(running, SOON).await.unwrap();
    server.down();
    // The outage is what is tested, and outlasts the stage.
    tokio::time::sleep(Duration::from_secs(outage)).await;
    assert_eq!(server.status(stage).as_deref(), Some("running"));
    server.up();
    assert_eq!(place.ended(0, stage).await, "success");
    assert_eq!(ends(server, stage), ends_due());
    server.read(|record| assert_eq!((record.totals.conflicts, record.totals.repeats), (0, 0)));
    check_logs(server, stage);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegate_that_is_replaced_in_mid_stage_goes_on_where_the_last_one_was() {
    let mut place = Place::new(1, 1).await;
    let stage = place.servers[0].submit(build("slow-steps")).unwrap().stages[0];
    let running = |record: &Record| record.steps_of(stage).any(|step| step.row.status == "success");
    place.servers[0].wait_until(running, SOON).await.unwrap();
    place.stop().await;
    place.start().await;
    assert_eq!(place.ended(0, stage).await, "success");
    assert_eq!(ends(&place.servers[0], stage), ends_due());
    check_logs(&place.servers[0], stage);
}
