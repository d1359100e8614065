//! One delegate, one runner process and its scripts, in a directory of their own.

use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use dlite::proto::runner::v1::{
    Output, Payload, Progress, Session, Task, TaskOutcome, TaskResult, Welcome, attach_request::Frame, output::Value,
    task_update::Update,
};
use prost::Message as _;
use tempfile::TempDir;

use crate::delegate::{Delegate, Link, patiently, task, terms};

pub struct Lab {
    pub delegate: Delegate,
    pub directory: TempDir,
    runner: Option<Child>,
}

/// A task's end, and what was told before it.
#[derive(Debug)]
pub struct Told {
    pub result: TaskResult,
    pub progress: Vec<Progress>,
    /// Of updates and result together, the later ones last.
    pub outputs: Vec<Output>,
}

// === impl Lab ===

impl Lab {
    /// A runner with one route `RUN` to a script of `body`; `options` are further lines of that route.
    pub async fn with_script(body: &str, options: &str) -> (Self, Link) {
        Self::with(body, "", options).await
    }

    /// As above, with `general` lines at the head of the file.
    pub async fn with(body: &str, general: &str, options: &str) -> (Self, Link) {
        let mut lab =
            Self { delegate: Delegate::listen().await, directory: tempfile::tempdir().unwrap(), runner: None };
        let script = lab.script("run.sh", body);
        lab.configure(general, &format!("[routes.RUN]\ncommand = [{:?}]\n{options}\n", script.display().to_string()));
        let link = lab.start().await;
        (lab, link)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    pub fn configure(&self, general: &str, routes: &str) {
        let (target, state) = (self.delegate.target(), self.path("state"));
        let head =
            format!("connect = {target:?}\nrunner_id = \"exec-1\"\nstate_dir = {:?}\n", state.display().to_string());
        fs::write(self.path("exec.toml"), format!("{head}{general}\n{routes}")).unwrap();
    }

    /// Starts the runner and welcomes it.
    pub async fn start(&mut self) -> Link {
        self.start_through(Command::new(env!("CARGO_BIN_EXE_dlite"))).await
    }

    /// The same by a command that takes the runner's arguments.
    pub async fn start_through(&mut self, mut command: Command) -> Link {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("runner.log")).unwrap();
        let child = command
            .args(["runner", "exec", "--log-json", "--config"])
            .arg(self.path("exec.toml"))
            .env("UNRELATED", "of the runner alone")
            .env("WANTED", "handed on")
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        self.runner = Some(child);
        let mut link = self.delegate.link().await;
        assert_eq!(link.hello().await.held_tasks, []);
        // Tests look elsewhere for a while; that is no silence.
        let heartbeat_interval = prost_types::Duration::try_from(Duration::from_secs(60)).ok();
        link.welcome_with(Welcome { heartbeat_interval, ..terms() }).await;
        link
    }

    pub fn runner_pid(&self) -> u32 {
        self.runner.as_ref().expect("it runs").id()
    }

    pub fn signal_runner(&self, name: &str) {
        signal(self.runner_pid(), name);
    }

    /// SIGKILL, and its end.
    pub fn kill_runner(&mut self) {
        let mut child = self.runner.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The end of the runner, which somebody has asked for.
    pub async fn runner_ended(&mut self) -> ExitStatus {
        let mut child = self.runner.take().expect("it runs");
        patiently(tokio::task::spawn_blocking(move || child.wait().unwrap())).await.unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("runner.log")).unwrap()
    }

    /// The script's log lines as the runner passed them on for `task_id`.
    pub fn log_lines(&self, task_id: &str) -> Vec<String> {
        let entries =
            self.log().lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect::<Vec<_>>();
        entries
            .iter()
            .map(|entry| &entry["fields"])
            .filter(|fields| fields["message"] == "log" && fields["task_id"] == task_id)
            .map(|fields| fields["line"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until the script has made the file `name` beside it; its content.
    pub async fn wrote(&self, name: &str) -> String {
        until(|| fs::read_to_string(self.path(name)).is_ok_and(|text| text.ends_with('\n'))).await;
        fs::read_to_string(self.path(name)).unwrap().trim().to_owned()
    }

    /// Processes of this lab's tasks: marked by their room, or keepers of one.
    pub fn left_behind(&self) -> Vec<u32> {
        let rooms = fs::canonicalize(self.path("state")).unwrap().join("rooms");
        let rooms = rooms.as_os_str().as_bytes();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            *pid != std::process::id() && mentions(*pid, "environ", rooms) | mentions(*pid, "cmdline", rooms)
        })
        .collect()
    }

    /// Nothing of any task is there any more: no process, no directory, no group.
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.left_behind(), [] as [u32; 0], "processes were left behind");
        let rooms: Vec<_> = fs::read_dir(self.path("state/rooms")).unwrap().collect();
        assert!(rooms.is_empty(), "{rooms:?}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(mut child) = self.runner.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("=== the runner's log\n{}", self.log());
        }
    }
}

// === impl Told ===

impl Told {
    pub fn outcome(&self) -> TaskOutcome {
        self.result.outcome()
    }

    pub fn code(&self) -> Option<i32> {
        self.result.exit_code
    }

    /// The stable reason of its error.
    pub fn reason(&self) -> String {
        let Some(status) = self.result.error.as_ref().and_then(|error| error.status.as_ref()) else {
            return String::new();
        };
        status
            .details
            .iter()
            .find_map(|detail| tonic_types::pb::ErrorInfo::decode(&detail.value[..]).ok())
            .unwrap()
            .reason
    }

    pub fn message(&self) -> String {
        self.result
            .error
            .as_ref()
            .and_then(|error| error.status.as_ref())
            .map_or_else(String::new, |status| status.message.clone())
    }

    /// The last lines of its log, as the error carries them.
    pub fn tail(&self) -> String {
        let hints = self.result.error.iter().flat_map(|error| &error.hints);
        hints.filter(|hint| hint.summary.contains("log")).map(|hint| hint.resolution.clone()).collect()
    }

    pub fn payload(&self) -> (&str, &[u8]) {
        let payload = self.result.payload.as_ref().expect("a payload");
        (&payload.content_type, &payload.inline)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(self.payload().1).unwrap()
    }

    pub fn output(&self, name: &str) -> Option<&Output> {
        self.outputs.iter().rev().find(|output| output.name == name)
    }

    pub fn output_text(&self, name: &str) -> Option<&str> {
        match self.output(name)?.value.as_ref()? {
            Value::Text(text) => Some(text),
            _ => panic!("the output {name} is no text"),
        }
    }
}

/// Runs one task of type `RUN` to its end.
pub async fn run(link: &mut Link, lease_id: &str) -> Told {
    run_task(link, lease_id, task(lease_id, "RUN")).await
}

pub async fn run_with(link: &mut Link, lease_id: &str, payload: impl Into<bytes::Bytes>) -> Told {
    let payload = Some(Payload::new("application/octet-stream", payload));
    run_task(link, lease_id, Task { payload, ..task(lease_id, "RUN") }).await
}

pub async fn run_task(link: &mut Link, lease_id: &str, task: Task) -> Told {
    begin(link, lease_id, task).await;
    end(link).await
}

/// Runs one task of type `RUN` that belongs to a session.
pub async fn run_in(link: &mut Link, session: Session, lease_id: &str) -> Told {
    link.start_in(session, lease_id, task(lease_id, "RUN")).await;
    end(link).await
}

pub async fn begin(link: &mut Link, lease_id: &str, task: Task) {
    link.assign_task(lease_id, task).await;
    let sequence = link.accept(lease_id).await;
    link.acknowledge(sequence).await;
    let (_, update) = link.update().await;
    assert!(matches!(update.update, Some(Update::Started(_))), "{update:?}");
}

/// The result of the task that runs, acknowledged.
pub async fn end(link: &mut Link) -> Told {
    let (mut progress, mut outputs) = (Vec::new(), Vec::new());
    loop {
        let request = link.next().await;
        match request.frame {
            Some(Frame::Update(update)) => match update.update {
                Some(Update::Progress(told)) => progress.push(told),
                Some(Update::Outputs(told)) => outputs.extend(told.outputs),
                _ => {}
            },
            Some(Frame::Result(result)) => {
                link.acknowledge(request.sequence).await;
                outputs.extend(result.outputs.clone());
                return Told { result, progress, outputs };
            }
            Some(Frame::Drain(_)) => {}
            other => panic!("wanted updates and a result, got {other:?}"),
        }
    }
}

/// Waits for a condition that no event tells of.
pub async fn until(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    patiently(wait).await;
}

pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), "--", &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}");
}

/// A process that is gone, or a zombie that nobody has asked about yet.
pub fn is_gone(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or(true, |stat| stat.rsplit(") ").next().unwrap().starts_with('Z'))
}

pub fn mentions(pid: u32, file: &str, text: &[u8]) -> bool {
    fs::read(Path::new("/proc").join(pid.to_string()).join(file))
        .is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text))
}
