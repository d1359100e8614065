//! `dlite dev --upstream drone`: a stage of four steps, from a Drone server's double to a runner and back; then a pipeline.

use std::{process::ExitCode, time::Duration};

use super::{
    pipeline,
    scene::{Error, Place, start_runner},
    stage::PLATFORM,
};
use crate::{
    cli::chain,
    core::effect::Note,
    daemon,
    doubles::drone::{Drone, NewBuild, NewStage, Options, Record, StepSeen, Submitted},
    runners::ids::Ids,
    telemetry, upstreams,
};

/// What the double and the delegate share.
const SECRET: &str = "dev-shared-secret";
/// Longest wait for the stage; a healthy machine needs a second.
const PATIENCE: Duration = Duration::from_secs(60);
const SLOTS: u32 = 2;

/// Four steps: one runs beside the others, one fails and may.
const PIPELINE: &str = r#"{"kind":"pipeline","type":"docker","name":"unit","steps":[
{"name":"clone","image":"drone/git:latest","commands":["echo fetching","sleep 0.1"]},
{"name":"database","image":"postgres:16","detach":true,"commands":["echo ready"]},
{"name":"lint","image":"alpine:3.20","failure":"ignore","commands":["sleep 0.1","exit 3"]},
{"name":"test","image":"alpine:3.20","commands":["echo testing","sleep 2","echo 17 passed"],
"card":{"schema":"https://cards.example.test/tests.json","data":{"passed":17}}}]}"#;

/// How each step must end, and its log.
const DUE: [(&str, &str, i64, &[&str]); 4] = [
    ("clone", "success", 0, &["+ echo fetching", "fetching", "+ sleep 0.1"]),
    ("database", "success", 0, &["+ echo ready", "ready"]),
    ("lint", "failure", 3, &["+ sleep 0.1", "+ exit 3"]),
    ("test", "success", 0, &["+ echo testing", "testing", "+ sleep 2", "+ echo 17 passed", "17 passed"]),
];
const CARD: &str = r#"{"schema":"https://cards.example.test/tests.json","data":{"passed":17}}"#;

pub async fn perform(port: u16) -> Result<ExitCode, String> {
    let server = Drone::start(Options { port, ..Options::new(SECRET) })
        .await
        .map_err(|source| chain(&Error::Server { port, source }))?;
    let upstream = format!(
        "name = \"double\"\nkind = \"drone\"\nendpoint = \"{}\"\nsecret_file = \"secret\"\n",
        server.endpoint()
    );
    let place = Place::make("", &upstream, &[("secret", SECRET)]).map_err(|error| chain(&error))?;
    let adapters = upstreams::from_config(&place.config).map_err(|error| chain(&error))?;
    let observer = |ids: &Ids, note: &Note| telemetry::notes::log(ids, note);
    let daemon = daemon::start(&place.config, adapters, Box::new(observer)).await.map_err(|error| chain(&error))?;
    let mut runner = start_runner(&daemon.runners_socket, SLOTS).map_err(|error| format!("no runner: {error}"))?;
    println!(
        "Drone server's double at {}; the delegate's runner, on the SDK, attaches over {}\n",
        server.endpoint(),
        daemon.runners_socket.display()
    );
    let stage = PLATFORM.iter().fold(NewStage::new("unit", "docker"), |stage, (key, value)| match *key {
        "os" => NewStage { os: (*value).to_owned(), ..stage },
        _ => NewStage { arch: (*value).to_owned(), ..stage },
    });
    let build = NewBuild { config: PIPELINE.to_owned(), ..NewBuild::new(vec![stage]) };
    let submitted = server.submit(build).map_err(|error| chain(&error))?;
    let ended = until_ended(&server, submitted.stages[0], PATIENCE).await;
    let verdict = ended.and_then(|()| server.read(|record| judge(record, &submitted)));
    let build = server.build_status(submitted.build).unwrap_or_default();
    // The runner first: it hands in what it holds, then goes.
    stop(&mut runner).await;
    let pipeline = match &verdict {
        Ok(_) => pipeline::play(&server, &place, &daemon.runners_socket, PATIENCE).await,
        Err(_) => Ok(String::new()),
    };
    daemon.stop().await.map_err(|error| chain(&error))?;
    println!("{}\n\nbuild {}: {build}", verdict?, submitted.build);
    println!("\na pipeline of type exec, from a git repository made for it, by dlite runner pipeline\n\n{}", pipeline?);
    if build == "success" { Ok(ExitCode::SUCCESS) } else { Err(format!("the build has ended as {build:?}")) }
}

/// Until the stage has its end.
pub(super) async fn until_ended(server: &Drone, stage: i64, patience: Duration) -> Result<(), String> {
    let ended = server.wait_until(|record| record.effective(stage).is_some(), patience).await;
    ended.map_err(|_| format!("the stage has not ended after {patience:?}"))
}

/// One line a step, if stage and steps are as they must be.
fn judge(record: &Record, submitted: &Submitted) -> Result<String, String> {
    let stage = submitted.stages[0];
    let mut wrong: Vec<String> = record.violations.iter().cloned().collect();
    let steps: Vec<_> = record.steps_of(stage).collect();
    let rows: Vec<_> = steps.iter().map(|step| (&*step.row.name, &*step.row.status, step.row.exit_code)).collect();
    let due: Vec<_> = DUE.iter().map(|(name, status, code, _)| (*name, *status, *code)).collect();
    if rows != due {
        wrong.push(format!("steps {rows:?} instead of {due:?}"));
    }
    for (step, (name, .., due)) in steps.iter().zip(DUE) {
        let stored = step.stored_lines().unwrap_or_default();
        let whole: Vec<_> = (0..).zip(due).map(|(pos, text)| (pos, format!("{text}\n"))).collect();
        if stored.iter().map(|line| (line.pos, line.out.clone())).collect::<Vec<_>>() != whole {
            wrong.push(format!("step {name} has the log {stored:?} instead of {due:?}"));
        }
        if !step.live.iter().all(|line| stored.contains(line)) {
            wrong.push(format!("step {name} has the live lines {:?}, which its log does not have", step.live));
        }
        if step.uploads != 1 {
            wrong.push(format!("step {name} has its log by {} uploads", step.uploads));
        }
    }
    if steps.last().and_then(|step| step.card.as_deref()) != Some(CARD.as_bytes()) {
        wrong.push(format!("the last step has no card {CARD}"));
    }
    // It runs for longer than it takes a batch to come.
    if steps.last().is_none_or(|step| step.live.is_empty()) {
        wrong.push("nobody could have watched the last step's log".to_owned());
    }
    if record.status(stage) != Some("success") {
        wrong.push(format!("the stage has ended as {:?}", record.status(stage)));
    }
    if record.totals.repeats + record.totals.conflicts > 0 {
        wrong.push("the stage was ended twice".to_owned());
    }
    if record.token_seen.total() > 0 {
        wrong.push("the secret stood in a body or a query".to_owned());
    }
    if !wrong.is_empty() {
        return Err(format!("the show went wrong:\n  {}", wrong.join("\n  ")));
    }
    Ok(steps.into_iter().map(told).collect::<Vec<_>>().join("\n"))
}

/// A step as the server has it, and its log.
pub(super) fn told(step: &StepSeen) -> String {
    let row = &step.row;
    let detached = if row.detached { ", detached" } else { "" };
    let ignored = if row.errignore { ", may fail" } else { "" };
    let log: String = step
        .stored_lines()
        .unwrap_or_default()
        .iter()
        .map(|line| format!("\n    {:>2}s  {}", line.time, line.out.trim_end()))
        .collect();
    let card = step.card.as_ref().map_or("", |_| ", with a card");
    let live = step.live.len();
    format!(
        "step {} {:<10} {:<8} exit {}{detached}{ignored}{card}, {live} lines live{log}",
        row.number, row.name, row.status, row.exit_code
    )
}

pub(super) async fn stop(runner: &mut tokio::process::Child) {
    let pid = runner.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let _ = tokio::time::timeout(Duration::from_secs(5), runner.wait()).await;
}
