//! A Drone server's double, a delegate in this process, and the pipeline runner as a process of its own.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use dlite::{
    config::{self, LoadOptions},
    core::effect::Note,
    daemon::{self, Daemon},
    doubles::drone::{Drone, NewBuild, NewRepo, NewStage, Options, Record, StepSeen, Submitted},
    upstreams,
};
use tempfile::TempDir;

/// Long enough for any machine; no test that passes waits for it.
pub const SOON: Duration = Duration::from_secs(60);
const TOKEN: &str = "tok-example-1";
/// How long the double holds polls and watches.
const HOLD: Duration = Duration::from_secs(2);
/// The stage of every build here.
pub const STAGE: &str = "unit";

pub struct Lab {
    pub server: Drone,
    pub directory: TempDir,
    daemon: Option<Daemon>,
    runner: Option<Child>,
}

/// A step as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub name: String,
    pub status: String,
    pub code: i64,
    /// Lines of its stored log, without their ends.
    pub log: Vec<String>,
}

// === impl Lab ===

impl Lab {
    pub async fn new() -> Self {
        Self::with("").await
    }

    /// With further lines of the runner's configuration.
    pub async fn with(options: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let server = Drone::start(Options { hold: HOLD, ..Options::new(TOKEN) }).await.unwrap();
        let text = format!(
            "state_dir = \"delegate\"\n[runners]\nsocket = \"r.sock\"\n[admin]\nsocket = \"a.sock\"\n[http]\nlisten = \"off\"\n\
             [[upstreams]]\nname = \"double\"\nkind = \"drone\"\nendpoint = \"{}\"\nsecret = \"{TOKEN}\"\n\
             heartbeat_interval = \"100ms\"\nreport_retry_min = \"50ms\"\nreport_retry_max = \"200ms\"\n\
             [admission]\ndisk_high = 100\n",
            server.endpoint()
        );
        let file = directory.path().join("dlite.toml");
        fs::write(&file, text).unwrap();
        let load = LoadOptions { environment: BTreeMap::new(), ..LoadOptions::of_process(Some(file)) };
        let config = config::load(&load).unwrap().config;
        let adapters = upstreams::from_config(&config).unwrap();
        let daemon = daemon::start(&config, adapters, Box::new(|_: &_, _: &Note| ())).await.unwrap();
        let mut lab = Self { server, directory, daemon: Some(daemon), runner: None };
        let runner = format!(
            "connect = \"unix:{}\"\nrunner_id = \"pipelines-1\"\nstate_dir = {:?}\ngrace = \"500ms\"\n\
             platform = {{ os = \"linux\", arch = \"amd64\" }}\n{options}\n",
            lab.path("r.sock").display(),
            lab.path("state").display().to_string()
        );
        fs::write(lab.path("pipeline.toml"), runner).unwrap();
        lab.start_runner();
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn start_runner(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("runner.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_dlite"))
            .args(["runner", "pipeline", "--log-json", "--config"])
            .arg(self.path("pipeline.toml"))
            .env("UNRELATED", "of the runner alone")
            // What the host's git is set to must not decide.
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .stdin(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        self.runner = Some(child);
    }

    /// SIGKILL, and its end.
    pub fn kill_runner(&mut self) {
        let mut child = self.runner.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("runner.log")).unwrap()
    }

    /// A build of one stage of this pipeline, which is not cloned unless it says so.
    pub fn submit(&self, steps: &str) -> Submitted {
        self.submit_with(steps, |_, build| build)
    }

    /// The same of a changed repository and build.
    pub fn submit_with(&self, pipeline: &str, change: impl FnOnce(&mut NewRepo, NewBuild) -> NewBuild) -> Submitted {
        let mut repo = NewRepo::new("acme/kettle");
        let config = format!("kind: pipeline\ntype: exec\nname: {STAGE}\n\n{pipeline}\n");
        let build = NewBuild { config, ..NewBuild::new(vec![NewStage::new(STAGE, "exec")]) };
        let build = change(&mut repo, build);
        let repo = self.server.add_repo(repo);
        self.server.submit(NewBuild { repo: Some(repo), ..build }).unwrap()
    }

    /// A build without the clone step, to its end.
    pub async fn run(&self, steps: &str) -> (String, Vec<Ended>) {
        let submitted = self.submit(&format!("clone:\n  disable: true\n{steps}"));
        self.ended(&submitted).await
    }

    /// The status that the stage ended with, and its steps.
    pub async fn ended(&self, submitted: &Submitted) -> (String, Vec<Ended>) {
        let stage = submitted.stages[0];
        let has_ended = |record: &Record| record.effective(stage).is_some();
        self.server.wait_until(has_ended, SOON).await.expect("the stage has not ended");
        // A detached step's log may come behind the stage's end.
        let has_logs = |record: &Record| {
            let is_due = |step: &StepSeen| step.row.status != "skipped" && step.puts.iter().any(|put| put.applied);
            record
                .steps_of(stage)
                .filter(|step| is_due(step))
                .all(|step| step.log.is_some() || step.row.status == "killed")
        };
        self.server.wait_until(has_logs, SOON).await.expect("not all logs were stored");
        (self.server.status(stage).unwrap(), self.steps(submitted))
    }

    pub fn steps(&self, submitted: &Submitted) -> Vec<Ended> {
        self.server.read(|record| record.steps_of(submitted.stages[0]).map(Ended::of).collect())
    }

    /// The error that the stage ended with.
    pub fn error(&self, submitted: &Submitted) -> String {
        self.server.read(|record| record.effective(submitted.stages[0]).unwrap().stage.error.clone())
    }

    /// Waits until the step `name` runs.
    pub async fn step_runs(&self, submitted: &Submitted, name: &str) {
        let stage = submitted.stages[0];
        let runs =
            |record: &Record| record.steps_of(stage).any(|step| step.row.name == name && step.row.status == "running");
        self.server.wait_until(runs, SOON).await.expect("the step does not run");
    }

    /// Waits until somebody has written a line to the file `name` of this lab; what it says.
    pub async fn wrote(&self, name: &str) -> String {
        let path = self.path(name);
        until(|| fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'))).await;
        fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// Processes that carry one of this lab's rooms, or keep one.
    pub fn left_behind(&self) -> Vec<u32> {
        let state = fs::canonicalize(self.path("state")).unwrap();
        let state = state.as_os_str().as_bytes();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            *pid != std::process::id() && (mentions(*pid, "environ", state) || mentions(*pid, "cmdline", state))
        })
        .collect()
    }

    /// Waits until nothing of any stage is there any more: no process, no room, no directory.
    pub async fn nothing_is_left(&self) {
        let is_empty = |name: &str| fs::read_dir(self.path(name)).unwrap().next().is_none();
        until(|| self.left_behind().is_empty() && is_empty("state/rooms") && is_empty("state/stages")).await;
    }

    /// The server saw nothing that must not be.
    pub fn check(&self) {
        self.server.read(|record| {
            assert_eq!(record.violations.iter().collect::<Vec<_>>(), Vec::<&String>::new());
            assert_eq!((record.totals.repeats, record.totals.conflicts, record.token_seen.total()), (0, 0, 0));
        });
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(mut child) = self.runner.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        drop(self.daemon.take());
        if std::thread::panicking() {
            eprintln!("=== the runner's log\n{}", self.log());
        }
    }
}

// === impl Ended ===

impl Ended {
    fn of(step: &StepSeen) -> Self {
        let lines = step.stored_lines().unwrap_or_default();
        let log = lines.iter().map(|line| line.out.strip_suffix('\n').unwrap_or(&line.out).to_owned()).collect();
        Self { name: step.row.name.clone(), status: step.row.status.clone(), code: step.row.exit_code, log }
    }

    pub fn text(&self) -> String {
        self.log.join("\n")
    }
}

/// Name, status and exit code of each.
pub fn rows(steps: &[Ended]) -> Vec<(&str, &str, i64)> {
    steps.iter().map(|step| (step.name.as_str(), step.status.as_str(), step.code)).collect()
}

/// Waits for a condition that no event tells of.
pub async fn until(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.expect("not in time");
}

/// A process that is gone, or a zombie that nobody has asked about yet.
pub fn is_gone(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or(true, |stat| stat.rsplit(") ").next().unwrap().starts_with('Z'))
}

fn mentions(pid: u32, file: &str, text: &[u8]) -> bool {
    fs::read(Path::new("/proc").join(pid.to_string()).join(file))
        .is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text))
}
