//! One delegate and its runners as processes, a manager's double in this one, all in a directory of their own.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use dlite::{
    admin::client,
    doubles::manager::{Manager, NewTask, Options},
    proto::admin::v1::{GetDelegateRequest, GetDelegateResponse, ListTasksRequest, TaskView},
    upstreams::tls,
};

/// Longest wait for anything that should happen soon.
pub const SOON: Duration = Duration::from_secs(30);
pub const SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

static LABS: AtomicU32 = AtomicU32::new(0);

pub struct Lab {
    pub manager: Manager,
    pub directory: tempfile::TempDir,
    delegate: Option<Child>,
    runners: Vec<Option<Child>>,
}

impl Lab {
    /// A manager and a configuration with short durations; nothing runs yet.
    pub async fn new() -> Self {
        tls::install_crypto_provider();
        let manager = Manager::start(Options::new("acctLAB0000000000001", SECRET.parse().unwrap())).await.unwrap();
        // Socket paths are short; those of temporary directories elsewhere may not be.
        let name = format!("dlp{}-{}-", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::Builder::new().prefix(&name).tempdir().unwrap();
        let lab = Self { manager, directory, delegate: None, runners: Vec::new() };
        lab.configure("");
        lab
    }

    /// Writes the configuration; `upstream` are further lines of its upstream.
    pub fn configure(&self, upstream: &str) {
        let text = format!(
            r#"
name = "lab"
state_dir = "state"
[log]
filter = "info"
[admin]
socket = "a.sock"
[http]
listen = "127.0.0.1:0"
[runners]
socket = "r.sock"
heartbeat_interval = "100ms"
lease_ttl = "1s"
accept_timeout = "500ms"
reassign_margin = "200ms"
cancel_grace = "500ms"
revoke_margin = "300ms"
[[upstreams]]
name = "m"
kind = "harness"
endpoint = "{}"
account_id = "acctLAB0000000000001"
account_secret_file = "secret"
poll_interval = "50ms"
heartbeat_interval = "200ms"
request_timeout = "5s"
report_retry_min = "100ms"
report_retry_max = "500ms"
{upstream}
"#,
            self.manager.endpoint()
        );
        std::fs::write(self.path("dlite.toml"), text).unwrap();
        self.write_secret(SECRET);
    }

    pub fn write_secret(&self, secret: &str) {
        std::fs::write(self.path("secret"), secret).unwrap();
        std::fs::set_permissions(self.path("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn socket(&self) -> String {
        format!("unix:{}", self.path("r.sock").display())
    }

    fn log(&self, name: &str) -> Stdio {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        Stdio::from(file)
    }

    /// Starts it so that a stop leaves to the runners what runs; how it drains is shown elsewhere.
    pub fn start_delegate(&mut self) {
        self.start_delegate_with(&["drain.on_signal=leave"]);
    }

    /// Starts it with further options, each `KEY=VALUE`.
    pub fn start_delegate_with(&mut self, options: &[&str]) {
        assert!(self.delegate.is_none(), "one delegate a lab");
        let mut command = binary();
        command.arg("run").arg("--config").arg(self.path("dlite.toml"));
        // How full the disk of this machine is, is nothing these tests are about.
        command.args(["--set", "admission.disk_high=100"]);
        for option in options {
            command.args(["--set", option]);
        }
        self.delegate = Some(command.stderr(self.log("delegate.log")).spawn().unwrap());
    }

    pub fn delegate_pid(&self) -> u32 {
        self.delegate.as_ref().expect("a delegate runs").id()
    }

    /// Starts a runner under `id` with `slots`; its number.
    pub fn start_runner(&mut self, id: &str, slots: u32) -> usize {
        let child = self.runner_command(id, slots).spawn().unwrap();
        self.runners.push(Some(child));
        self.runners.len() - 1
    }

    fn runner_command(&self, id: &str, slots: u32) -> Command {
        let mut command = binary();
        command
            .args(["dev", "runner", "--reattach-max-ms", "100", "--id", id, "--slots", &slots.to_string()])
            .args(["--connect", &self.socket()])
            .arg("--starts")
            .arg(self.path("starts"))
            .stderr(self.log("runner.log"));
        command
    }

    pub fn kill_delegate(&mut self) {
        let mut child = self.delegate.take().expect("a delegate runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn restart_runner(&mut self, number: usize, id: &str, slots: u32) {
        let mut child = self.runners[number].take().expect("that runner runs");
        child.kill().unwrap();
        child.wait().unwrap();
        self.runners[number] = Some(self.runner_command(id, slots).spawn().unwrap());
    }

    /// Waits until the delegate has ended by itself; its exit code.
    pub async fn delegate_ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            let child = self.delegate.as_mut().expect("a delegate runs");
            if let Some(status) = child.try_wait().unwrap() {
                self.delegate = None;
                return status.code();
            }
            pause().await;
        }
        panic!("the delegate still runs after {SOON:?}\n{}", self.tail());
    }

    /// Asks the delegate to stop, and waits for its exit code.
    pub fn stop_delegate(&mut self) -> Option<i32> {
        self.signal_delegate();
        let mut child = self.delegate.take().expect("a delegate runs");
        child.wait().unwrap().code()
    }

    /// Sends it a SIGTERM.
    pub fn signal_delegate(&self) {
        signal(self.delegate_pid(), rustix::process::Signal::TERM);
    }

    /// Sends a SIGTERM to a runner, which then drains itself.
    pub fn signal_runner(&self, number: usize) {
        signal(self.runners[number].as_ref().expect("that runner runs").id(), rustix::process::Signal::TERM);
    }

    /// Stops a runner's process where it stands.
    pub fn freeze_runner(&self, number: usize) {
        signal(self.runners[number].as_ref().expect("that runner runs").id(), rustix::process::Signal::STOP);
    }

    pub fn thaw_runner(&self, number: usize) {
        signal(self.runners[number].as_ref().expect("that runner runs").id(), rustix::process::Signal::CONT);
    }

    /// Waits until a runner has ended by itself; its exit code.
    pub async fn runner_ended(&mut self, number: usize) -> Option<i32> {
        let deadline = Instant::now() + SOON;
        while Instant::now() < deadline {
            if let Some(status) = self.runners[number].as_mut().expect("that runner runs").try_wait().unwrap() {
                self.runners[number] = None;
                return status.code();
            }
            pause().await;
        }
        panic!("runner {number} still runs after {SOON:?}\n{}", self.tail());
    }

    /// All that the delegate has written to standard error.
    pub fn delegate_log(&self) -> String {
        std::fs::read_to_string(self.path("delegate.log")).unwrap_or_default()
    }

    /// Submits a task that works for so long.
    pub fn submit(&self, task_type: &str, millis: u64) -> String {
        self.manager.submit(NewTask::new(task_type, format!(r#"{{"millis":{millis}}}"#))).unwrap()
    }

    /// How often the handler of each task started, by the runners' own word.
    pub fn starts(&self) -> std::collections::BTreeMap<String, u32> {
        let mut starts = std::collections::BTreeMap::new();
        for line in std::fs::read_to_string(self.path("starts")).unwrap_or_default().lines() {
            let task = line.split(' ').next().unwrap_or_default().to_owned();
            *starts.entry(task).or_default() += 1;
        }
        starts
    }

    /// What the delegate says of itself, once it answers.
    pub async fn status(&self) -> GetDelegateResponse {
        self.status_when("the delegate answers", |_| true).await
    }

    /// Waits until the delegate's status is as wanted.
    pub async fn status_when(&self, what: &str, wanted: impl Fn(&GetDelegateResponse) -> bool) -> GetDelegateResponse {
        let deadline = Instant::now() + SOON;
        let mut last = None;
        while Instant::now() < deadline {
            if let Ok(mut client) = client::connect(&self.path("a.sock")).await
                && let Ok(answer) = client.get_delegate(GetDelegateRequest {}).await
            {
                let status = answer.into_inner();
                if wanted(&status) {
                    return status;
                }
                last = Some(status);
            }
            pause().await;
        }
        panic!("not seen within {SOON:?}: {what}; last status {last:?}\n{}", self.tail());
    }

    pub async fn tasks(&self) -> Vec<TaskView> {
        let mut client = client::connect(&self.path("a.sock")).await.unwrap();
        client.list_tasks(ListTasksRequest {}).await.unwrap().into_inner().tasks
    }

    /// Waits until the manager's record is as wanted; tells the delegate's log if it is not.
    pub async fn manager_when(
        &self,
        what: &str,
        wanted: impl FnMut(&dlite::doubles::manager::Record) -> bool,
        patience: Duration,
    ) {
        if self.manager.wait_until(wanted, patience).await.is_err() {
            let tasks = match client::connect(&self.path("a.sock")).await {
                Ok(mut client) => client.list_tasks(ListTasksRequest {}).await.map(|answer| answer.into_inner().tasks),
                Err(_) => Ok(Vec::new()),
            };
            panic!(
                "not seen within {patience:?}: {what}; {:?}\nopen: {tasks:#?}\n{}",
                self.manager.read(|record| record.totals()),
                self.tail()
            );
        }
    }

    /// The last lines of the logs.
    pub fn tail(&self) -> String {
        ["delegate.log", "runner.log"]
            .map(|name| {
                let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(60)..].join("\n"))
            })
            .concat()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in self.delegate.iter_mut().chain(self.runners.iter_mut().flatten()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The binary under test, without the environment's own settings for it.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dlite"));
    for (name, _) in std::env::vars() {
        if name.starts_with("DLITE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn output(arguments: &[&str], config: &Path) -> Output {
    binary().args(arguments).arg("--config").arg(config).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Between two looks at something that another process does.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}
