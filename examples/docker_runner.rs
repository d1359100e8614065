//! The docker stages of Harness CI in small handlers: a network and volumes, steps in containers, and their end.
//!
//! It remembers nothing: a stage stands in its session's state, so this program may be killed between a setup and its steps, and what it
//! left is found by its label. What is secret reaches a container by an environment file or the environment, never by an argument.
//!
//! ```sh
//! cargo run --example docker_runner -- unix:/run/dlite/runner.sock
//! ```
//!
//! `DOCKER` names the container command, "docker" unless set. A step's commands run in the shell that its entrypoint names (`sh -c`
//! unless it does); its output variables are texts of up to 64 KiB each.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use dlite::sdk::{
    Cleanup, Context, ErrorOrigin, Execute, Failure, Handler, Output, Payload, Runner, Session, Setup, Success, Timing,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init();
    let target = env::args().nth(1).unwrap_or_else(|| "unix:/run/dlite/runner.sock".to_owned());
    let docker = env::var("DOCKER").unwrap_or_else(|_| "docker".to_owned());
    runner(docker).connect(target).run(async { drop(tokio::signal::ctrl_c().await) }).await?;
    Ok(())
}

/// On the container command `docker`.
pub fn runner(docker: String) -> Runner {
    let docker = Arc::new(Docker { command: docker });
    Runner::new("docker-1")
        .handler(Handler::setup("CI_DOCKER_INITIALIZE_TASK", docker.clone()).idempotent())
        .handler(Handler::execute("CI_DOCKER_EXECUTE_TASK", docker.clone()))
        .handler(Handler::cleanup("CI_DOCKER_CLEANUP_TASK", docker).idempotent())
        .layer(Timing::new(|task, outcome, took| {
            tracing::info!(task_id = task.task_id(), ?outcome, ?took, "a task ended")
        }))
        .slots("default", 4)
}

// handlers: begin

/// What later tasks of a stage need to know; its environment is the sensitive part.
#[derive(Default, Serialize, Deserialize)]
struct Stage {
    id: String,
    network: String,
    /// `--volume` arguments without their targets, by the name that steps use.
    volumes: BTreeMap<String, String>,
}

impl Setup for Docker {
    type Payload = SetupTask;

    async fn setup(&self, _: Context, task: SetupTask, mut session: Session) -> Result<Success, Failure> {
        let request = task.setup_request;
        let label = format!("dlite.stage={}", task.id);
        let source = |volume: &Host| volume.path.clone().unwrap_or_else(|| format!("{}-{}", task.id, volume.id));
        let volumes = request.volumes.iter().map(|volume| (volume.host.name.clone(), source(&volume.host))).collect();
        let stage = Stage { id: task.id.clone(), network: request.network.id.clone(), volumes };
        // Durable before anything is made, so that a cleanup finds whatever a killed setup left.
        session.set(session.change().state(&stage)?.sensitive_state(&request.envs)?).await?;
        if self.run(&["network", "inspect", &stage.network]).await.is_err() {
            self.run(&["network", "create", "--label", &label, &stage.network]).await?;
        }
        for volume in request.volumes.iter().filter(|volume| volume.host.path.is_none()) {
            self.run(&["volume", "create", "--label", &label, &source(&volume.host)]).await?;
        }
        Ok(Payload::json(&json!({ "command_execution_status": "SUCCESS" }))?.into())
    }
}

impl Execute for Docker {
    type Payload = StepTask;

    async fn execute(&self, task: Context, payload: StepTask, session: Session) -> Result<Success, Failure> {
        let step = payload.start_step_request;
        let stage: Stage =
            session.state()?.ok_or_else(|| Failure::errored("SESSION_LOST", "the stage has no state"))?;
        let mut environment: BTreeMap<String, String> = session.sensitive_state()?.unwrap_or_default();
        environment.extend(session.exported_variables().iter().map(|left| (left.name.clone(), left.value.clone())));
        environment.extend(step.environment.clone());
        environment.insert("DLITE_COMMANDS".to_owned(), step.script()?);

        let room = Room::new(&environment)?;
        let name = format!("dlite-{}", task.lease_id());
        let label = format!("dlite.stage={}", stage.id);
        let mut run = self.command(&["run", "--rm", "--name", &name, "--label", &label, "--network", &stage.network]);
        room.furnish(&mut run, &environment)?;
        for mount in &step.volumes {
            let complaint = || format!("start_step_request.volumes: the stage has no volume {}", mount.name);
            let source = stage.volumes.get(&mount.name).ok_or_else(|| Failure::invalid(complaint()))?;
            run.args(["--volume", &format!("{source}:{}", mount.path)]);
        }
        if !step.user.is_empty() {
            run.args(["--user", &step.user]);
        }
        let (shell, flags) = step.run.shell();
        run.args(["--entrypoint", shell, &step.image]).args(flags).arg(r#"eval "$DLITE_COMMANDS""#);

        // On its own, so that the container also ends when this handler is dropped, as with a lost lease.
        let killer = tokio::spawn(self.clone().kill_when_cancelled(task.clone(), name.clone()));
        let ended = timeout(step.limit(), run.status()).await;
        killer.abort();
        let Ok(ended) = ended else {
            // One that has ended just now is none to kill; one that is about to start falls with its stage.
            let _ = self.run(&["kill", &name]).await;
            return Err(Failure::timed_out(format!("step {} took longer than {} s", step.id, step.timeout)));
        };
        let (code, tail) = (ended?.code().unwrap_or(-1), room.tail(&task, &step.secrets));
        if task.is_cancelled() {
            return Err(Failure::cancelled().exit_code(code));
        }
        match code {
            0 => {
                let outputs = room.outputs(&step.output_vars);
                let body = json!({ "command_execution_status": "SUCCESS", "output_vars": outputs });
                let success = Success::new().exit_code(0).payload(Payload::json(&body)?);
                let export = |success: Success, (name, value)| success.output(Output::exported(name, value));
                Ok(outputs.into_iter().fold(success, export))
            }
            // The container command's own.
            125 => Err(Failure::errored("CONTAINER_FAILED", tail).origin(ErrorOrigin::Infrastructure)),
            code => {
                let message = format!("step {} ended with exit code {code}", step.id);
                let body = json!({ "command_execution_status": "FAILURE", "error_message": message });
                Err(Failure::failed(message)
                    .exit_code(code)
                    .hint("its last words", tail)
                    .payload(Payload::json(&body)?))
            }
        }
    }
}

impl Cleanup for Docker {
    async fn cleanup(&self, _: Context, session: Session) -> Result<Success, Failure> {
        let stage = session.state()?.map_or_else(|| session.external_id().to_owned(), |stage: Stage| stage.id);
        let filter = format!("label=dlite.stage={stage}");
        for (list, remove) in [
            (&["ps", "-aq"][..], &["rm", "-f"][..]),
            (&["network", "ls", "-q"], &["network", "rm"]),
            (&["volume", "ls", "-q"], &["volume", "rm"]),
        ] {
            let left = self.run(&[list, &["--filter", &filter]].concat()).await?;
            let left: Vec<&str> = left.split_whitespace().collect();
            if !left.is_empty() {
                self.run(&[remove, &left].concat()).await?;
            }
        }
        Ok(Payload::json(&json!({ "command_execution_status": "SUCCESS" }))?.into())
    }
}

// handlers: end

// What arrives, as far as it is needed here.

#[derive(Deserialize)]
struct SetupTask {
    id: String,
    setup_request: SetupRequest,
}

#[derive(Deserialize)]
struct SetupRequest {
    network: Network,
    #[serde(default)]
    envs: BTreeMap<String, String>,
    #[serde(default)]
    volumes: Vec<Volume>,
}

#[derive(Deserialize)]
struct Network {
    id: String,
}

#[derive(Deserialize)]
struct Volume {
    host: Host,
}

#[derive(Deserialize)]
struct Host {
    id: String,
    name: String,
    /// On this host; none: a volume of the stage's own.
    path: Option<String>,
}

#[derive(Deserialize)]
struct StepTask {
    start_step_request: Step,
}

#[derive(Deserialize)]
struct Step {
    id: String,
    image: String,
    #[serde(default)]
    user: String,
    run: Run,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    secrets: Vec<String>,
    #[serde(default)]
    volumes: Vec<Mount>,
    #[serde(default)]
    output_vars: Vec<String>,
    /// In seconds; 0: none.
    #[serde(default)]
    timeout: u64,
}

#[derive(Deserialize)]
struct Run {
    commands: Vec<String>,
    #[serde(default)]
    entrypoint: Vec<String>,
}

#[derive(Deserialize)]
struct Mount {
    name: String,
    path: String,
}

// What the handlers stand on.

/// The container command.
#[derive(Clone)]
struct Docker {
    command: String,
}

/// A step's directory on this host: its environment, its outputs, its last words.
struct Room {
    directory: TempDir,
}

/// As good as no limit.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Of a failed step's standard error.
const TAIL_BYTES_MAX: usize = 2 * 1024;

/// More is read than told, so that no secret is cut before it is masked.
const READ_BYTES_MAX: usize = 128 * 1024;

impl Step {
    /// The commands, and what keeps the output variables in files of their names.
    fn script(&self) -> Result<String, Failure> {
        let is_plain = |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if let Some(name) = self.output_vars.iter().find(|name| name.is_empty() || !is_plain(name)) {
            return Err(Failure::invalid(format!("start_step_request.output_vars: {name:?} is no variable's name")));
        }
        let keep = |name| format!("printf %s \"${{{name}-}}\" > /dlite/{name}");
        let lines = self.run.commands.iter().cloned().chain(self.output_vars.iter().map(keep));
        Ok(format!("set -e\n{}\n", lines.collect::<Vec<_>>().join("\n")))
    }

    fn limit(&self) -> Duration {
        if self.timeout == 0 { YEAR } else { Duration::from_secs(self.timeout).min(YEAR) }
    }
}

impl Run {
    fn shell(&self) -> (&str, Vec<&str>) {
        match &self.entrypoint[..] {
            [] => ("sh", vec!["-c"]),
            [shell, flags @ ..] => (shell, flags.iter().map(String::as_str).collect()),
        }
    }
}

impl Docker {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.command);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// What the container command answers.
    async fn run(&self, args: &[&str]) -> Result<String, Failure> {
        let ended = self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).output().await?;
        if ended.status.success() {
            return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
        }
        let message = format!("{}: {}", args[..2].join(" "), String::from_utf8_lossy(&ended.stderr).trim());
        Err(Failure::errored("CONTAINER_COMMAND_FAILED", message).origin(ErrorOrigin::Infrastructure))
    }

    /// Again and again, since the container may only be about to start; until it is dropped.
    async fn kill_when_cancelled(self, task: Context, name: String) {
        task.cancelled().await;
        while self.run(&["kill", &name]).await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Room {
    fn new(environment: &BTreeMap<String, String>) -> io::Result<Self> {
        let room = Self { directory: tempfile::tempdir()? };
        fs::create_dir(room.path("outputs"))?;
        // The step may run as anybody; nobody else gets through the directory above.
        fs::set_permissions(room.path("outputs"), Permissions::from_mode(0o777))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(room.path("environment"))?;
        for (name, value) in environment.iter().filter(|(_, value)| !value.contains('\n')) {
            writeln!(file, "{name}={value}")?;
        }
        Ok(room)
    }

    /// Gives the step its environment and a place for its outputs. An environment file has no word for a value of many lines.
    fn furnish(&self, run: &mut Command, environment: &BTreeMap<String, String>) -> io::Result<()> {
        run.arg("--env-file").arg(self.path("environment"));
        run.args(["--volume", &format!("{}:/dlite", self.path("outputs").display())]);
        for (name, value) in environment.iter().filter(|(_, value)| value.contains('\n')) {
            run.args(["--env", name]).env(name, value);
        }
        run.stderr(File::create(self.path("stderr"))?);
        Ok(())
    }

    fn outputs(&self, names: &[String]) -> BTreeMap<String, String> {
        let read = |name: &String| Some((name.clone(), fs::read_to_string(self.path("outputs").join(name)).ok()?));
        names.iter().filter_map(read).collect()
    }

    /// The last of what it said, without the task's secrets.
    fn tail(&self, task: &Context, secrets: &[String]) -> String {
        let text = fs::read(self.path("stderr")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(READ_BYTES_MAX)..]).into_owned();
        let known = task.secrets().iter().filter_map(|secret| std::str::from_utf8(&secret.value).ok());
        let known = known.chain(secrets.iter().map(String::as_str)).filter(|secret| !secret.is_empty());
        let masked = known.fold(text, |text, secret| text.replace(secret, "***"));
        masked[masked.ceil_char_boundary(masked.len().saturating_sub(TAIL_BYTES_MAX))..].to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
