//! The sample handler of whole stages: plays a Drone pipeline written as JSON, whose commands only wait, say something or exit.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::sdk::{Card, Context, Failure, Log, Payload, Step, StepError, StepState};

/// What the Drone adapter calls stages of docker pipelines.
pub const STAGE: &str = "drone.stage.docker";

/// The platform that the sample runner is for.
pub const PLATFORM: [(&str, &str); 2] = [("os", "linux"), ("arch", "amd64")];

/// A details answer, as far as it is played.
#[derive(Deserialize)]
struct Details {
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "Data")]
    data: String,
}

/// A pipeline's document, as far as it is played.
#[derive(Debug, Deserialize)]
struct Pipeline {
    steps: Vec<Part>,
}

#[derive(Debug, Deserialize)]
struct Part {
    name: String,
    #[serde(default)]
    image: String,
    /// `ignore`: its failure does not fail the stage.
    #[serde(default)]
    failure: String,
    /// Runs beside the others until they are done.
    #[serde(default)]
    detach: bool,
    /// `sleep <seconds>`, `echo <text>` or `exit <code>`; each is shown in the step's log. Without any, it has none.
    #[serde(default)]
    commands: Vec<String>,
    /// Shown once it has ended.
    #[serde(default)]
    card: Option<Page>,
}

#[derive(Debug, Deserialize)]
struct Page {
    schema: String,
    data: Box<RawValue>,
}

/// Plays the steps one after the other.
pub async fn play(task: Context, payload: Payload) -> Result<Payload, Failure> {
    let parts = read(&payload)?.steps;
    let steps: Vec<Step> = (1..).zip(&parts).map(|(number, part)| step(number, part)).collect();
    task.plan(steps.clone()).await.map_err(gone)?;
    let mut failed = None;
    for (step, part) in steps.into_iter().zip(parts) {
        if failed.is_some() {
            task.step(step.ended(StepState::Skipped, None)).await.map_err(gone)?;
            continue;
        }
        let step = step.running();
        task.step(step.clone()).await.map_err(gone)?;
        let log = (!part.commands.is_empty()).then(|| task.log(&step.step_id));
        if part.detach {
            // It goes on until the stage has ended, and its log with it.
            tokio::spawn(async move { run(part.commands, log.as_ref()).await });
            continue;
        }
        let code = tokio::select! {
            code = run(part.commands, log.as_ref()) => code,
            _ = task.cancelled() => {
                task.step(step.ended(StepState::Cancelled, None)).await.map_err(gone)?;
                return Err(Failure::cancelled());
            }
        };
        let state = if code == 0 { StepState::Succeeded } else { StepState::Failed };
        if code != 0 && part.failure != "ignore" {
            failed = Some(part.name);
        }
        task.step(step.ended(state, code)).await.map_err(gone)?;
    }
    match failed {
        Some(name) => Err(Failure::failed(format!("step {name} failed"))),
        None => Ok(Payload::default()),
    }
}

fn read(payload: &Payload) -> Result<Pipeline, Failure> {
    let details: Details = payload.parse()?;
    let data = BASE64_STANDARD.decode(details.config.data).map_err(|_| Failure::invalid("config.Data is no base64"))?;
    serde_json::from_slice(&data)
        .map_err(|error| Failure::invalid(format!("config.Data: only pipelines in JSON are played here: {error}")))
}

fn step(number: u32, part: &Part) -> Step {
    let card = part.card.as_ref();
    let card = card.map(|page| Card { schema_uri: page.schema.clone(), data: page.data.get().to_owned().into() });
    Step {
        card,
        image: part.image.clone(),
        detached: part.detach,
        ignore_error: part.failure == "ignore",
        depends_on: number.checked_sub(1).filter(|before| *before > 0).iter().map(u32::to_string).collect(),
        ..Step::pending(number, &part.name)
    }
}

/// The exit code of the commands.
async fn run(commands: Vec<String>, log: Option<&Log>) -> i32 {
    for command in commands {
        if let Some(log) = log {
            log.line(format!("+ {command}")).await;
            if let Some(text) = command.strip_prefix("echo ") {
                log.line(text.to_owned()).await;
            }
        }
        match command.split_once(' ') {
            Some(("sleep", seconds)) => {
                let seconds = seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                tokio::time::sleep(seconds.unwrap_or_default()).await;
            }
            Some(("exit", code)) => return code.parse().unwrap_or(1),
            _ => {}
        }
    }
    0
}

/// The task is not this runner's any more, so nobody waits for what this says.
fn gone(error: StepError) -> Failure {
    Failure::errored("TASK_ENDED", error.to_string())
}
