//! The second part of `dlite dev --upstream drone`: a pipeline of type exec, from a git repository made on the spot to processes of this
//! host and back.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use tokio::process::{Child, Command};

use super::{
    drone::{told, until_ended},
    scene::Place,
};
use crate::{
    cli::chain,
    doubles::drone::{Drone, NewBuild, NewRepo, NewStage, Record, StepSeen},
};

/// A secret that the server has and no log shows.
const SECRET: (&str, &str) = ("leaf", "darjeeling-first-flush");

/// The configuration, as it is in the repository.
const PIPELINE: &str = "\
kind: pipeline
type: exec
name: tea

services:
- name: kettle
  commands:
  - echo hot > water
  - sleep 600

steps:
- name: lint
  commands:
  - sh -n brew.sh
  - test -e README
  failure: ignore
- name: brew
  environment:
    LEAF: {from_secret: leaf}
  commands:
  - while [ ! -s water ]; do sleep 0.01; done
  - sh brew.sh
- name: complain
  commands:
  - echo no tea
  when:
    status: [failure]
";
const SCRIPT: &str = "echo \"$DRONE_REPO: $(cat water) water on $LEAF\"\n";

/// How each step must end, and the last line of its log.
const DUE: [(&str, &str, i64, &str); 5] = [
    ("clone", "success", 0, "+ git checkout -q -B main "),
    ("kettle", "success", 0, "+ sleep 600"),
    ("lint", "failure", 1, "+ test -e README"),
    ("brew", "success", 0, "acme/teapot: hot water on ***"),
    ("complain", "skipped", 0, ""),
];

/// Plays it; one line a step.
pub async fn play(server: &Drone, place: &Place, socket: &Path, patience: Duration) -> Result<String, String> {
    let repository = place.path().join("teapot");
    let commit = commit(&repository).await?;
    let mut runner = start(place, socket).map_err(|error| format!("no pipeline runner: {error}"))?;
    let [name, value] = [SECRET.0, SECRET.1].map(str::to_owned);
    let repo = server.add_repo(NewRepo {
        git_http_url: Some(format!("file://{}", repository.display())),
        secrets: [(name, value)].into(),
        ..NewRepo::new("acme/teapot")
    });
    let build = NewBuild {
        repo: Some(repo),
        commit,
        config: PIPELINE.to_owned(),
        ..NewBuild::new(vec![NewStage::new("tea", "exec")])
    };
    let submitted = server.submit(build).map_err(|error| chain(&error))?;
    let stage = submitted.stages[0];
    until_ended(server, stage, patience).await?;
    // That of a detached step may come behind the stage's end.
    let has_logs =
        |record: &Record| record.steps_of(stage).all(|step| step.log.is_some() || step.row.status == "skipped");
    server.wait_until(has_logs, patience).await.map_err(|_| format!("not all logs are stored after {patience:?}"))?;
    // What it still does for a stage is to clear up behind it.
    super::drone::stop(&mut runner).await;
    let told = server.read(|record| judge(record, stage))?;
    let left =
        left(&state(place)).map_err(|error| format!("the pipeline runner's directory can't be seen: {error}"))?;
    match left.as_slice() {
        [] => Ok(told),
        left => Err(format!("the stage left behind: {left:?}")),
    }
}

/// Makes the repository; its only commit.
async fn commit(repository: &Path) -> Result<String, String> {
    let files = |error: io::Error| format!("{} can't be made: {error}", repository.display());
    std::fs::create_dir(repository).map_err(files)?;
    std::fs::write(repository.join(".drone.yml"), PIPELINE).map_err(files)?;
    std::fs::write(repository.join("brew.sh"), SCRIPT).map_err(files)?;
    git(repository, &["init", "-q", "-b", "main"]).await?;
    git(repository, &["add", "."]).await?;
    git(repository, &["-c", "user.name=rosa", "-c", "user.email=rosa@example.test", "commit", "-q", "-m", "tea"])
        .await?;
    git(repository, &["rev-parse", "HEAD"]).await
}

async fn git(repository: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("git");
    // What the host's git is set to must not decide.
    command
        .args(arguments)
        .current_dir(repository)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    let output =
        command.output().await.map_err(|error| format!("git is needed for the pipeline's sources: {error}"))?;
    let Output { status, stdout, stderr } = output;
    match status.success() {
        true => Ok(String::from_utf8_lossy(&stdout).trim().to_owned()),
        false => Err(format!("git {arguments:?}: {}", String::from_utf8_lossy(&stderr).trim())),
    }
}

/// Starts `dlite runner pipeline` as a process of its own.
fn start(place: &Place, socket: &Path) -> io::Result<Child> {
    let file = place.path().join("pipeline.toml");
    let text = format!(
        "runner_id = \"pipelines-1\"\nconnect = {:?}\nstate_dir = {:?}\nplatform = {{ os = \"linux\", arch = \"amd64\" }}\n",
        format!("unix:{}", socket.display()),
        state(place).display().to_string(),
    );
    std::fs::write(&file, text)?;
    Command::new(std::env::current_exe()?)
        .args(["runner", "pipeline", "--log-filter", "error", "--config"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

fn state(place: &Place) -> PathBuf {
    place.path().join("pipelines")
}

/// Directories of stages and rooms of steps that are still there.
fn left(state: &Path) -> io::Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    for name in ["rooms", "stages"] {
        for entry in std::fs::read_dir(state.join(name))? {
            left.push(entry?.path());
        }
    }
    Ok(left)
}

fn judge(record: &Record, stage: i64) -> Result<String, String> {
    let mut wrong: Vec<String> = record.violations.iter().cloned().collect();
    let steps: Vec<&StepSeen> = record.steps_of(stage).collect();
    let rows: Vec<_> = steps.iter().map(|step| (&*step.row.name, &*step.row.status, step.row.exit_code)).collect();
    let due: Vec<_> = DUE.iter().map(|(name, status, code, _)| (*name, *status, *code)).collect();
    if rows != due {
        wrong.push(format!("steps {rows:?} instead of {due:?}"));
    }
    for (step, (name, .., line)) in steps.iter().zip(DUE) {
        let stored = step.stored_lines().unwrap_or_default();
        let last = stored.last().map_or("", |line| line.out.trim_end());
        if !last.starts_with(line) || (line.is_empty() && !last.is_empty()) {
            wrong.push(format!("the log of {name} ends with {last:?} instead of {line:?}"));
        }
        if stored.iter().any(|line| line.out.contains(SECRET.1)) {
            wrong.push(format!("the log of {name} shows a secret"));
        }
    }
    if record.status(stage) != Some("success") {
        wrong.push(format!("the stage has ended as {:?}", record.status(stage)));
    }
    match wrong.is_empty() {
        true => Ok(steps.into_iter().map(told).collect::<Vec<_>>().join("\n")),
        false => Err(format!("the pipeline went wrong:\n  {}", wrong.join("\n  "))),
    }
}
