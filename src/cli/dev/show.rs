//! `dlite dev` itself: a small pipeline, a batch and an abort, from the manager to a runner and back, told as a timeline.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

use super::{
    drone,
    runner::{self, WORK},
    scene::{ACCOUNT, CLEANUP, EXECUTE, KEPT_PORT, SETUP, Scene, start_runner, start_scripts},
    timeline::{self, Labels},
};
use crate::{
    cli::{block_on, chain, fail},
    config::{self, LogFormat},
    core::{
        effect::{Note, Summary},
        id::ExternalId,
    },
    daemon,
    doubles::{log_service::LogService, manager::NewTask},
    runners::ids::Ids,
    telemetry::{self, traces},
    upstreams,
};

/// Slots of the runner.
const SLOTS: u32 = 16;
/// Short tasks in the batch, if nobody says how many; fewer if each is told at length.
const TASKS: u32 = 200;
const TASKS_TRACED: u32 = 3;
/// Lines that each of them logs.
const LINES: u64 = 20;
/// Longest wait for any one step of the show; a healthy machine needs a fraction of it.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest usual run, which fills a bar.
const LONGEST: Duration = Duration::from_millis(400);

#[derive(Debug, clap::Args)]
#[group(id = "show")]
pub struct Args {
    /// What the tasks come from
    #[arg(long, value_enum, default_value_t = Kind::Harness, conflicts_with_all = ["keep", "tasks"])]
    upstream: Kind,
    /// Leave it running and say how to attach a runner and submit a task
    #[arg(long)]
    keep: bool,
    /// Port of the manager's double [default: with --keep 7431, where `dlite dev submit` looks; else any]
    #[arg(long)]
    port: Option<u16>,
    /// Short tasks in the batch [default: 200; with --traces 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tasks: Option<u32>,
    /// Print each task's trace as a tree, as a collector would show it
    #[arg(long)]
    traces: bool,
    /// Log what the delegate does, too
    #[arg(short, long)]
    verbose: bool,
}

/// What the observer has to tell.
enum Story {
    /// The trace of a task that is about to be told.
    Trace {
        external_id: ExternalId,
        tree: String,
    },
    Line(Box<Summary>),
}

/// Kinds of upstreams there are doubles of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// A Harness manager
    Harness,
    /// A Drone server
    Drone,
}

/// A task of the show and the code it must end with.
struct Part {
    label: String,
    id: String,
    code: &'static str,
    log: Option<Log>,
}

/// The log that a task of the show leaves, by its key at the log service.
struct Log {
    key: String,
    /// Lines of a sample task; of a script the one that it writes.
    lines: u64,
    is_script: bool,
}

pub fn run(args: &Args) -> ExitCode {
    let filter = if args.verbose { "info" } else { "error" }.to_owned();
    if let Err(error) = telemetry::start(&config::Log { format: LogFormat::Text, filter }) {
        return fail(&error.to_string());
    }
    block_on(async {
        let show = async {
            match args.upstream {
                Kind::Harness => perform(args).await,
                Kind::Drone => drone::perform(args.port.unwrap_or(0)).await,
            }
        };
        match show.await {
            Ok(code) => code,
            Err(error) => fail(&error),
        }
    })
}

async fn perform(args: &Args) -> Result<ExitCode, String> {
    let port = args.port.unwrap_or(if args.keep { KEPT_PORT } else { 0 });
    let scene = Scene::set(port, "").await.map_err(|error| chain(&error))?;
    let adapters = upstreams::from_config(&scene.config).map_err(|error| chain(&error))?;
    let (notes, mut stories) = mpsc::unbounded_channel();
    let with_traces = args.traces;
    let observer = move |ids: &Ids, note: &Note| {
        telemetry::notes::log(ids, note);
        let story = match note {
            Note::Reported(summary) => Story::Line(summary.clone()),
            Note::StagesEnded(life) if with_traces && life.end.is_some() => Story::Trace {
                external_id: life.external_id.clone(),
                tree: traces::tree::render(&traces::spans(ids, life, true)),
            },
            _ => return,
        };
        // The show may be over.
        let _ = notes.send(story);
    };
    let daemon = daemon::start(&scene.config, adapters, Box::new(observer)).await.map_err(|error| chain(&error))?;
    let no_runner = |error: std::io::Error| format!("no runner: {error}");
    let runner = start_runner(&daemon.runners_socket, SLOTS).map_err(no_runner)?;
    let scripts = start_scripts(&scene, &daemon.runners_socket).map_err(no_runner)?;
    println!(
        "manager's double at {}; the delegate's runners, one on the SDK and one of shell scripts, attach over {}\n",
        scene.manager.endpoint(),
        daemon.runners_socket.display()
    );
    println!("{}", timeline::heads());

    let labels = Arc::new(Mutex::new(Labels::new()));
    let named = labels.clone();
    let (told, mut heard) = watch::channel(0_usize);
    let telling = tokio::spawn(async move {
        let mut trees = BTreeMap::new();
        while let Some(story) = stories.recv().await {
            match story {
                Story::Trace { external_id, tree } => drop(trees.insert(external_id, tree)),
                Story::Line(summary) => {
                    tell(&summary, &named);
                    if let Some(tree) = trees.remove(&summary.external_id) {
                        println!("{tree}");
                    }
                    told.send_modify(|told| *told += 1);
                }
            }
        }
    });

    let started = Instant::now();
    let tasks = args.tasks.unwrap_or(if args.traces { TASKS_TRACED } else { TASKS });
    let parts = act(&scene, tasks, &labels).await?;
    let took = started.elapsed();
    // The manager has its results a moment before the delegate has it on record that it reported them.
    let all_told = heard.wait_for(|told| *told >= parts.len());
    if tokio::time::timeout(PATIENCE, all_told).await.is_err() {
        return Err(format!("not every result was recorded as reported after {PATIENCE:?}"));
    }
    let verdict = match await_logs(&scene, &parts).await {
        Ok(lines) => judge(&scene, &parts, took, lines),
        Err(error) => Err(error),
    };
    if args.keep {
        println!("{}", verdict.as_ref().unwrap_or_else(|error| error));
        keep(&scene, &daemon, port).await;
    }
    // The runners first: they hand in what they hold, then go.
    for mut runner in [runner, scripts] {
        let pid = runner.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = tokio::time::timeout(Duration::from_secs(5), runner.wait()).await;
    }
    daemon.stop().await.map_err(|error| chain(&error))?;
    telling.abort();
    match verdict {
        Ok(line) => {
            if !args.keep {
                println!("{line}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(error),
    }
}

/// The pipeline, one task after the other as a manager sends them; then the batch and, in its midst, the abort.
async fn act(scene: &Scene, batch: u32, labels: &Arc<Mutex<Labels>>) -> Result<Vec<Part>, String> {
    let manager = &scene.manager;
    let mut parts = Vec::new();
    let mut submit = |label: String, task: NewTask, code: &'static str, log: Option<Log>| -> Result<String, String> {
        let id = manager.submit(task).map_err(|error| chain(&error))?;
        labels.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), label.clone());
        parts.push(Part { label, id: id.clone(), code, log });
        Ok(id)
    };
    let pipeline = [
        ("pipeline: setup", SETUP, r#"{"setup_vm_request": {"id": "stage-1"}, "image": "ubuntu-22"}"#, "OK"),
        (
            "pipeline: build",
            EXECUTE,
            r#"{"execute_step_request": {"stage_runtime_id": "stage-1"}, "run": "make"}"#,
            "OK",
        ),
        (
            "pipeline: test",
            EXECUTE,
            r#"{"execute_step_request": {"stage_runtime_id": "stage-1"}, "run": "make test", "fail": true}"#,
            "FAILED",
        ),
        ("pipeline: cleanup", CLEANUP, r#"{"stage_runtime_id": "stage-1", "image": "ubuntu-22"}"#, "OK"),
    ];
    for (n, (label, task_type, data, code)) in pipeline.into_iter().enumerate() {
        // Both dialects have their turn.
        let log = Log { key: format!("stage-1/{n}"), lines: 1, is_script: true };
        let task = NewTask { runner_response: n % 2 == 1, ..NewTask::new(task_type, logging(scene, data, &log)) };
        let id = submit(label.to_owned(), task, code, Some(log))?;
        manager
            .wait_for(&id, PATIENCE)
            .await
            .map_err(|_| format!("{label} ({id}) has no result after {PATIENCE:?}"))?;
    }
    let long = submit("aborted".to_owned(), NewTask::new(WORK, r#"{"millis": 600000}"#), "FAILED", None)?;
    for n in 1..=batch {
        let data = format!(r#"{{"millis": {}, "lines": {LINES}}}"#, u64::from(n) * 7 % 40);
        // Both ways of an upload have their turn.
        let log = Log { key: format!("batch/{n}"), lines: LINES, is_script: false };
        let task = NewTask { runner_response: n % 2 == 0, ..NewTask::new(WORK, logging(scene, &data, &log)) };
        submit(format!("batch {n}/{batch}"), task, "OK", Some(log))?;
    }
    manager
        .wait_until(|record| record.task(&long).is_some_and(|task| task.first_assigned_at.is_some()), PATIENCE)
        .await
        .map_err(|_| format!("the task to abort was not acquired within {PATIENCE:?}"))?;
    manager.abort(&long);
    let all = parts.len() as u64;
    manager
        .wait_until(|record| record.totals().effective >= all, PATIENCE)
        .await
        .map_err(|_| format!("not every task has a result after {PATIENCE:?}"))?;
    Ok(parts)
}

/// A task's data with the log service in it, as a manager puts it there.
fn logging(scene: &Scene, data: &str, log: &Log) -> String {
    let is_direct = log.is_script;
    let config = scene.logs.config(ACCOUNT, is_direct);
    let members = data.trim_end().trim_end_matches('}');
    format!(r#"{members}, "log_key": {:?}, "log_config": {config}}}"#, log.key)
}

/// Waits until the log service has every log whole, and counts their lines.
async fn await_logs(scene: &Scene, parts: &[Part]) -> Result<u64, String> {
    let logs: Vec<&Log> = parts.iter().filter_map(|part| part.log.as_ref()).collect();
    let missing = |service: &LogService| logs.iter().find(|log| service.blob(ACCOUNT, &log.key).is_none());
    let all = scene.logs.until(|service| missing(service).is_none());
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        let key = missing(&scene.logs).map_or("", |log| &log.key);
        return Err(format!("the log service does not have log {key} after {PATIENCE:?}"));
    }
    let mut lines = 0;
    for log in logs {
        let blob = scene.logs.blob(ACCOUNT, &log.key).unwrap_or_default();
        let texts = texts(&blob).map_err(|error| format!("log {}: {error}", log.key))?;
        let is_whole = match log.is_script {
            true => texts.len() as u64 == log.lines,
            false => (0..log.lines).map(|number| format!("{}\n", runner::line(number))).eq(texts.iter().cloned()),
        };
        if !is_whole {
            return Err(format!("log {} is stored with {} lines, and not as its task wrote it", log.key, texts.len()));
        }
        lines += log.lines;
    }
    Ok(lines)
}

/// The texts of a blob's lines.
fn texts(blob: &[u8]) -> Result<Vec<String>, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Line {
        out: String,
    }
    serde_json::Deserializer::from_slice(blob).into_iter::<Line>().map(|line| line.map(|line| line.out)).collect()
}

/// Exactly one effective result a task, with the right code, and nothing said twice.
fn judge(scene: &Scene, parts: &[Part], took: Duration, lines: u64) -> Result<String, String> {
    let record = scene.manager.record();
    let mut wrong: Vec<String> = Vec::new();
    for part in parts {
        match record.effective(&part.id) {
            Some(answer) if answer.code == part.code => {}
            Some(answer) => wrong.push(format!("{}: code {} instead of {}", part.label, answer.code, part.code)),
            None => wrong.push(format!("{}: no result", part.label)),
        }
    }
    let totals = record.totals();
    if totals.repeats > 0 || totals.conflicts > 0 {
        wrong.push(format!("{} results were sent again, {} of them differed", totals.repeats, totals.conflicts));
    }
    if !wrong.is_empty() {
        return Err(format!("the show went wrong:\n  {}", wrong.join("\n  ")));
    }
    let failed = parts.iter().filter(|part| part.code != "OK").count();
    Ok(format!(
        "\n{} tasks, {} effective results, {} ok, {failed} failed as they should, 0 repeats, \
         {} logs of {lines} lines stored as written, {:.1} s",
        parts.len(),
        totals.effective,
        parts.len() - failed,
        parts.iter().filter(|part| part.log.is_some()).count(),
        took.as_secs_f64()
    ))
}

fn tell(summary: &Summary, labels: &Arc<Mutex<Labels>>) {
    let labels = labels.lock().unwrap_or_else(PoisonError::into_inner);
    let label = labels.get(summary.external_id.as_str()).map_or(summary.external_id.as_str(), String::as_str);
    println!("{}", timeline::line(summary, label, LONGEST));
}

async fn keep(scene: &Scene, daemon: &daemon::Daemon, port: u16) {
    let manager = if port == KEPT_PORT { String::new() } else { format!(" --manager {}", scene.manager.endpoint()) };
    let own = std::env::current_exe().map_or_else(|_| "dlite".to_owned(), |path| path.display().to_string());
    println!(
        "\nstill running; Ctrl-C ends it.\n\n\
         attach a runner of your own:  cargo run --example echo_runner -- unix:{socket}\n\
         submit a task to it:          {own} dev submit{manager} --type ECHO --data '{{\"hello\": 1}}'\n\
         look at it:                   {own} status --config {config}\n\
         what runs and waits:          {own} tasks list --config {config}",
        socket = daemon.runners_socket.display(),
        config = scene.config_file.display(),
    );
    let _ = tokio::signal::ctrl_c().await;
}
