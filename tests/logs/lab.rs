//! A delegate as a process, a manager's and a log service's double and a runner in this one, on a directory of their own.

use std::{
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dlite::{
    doubles::{
        log_service::LogService,
        manager::{Manager, NewTask, Options, RunnerTask},
    },
    sdk::{Context, Failure, Handler, LogLine, Payload, Runner},
    upstreams::tls,
};
use tokio::task::JoinHandle;

pub const ACCOUNT: &str = "acctLAB0000000000001";
const SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Task type of the runner here.
pub const LOGS: &str = "LOGS";

pub struct Lab {
    pub manager: Manager,
    pub service: LogService,
    pub directory: tempfile::TempDir,
    /// Lines that handlers have written so far.
    pub written: Arc<AtomicU64>,
    delegate: Option<Child>,
    runner: Option<JoinHandle<()>>,
}

/// What a task of type [`LOGS`] does.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Work {
    pub lines: u64,
    /// Texts written before those; a text that holds newlines is so many lines.
    pub texts: Vec<String>,
    /// Written by a program, whose output the log takes.
    pub shell: Option<String>,
    /// Stays until a file of this name is there.
    pub until: Option<PathBuf>,
    pub log_key: String,
    pub log_config: serde_json::Value,
}

/// The text of a line.
pub fn text(number: u64) -> String {
    format!("line {number}: what a step of a build has to say, \u{fc}ber \x1b[32mcolours\x1b[0m")
}

impl Lab {
    /// Everything but the delegate is there.
    pub async fn new(upstream: &str, more: &str) -> Self {
        tls::install_crypto_provider();
        let manager = Manager::start(Options::new(ACCOUNT, SECRET.parse().unwrap())).await.unwrap();
        let service = LogService::start("logtokLAB").await.unwrap();
        // Socket paths are short; those of temporary directories elsewhere may not be.
        let directory = tempfile::Builder::new().prefix("dll").tempdir().unwrap();
        let (written, delegate, runner) = (Arc::default(), None, None);
        let lab = Self { manager, service, directory, written, delegate, runner };
        let text = format!(
            r#"
name = "lab"
state_dir = "state"
{more}
[log]
filter = "info,dlite=debug"
[admin]
socket = "a.sock"
# However full the machine is that these tests run on.
[admission]
memory_high = 100
memory_pressure_high = 100
disk_high = 100
cpu_high = 100
cpu_pressure_high = 100
io_pressure_high = 100
[http]
listen = "off"
[runners]
socket = "r.sock"
heartbeat_interval = "2s"
lease_ttl = "20s"
[[upstreams]]
name = "m"
kind = "harness"
endpoint = "{}"
account_id = "{ACCOUNT}"
account_secret_file = "secret"
poll_interval = "50ms"
heartbeat_interval = "200ms"
request_timeout = "5s"
report_retry_min = "100ms"
report_retry_max = "500ms"
{upstream}
"#,
            lab.manager.endpoint()
        );
        std::fs::write(lab.path("dlite.toml"), text).unwrap();
        std::fs::write(lab.path("secret"), SECRET).unwrap();
        std::fs::set_permissions(lab.path("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        lab
    }

    pub async fn started(upstream: &str, more: &str) -> Self {
        let mut lab = Self::new(upstream, more).await;
        lab.start_delegate();
        lab.start_runner();
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn start_delegate(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("delegate.log")).unwrap();
        let mut command = binary();
        command.arg("run").arg("--config").arg(self.path("dlite.toml")).args(["--set", "drain.on_signal=leave"]);
        self.delegate = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    pub fn kill_delegate(&mut self) {
        let mut child = self.delegate.take().expect("a delegate runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Most that it ever had in memory, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let pid = self.delegate.as_ref().expect("a delegate runs").id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// A runner that does [`Work`], attached for as long as the lab lives.
    pub fn start_runner(&mut self) {
        let written = Arc::clone(&self.written);
        let handler = Handler::new(LOGS, move |context, payload| work(Arc::clone(&written), context, payload));
        let target = format!("unix:{}", self.path("r.sock").display());
        let connection = Runner::new("logs-1").handler(handler.idempotent()).slots("default", 8).connect(target);
        let connection = connection.backoff(Duration::from_millis(20), Duration::from_millis(100));
        self.runner = Some(tokio::spawn(async move {
            connection.run(std::future::pending()).await.expect("the runner runs");
        }));
    }

    /// The runner goes without a word, and all it does with it.
    pub fn stop_runner(&mut self) {
        self.runner.take().expect("a runner runs").abort();
    }

    /// Submits a task that logs to the service.
    pub fn submit(&self, key: &str, work: Work) -> String {
        self.manager.submit(NewTask::new(LOGS, self.data(key, work, true))).unwrap()
    }

    /// The same of the runner family, with values to mask.
    pub fn submit_masked(&self, key: &str, work: Work, masks: &[String]) -> String {
        let mut task = NewTask::for_runners(LOGS, self.data("", work, true));
        let logger = serde_json::json!({
            "address": self.service.url(), "token": "logtokLAB", "account": ACCOUNT, "key": key,
            "indirect_upload": true, "masks": masks,
        });
        task.runner = Some(RunnerTask { logger: logger.to_string(), ..RunnerTask::default() });
        self.manager.submit(task).unwrap()
    }

    pub fn data(&self, key: &str, work: Work, indirect: bool) -> String {
        let log_config = self.service.config(ACCOUNT, indirect);
        serde_json::to_string(&Work { log_key: key.to_owned(), log_config, ..work }).unwrap()
    }

    /// Waits for a task's result.
    pub async fn finished(&self, task: &str) {
        if self.manager.wait_for(task, PATIENCE).await.is_err() {
            panic!("task {task} is not over within {PATIENCE:?}\n{}", self.tail());
        }
    }

    /// Waits for a blob.
    pub async fn blob(&self, key: &str) -> bytes::Bytes {
        self.service_until("the blob is there", |service| service.blob(ACCOUNT, key).is_some()).await;
        self.service.blob(ACCOUNT, key).unwrap()
    }

    pub async fn service_until(&self, what: &str, is_so: impl Fn(&LogService) -> bool) {
        if tokio::time::timeout(PATIENCE, self.service.until(is_so)).await.is_err() {
            panic!("not seen within {PATIENCE:?}: {what}; {:?}\n{}", self.service.counts(), self.tail());
        }
    }

    /// Waits for something that no double tells of.
    pub async fn eventually(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let started = std::time::Instant::now();
        while !is_so() {
            assert!(started.elapsed() < PATIENCE, "not seen within {PATIENCE:?}: {what}\n{}", self.tail());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Runs a command of the binary to its end.
    pub fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("timeout");
        // One that never ends fails as one that says nothing.
        command.arg(PATIENCE.as_secs().to_string()).arg(env!("CARGO_BIN_EXE_dlite")).env_clear();
        command.args(arguments).arg("--config").arg(self.path("dlite.toml")).stdin(Stdio::null()).output().unwrap()
    }

    /// All files of logs on disk.
    pub fn spooled(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut directories = vec![self.path("state/logs")];
        while let Some(directory) = directories.pop() {
            // What is deleted meanwhile is not there.
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    true => directories.push(entry.path()),
                    false => files.push(entry.path()),
                }
            }
        }
        files
    }

    pub fn delegate_log(&self) -> String {
        std::fs::read_to_string(self.path("delegate.log")).unwrap_or_default()
    }

    pub fn tail(&self) -> String {
        let text = self.delegate_log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(runner) = &self.runner {
            runner.abort();
        }
        if let Some(mut child) = self.delegate.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The binary under test, without the environment's own settings for it.
fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dlite"));
    for (name, _) in std::env::vars() {
        if name.starts_with("DLITE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

async fn work(written: Arc<AtomicU64>, context: Context, payload: Payload) -> Result<Payload, Failure> {
    let work: Work = serde_json::from_slice(&payload.inline).map_err(|error| Failure::failed(error.to_string()))?;
    let log = context.log("");
    for text in &work.texts {
        for line in text.split('\n') {
            log.line(line.to_owned()).await;
        }
    }
    if let Some(shell) = &work.shell {
        let mut command = tokio::process::Command::new("sh");
        command.arg("-c").arg(shell).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| Failure::failed(error.to_string()))?;
        let taken = log.attach(&mut child);
        let _ = child.wait().await;
        let _ = taken.await;
    }
    for number in 0..work.lines {
        // The same for each try, so that blobs can be compared.
        let time_unix_nano = 1_789_992_000_000_000_000 + i64::try_from(number).unwrap_or(0);
        log.add(LogLine { time_unix_nano, text: text(number).into(), ..LogLine::default() }).await;
        written.fetch_add(1, Ordering::Relaxed);
    }
    if let Some(file) = &work.until {
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(Payload::text("{}"))
}

/// The members of a blob's lines, in order.
pub fn lines(blob: &[u8]) -> Vec<serde_json::Value> {
    blob.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// Their texts.
pub fn texts(blob: &[u8]) -> Vec<String> {
    let texts = lines(blob).into_iter().map(|line| line["out"].as_str().unwrap().trim_end_matches('\n').to_owned());
    texts.collect()
}

/// Texts of [`text`] as they should be in a blob.
pub fn expected(count: u64) -> Vec<String> {
    (0..count).map(text).collect()
}
